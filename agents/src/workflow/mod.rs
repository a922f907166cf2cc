//! Workflows: what a run does, as data.
//!
//! A workflow is a TOML document of inputs, constants, steps and outputs.
//! [`check`] reads it, or says everything that is wrong with it; [`advance`]
//! says what is to be done next in a run of it.
//!
//! Invariant: everything here is a pure function. What a workflow asks of the
//! world comes out as [`Action`]s, and what became of them goes in as
//! [`Outcomes`]; nothing here knows who carries them out.

pub mod action;
mod advance;
pub(crate) mod canonical;
mod check;
mod definition;
mod engine;
mod formula;
mod history;
mod json;
mod kept;
mod path;
mod scope;
mod settled;
mod shape;
mod steps;
mod talk;
mod talking;
mod text;

pub use action::{Action, AgentCall, Approval, EffectClass, PostDraft, ToolCall, score};
pub use advance::{
    ACTION_BYTES_MAX, EvalError, Given, MAP_ITEMS_MAX, Next, Outcomes, ReadyStep, STEPS_MAX, advance, go_on,
};
pub use check::{DOCUMENT_BYTES_MAX, Known, check, check_beside};
pub use definition::{
    AgentStep, INPUTS_BYTES_MAX, Input, InputError, InputKind, OnReject, Parse, PostFormula, Step, StepKind, ToolStep,
    Workflow, WorkflowVersion,
};
pub use engine::{FUEL_MAX, SOURCE_BYTES_MAX, TEXT_BYTES_MAX};
pub use formula::Formula;
pub use path::{StepId, StepPath};
pub use settled::Settled;
pub use shape::{Beside, PICTURES_SHOWN_MAX, SCHEMA_BYTES_MAX};
pub use steps::{DEPTH_MAX, LOOP_TIMES_MAX, OUTPUT_TOKENS_MAX};
pub use talk::{Asked, Breach, ERROR, Errand, Judge, Latency, Limits, OnBreach, Side, TURNS_MAX, Talk, Turn};
pub use text::sentences;

#[cfg(test)]
mod tests;

/// The text of the workflow that announces a product, Callboard's first trade.
pub const ANNOUNCE: &str = include_str!("../../../workflows/announce.toml");
