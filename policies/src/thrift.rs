//! Less money for the same work: which replies may be given twice.
//!
//! The law: a reply is given again only for the same request of the same model, and only while its age is
//! under the limit.

use serde::{Deserialize, Serialize};

use crate::span::{ByteSize, Span};

/// Which replies of a model are kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CachePolicy {
    /// A reply this old is not given again.
    pub ttl: Span,
    /// All that is kept of a model's replies; the oldest go first.
    #[serde(default = "bytes_max")]
    pub bytes_max: ByteSize,
    /// Also replies to requests with a temperature over 0, which ask for something new each time.
    #[serde(default)]
    pub any_temperature: bool,
}

/// Enough for some ten thousand posts.
const fn bytes_max() -> ByteSize {
    ByteSize(64 << 20)
}

impl CachePolicy {
    /// Replies are kept for this long, within the usual bound.
    pub const fn of(ttl: Span) -> Self {
        Self { ttl, bytes_max: bytes_max(), any_temperature: false }
    }
}
