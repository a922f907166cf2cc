//! Crash points: places where this program can be made to die, for tests of recovery.
//!
//! `CALLBOARD_CRASH=post.before_send:3` lets the process end at once, with nothing cleaned up, when
//! the third post is about to go out; the point's name goes to the file that `CALLBOARD_CRASH_LOG`
//! names. Invariant: without that variable nothing is wrapped around anything.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actors::transport::watched::SendPoint;
use actors::transport::{self, Transport};
use actors::world::World;
use agents::publisher::watched::PostPoint;
use agents::publisher::{self, Publisher};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use policies::document;
use serde::{Deserialize, Serialize};
use storage::disk::watched::DiskPoint;
use storage::disk::{self, Disk};

/// Names the point and the passing: `append.after:12`.
pub const POINT: &str = "CALLBOARD_CRASH";
/// Names the file that is told the point.
pub const LOG: &str = "CALLBOARD_CRASH_LOG";
/// How long an answer has to leave this machine before it counts as given.
const ANSWER_LEAVES: Duration = Duration::from_millis(20);

/// A place in the program where it can be made to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Point {
    /// Before bytes are appended to a file.
    #[serde(rename = "append.before")]
    AppendBefore,
    /// After bytes were appended to a file.
    #[serde(rename = "append.after")]
    AppendAfter,
    /// Before a file is synced.
    #[serde(rename = "sync.before")]
    SyncBefore,
    /// After a file was synced.
    #[serde(rename = "sync.after")]
    SyncAfter,
    /// Before a request goes to a model's provider.
    #[serde(rename = "call.before_send")]
    CallBeforeSend,
    /// After a provider has answered, before anybody here knows.
    #[serde(rename = "call.after_send")]
    CallAfterSend,
    /// Before a post goes to a platform.
    #[serde(rename = "post.before_send")]
    PostBeforeSend,
    /// After a platform has the post, before anybody here knows.
    #[serde(rename = "post.after_send")]
    PostAfterSend,
    /// Before a client's request is answered, all of its work being done.
    #[serde(rename = "ack.before")]
    AckBefore,
    /// After a client's request was answered.
    #[serde(rename = "ack.after")]
    AckAfter,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AppendBefore,
        Self::AppendAfter,
        Self::SyncBefore,
        Self::SyncAfter,
        Self::CallBeforeSend,
        Self::CallAfterSend,
        Self::PostBeforeSend,
        Self::PostAfterSend,
        Self::AckBefore,
        Self::AckAfter,
    ];

    /// Its name in experiments.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AppendBefore => "append.before",
            Self::AppendAfter => "append.after",
            Self::SyncBefore => "sync.before",
            Self::SyncAfter => "sync.after",
            Self::CallBeforeSend => "call.before_send",
            Self::CallAfterSend => "call.after_send",
            Self::PostBeforeSend => "post.before_send",
            Self::PostAfterSend => "post.after_send",
            Self::AckBefore => "ack.before",
            Self::AckAfter => "ack.after",
        }
    }

    /// The point of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name() == name)
    }
}

/// Where to die: at which passing of which point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The point.
    pub point: Point,
    /// Which passing since the process began, from 1.
    pub nth: u32,
}

/// Text that marks no place to die.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no crash point and passing such as `post.before_send:3`: {reason}; mend {POINT}, or unset it")]
pub struct NotMark {
    text: String,
    reason: String,
}

impl FromStr for Mark {
    type Err = NotMark;

    fn from_str(text: &str) -> Result<Self, NotMark> {
        let wrong = |reason: String| NotMark { text: text.to_owned(), reason };
        let (name, nth) = text.split_once(':').ok_or_else(|| wrong("it has no `:`".to_owned()))?;
        let point = Point::named(name).ok_or_else(|| {
            let help = document::suggestion(name, Point::ALL.iter().map(|point| point.name()));
            wrong(format!("there is no point `{name}`; {help}"))
        })?;
        match nth.parse() {
            Ok(nth) if nth > 0 => Ok(Self { point, nth }),
            _ => Err(wrong(format!("`{nth}` is no number from 1 on"))),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.point.name(), self.nth)
    }
}

