//! `rooms` and `room`: calls to the operator's listener of a running edge.

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use room::ids::RoomName;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use vestibule::config::settings::{Scheme, UpstreamUrl};

use super::{About, Failure, Named, OperatorArgs, PATIENCE, RoomCommand, read_token, runtime};

/// `rooms`
pub(super) fn list(operator: &OperatorArgs, as_json: bool) -> Result<(), Failure> {
    let answer = call(operator, Method::GET, "/api/rooms", None)?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&answer).unwrap_or_default());
        return Ok(());
    }
    let rooms = answer.get("rooms").and_then(Value::as_array).cloned().unwrap_or_default();
    let head = ["ROOM", "STATUS", "WAITING", "TURNS", "ACTIVE", "OF", "A MINUTE", "VERSION"];
    let columns = [
        "room",
        "status",
        "waiting",
        "turns",
        "active",
        "total_active_users",
        "new_users_per_minute",
        "version",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(rooms.iter().map(|room| columns.map(|column| cell(room.get(column)))));
    print!("{}", table(&rows));
    Ok(())
}

/// `room set`, `room pause` …
pub(super) fn change(command: RoomCommand) -> Result<(), Failure> {
    let (name, about, method, action, body) = match command {
        RoomCommand::Set { name, changes, about } => {
            let patch = changes.iter().map(|change| setting(change)).collect::<Result<Map<_, _>, _>>()?;
            (name, about, Method::PATCH, "", patch)
        }
        RoomCommand::Pause { name, reason, about } => {
            let body = reason.map(|reason| ("reason".to_owned(), Value::from(reason)));
            (name, about, Method::POST, "/pause", body.into_iter().collect())
        }
        RoomCommand::Resume(Named { name, about }) => (name, about, Method::POST, "/resume", Map::new()),
        RoomCommand::Open(Named { name, about }) => (name, about, Method::POST, "/open", Map::new()),
        RoomCommand::Close(Named { name, about }) => (name, about, Method::POST, "/close", Map::new()),
        RoomCommand::Drain(Named { name, about }) => (name, about, Method::POST, "/drain", Map::new()),
    };
    // The name goes into an address: only what can be a room gets there.
    let name: RoomName = name.parse().map_err(|error| Failure::Usage(format!("`{name}`: {error}")))?;
    let About { note, operator } = about;
    let note = note.map(|note| ("note".to_owned(), Value::from(note)));
    let body: Map<_, _> = body.into_iter().chain(note).collect();
    let answer = call(&operator, method, &format!("/api/rooms/{name}{action}"), Some(body.into()))?;
    println!("{}", serde_json::to_string_pretty(&answer).unwrap_or_default());
    Ok(())
}

/// `key=value`: numbers, `true` and `false` are what they look like, an empty value is none, the rest is text.
fn setting(change: &str) -> Result<(String, Value), Failure> {
    let Some((key, value)) = change.split_once('=') else {
        return Err(Failure::Usage(format!("`{change}` is no KEY=VALUE, like new_users_per_minute=1800")));
    };
    let value = match value {
        "" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        text if key == "message" => text.into(),
        text => text.parse::<u64>().map_or_else(|_| text.into(), Value::from),
    };
    Ok((key.to_owned(), value))
}

fn call(operator: &OperatorArgs, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
    let token = match &operator.token_file {
        Some(file) => read_token(file)?,
        None => std::env::var("VESTIBULE_TOKEN").map_err(|_| {
            Failure::Usage("whose token? --token-file FILE, or the variable VESTIBULE_TOKEN".into())
        })?,
    };
    let url: UpstreamUrl = operator
        .operator
        .parse()
        .map_err(|error| Failure::Usage(format!("--operator {}: {error}", operator.operator)))?;
    if url.scheme == Scheme::Https {
        return Err(Failure::Usage(
            "--operator speaks plain HTTP; reach a distant edge through a tunnel".into(),
        ));
    }
    let content_type =
        if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, format!("{}:{}", url.host, url.port))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, content_type)
        .body(Full::from(body.map(|body| body.to_string()).unwrap_or_default()))
        .map_err(|_| Failure::Usage("the token is no text that a header can carry".into()))?;
    runtime()?.block_on(async {
        let sent = timeout(PATIENCE, send(&url, request)).await;
        let unreachable = |reason: &dyn std::fmt::Display| {
            Failure::Unreachable(format!("the operator's listener at {url} cannot be reached: {reason}"))
        };
        let (status, body) = match sent {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(unreachable(&error)),
            Err(_) => return Err(unreachable(&format!("no answer within {PATIENCE:?}"))),
        };
        understood(status, &body)
    })
}

/// Longer answers are not read.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

type SendError = Box<dyn std::error::Error + Send + Sync>;

async fn send(
    url: &UpstreamUrl,
    request: Request<Full<bytes::Bytes>>,
) -> Result<(StatusCode, Vec<u8>), SendError> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes().to_vec();
    driver.abort();
    Ok((status, body))
}

fn understood(status: StatusCode, body: &[u8]) -> Result<Value, Failure> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if status.is_success() {
        return Ok(answer);
    }
    let text = |key: &str| answer.get(key).and_then(Value::as_str).map(str::to_owned);
    let title = text("title").unwrap_or_else(|| status.to_string());
    let reason = text("detail").map_or(title.clone(), |detail| format!("{title}: {detail}"));
    Err(match status {
        StatusCode::SERVICE_UNAVAILABLE => Failure::Unreachable(reason),
        status if status.is_client_error() => Failure::Usage(reason),
        _ => Failure::Internal(reason),
    })
}

fn cell(value: Option<&Value>) -> String {
    match value.unwrap_or(&json!(null)) {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
