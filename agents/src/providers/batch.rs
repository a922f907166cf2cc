//! Batches: a request that is answered within a day, at the price that batches have. Anthropic's are made of the
//! requests themselves, OpenAI's of a file with them.
//!
//! Each call is a batch of its own, known by its `custom_id`. Invariant: it is made once. Where it is not known
//! whether it was made, the provider's recent batches are looked through, and it counts as not made only when
//! all that can hold it have ended without it and no request of ours can land any more. The key goes to the
//! configured address alone: what a batch says of where its results are is not followed.

use std::collections::BTreeSet;
use std::time::Duration;

use actors::transport;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use policies::failure::FailureClass;
use policies::instant::Timestamp;
use policies::span::ByteSize;
use serde_json::{Value, json};

use super::exchange::{JSON, Outgoing};
use super::fault::Told;
use super::ids::fitted;
use super::opening::opened;
use super::wire::Asked;
use super::{Api, ChatDialect, Remote, ResponsesDialect, fault};
use crate::model::{BatchCall, Billed, ModelError, ModelReply, ModelRequest, Progress};

/// For one request about a batch, and for how long one that nobody waits for any more can still land.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// The waits between two looks at a batch: the first, each half as long again, up to the last.
const LOOK_FIRST: Duration = Duration::from_secs(30);
const LOOK_LAST: Duration = Duration::from_secs(300);
/// The longest that one is waited for. The provider ends it after 24 hours.
const LONGEST: Duration = Duration::from_secs(26 * 3600);
/// How far the provider's clock may be behind ours.
const CLOCK_MAX: Duration = Duration::from_secs(300);
/// Batches on one page, and the most pages that are looked through.
const PAGE: usize = 100;
const PAGES_MAX: usize = 20;
/// What is read of an answer about batches, and of results.
const ANSWER_BYTES_MAX: ByteSize = ByteSize(1 << 20);
const RESULTS_BYTES_MAX: ByteSize = ByteSize(64 << 20);
/// What a batch of files is told to remember of a call.
const NAME: &str = "callboard";
/// What stands between the parts of an upload; no JSON has it at the start of a line.
const BOUNDARY: &str = "callboard-batch-5f1c2e";
const MULTIPART: &str = "multipart/form-data; boundary=callboard-batch-5f1c2e";

/// How a provider takes batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Anthropic's: the requests.
    Messages,
    /// OpenAI's: a file of requests.
    Files,
}

/// A batch, as far as it matters here.
#[derive(Debug)]
struct Batch {
    id: String,
    created: Option<Timestamp>,
    /// The call that it was made for, where it says so.
    name: Option<String>,
    /// Where its results are, once it has ended.
    results: Option<Vec<String>>,
    /// It was refused whole, so nothing of it was done.
    is_void: bool,
}

impl Batch {
    /// What a provider tells of one; none where it is not what it should be.
    fn of(shape: Shape, told: &Value) -> Option<Self> {
        // It becomes a part of addresses.
        let name = |key: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            told[key].as_str().filter(|id| !id.is_empty() && id.chars().all(fits))
        };
        let id = name("id")?;
        let status = told[if shape == Shape::Messages { "processing_status" } else { "status" }].as_str()?;
        let results = match (shape, status) {
            (Shape::Messages, "ended") => Some(vec![format!("/messages/batches/{id}/results")]),
            (Shape::Files, "completed" | "failed" | "expired" | "cancelled") => {
                let files = ["output_file_id", "error_file_id"].into_iter().filter_map(name);
                Some(files.map(|file| format!("/files/{file}/content")).collect())
            }
            _ => None,
        };
        let created = match &told["created_at"] {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64().map(|seconds| Timestamp::from_micros(seconds.saturating_mul(1_000_000))),
        };
        let own = told["metadata"][NAME].as_str().map(str::to_owned);
        Some(Self { id: id.to_owned(), created, name: own, results, is_void: status == "failed" })
    }

    /// Whether it is certainly older than that.
    fn is_before(&self, time: Timestamp) -> bool {
        self.created.is_some_and(|created| time.since(created) > CLOCK_MAX)
    }

    /// Whether it may hold the call.
    fn may_hold(&self, call: &BatchCall) -> bool {
        self.name.as_ref().is_none_or(|name| *name == call.id)
    }
}

