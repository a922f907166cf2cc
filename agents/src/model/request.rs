//! What a model is asked. Invariant: what is not used is not written, so that an old request is
//! written, and hashed, as it always was; and what a model cannot do is refused before it is asked.

use std::collections::BTreeSet;
use std::fmt;

use policies::failure::FailureClass;
use policies::tokens::Tokens;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Block, Message, ModelError, Part, Role, Thinking};

/// Tokens that a chat template may put around one turn.
const TURN_TOKENS_MAX: u64 = 16;
/// Bytes of a token, for an estimate that is seldom too low.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens that one turn takes beside its words, by the same estimate.
const TURN_TOKENS: u64 = 8;
/// Tokens of the instructions that a provider adds where tools are offered or a schema is set.
const FRAME_TOKENS_MAX: u64 = 1024;
/// The dearest picture of the providers in use, at the largest size that they do not shrink.
const IMAGE_TOKENS_MAX: u64 = 8192;

/// What stands for a picture that a model cannot see.
const UNSEEN: &str = "\n[Here is a picture, which you cannot see.]";

/// One call, complete: what it may cost follows from this and a price table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRequest {
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// The words with which the reply shall begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<String>,
    /// The reply ends before the first of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// The most that the model may write, its thinking included, the prefill not counted.
    pub output_max: Tokens,
    /// 0 takes the likeliest token each time. Models that take no temperature are sent none.
    pub temperature: f32,
    /// Same request and seed, same reply, where the model can promise it.
    pub seed: u64,
    /// The reply is to be a grade. A model that can weigh the digits from 1 to 9 against each other
    /// then says their mean after the prefill, which is finer than the digit it would write.
    #[serde(default)]
    pub graded: bool,
    /// The tools that it may ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolSpec>,
    /// Whether it must.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tool_choice: ToolChoice,
    /// The reply is to be JSON of this shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<OutputSchema>,
    /// How much it is to think first; as the model does by itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    /// What its provider is to keep for the next request. A provider that caches by itself, or not at
    /// all, takes no marks, and loses none of the meaning without them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cache: CacheMarks,
    /// Whether the reply is to come as it is made; as the model is set up when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A tool as the model sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// What its arguments look like, as a JSON Schema of an object.
    pub schema: Value,
}

/// Whether the model must ask for a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// For one at least.
    Any,
    /// For none.
    None,
    /// For this one.
    Named(String),
}

/// The shape of a reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputSchema {
    /// A name for it: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// The JSON Schema.
    pub schema: Value,
}

impl OutputSchema {
    /// What it takes in a request, in bytes.
    fn bytes(&self) -> u64 {
        (self.schema.to_string().len() + self.name.len()) as u64
    }
}

/// How far a provider is to keep the beginning of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheMarks {
    /// The tools and the instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<CacheTtl>,
    /// The conversation before the model's latest turn in it, which is where the request before this one
    /// ended: a provider looks only so far back from a mark for what it keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier: Option<CacheTtl>,
    /// The whole conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<CacheTtl>,
}

/// How long it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheTtl {
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// An hour, at a higher price.
    #[serde(rename = "1h")]
    Hour,
}

/// Something that not every model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    /// Ask for tools.
    Tools,
    /// Be made to ask for one.
    ToolChoice,
    /// See pictures.
    Images,
    /// Keep to a JSON Schema by itself.
    Schema,
    /// Think first, as much as it is told to.
    Thinking,
}

impl Ability {
    /// Every ability.
    pub const ALL: [Self; 5] = [Self::Tools, Self::ToolChoice, Self::Images, Self::Schema, Self::Thinking];
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tools => "use tools",
            Self::ToolChoice => "be made to use a tool",
            Self::Images => "see images",
            Self::Schema => "keep to a JSON Schema",
            Self::Thinking => "be told how much to think",
        })
    }
}

/// What a model can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities(BTreeSet<Ability>);

impl Abilities {
    /// Nothing beyond text.
    pub const TEXT: Self = Self(BTreeSet::new());

    /// Everything but these.
    pub fn all_but<'a>(missing: impl IntoIterator<Item = &'a Ability>) -> Self {
        let mut able: BTreeSet<Ability> = Ability::ALL.into();
        for ability in missing {
            able.remove(ability);
        }
        Self(able)
    }

    /// These and one more.
    #[must_use]
    pub fn with(mut self, ability: Ability) -> Self {
        self.0.insert(ability);
        self
    }

    /// Whether it can.
    #[must_use]
    pub fn has(&self, ability: Ability) -> bool {
        self.0.contains(&ability)
    }
}

impl ModelRequest {
    /// A plain request: nothing but a conversation and a bound.
    #[must_use]
    pub fn asking(messages: Vec<Message>, output_max: Tokens) -> Self {
        Self {
            messages,
            prefill: None,
            stop: Vec::new(),
            output_max,
            temperature: 0.0,
            seed: 0,
            graded: false,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            output_schema: None,
            thinking: None,
            cache: CacheMarks::default(),
            stream: None,
        }
    }

