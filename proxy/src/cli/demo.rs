//! `demo`: the smallest start, one process with everything in it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Html;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use vestibule::config::SettingsSource;
use vestibule::serve::{self, Addresses, RunOptions};

use super::tokens::fresh_secret;
use super::{DemoArgs, Failure, orders, runtime};

pub(super) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let orders = orders(None, args.seconds.map(Duration::from_secs))?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let origin = listener.local_addr()?;
        let site = tokio::spawn(axum::serve(listener, Router::new().fallback(page)).into_future());
        let token = fresh_secret()?;
        let source = SettingsSource::text("demo", settings(args, origin, &token)?);
        let ready = |addresses: &Addresses| {
            greet(addresses, &token, args.rate);
            args.report.as_deref().map_or(Ok(()), |file| addresses.write(file))
        };
        let ended = serve::serve(source, RunOptions::default(), ready, orders).await;
        site.abort();
        ended.map_err(Failure::from)
    })
}

/// Keys and token are new each time, and die with the process. A crowd on this machine may say who it is.
fn settings(args: &DemoArgs, origin: SocketAddr, token: &str) -> Result<String, Failure> {
    let operator_port = if args.port == 0 { 0 } else { args.port + 1 };
    let digest = format!("{:x}", bytes::Bytes::copy_from_slice(&Sha256::digest(token)));
    Ok(format!(
        r#"
[server]
listen = "127.0.0.1:{port}"
trusted_proxies = ["127.0.0.0/8"]

[operator]
listen = "127.0.0.1:{operator_port}"

[[operator.tokens]]
name = "demo"
role = "operator"
sha256 = "{digest}"

[[keys]]
kid = "ticket-1"
kind = "ticket"
secret = "{ticket}"

[[keys]]
kid = "pass-1"
kind = "pass"
secret = "{pass}"

[telemetry]
log_level = "warn"

[room.demo]
upstream = ["http://{origin}"]
new_users_per_minute = {rate}
burst = 1
session_duration = "2m"
"#,
        port = args.port,
        rate = args.rate,
        ticket = fresh_secret()?,
        pass = fresh_secret()?,
    ))
}

fn greet(addresses: &Addresses, token: &str, rate: u32) {
    let Addresses { site, operator } = addresses;
    println!("site      {site}   {rate} visitors a minute; open it in several private windows");
    println!("operator  {operator}/api/rooms   with `Authorization: Bearer {token}`");
    println!("metrics   {operator}/metrics");
    println!(
        "faster    VESTIBULE_TOKEN={token} vestibule room set demo new_users_per_minute=600 --operator {operator}"
    );
    println!("Ctrl-C stops it; nothing is kept.");
}

/// The origin: says who came in.
async fn page(request: Request) -> Html<String> {
    let visitor = request.headers().get("vestibule-visitor").and_then(|value| value.to_str().ok());
    // Identifiers are ours: hexadecimal digits, nothing that HTML could read.
    let visitor =
        visitor.filter(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric())).unwrap_or("somebody");
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>You are in</title><style>body{{font:18px/1.5 system-ui;margin:15vh \
         auto;max-width:32em;padding:0 1em}}</style><h1>You are in</h1><p>The edge let visitor \
         <code>{visitor}</code> through to the site behind it. Your session lasts two minutes after your last \
         request.</p></html>"
    ))
}
