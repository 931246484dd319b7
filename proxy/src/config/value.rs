//! From one written value to one type.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use room::rules::{Method, OnStoreLoss};
use room::time::Micros;
use room::token::{Alg, Kind, Use};

use super::section::nearest;
use super::settings::{HostPattern, Origin, Role, Secret, StoreUrl, UpstreamUrl};
use super::tree::{Node, Place, Value};

/// A value of another shape than the setting has.
#[derive(Debug)]
pub(super) struct Mismatch {
    /// Completes "`key` must be …".
    pub(super) expected: String,
    pub(super) cure: Option<String>,
    /// Of the item, where the value is a list.
    pub(super) place: Option<Place>,
}

impl Mismatch {
    pub(super) fn new(expected: impl Into<String>) -> Self {
        Self { expected: expected.into(), cure: None, place: None }
    }
}

/// A type that a setting can have.
pub(super) trait Read: Sized {
    fn read(node: &Node) -> Result<Self, Mismatch>;
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) | Value::Variable(text) => Some(text),
        _ => None,
    }
}

impl Read for String {
    fn read(node: &Node) -> Result<Self, Mismatch> {
        text(node).map(str::to_owned).ok_or_else(|| Mismatch::new("text in quotes"))
    }
}

impl Read for Secret {
    fn read(node: &Node) -> Result<Self, Mismatch> {
        let full = text(node).filter(|text| !text.is_empty()).map(|text| Self::new(text.to_owned()));
        full.ok_or_else(|| Mismatch::new("text in quotes, not empty"))
    }
}

impl Read for PathBuf {
    fn read(node: &Node) -> Result<Self, Mismatch> {
        let full = text(node).filter(|text| !text.is_empty()).map(Self::from);
        full.ok_or_else(|| Mismatch::new("the name of a file, in quotes"))
    }
}

impl Read for bool {
    fn read(node: &Node) -> Result<Self, Mismatch> {
        match &node.value {
            Value::Flag(flag) => Ok(*flag),
            Value::Variable(text) if text == "true" => Ok(true),
            Value::Variable(text) if text == "false" => Ok(false),
            _ => Err(Mismatch::new("true or false")),
        }
    }
}

fn number(node: &Node, least: u32, most: u32) -> Result<u32, Mismatch> {
    let given = match &node.value {
        Value::Integer(number) => Some(*number),
        Value::Variable(text) => text.parse().ok(),
        _ => None,
    };
    let fits =
        given.and_then(|given| u32::try_from(given).ok()).filter(|given| (least..=most).contains(given));
    fits.ok_or_else(|| Mismatch::new(format!("a whole number from {least} to {most}")))
}

impl Read for u32 {
    fn read(node: &Node) -> Result<Self, Mismatch> {
        number(node, 0, u32::MAX)
    }
}

impl Read for NonZeroU32 {
    fn read(node: &Node) -> Result<Self, Mismatch> {
        let number = number(node, 1, u32::MAX)?;
        Self::new(number).ok_or_else(|| Mismatch::new("a whole number from 1"))
    }
}

impl Read for u8 {
    fn read(node: &Node) -> Result<Self, Mismatch> {
        number(node, 0, u32::from(u8::MAX)).map(|number| number as Self)
    }
}

impl Read for http::StatusCode {
    fn read(node: &Node) -> Result<Self, Mismatch> {
        let number = number(node, 200, 599)?;
        Self::from_u16(number as u16).map_err(|_| Mismatch::new("an HTTP status"))
    }
}

impl Read for Duration {
    fn read(node: &Node) -> Result<Self, Mismatch> {
        let parsed = text(node).and_then(|text| humantime::parse_duration(text).ok());
        parsed.ok_or_else(|| {
            let cure = match &node.value {
                Value::Integer(seconds) => Some(format!("for so many seconds write \"{seconds}s\"")),
                _ => None,
            };
            Mismatch { cure, ..Mismatch::new("a span of time like \"90s\", \"10m\" or \"1h 30m\"") }
        })
    }
}

