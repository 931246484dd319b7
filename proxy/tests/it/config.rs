//! Settings from files: the folders of samples are the lists of tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use vestibule::config::settings::{Limits, StoreSettings, Topology};
use vestibule::config::{ConfigError, Loaded, SettingsSource, parse};

fn samples(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(kind);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "toml")).collect();
    files.sort();
    files
}

fn load(path: &Path) -> Result<Loaded, ConfigError> {
    SettingsSource::file(path).with_variables(BTreeMap::new()).load()
}

fn load_with(name: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/good").join(name);
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    SettingsSource::file(path).with_variables(variables.collect()).load()
}

#[test]
fn good_samples_are_accepted() {
    let files = samples("good");
    assert!(files.len() >= 8);
    for file in files {
        if let Err(error) = load(&file) {
            panic!("{}: {error}", file.display());
        }
    }
}

#[test]
fn bad_samples_are_refused_with_line_and_reason() {
    let files = samples("bad");
    assert!(files.len() >= 25);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let expected =
            text.lines().next().unwrap().strip_prefix("# expect: ").expect("a first line `# expect: …`");
        let Err(error) = load(&file) else { panic!("{} was accepted", file.display()) };
        let error = error.to_string();
        assert!(error.contains(expected), "{} says\n{error}\nwithout: {expected}", file.display());
        let place = format!("{}:", file.display());
        let line = error.strip_prefix(&place).and_then(|rest| rest.split(':').next());
        let line = line.and_then(|line| line.parse::<usize>().ok());
        let is_about_absence = expected.starts_with("exactly one");
        assert!(line.is_some() || is_about_absence, "{} names no line: {error}", file.display());
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_in_its_order() {
    let text = "[server]\nlistn = 1\nqueue_path = \"x\"\n[room.e1]\nbursts = 3\n";
    let error = parse("f.toml", text, Path::new(""), &BTreeMap::new()).unwrap_err();
    let lines: Vec<&str> = error.problems().iter().map(|one| one.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["f.toml:2", "f.toml:3", "f.toml:4", "f.toml:5", "f.toml"]);
}

#[test]
fn no_refusal_shows_a_secret() {
    let text = "[store]\npassword = \"hunter2\"\nurl = \"http://edge:hunter2@redis\"\n[[keys]]\nsecret = \"hunter2\"\n";
    let error = parse("f.toml", text, Path::new(""), &BTreeMap::new()).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn an_underscore_in_the_name_of_a_room_is_a_hyphen() {
    let variable = ("VESTIBULE__ROOM__SUMMER_SALE__UPSTREAM", "http://10.0.0.3:3");
    let settings = load_with("no-rooms.toml", &[variable]).unwrap().settings;
    assert!(settings.rooms.contains_key(&"summer-sale".parse().unwrap()));
}

#[test]
fn a_variable_sets_any_value_and_replaces_the_file_of_a_secret() {
    let loaded = load_with(
        "redis.toml",
        &[
            ("VESTIBULE__SERVER__LISTEN", "127.0.0.1:0"),
            ("VESTIBULE__STORE__PASSWORD", "from the environment"),
            ("VESTIBULE__ROOM__E1__NEW_USERS_PER_MINUTE", "77"),
            ("VESTIBULE__ROOM__E1__UPSTREAM", "http://10.0.0.1:1, http://10.0.0.2:2"),
            ("VESTIBULE__ROOM__E1__LIMITS__PER_CLIENT__BURST", "7"),
            ("VESTIBULE__OPERATOR__TOKENS__0__NAME", "alice"),
            ("VESTIBULE__OPERATOR__TOKENS__0__ROLE", "viewer"),
            ("VESTIBULE__OPERATOR__TOKENS__0__SHA256", &"ab".repeat(32)),
        ],
    );
    let settings = loaded.unwrap().settings;
    let StoreSettings::Redis(redis) = &settings.store else { panic!("{:?}", settings.store) };
    assert_eq!(redis.password.as_ref().unwrap().reveal(), "from the environment");
    assert!(
        matches!(&redis.topology, Topology::Single { url } if url.to_string() == "redis://127.0.0.1:6379/1")
    );
    let room = settings.rooms.values().next().unwrap();
    assert_eq!((room.rules.new_users_per_minute, room.upstream.len()), (77, 2));
    assert_eq!(room.limits.per_client.burst.get(), 7);
    assert_eq!(room.limits.joins_per_address, Limits::default().joins_per_address);
    assert_eq!(settings.operator.tokens[0].sha256, [0xab; 32]);
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value, reason) in [
        ("VESTIBULE__SERVER__LISTEM", "127.0.0.1:0", "did you mean `listen`?"),
        ("VESTIBULE__ROOM__E1__BURST", "many", "`burst` must be a whole number"),
        ("VESTIBULE__KEYS__5__SECRET", "x", "must be a number from 0 to 2"),
        ("VESTIBULE__SERVER__LISTEN__PORT", "1", "must be an address with a port"),
    ] {
        let error = load_with("smallest.toml", &[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains(name), "{error}");
    }
}

#[test]
fn a_secret_is_read_from_its_file_without_the_line_end() {
    let settings = load_with("redis.toml", &[]).unwrap().settings;
    let StoreSettings::Redis(redis) = &settings.store else { panic!("{:?}", settings.store) };
    assert_eq!(redis.password.as_ref().unwrap().reveal(), "open sesame");
    assert!(!format!("{settings:?}").contains("sesame"));
}

#[test]
fn doubtful_settings_are_accepted_with_a_warning() {
    let keys = fs::read_to_string(&samples("good")[0]).unwrap();
    let keys = &keys[keys.find("[[keys]]").unwrap()..];
    for (text, warning) in [
        ("[server]\nlisten = \"0.0.0.0:80\"\n", "plain HTTP on a public address"),
        ("[server]\ntrusted_proxies = [\"0.0.0.0/0\"]\n", "anybody can say to be anybody"),
        ("[operator]\nlisten = \"0.0.0.0:81\"\n", "the operator's listener is public"),
        ("[room.a]\nupstream = [\"http://b\"]\non_store_loss = \"open\"\n", "voids the limits"),
        ("", "every path is answered 404"),
    ] {
        let loaded = parse("f.toml", &format!("{text}{keys}"), Path::new(""), &BTreeMap::new()).unwrap();
        assert!(loaded.warnings.iter().any(|one| one.contains(warning)), "{:?}", loaded.warnings);
    }
}

#[test]
fn a_missing_file_is_told_by_its_name() {
    let error = SettingsSource::file("no/such.toml").load().unwrap_err().to_string();
    assert!(error.starts_with("no/such.toml: cannot read it"), "{error}");
}

/// Text that is nearly a settings file: a good one with pieces cut out, doubled and swapped.
fn nearly_settings() -> impl Strategy<Value = String> {
    let files: Vec<String> = samples("good").iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let junk = prop_oneof!["[\\[\\]{}=\"#.,\n -]{1,4}", "\\PC{1,3}", "(0x)?[0-9]{1,20}", "[a-z_]{1,8}"];
    let edits = prop::collection::vec((any::<Index>(), any::<Index>(), junk), 1..6);
    (select(files), edits).prop_map(|(mut text, edits)| {
        for (from, to, junk) in edits {
            let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let (from, to) = (*from.get(&ends), *to.get(&ends));
            text.replace_range(from.min(to)..from.max(to), &junk);
        }
        text
    })
}

proptest! {
    #[test]
    fn any_text_is_accepted_or_refused_with_a_reason(text in nearly_settings()) {
        if let Err(error) = parse("f.toml", &text, Path::new(""), &BTreeMap::new()) {
            prop_assert!(!error.problems().is_empty());
            prop_assert!(error.problems().iter().all(|problem| problem.starts_with("f.toml")));
        }
    }
}
