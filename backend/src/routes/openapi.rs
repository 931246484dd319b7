//! The description of all calls as `OpenAPI` 3.1, collected from the handlers themselves.

use std::collections::BTreeMap;

use axum::http::header;
use axum::response::IntoResponse;
use hyper::body::Bytes;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi};

use crate::trace;

/// What is said of the whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Vestibule box office",
        description = "Sells the tickets of events. It stands behind the waiting room and trusts its passes.",
    ),
    components(schemas(trace::Body)),
    modifiers(&Security),
    security(("pass" = []), ("user" = [])),
)]
pub(super) struct Description;

/// How callers say who they are.
struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let key = |name, description| {
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, description)))
        };
        components.add_security_scheme("pass", key("Vestibule-Pass", "the pass of the waiting room"));
        components.add_security_scheme("user", key("X-User-Id", "instead of a pass, with --open only"));
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("operator", SecurityScheme::Http(bearer));
    }
}

/// Every failure of every call.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new()
            .description("A failure; `code` says which")
            .content("application/problem+json", problem)
            .build();
        BTreeMap::from([("default".to_owned(), RefOr::T(response))])
    }
}

/// The document as it is sent.
pub(super) fn json(document: &utoipa::openapi::OpenApi) -> Bytes {
    // A document of strings and maps: it cannot fail.
    document.to_json().unwrap_or_default().into()
}

pub(super) fn answer(document: Bytes) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document)
}