impl Read for Micros {
    fn read(node: &Node) -> Result<Self, Mismatch> {
        let given = match &node.value {
            Value::Moment(text) => Some(text.as_str()),
            _ => text(node),
        };
        let parsed = given.and_then(Self::from_rfc3339);
        parsed.ok_or_else(|| Mismatch::new("an instant in UTC like \"2026-06-01T08:00:00Z\""))
    }
}

impl Read for IpNet {
    fn read(node: &Node) -> Result<Self, Mismatch> {
        let single = |text: &str| text.parse::<IpAddr>().ok().map(Self::from);
        let parsed = text(node).and_then(|text| text.parse().ok().or_else(|| single(text)));
        parsed.ok_or_else(|| Mismatch::new("a network like \"10.0.0.0/8\" or one address"))
    }
}

impl Read for SocketAddr {
    fn read(node: &Node) -> Result<Self, Mismatch> {
        let parsed = text(node).and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| Mismatch::new("an address with a port, like \"127.0.0.1:8080\""))
    }
}

macro_rules! read_by_parsing {
    ($($type:ty: $expected:literal;)*) => {$(
        impl Read for $type {
            fn read(node: &Node) -> Result<Self, Mismatch> {
                let text = text(node).ok_or_else(|| Mismatch::new($expected))?;
                Self::from_str(text).map_err(|error| {
                    Mismatch { cure: Some(error.to_string()), ..Mismatch::new($expected) }
                })
            }
        }
    )*};
}

read_by_parsing! {
    UpstreamUrl: "the address of a server, like \"http://127.0.0.1:8090\"";
    Origin: "an origin, like \"https://tickets.example.com\"";
    HostPattern: "a host name without port, or \"*\"";
    StoreUrl: "the address of a Redis, like \"redis://127.0.0.1:6379\"";
}

macro_rules! read_by_name {
    ($($type:ty: $($name:literal => $value:expr),+;)*) => {$(
        impl Read for $type {
            fn read(node: &Node) -> Result<Self, Mismatch> {
                const NAMES: &[&str] = &[$($name),+];
                match text(node) {
                    $(Some($name) => Ok($value),)+
                    other => {
                        let meant = other.and_then(|other| nearest(other, NAMES));
                        let cure = meant.map(|meant| format!("did you mean \"{meant}\"?"));
                        Err(Mismatch { cure, ..Mismatch::new(one_of(NAMES)) })
                    }
                }
            }
        }
    )*};
}

read_by_name! {
    Method: "fifo" => Self::Fifo, "random" => Self::Random, "passthrough" => Self::Passthrough, "reject" => Self::Reject;
    OnStoreLoss: "hold" => Self::Hold, "open" => Self::Open;
    Kind: "ticket" => Self::Ticket, "pass" => Self::Pass;
    Alg: "HS256" => Self::Hs256, "EdDSA" => Self::EdDsa;
    Use: "sign" => Self::Sign, "verify" => Self::Verify;
    Role: "viewer" => Self::Viewer, "operator" => Self::Operator;
}

fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    format!("one of {}", quoted.join(", "))
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Node) -> Result<Self, Mismatch> {
        let within = |item: &Node| {
            T::read(item).map_err(|mismatch| Mismatch {
                expected: format!("a list; each item {}", mismatch.expected),
                place: mismatch.place.or_else(|| Some(item.place.clone())),
                ..mismatch
            })
        };
        match &node.value {
            Value::List(items) => items.iter().map(within).collect(),
            Value::Variable(text) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                let item =
                    |part: &str| Node { value: Value::Variable(part.to_owned()), place: node.place.clone() };
                parts.map(|part| within(&item(part))).collect()
            }
            _ => Err(Mismatch::new("a list in brackets: [ … ]")),
        }
    }
}
