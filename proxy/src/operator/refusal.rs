//! Why an operator's call is not carried out, and how that is said.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use room::wire::Problem;
use store::{StoreError, TuneError};

/// One variant for each thing that can be wrong with a call.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("send `Authorization: Bearer TOKEN` with a token whose digest is in [[operator.tokens]]")]
    NoToken,
    #[error("the token is a viewer's; this call needs the role `operator`")]
    Role,
    #[error("see /api/rooms")]
    NoSuchPath,
    #[error("the header `Allow` says which are")]
    Method,
    #[error("there is no room `{0}`; /api/rooms lists them")]
    NoSuchRoom(String),
    #[error("`{0}` is none of pause, resume, open, close and drain")]
    NoSuchAction(String),
    #[error("send application/merge-patch+json")]
    ContentType,
    #[error("a body has at most {} bytes", super::MAX_BODY_BYTES)]
    TooLarge,
    #[error("the body did not arrive whole")]
    Broken,
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// A field that is unknown, of another type, or out of range.
    #[error("{0}")]
    Field(String),
    #[error("`If-Match` takes the `ETag` of the room, like \"7\", or *")]
    IfMatch,
    #[error("{0}")]
    Stale(room::queue::VersionConflict),
    #[error("{0}")]
    Store(StoreError),
    #[error("the call took too long; whether it was carried out is unknown, repeating it is safe")]
    TooSlow,
}

impl From<TuneError> for Refusal {
    fn from(error: TuneError) -> Self {
        match error {
            TuneError::Conflict(conflict) => Self::Stale(conflict),
            TuneError::Store(error) => Self::Store(error),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Refusal {
    /// Status, code and title.
    const fn shape(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, "no-token", "No valid token"),
            Self::Role => (StatusCode::FORBIDDEN, "role", "Not allowed for this role"),
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "no-such-path", "No such path"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed"),
            Self::NoSuchRoom(_) => (StatusCode::NOT_FOUND, "no-such-room", "No such room"),
            Self::NoSuchAction(_) => (StatusCode::NOT_FOUND, "no-such-action", "No such action"),
            Self::ContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", "Unknown content type"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::Broken => (StatusCode::BAD_REQUEST, "broken-body", "The body is broken"),
            Self::NotJson(_) | Self::NotAnObject => {
                (StatusCode::BAD_REQUEST, "bad-json", "Not a JSON object")
            }
            Self::Field(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad-field", "A field cannot be applied"),
            Self::IfMatch => (StatusCode::BAD_REQUEST, "bad-if-match", "Unknown form of If-Match"),
            Self::Stale(_) => (StatusCode::PRECONDITION_FAILED, "stale", "The room has changed"),
            Self::Store(_) | Self::TooSlow => {
                (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", "The store did not do it")
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, title) = self.shape();
        let problem = Problem::new(status.as_u16(), code, title, Some(self.to_string()));
        let mut response = status.into_response();
        let headers = response.headers_mut();
        match self {
            Self::NoToken => {
                headers
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"vestibule\""));
            }
            Self::Store(_) | Self::TooSlow => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        // The body is written by `trace::traced`, which knows the trace.
        response.extensions_mut().insert(problem);
        response
    }
}
