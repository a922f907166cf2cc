//! Batches as bytes.
use super::error::AppendError;
use super::event::Batch;
use super::options::Options;

pub(super) struct Prepared;

pub(super) fn prepare(_batch: Batch, _options: &Options) -> Result<Prepared, AppendError> {
    Ok(Prepared)
}