/// The crash points of this process; a cheap clone.
#[derive(Clone, Default)]
pub struct CrashPoints(Option<Arc<Armed>>);

struct Armed {
    mark: Mark,
    passed: AtomicU32,
    die: Box<dyn Fn(Point) + Send + Sync>,
}

impl CrashPoints {
    /// What the environment asks for; nothing, as a rule.
    ///
    /// # Errors
    /// [`NotMark`] when it asks for something that there is not.
    pub fn from_environment() -> Result<Self, NotMark> {
        let Some(text) = std::env::var_os(POINT).filter(|text| !text.is_empty()) else { return Ok(Self::default()) };
        let mark: Mark = text.to_string_lossy().parse()?;
        let log = std::env::var_os(LOG).map(PathBuf::from);
        tracing::warn!(%mark, "this process will die by itself: a crash point is armed");
        Ok(Self::armed(mark, move |point| die(point, log.as_deref())))
    }

    /// Points of which one does `die` at its passing.
    fn armed(mark: Mark, die: impl Fn(Point) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(Armed { mark, passed: AtomicU32::new(0), die: Box::new(die) })))
    }

    /// The disk, with its points.
    #[must_use]
    pub fn disk(&self, disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
        let Some(armed) = self.0.clone() else { return disk };
        let hook = move |point| {
            armed.pass(match point {
                DiskPoint::AppendBefore => Point::AppendBefore,
                DiskPoint::AppendAfter => Point::AppendAfter,
                DiskPoint::SyncBefore => Point::SyncBefore,
                DiskPoint::SyncAfter => Point::SyncAfter,
            });
        };
        disk::watched::watched(disk, Arc::new(hook))
    }

    /// The way to models, with its points.
    #[must_use]
    pub fn models(&self, transport: Arc<dyn Transport>) -> Arc<dyn Transport> {
        let Some(armed) = self.0.clone() else { return transport };
        let hook = move |point, _: &http::Uri| {
            armed.pass(match point {
                SendPoint::SendBefore => Point::CallBeforeSend,
                SendPoint::SendAfter => Point::CallAfterSend,
            });
        };
        transport::watched::watched(transport, Arc::new(hook))
    }

    /// The publisher, with its points.
    #[must_use]
    pub fn publisher(&self, publisher: Arc<dyn Publisher>) -> Arc<dyn Publisher> {
        let Some(armed) = self.0.clone() else { return publisher };
        let hook = move |point| {
            armed.pass(match point {
                PostPoint::PostBefore => Point::PostBeforeSend,
                PostPoint::PostAfter => Point::PostAfterSend,
            });
        };
        publisher::watched::watched(publisher, Arc::new(hook))
    }

    /// The routes, with the points around the answers to requests that change something.
    pub fn router(&self, router: Router, world: &World) -> Router {
        let Some(armed) = self.0.clone() else { return router };
        let world = world.clone();
        router.layer(middleware::from_fn(move |request: Request, next: Next| {
            let (armed, world) = (Arc::clone(&armed), world.clone());
            async move {
                let changes = !request.method().is_safe();
                let response = next.run(request).await;
                if changes {
                    armed.pass(Point::AckBefore);
                    world.spawn("crash.ack", async move {
                        tokio::time::sleep(ANSWER_LEAVES).await;
                        armed.pass(Point::AckAfter);
                    });
                }
                response
            }
        }))
    }
}

impl Armed {
    fn pass(&self, point: Point) {
        if point == self.mark.point && self.passed.fetch_add(1, Ordering::Relaxed) + 1 == self.mark.nth {
            (self.die)(point);
        }
    }
}

