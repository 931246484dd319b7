//! The shop page: one file, and a policy under which nothing but its own script and style can run.
//!
//! `web/` has its parts; its modules are joined here, so that a page is one request however many come at once.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{Html, IntoResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use sha2::{Digest, Sha256};

use super::Shop;
use crate::error::Error;
use crate::passes::Caller;

const FRAME: &str = include_str!("../../web/shop.html");
const STYLE: &str = include_str!("../../web/shop.css");
/// Each after those it imports from; no two have a name in common.
const MODULES: [&str; 8] = [
    include_str!("../../web/words.js"),
    include_str!("../../web/api.js"),
    include_str!("../../web/events.js"),
    include_str!("../../web/map.js"),
    include_str!("../../web/live.js"),
    include_str!("../../web/practice.js"),
    include_str!("../../web/seats.js"),
    include_str!("../../web/shop.js"),
];

/// The page and its `Content-Security-Policy`.
#[derive(Debug)]
pub struct Page {
    html: Bytes,
    policy: String,
}

impl Page {
    pub fn new() -> Self {
        let html = FRAME.replacen("{{style}}", STYLE, 1).replacen("{{script}}", &joined(&MODULES), 1);
        let hash = |tag| STANDARD.encode(Sha256::digest(inline(&html, tag)));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash("script"),
            hash("style"),
        );
        Self { html: html.into(), policy }
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
    Ok((headers, Html(shop.page.html.clone())))
}

/// One script of several modules: their imports and exports are each one line's beginning.
fn joined(modules: &[&str]) -> String {
    let lines = modules.iter().flat_map(|module| module.lines()).filter(|line| !line.starts_with("import "));
    let lines = lines.flat_map(|line| [line.strip_prefix("export ").unwrap_or(line), "\n"]);
    ["\"use strict\";\n{\n"].into_iter().chain(lines).chain(["}\n"]).collect()
}

/// The text between `<tag>` and `</tag>`, of which the browser takes the hash.
fn inline<'a>(html: &'a str, tag: &str) -> &'a str {
    let after = html.split_once(&format!("<{tag}>")).map_or("", |(_, rest)| rest);
    after.split_once(&format!("</{tag}>")).map_or("", |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html() -> String {
        String::from_utf8(Page::new().html.to_vec()).unwrap()
    }

    #[test]
    fn the_policy_covers_the_one_script_and_the_one_style_of_the_page() {
        let html = html();
        for tag in ["script", "style"] {
            assert_eq!(html.matches(&format!("<{tag}")).count(), 1, "{tag}");
            assert!(!inline(&html, tag).is_empty(), "{tag}");
        }
        assert!(!html.contains(" style=") && !html.contains(" onclick=\""));
        assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("{{"));
    }

    #[test]
    fn modules_become_one_script() {
        let modules = [
            "export const one = 1;\n",
            "import { one } from \"./one.js\";\nexport class Two {\n  two = one;\n}\n",
        ];
        assert_eq!(joined(&modules), "\"use strict\";\n{\nconst one = 1;\nclass Two {\n  two = one;\n}\n}\n");
        let script = joined(&MODULES);
        assert!(!script.lines().any(|line| line.starts_with("import ") || line.starts_with("export ")));
    }
}
