//! The real models for the tests, fetched once into the workspace's target folder.

use std::path::PathBuf;
use std::sync::Arc;

use crate::fetch::{FetchOptions, fetch};
use crate::language::{LanguageModel, LoadOptions};
use crate::pins::{Bundle, SMOLLM2};

pub(crate) fn files(bundle: &Bundle) -> Vec<PathBuf> {
    let cache = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/models");
    fetch(bundle, &FetchOptions::new(cache), &mut |_| ()).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn language() -> Arc<LanguageModel> {
    Arc::new(LanguageModel::load(&files(&SMOLLM2)[0], &LoadOptions::default()).unwrap())
}