impl Remote {
    /// How its provider takes batches, if it does.
    pub(super) fn shape(&self) -> Option<Shape> {
        match self.options.api {
            Api::Anthropic(_) => Some(Shape::Messages),
            Api::Chat(ChatDialect::OpenAi) | Api::Responses(ResponsesDialect::OpenAi) => Some(Shape::Files),
            Api::Chat(_) | Api::Responses(_) => None,
        }
    }

    /// Makes a call by a batch, or finds the one that was made.
    pub(super) async fn batched(
        &self,
        shape: Shape,
        request: &ModelRequest,
        call: &BatchCall,
    ) -> Result<ModelReply, ModelError> {
        if call.may_be_there {
            return self.found(shape, request, call).await;
        }
        match self.submitted(shape, request, call).await {
            Ok(batch) => self.awaited(shape, request, call, &batch.id).await,
            // It may have been made all the same, which can be asked.
            Err(error) if error.billed == Billed::Unknown => self.found(shape, request, call).await,
            Err(error) => Err(error),
        }
    }

    async fn submitted(&self, shape: Shape, request: &ModelRequest, call: &BatchCall) -> Result<Batch, ModelError> {
        let messages = fitted(opened(self.options.prefill, request));
        let asked = Asked { options: &self.options, request, messages: &messages, stream: false };
        let mut params = self.wire.body(&asked);
        params.as_object_mut().map(|params| params.remove("stream"));
        if shape == Shape::Messages {
            let body = json!({ "requests": [{ "custom_id": call.id, "params": params }] });
            let told = self.told(Method::POST, "/messages/batches", body.to_string(), JSON).await?;
            return self.batch(shape, &told);
        }
        let endpoint = self.url.path();
        let line = json!({ "custom_id": call.id, "method": "POST", "url": endpoint, "body": params });
        // A file that is there without a batch is worked on by nobody.
        let file = self.told(Method::POST, "/files", upload(&line), MULTIPART).await;
        let file = file.map_err(|error| ModelError { billed: Billed::No, ..error })?;
        let body = json!({
            "input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h", "metadata": { NAME: call.id },
        });
        let told = self.told(Method::POST, "/batches", body.to_string(), JSON).await?;
        self.batch(shape, &told)
    }

    fn batch(&self, shape: Shape, told: &Value) -> Result<Batch, ModelError> {
        Batch::of(shape, told).ok_or_else(|| fault::broken(&self.url, "what it tells of a batch is none"))
    }

    /// The reply of a batch that is there.
    async fn awaited(
        &self,
        shape: Shape,
        request: &ModelRequest,
        call: &BatchCall,
        id: &str,
    ) -> Result<ModelReply, ModelError> {
        let mut wait = LOOK_FIRST;
        while !self.is_late(call) {
            tokio::time::sleep(wait).await;
            wait = longer(wait);
            let look = async {
                let told = self.told(Method::GET, &format!("{}/{id}", address(shape)), String::new(), JSON).await?;
                let batch = self.batch(shape, &told)?;
                if batch.results.is_none() {
                    return Ok(None);
                }
                Ok(Some(self.result(request, call, &batch).await?.ok_or(batch)))
            };
            match look.await {
                Ok(Some(Ok(reply))) => return reply,
                Ok(Some(Err(batch))) if batch.is_void => {
                    let message = format!("{}: the batch {id} was refused", self.url);
                    return Err(ModelError::free(FailureClass::ProviderDown, message));
                }
                Ok(Some(Err(_))) => return Err(self.lost(&format!("the batch {id} has ended without `{}`", call.id))),
                Ok(None) => {}
                Err(error) => last(error)?,
            }
        }
        Err(self.lost(&format!("the batch {id} did not end within {LONGEST:?}")))
    }

