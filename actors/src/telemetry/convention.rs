//! The names of OpenTelemetry's conventions for generative AI, which still move. Invariant: nowhere else is
//! one of them written, so that a move is made here.
//!
//! Source: <https://github.com/open-telemetry/semantic-conventions-genai>, status "development".

/// What is done: the attribute, and its values.
pub const OPERATION: &str = "gen_ai.operation.name";
/// One call of a model.
pub const CHAT: &str = "chat";
/// One step of an agent, with its turns and tools.
pub const INVOKE_AGENT: &str = "invoke_agent";
/// One use of a tool.
pub const EXECUTE_TOOL: &str = "execute_tool";
/// One run of a workflow.
pub const INVOKE_WORKFLOW: &str = "invoke_workflow";

/// Whose model it is.
pub const PROVIDER: &str = "gen_ai.provider.name";
/// What ties all spans of a run together for people.
pub const CONVERSATION: &str = "gen_ai.conversation.id";
/// The workflow.
pub const WORKFLOW: &str = "gen_ai.workflow.name";
/// The agent.
pub const AGENT: &str = "gen_ai.agent.name";
/// The tool.
pub const TOOL: &str = "gen_ai.tool.name";
/// The arguments of a tool: content.
pub const TOOL_ARGUMENTS: &str = "gen_ai.tool.call.arguments";
/// The result of a tool: content.
pub const TOOL_RESULT: &str = "gen_ai.tool.call.result";

/// The model that was asked for.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// The most tokens that it may answer with.
pub const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
/// The model that answered.
pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
/// The provider's name for the answer.
pub const RESPONSE_ID: &str = "gen_ai.response.id";
/// Why the answer ended.
pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
/// Seconds from the request to the first piece of a streamed answer.
pub const FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";

/// Tokens in, cached ones included.
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Tokens out, those of thinking included.
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Of the tokens in, those that a cache had.
pub const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
/// Of the tokens in, those that went into a cache.
pub const CACHE_CREATION_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
/// Of the tokens out, those of thinking.
pub const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";

/// What a model was told to be: content.
pub const SYSTEM_INSTRUCTIONS: &str = "gen_ai.system_instructions";
/// What a model was asked: content.
pub const INPUT_MESSAGES: &str = "gen_ai.input.messages";
/// What a model answered: content.
pub const OUTPUT_MESSAGES: &str = "gen_ai.output.messages";

/// What went wrong, as a class.
pub const ERROR: &str = "error.type";
/// The value of [`ERROR`] where there is no class for it.
pub const OTHER: &str = "_OTHER";

/// Whether tokens went in or out: a label of [`TOKEN_USAGE`] …
pub const TOKEN_TYPE: &str = "gen_ai.token.type";
/// … and its values.
pub const INPUT: &str = "input";
/// See [`INPUT`].
pub const OUTPUT: &str = "output";

/// A histogram of the conventions.
#[derive(Clone, Copy, Debug)]
pub struct Instrument {
    /// Its name there.
    pub name: &'static str,
    /// Its name in Prometheus, the unit included where it is a time.
    pub prometheus: &'static str,
    /// Its unit there.
    pub unit: &'static str,
    /// What it measures.
    pub help: &'static str,
    /// The upper ends of its buckets, as the conventions advise.
    pub bounds: &'static [f64],
}

/// Tokens of one call.
pub const TOKEN_USAGE: Instrument = Instrument {
    name: "gen_ai.client.token.usage",
    prometheus: "gen_ai_client_token_usage",
    unit: "{token}",
    help: "Tokens of a call, by whether they went in or out",
    bounds: &TOKEN_BOUNDS,
};
/// Time that one call took.
pub const DURATION: Instrument = Instrument {
    name: "gen_ai.client.operation.duration",
    prometheus: "gen_ai_client_operation_duration_seconds",
    unit: "s",
    help: "Time that a call took",
    bounds: &TIME_BOUNDS,
};
/// Time from one call's request to the first piece of its streamed answer.
pub const TIME_TO_FIRST_CHUNK: Instrument = Instrument {
    name: "gen_ai.client.operation.time_to_first_chunk",
    prometheus: "gen_ai_client_operation_time_to_first_chunk_seconds",
    unit: "s",
    help: "Time from a request to the first piece of its streamed answer",
    bounds: &TIME_BOUNDS,
};

const TOKEN_BOUNDS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const TIME_BOUNDS: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
