//! The shard and the record of what it has reached. Everything here blocks.
//!
//! Invariant: the record is written after the flush that it speaks of, and
//! removed before the points that it speaks of.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::{fs, io};

use qdrant_edge::{
    CountRequest, CreateIndex, EdgeShard, FieldIndexOperations, PayloadFieldSchema, PayloadSchemaType,
    PointInsertOperations, PointOperations, UpdateOperation,
};
use storage::disk::Disk;
use storage::disk::files::FileDisk;
use storage::index::{Filter, Hit, IndexError, Point, sort_hits};
use storage::journal::Seq;
use storage::views::seal::{self, Seal};

use crate::index::Options;
use crate::record::{self, Record};
use crate::{engine, mapping};

const SHARD: &str = "shard";
const LOCK: &str = "lock";
/// Points given to the shard in one operation.
const UPSERT_BATCH: usize = 256;

pub(crate) struct Store {
    options: Options,
    disk: FileDisk,
    /// `None` only while a reset fails half-way; the next reset mends it.
    shard: RwLock<Option<EdgeShard>>,
    /// The committed sequence. Held by whoever writes: the shard panics when it
    /// is flushed and written to at once.
    sequence: Mutex<Option<Seq>>,
    /// Let go last; see the order of fields.
    _lock: Mutex<Box<dyn Send>>,
}

impl Store {
    pub(crate) fn open(options: Options) -> Result<Self, IndexError> {
        let disk = FileDisk::new(&options.path);
        let failed = |source: io::Error| io_error(&options, source);
        disk.create_dir_all("").map_err(failed)?;
        let lock = disk.lock(LOCK).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => IndexError::Locked { path: options.path.display().to_string() },
            _ => failed(source),
        })?;
        let (shard, sequence) = match kept(&options, &disk) {
            Some((shard, sequence)) => (shard, Some(sequence)),
            None => (start_anew(&options, &disk)?, None),
        };
        Ok(Self {
            disk,
            shard: RwLock::new(Some(shard)),
            sequence: Mutex::new(sequence),
            _lock: Mutex::new(lock),
            options,
        })
    }

    pub(crate) fn upsert(&self, points: Vec<Point>) -> Result<(), IndexError> {
        let _writing = self.writing();
        let mut points = points.into_iter().map(mapping::point).peekable();
        while points.peek().is_some() {
            let batch = points.by_ref().take(UPSERT_BATCH).collect();
            let insert = PointInsertOperations::PointsList(batch);
            self.update("remember", PointOperations::UpsertPoints(insert))?;
        }
        Ok(())
    }

    pub(crate) fn delete(&self, ids: Vec<u128>) -> Result<(), IndexError> {
        let _writing = self.writing();
        let ids = ids.into_iter().map(mapping::id).collect();
        self.update("forget", PointOperations::DeletePoints { ids })
    }

    fn update(&self, action: &'static str, change: PointOperations) -> Result<(), IndexError> {
        self.on_shard(action, |shard| shard.update(UpdateOperation::PointOperation(change)))
    }

    pub(crate) fn search(&self, vector: Vec<f32>, filter: &Filter, limit: usize) -> Result<Vec<Hit>, IndexError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let query = mapping::query(vector, filter, limit)?;
        let found = self.on_shard("search", |shard| shard.query(query))?;
        let mut hits: Vec<Hit> = found.into_iter().map(mapping::hit).collect();
        sort_hits(&mut hits);
        Ok(hits)
    }

    pub(crate) fn count(&self) -> Result<u64, IndexError> {
        let request = CountRequest { filter: None, exact: true };
        let count = self.on_shard("count", |shard| shard.count(request))?;
        Ok(count as u64)
    }

    pub(crate) fn sequence(&self) -> Option<Seq> {
        *self.writing()
    }

    pub(crate) fn commit(&self, seq: Seq) -> Result<(), IndexError> {
        let mut sequence = self.writing();
        self.on_shard("flush", |shard| {
            shard.flush();
            Ok(())
        })?;
        let path = self.options.path.join(SHARD);
        Record::of(&path, self.options.dimension, seq)
            .and_then(|record| record.write(&self.disk))
            .map_err(|source| io_error(&self.options, source))?;
        *sequence = Some(seq);
        record::trim_log(&path).map_err(|source| io_error(&self.options, source))
    }

    pub(crate) fn reset(&self) -> Result<(), IndexError> {
        let mut sequence = self.writing();
        let mut shard = self.shard.write().unwrap_or_else(PoisonError::into_inner);
        *sequence = None;
        close(shard.take());
        *shard = Some(start_anew(&self.options, &self.disk)?);
        Ok(())
    }

    fn on_shard<T>(
        &self,
        action: &'static str,
        call: impl FnOnce(&EdgeShard) -> qdrant_edge::OperationResult<T>,
    ) -> Result<T, IndexError> {
        let shard = self.shard.read().unwrap_or_else(PoisonError::into_inner);
        let Some(shard) = shard.as_ref() else {
            return Err(engine::refusal(action, "it was not emptied; empty it again"));
        };
        engine::run(action, || call(shard))
    }

    /// The engine's panics are caught below this lock, so a poisoned one is sound.
    fn writing(&self) -> MutexGuard<'_, Option<Seq>> {
        self.sequence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let shard = self.shard.get_mut().unwrap_or_else(PoisonError::into_inner);
        if close(shard.take()) {
            // Without a seal the next start checks less closely, no more.
            if let Err(error) = seal::close(&self.options.path.join(SHARD)) {
                tracing::debug!(path = %self.options.path.display(), %error, "the context index was not sealed");
            }
        }
    }
}

