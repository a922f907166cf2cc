//! From the client's errors to ours.
//!
//! Invariant: what may pass by itself is told apart from what will not.

use qdrant_client::QdrantError;
use storage::index::IndexError;
use tonic::{Code, Status};

/// Runs `call`, which is to `action`.
pub(crate) async fn of<T>(
    action: &'static str,
    call: impl Future<Output = Result<T, QdrantError>>,
) -> Result<T, IndexError> {
    call.await.map_err(|error| match error {
        QdrantError::ResponseError { status } | QdrantError::ResourceExhaustedError { status, .. } => {
            of_status(action, &status)
        }
        other => refusal(action, other.to_string()),
    })
}

pub(crate) fn refusal(action: &'static str, reason: String) -> IndexError {
    IndexError::Engine { action, reason }
}

fn of_status(action: &'static str, status: &Status) -> IndexError {
    let code = status.code();
    let message = status.message();
    match code {
        Code::Unauthenticated | Code::PermissionDenied => IndexError::Key { action, reason: message.to_owned() },
        // A refused connection shows as Internal, one that breaks as Unknown or Cancelled.
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Cancelled
        | Code::Internal
        | Code::Unknown => IndexError::Unavailable { action, reason: format!("{code}: {message}") },
        _ => refusal(action, format!("{code}: {message}")),
    }
}