/// Ends the process as a kill would: nothing is flushed, nothing is dropped.
fn die(point: Point, log: Option<&Path>) {
    if let Some(log) = log {
        let told = std::fs::File::create(log).and_then(|mut file| {
            file.write_all(point.name().as_bytes())?;
            file.sync_all()
        });
        if let Err(error) = told {
            eprintln!("{} cannot be told the crash point: {error}", log.display());
        }
    }
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::body::Body;
    use axum::routing::get;
    use bytes::Bytes;
    use storage::disk::sim::SimDisk;
    use tower::ServiceExt;

    use super::*;

    /// Points that tell of a death instead of dying.
    fn points(mark: &str) -> (CrashPoints, Arc<Mutex<Vec<Point>>>) {
        let deaths = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&deaths);
        (CrashPoints::armed(mark.parse().unwrap(), move |point| told.lock().unwrap().push(point)), deaths)
    }

    #[test]
    fn a_mark_is_read_and_written_the_same() {
        for point in Point::ALL {
            let text = format!("{}:7", point.name());
            let mark: Mark = text.parse().unwrap();
            assert_eq!((mark, mark.to_string()), (Mark { point, nth: 7 }, text));
            assert_eq!(serde_json::to_string(&point).unwrap(), format!("\"{}\"", point.name()));
        }
    }

    #[test]
    fn a_wrong_mark_is_one_clear_error() {
        for (text, wanted) in [
            ("post.before_send", "has no `:`"),
            ("post.befor_send:1", "did you mean `post.before_send`?"),
            ("append.after:0", "`0` is no number from 1 on"),
            ("append.after:x", "`x` is no number from 1 on"),
        ] {
            let error = text.parse::<Mark>().unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains(POINT) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn it_dies_once_at_the_passing_that_was_asked_for() {
        let (points, deaths) = points("append.after:2");
        let disk = points.disk(Arc::new(SimDisk::new()));
        let mut file = disk.open("a").unwrap();
        file.append(b"1").unwrap();
        file.sync().unwrap();
        assert!(deaths.lock().unwrap().is_empty());
        for _ in 0..3 {
            file.append(b"2").unwrap();
        }
        assert_eq!(*deaths.lock().unwrap(), [Point::AppendAfter]);
    }

    #[test]
    fn nothing_is_wrapped_unless_it_is_armed() {
        let points = CrashPoints::default();
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        assert!(Arc::ptr_eq(&disk, &points.disk(Arc::clone(&disk))));
        let transport = transport::unplugged();
        assert!(Arc::ptr_eq(&transport, &points.models(Arc::clone(&transport))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_passes_its_points() {
        for (mark, wanted) in [("call.before_send:1", 0), ("call.after_send:1", 1)] {
            let answered = Arc::new(AtomicU32::new(0));
            let at_death = Arc::new(Mutex::new(Vec::new()));
            let (count, told) = (Arc::clone(&answered), Arc::clone(&at_death));
            let points = CrashPoints::armed(mark.parse().unwrap(), move |_| {
                told.lock().unwrap().push(count.load(Ordering::Relaxed));
            });
            let server = transport::scripted(move |_| {
                answered.fetch_add(1, Ordering::Relaxed);
                async { Ok(http::Response::new(transport::body("hello"))) }
            });
            let request = http::Request::get("http://model/").body(Bytes::new()).unwrap();
            points.models(server).send(request).await.unwrap();
            assert_eq!(*at_death.lock().unwrap(), [wanted], "{mark}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_answer_to_what_changes_something_is_a_point() {
        for (mark, wanted) in [("ack.before:1", Point::AckBefore), ("ack.after:1", Point::AckAfter)] {
            let (points, deaths) = points(mark);
            let world = World::simulated(1, transport::unplugged());
            let router = points.router(Router::new().route("/", get(|| async {}).post(|| async {})), &world);
            let send = |method: &str| {
                let request = http::Request::builder().method(method).uri("/").body(Body::empty()).unwrap();
                router.clone().oneshot(request)
            };
            send("GET").await.unwrap();
            tokio::time::sleep(ANSWER_LEAVES * 2).await;
            assert!(deaths.lock().unwrap().is_empty());
            send("POST").await.unwrap();
            assert_eq!(deaths.lock().unwrap().is_empty(), wanted == Point::AckAfter);
            tokio::time::sleep(ANSWER_LEAVES * 2).await;
            assert_eq!(*deaths.lock().unwrap(), [wanted]);
        }
    }
}
