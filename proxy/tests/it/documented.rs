//! The commented sample, the reference page and the program agree on every setting.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use room::rules::{Draft, Schedule};
use vestibule::config::settings::{Limits, Settings};
use vestibule::config::{Loaded, parse};

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// What the sample leaves to its reader: secrets, and one operator so that their settings are read.
fn load(text: &str) -> Loaded {
    let variables = [
        ("VESTIBULE__KEYS__0__SECRET", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("VESTIBULE__KEYS__1__SECRET", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"),
        ("VESTIBULE__OPERATOR__TOKENS__0__NAME", "alice"),
        ("VESTIBULE__OPERATOR__TOKENS__0__ROLE", "viewer"),
        ("VESTIBULE__OPERATOR__TOKENS__0__SHA256", &"ab".repeat(32)),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    parse("vestibule.toml", text, Path::new(""), &BTreeMap::from(variables)).unwrap()
}

/// With every setting in force that the sample only shows.
fn all_in_force(sample: &str) -> String {
    let shown = |line: &str| {
        line.starts_with('#') && line[1..].starts_with(|c: char| c.is_ascii_lowercase() || c == '[')
    };
    let lines = sample.lines().map(|line| if shown(line) { &line[1..] } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sample_is_accepted() {
    let Loaded { settings, warnings, .. } = load(&file("config/vestibule.toml"));
    assert_eq!(settings.rooms.len(), 1);
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn the_sample_shows_only_settings_that_exist() {
    let text = all_in_force(&file("config/vestibule.toml"));
    let error = parse("vestibule.toml", &text, Path::new(""), &BTreeMap::new()).unwrap_err().to_string();
    assert!(!error.contains("unknown setting") && !error.contains("must be"), "{error}");
}

#[test]
fn the_sample_and_the_reference_show_every_setting() {
    let sample = file("config/vestibule.toml");
    let shown: toml::Value = toml::from_str(&all_in_force(&sample)).unwrap();
    let reference = file("docs/SETTINGS.md");
    for known in load(&sample).known {
        let mut at = Some(&shown);
        for part in known.split('.') {
            let part = if part == "NAME" { "e1" } else { part };
            at = at.and_then(|value| value.get(part).or_else(|| value.get(0)?.get(part)));
        }
        assert!(at.is_some(), "config/vestibule.toml does not show {known}");
        let name = known.rsplit('.').next().unwrap();
        let is_there = ["keys", "room", "server", "store", "operator", "telemetry"].contains(&known.as_str())
            || reference.contains(&format!("`{name}`"))
            || reference.contains(&format!("{name} = "))
            || reference.contains(&format!("{{ {name}, "))
            || reference.contains(&format!(", {name} }}"));
        assert!(is_there, "docs/SETTINGS.md does not explain {known}");
    }
}

#[test]
fn what_the_sample_shows_is_the_default() {
    let sample = file("config/vestibule.toml");
    let start = sample.find("[room.e1]").unwrap();
    let with_room_in_force = format!("{}{}", &sample[..start], all_in_force(&sample[start..]));
    let shown = load(&with_room_in_force).settings;
    let room = shown.rooms.values().next().unwrap();
    let rules = Draft { burst: None, schedule: Schedule::default(), ..Draft::clone(&room.rules) };
    assert_eq!(rules, Draft::default());
    assert_eq!(room.rules.burst, Some(Draft::default().new_users_per_minute / 60));
    assert_eq!(room.limits, Limits::default());

    let general = all_in_force(&sample[..start])
        .lines()
        .filter(|line| !is_example(line))
        .collect::<Vec<_>>()
        .join("\n");
    let shown = load(&format!("{general}\n{}", &sample[start..])).settings;
    let standard = load(&sample).settings;
    let facts = |settings: &Settings| {
        let Settings { server, store, operator, telemetry, default_upstream, .. } = settings.clone();
        (server, store, operator.listen, telemetry, default_upstream)
    };
    assert_eq!(facts(&shown), facts(&standard));
    let algorithms =
        |settings: &Settings| settings.keys.iter().map(|key| (key.alg, key.use_)).collect::<Vec<_>>();
    assert_eq!(algorithms(&shown), algorithms(&standard));
}

/// A setting without a default.
fn is_example(line: &str) -> bool {
    const EXAMPLES: [&str; 16] = [
        "public_origin",
        "[server.tls]",
        "cert_file",
        "key_file",
        "url",
        "cluster",
        "username",
        "password",
        "[store.sentinel]",
        "urls",
        "master",
        "secret ",
        "[[operator.tokens]]",
        "name",
        "role",
        "sha256",
    ];
    EXAMPLES.iter().any(|example| line.starts_with(example))
}