    /// The reply of a call that may have been made; free of charge when it certainly was not.
    ///
    /// Whoever sent it does so no more: a life that is over ended before this one began, and this one has
    /// waited for its own requests. So what can still land does so within [`REQUEST_MAX`] from now.
    async fn found(&self, shape: Shape, request: &ModelRequest, call: &BatchCall) -> Result<ModelReply, ModelError> {
        let landed = self.world.elapsed().saturating_add(REQUEST_MAX);
        let (mut wait, mut others) = (LOOK_FIRST, BTreeSet::new());
        while !self.is_late(call) {
            // A look takes time itself: what lands during it may be missed.
            let sees_all = self.world.elapsed() > landed;
            match self.looked(shape, request, call, &mut others).await {
                Ok(Look::Found(reply)) => return *reply,
                Ok(Look::Absent) if sees_all => {
                    let message = format!("{} has no batch with `{}`, so it is asked again", self.url, call.id);
                    return Err(ModelError::free(FailureClass::ProviderDown, message));
                }
                Ok(Look::Absent | Look::Open) => {}
                Err(error) => last(error)?,
            }
            tokio::time::sleep(wait).await;
            wait = longer(wait);
        }
        Err(self.lost(&format!("the batch of `{}` was not found within {LONGEST:?}", call.id)))
    }

    /// Looks through the batches since the call for its result. `others` are those that are known not to
    /// hold it.
    async fn looked(
        &self,
        shape: Shape,
        request: &ModelRequest,
        call: &BatchCall,
        others: &mut BTreeSet<String>,
    ) -> Result<Look, ModelError> {
        let (mut is_open, mut after) = (false, String::new());
        for _ in 0..PAGES_MAX {
            let page = format!("{}?limit={PAGE}{after}", address(shape));
            let page = self.told(Method::GET, &page, String::new(), JSON).await?;
            let data = page["data"].as_array().ok_or_else(|| fault::broken(&self.url, "it lists no batches"))?;
            for told in data {
                let batch = self.batch(shape, told)?;
                if batch.is_before(call.since) {
                    return Ok(if is_open { Look::Open } else { Look::Absent });
                }
                if !batch.may_hold(call) || others.contains(&batch.id) {
                    continue;
                }
                if batch.results.is_none() {
                    is_open = true;
                } else if let Some(reply) = self.result(request, call, &batch).await? {
                    return Ok(Look::Found(Box::new(reply)));
                } else if batch.name.is_some() && !batch.is_void {
                    let lost = self.lost(&format!("the batch {} has ended without `{}`", batch.id, call.id));
                    return Ok(Look::Found(Box::new(Err(lost))));
                } else {
                    others.insert(batch.id);
                }
            }
            let last_id = data.last().and_then(|told| Batch::of(shape, told)).map(|batch| batch.id);
            match last_id.filter(|_| page["has_more"] == true) {
                Some(last) if shape == Shape::Messages => after = format!("&after_id={last}"),
                Some(last) => after = format!("&after={last}"),
                None => return Ok(if is_open { Look::Open } else { Look::Absent }),
            }
        }
        // There are more than can be looked through, so nobody can say that it is not there.
        Ok(Look::Open)
    }

    /// What the results of a batch that has ended say of the call; none where they do not know it.
    async fn result(
        &self,
        request: &ModelRequest,
        call: &BatchCall,
        batch: &Batch,
    ) -> Result<Option<Result<ModelReply, ModelError>>, ModelError> {
        for place in batch.results.iter().flatten() {
            let results = self.asked(Method::GET, place, String::new(), JSON, RESULTS_BYTES_MAX).await?;
            let lines = results.split(|byte| *byte == b'\n');
            // A line that is none says nothing of this call.
            let mut lines = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
            if let Some(line) = lines.find(|line| line["custom_id"] == call.id.as_str()) {
                return Ok(Some(self.outcome(request, &line)));
            }
        }
        Ok(None)
    }