/// Flushes and lets go of the shard; false when it could not be flushed.
fn close(shard: Option<EdgeShard>) -> bool {
    let closed = engine::run("close", || {
        drop(shard);
        Ok::<_, IndexError>(())
    });
    if let Err(error) = &closed {
        tracing::warn!(%error, "the context index was not closed well");
    }
    closed.is_ok()
}

/// The shard as it was committed, if it can be trusted.
fn kept(options: &Options, disk: &FileDisk) -> Option<(EdgeShard, Seq)> {
    let path = options.path.join(SHARD);
    let seal = seal::open(&path);
    let record = Record::read(disk)?;
    if seal == Seal::Broken || !record.describes(&path, options.dimension) {
        report(options, &"its files are not as they were left");
        return None;
    }
    let config = mapping::config(options.dimension);
    let loaded = engine::run("load", || {
        let shard = EdgeShard::load(&path, Some(config))?;
        index_fields(&shard, options)?;
        Ok::<_, qdrant_edge::OperationError>(shard)
    });
    match loaded {
        Ok(shard) => Some((shard, record.sequence)),
        Err(error) => {
            report(options, &error);
            None
        }
    }
}

fn report(options: &Options, reason: &dyn std::fmt::Display) {
    tracing::warn!(
        path = %options.path.display(),
        %reason,
        "the context index is damaged; it is deleted and filled again from the journal"
    );
}

fn start_anew(options: &Options, disk: &FileDisk) -> Result<EdgeShard, IndexError> {
    let failed = |source| io_error(options, source);
    record::remove(disk).map_err(failed)?;
    let path = options.path.join(SHARD);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => disk.create_dir_all(SHARD).map_err(failed)?,
    }
    engine::run("start", || {
        let shard = EdgeShard::new(&path, mapping::config(options.dimension))?;
        index_fields(&shard, options)?;
        Ok::<_, qdrant_edge::OperationError>(shard)
    })
}

fn index_fields(shard: &EdgeShard, options: &Options) -> qdrant_edge::OperationResult<()> {
    for field in &options.keywords {
        let field_name =
            mapping::path(field).map_err(|error| qdrant_edge::OperationError::service_error(error.to_string()))?;
        let keyword = PayloadFieldSchema::FieldType(PayloadSchemaType::Keyword);
        let create = FieldIndexOperations::CreateIndex(CreateIndex { field_name, field_schema: Some(keyword) });
        shard.update(UpdateOperation::FieldIndexOperation(create))?;
    }
    Ok(())
}

fn io_error(options: &Options, source: io::Error) -> IndexError {
    IndexError::Io { path: options.path.display().to_string(), source }
}
