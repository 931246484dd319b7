//! The shop page: one file, and a policy under which nothing but its own script and style can run.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{Html, IntoResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::Shop;
use crate::error::Error;
use crate::passes::Caller;

const HTML: &str = include_str!("../../web/shop.html");

/// The page and its `Content-Security-Policy`.
#[derive(Debug)]
pub struct Page {
    policy: String,
}

impl Page {
    pub fn new() -> Self {
        let hash = |tag| STANDARD.encode(Sha256::digest(inline(HTML, tag)));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash("script"),
            hash("style"),
        );
        Self { policy }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

#[utoipa::path(
    get,
    path = "/",
    operation_id = "showPage",
    tag = "page",
    description = "The shop page.",
    responses((status = 200, description = "Done", body = String, content_type = "text/html"), super::openapi::Problems),
)]
pub(super) async fn show(State(shop): State<Arc<Shop>>, _: Caller) -> Result<impl IntoResponse, Error> {
    let headers: [(HeaderName, String); 4] = [
        (header::CONTENT_SECURITY_POLICY, shop.page.policy.clone()),
        (header::CACHE_CONTROL, "no-store".into()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
        (header::REFERRER_POLICY, "same-origin".into()),
    ];
    Ok((headers, Html(HTML)))
}

/// The text between `<tag>` and `</tag>`, of which the browser takes the hash.
fn inline<'a>(html: &'a str, tag: &str) -> &'a str {
    let after = html.split_once(&format!("<{tag}>")).map_or("", |(_, rest)| rest);
    after.split_once(&format!("</{tag}>")).map_or("", |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_covers_the_one_script_and_the_one_style_of_the_page() {
        for tag in ["script", "style"] {
            assert_eq!(HTML.matches(&format!("<{tag}")).count(), 1, "{tag}");
            assert!(!inline(HTML, tag).is_empty(), "{tag}");
        }
        assert!(!HTML.contains("style=") && !HTML.contains(" onclick"));
        assert!(!HTML.contains("http://") && !HTML.contains("https://"));
    }
}
