//! Rewrites a model once into the quantisation that candle computes fastest on
//! a CPU. Invariant: a converted file names the source it was made from, and is
//! made anew when the source is another one.
//!
//! Candle has no SIMD for Q4_1: as it is, SmolLM2 writes 8 tokens a second, as
//! Q8_0 it writes 31 to 43.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use candle_core::Device;
use candle_core::quantized::gguf_file::{self, Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};

use super::LanguageError;
use crate::cache::{Cache, failed};

const SOURCE_KEY: &str = "callboard.source";
/// Converting takes seconds; whoever holds the folder longer is stuck.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(120);

/// The path of a file that is quick to compute with: this one, or its
/// conversion in `folder`, made now where it is missing.
pub(super) fn quick_file(path: &Path, folder: &Path) -> Result<PathBuf, LanguageError> {
    let content = read_content(path)?;
    if !content.tensor_infos.values().any(|tensor| is_slow(tensor.ggml_dtype)) {
        return Ok(path.into());
    }
    let source = identity(path)?;
    let name = format!("{}.Q8_0.gguf", path.file_stem().unwrap_or_default().to_string_lossy());
    let cache = Cache::open(folder)?;
    let target = cache.path(&name);
    if is_conversion_of(&target, &source) {
        return Ok(target);
    }
    let lock = cache.lock(LOCK_WAIT_MAX, &mut || ())?;
    if is_conversion_of(&target, &source) {
        return Ok(target);
    }
    tracing::info!(from = %path.display(), to = %target.display(), "converting the model, once");
    let made = lock.scratch().join(&name);
    convert(path, content, source, &made)?;
    Ok(lock.adopt(&made, &name)?)
}

pub(super) fn read_content(path: &Path) -> Result<Content, LanguageError> {
    let mut reader = BufReader::new(File::open(path).map_err(failed("read", path))?);
    Content::read(&mut reader).map_err(|error| LanguageError::File { path: path.into(), error })
}

/// The block formats for which candle has no vector instructions.
fn is_slow(dtype: GgmlDType) -> bool {
    matches!(dtype, GgmlDType::Q4_1 | GgmlDType::Q5_0 | GgmlDType::Q5_1)
}

fn is_conversion_of(target: &Path, source: &str) -> bool {
    target.exists()
        && read_content(target).is_ok_and(|content| {
            content
                .metadata
                .get(SOURCE_KEY)
                .and_then(|value| value.to_string().ok())
                .is_some_and(|found| found == source)
        })
}

/// Tells one source from another without reading a hundred megabytes.
fn identity(path: &Path) -> Result<String, LanguageError> {
    let meta = fs::metadata(path).map_err(failed("read", path))?;
    let changed = meta.modified().map_err(failed("read", path))?;
    let changed = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{} bytes, changed at {}", meta.len(), changed.as_nanos()))
}

fn convert(path: &Path, content: Content, source: String, made: &Path) -> Result<(), LanguageError> {
    let broken = |error| LanguageError::File { path: path.into(), error };
    let mut reader = BufReader::new(File::open(path).map_err(failed("read", path))?);
    // Sorted, so that the same source always gives the same file.
    let mut tensors = BTreeMap::new();
    for name in content.tensor_infos.keys() {
        let tensor = content.tensor(&mut reader, name, &Device::Cpu).map_err(broken)?;
        tensors.insert(name.as_str(), requantize(tensor).map_err(broken)?);
    }
    let source = Value::String(source);
    let mut metadata: BTreeMap<&str, &Value> =
        content.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    metadata.insert(SOURCE_KEY, &source);

    let metadata: Vec<_> = metadata.into_iter().collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let mut writer = BufWriter::new(File::create(made).map_err(failed("write", made))?);
    match gguf_file::write(&mut writer, &metadata, &tensors) {
        Ok(()) => writer.flush().map_err(failed("write", made))?,
        Err(candle_core::Error::Io(error)) => return Err(failed("write", made)(error).into()),
        Err(error) => return Err(LanguageError::File { path: made.into(), error }),
    }
    Ok(())
}

fn requantize(tensor: QTensor) -> candle_core::Result<QTensor> {
    if is_slow(tensor.dtype()) {
        QTensor::quantize(&tensor.dequantize(&Device::Cpu)?, GgmlDType::Q8_0)
    } else {
        Ok(tensor)
    }
}