    /// What it takes of a model.
    #[must_use]
    pub fn needs(&self) -> Vec<Ability> {
        let results = |block: &Block| matches!(block, Block::ToolResult(result) if result.images().next().is_some());
        let mut blocks = self.messages.iter().flat_map(|message| &message.content);
        let needs = [
            (Ability::Tools, !self.tools.is_empty()),
            (Ability::ToolChoice, self.tool_choice != ToolChoice::Auto),
            (Ability::Images, blocks.any(|block| matches!(block, Block::Image(_)) || results(block))),
            (Ability::Schema, self.output_schema.is_some()),
            (Ability::Thinking, self.thinking.is_some_and(|thinking| thinking != Thinking::Off)),
        ];
        needs.into_iter().filter(|(_, is_needed)| *is_needed).map(|(ability, _)| ability).collect()
    }

    /// Puts words in the place of the pictures that tools have answered with, for a model that sees none.
    pub(crate) fn describe(&mut self) {
        for block in self.messages.iter_mut().flat_map(|message| &mut message.content) {
            let Block::ToolResult(result) = block else { continue };
            for part in result.content.iter_mut().filter(|part| matches!(part, Part::Image(_))) {
                *part = Part::Text { text: UNSEEN.to_owned() };
            }
        }
    }

    /// Whether a model with these abilities can be asked this, and whether it makes sense at all.
    ///
    /// # Errors
    /// What it cannot do, for a person; nothing was sent.
    pub fn check(&self, able: &Abilities, model: &impl fmt::Display) -> Result<(), ModelError> {
        let refused = |message: String| Err(ModelError::free(FailureClass::Rejected, message));
        if let Some(missing) = self.needs().into_iter().find(|ability| !able.has(*ability)) {
            return refused(format!("{model} cannot {missing}; take it out of the request, or ask another model"));
        }
        let offered = |name: &str| self.tools.iter().any(|tool| tool.name == name);
        match &self.tool_choice {
            ToolChoice::Named(name) if !offered(name) => {
                return refused(format!("the request wants the tool `{name}` used and does not offer it"));
            }
            ToolChoice::Any if self.tools.is_empty() => {
                return refused("the request wants a tool used and offers none".to_owned());
            }
            _ => {}
        }
        if let Some(Thinking::Budget(tokens)) = self.thinking
            && tokens >= self.output_max
        {
            let most = self.output_max;
            return refused(format!("{tokens} tokens of thinking leave nothing of the {most} to answer with"));
        }
        Ok(())
    }

    /// About how many tokens stand before what was said in the talk: its tools and instructions.
    pub(crate) fn stable_about(&self) -> Tokens {
        let system: Vec<Message> = self.messages.iter().filter(|said| said.role == Role::System).cloned().collect();
        tokens_about(&system) + self.tools_about()
    }

    /// About how many tokens it has in all.
    pub(crate) fn whole_about(&self) -> Tokens {
        let output = self.output_schema.as_ref().map_or(0, OutputSchema::bytes);
        tokens_about(&self.messages) + self.tools_about() + Tokens(output / BYTES_PER_TOKEN)
    }

    fn tools_about(&self) -> Tokens {
        let tools = self.tools.iter().map(|tool| {
            (tool.name.len() + tool.description.len() + tool.schema.to_string().len()) as u64 / BYTES_PER_TOKEN
        });
        Tokens(tools.sum())
    }

    /// An upper bound of its tokens by any tokenizer in use, which makes at most one token of a byte;
    /// about four times the truth for English.
    #[must_use]
    pub fn tokens_at_most(&self) -> Tokens {
        // The reply is opened by one, and what it is to begin with may be one of its own.
        let turns = self.messages.len() as u64 + 1 + u64::from(self.prefill.is_some());
        let blocks = self.messages.iter().flat_map(|message| &message.content).map(block_tokens);
        let schemas = self.tools.iter().map(|tool| {
            let schema = tool.schema.to_string().len();
            (tool.name.len() + tool.description.len() + schema) as u64 + TURN_TOKENS_MAX
        });
        let output = self.output_schema.iter().map(OutputSchema::bytes);
        let frames = u64::from(!self.tools.is_empty()) + u64::from(self.output_schema.is_some());
        let prefill = self.prefill.as_ref().map_or(0, String::len) as u64;
        let parts = blocks.chain(schemas).chain(output).fold(0, u64::saturating_add);
        Tokens(parts + prefill + turns * TURN_TOKENS_MAX + frames * FRAME_TOKENS_MAX)
    }
}

/// About how many tokens messages have: a third of their bytes, which is more than most texts take and
/// the same whoever reads them, so that what is decided by it stays decided.
pub(crate) fn tokens_about(messages: &[Message]) -> Tokens {
    let about = |message: &Message| {
        let bytes = message.content.iter().map(block_tokens).fold(0, u64::saturating_add);
        bytes.div_ceil(BYTES_PER_TOKEN) + TURN_TOKENS
    };
    Tokens(messages.iter().map(about).fold(0, u64::saturating_add))
}

fn block_tokens(block: &Block) -> u64 {
    let len = |text: &str| text.len() as u64;
    match block {
        Block::Text { text } => len(text),
        Block::Image(_) => IMAGE_TOKENS_MAX,
        Block::ToolCall(call) => len(&call.name) + len(&call.id) + len(&call.arguments.to_string()) + TURN_TOKENS_MAX,
        Block::ToolResult(result) => {
            len(&result.words()) + len(&result.id) + result.images().count() as u64 * IMAGE_TOKENS_MAX + TURN_TOKENS_MAX
        }
        Block::Thinking { text, signature } => {
            len(text) + signature.as_ref().map_or(0, |signature| len(&signature.data))
        }
        Block::Redacted(signature) => len(&signature.data),
    }
}
