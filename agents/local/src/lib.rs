//! The models that need no key and no server: a small language model on the
//! CPU and embeddings, fetched once and checked by their hash.
//!
//! The way from nothing to a model, all of it blocking:
//! [`fetch`](fetch::fetch) a bundle of [`pins`], load it as a
//! [`LanguageModel`] or a [`WordLlama`], make a [`Pool`] and give each of its
//! workers a thread, and put the model behind the pool as a [`LocalModel`].

mod cache;
pub mod embedding;
pub mod fetch;
pub mod language;
pub mod model;
pub mod pins;
pub mod pool;
#[cfg(test)]
mod testbed;

pub use cache::CacheError;
pub use embedding::{MiniLm, WordLlama};
pub use language::LanguageModel;
pub use model::LocalModel;
pub use pool::{Pool, Worker};