    /// What a line of results says. Only what has succeeded is billed.
    fn outcome(&self, request: &ModelRequest, line: &Value) -> Result<ModelReply, ModelError> {
        let faults = self.faults();
        let free = |error: ModelError| Err(ModelError { billed: Billed::No, ..error });
        let message = match line["result"]["type"].as_str() {
            Some("succeeded") => &line["result"]["message"],
            Some("errored") => return free(faults.told(&self.url, &Told::of(&line["result"]["error"]))),
            Some(how @ ("expired" | "canceled")) => {
                return free(self.lost(&format!("the batch ended before it ({how})")));
            }
            Some(_) => return Err(fault::broken(&self.url, "a result of a batch is of no known type")),
            None => {
                let response = &line["response"];
                let status = response["status_code"].as_u64().and_then(|status| u16::try_from(status).ok());
                match status.and_then(|status| StatusCode::from_u16(status).ok()) {
                    Some(status) if status.is_success() => &response["body"],
                    Some(status) => {
                        let body = response["body"].to_string();
                        return free(faults.refused(&self.url, status, &HeaderMap::new(), body.as_bytes()));
                    }
                    None => return free(self.lost(&faults.words(&Told::of(&line["error"]).message))),
                }
            }
        };
        let mut gather = self.wire.gather();
        gather.whole(message.to_string().as_bytes()).map_err(|broken| self.broken(broken))?;
        let completion = gather.complete().ok_or_else(|| fault::broken(&self.url, "the model was not done"))?;
        Ok(self.reply(completion, request))
    }

    async fn told(
        &self,
        method: Method,
        rest: &str,
        body: String,
        content_type: &'static str,
    ) -> Result<Value, ModelError> {
        let answer = self.asked(method, rest, body, content_type, ANSWER_BYTES_MAX).await?;
        serde_json::from_slice(&answer).map_err(|error| fault::broken(&self.url, &format!("no batch: {error}")))
    }

    /// Sends a request about batches; what follows the base of all addresses is `rest`.
    async fn asked(
        &self,
        method: Method,
        rest: &str,
        body: String,
        content_type: &'static str,
        most: ByteSize,
    ) -> Result<Vec<u8>, ModelError> {
        let url: Uri = format!("{}{rest}", self.options.base_url.trim_end_matches('/')).parse().map_err(|_| {
            ModelError::free(FailureClass::Rejected, format!("{} has no address for batches", self.url))
        })?;
        let outgoing = Outgoing { method, url: url.clone(), body: Bytes::from(body), accept: JSON, content_type };
        let exchange = async {
            let (head, body) = self.answer(&outgoing, &Progress::default()).await?.into_parts();
            if !head.status.is_success() {
                return Err(self.refused(&head, body).await);
            }
            let body = transport::collect(body, most).await;
            body.map(|body| body.to_vec()).map_err(|error| fault::broken(&url, &error.to_string()))
        };
        let late = || ModelError::unknown(FailureClass::Hung, format!("{url} did not answer within {REQUEST_MAX:?}"));
        tokio::time::timeout(REQUEST_MAX, exchange).await.unwrap_or_else(|_| Err(late()))
    }

    fn is_late(&self, call: &BatchCall) -> bool {
        self.world.now().since(call.since) > LONGEST
    }

    /// It may have been answered, and nobody can say.
    fn lost(&self, why: &str) -> ModelError {
        ModelError::unknown(FailureClass::ProviderDown, format!("{}: {why}", self.url))
    }
}

/// What a look through the batches came to.
enum Look {
    Found(Box<Result<ModelReply, ModelError>>),
    /// None of those that ended holds it, and some have not.
    Open,
    /// None holds it.
    Absent,
}

/// Goes on after an error that may pass; a batch that nobody may look at any more may have been paid for.
fn last(error: ModelError) -> Result<(), ModelError> {
    if error.class.is_retryable() { Ok(()) } else { Err(ModelError { billed: Billed::Unknown, ..error }) }
}

fn longer(wait: Duration) -> Duration {
    (wait * 3 / 2).min(LOOK_LAST)
}

/// Where batches are, after the base of all addresses.
fn address(shape: Shape) -> &'static str {
    match shape {
        Shape::Messages => "/messages/batches",
        Shape::Files => "/batches",
    }
}

/// A file of one line, as it is uploaded.
fn upload(line: &Value) -> String {
    format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{BOUNDARY}\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"batch.jsonl\"\r\n\
         Content-Type: application/jsonl\r\n\r\n{line}\n\r\n--{BOUNDARY}--\r\n"
    )
}
