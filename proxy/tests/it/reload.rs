//! Settings change under a running edge.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;
use vestibule::config::SettingsSource;
use vestibule::config::reload::Reload;
use vestibule::config::settings::Settings;

const PATIENCE: Duration = Duration::from_secs(10);

fn text(rate: u32) -> String {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/good/smallest.toml");
    let text = fs::read_to_string(sample).unwrap();
    text.replace("[room.e1]", &format!("[room.e1]\nnew_users_per_minute = {rate}"))
}

struct Running {
    reload: Reload,
    changes: watch::Receiver<Arc<Settings>>,
    _stop: watch::Sender<bool>,
}

impl Running {
    fn start(file: &Path) -> Self {
        let source = SettingsSource::file(file).with_variables(BTreeMap::new());
        let (stop, stopped) = watch::channel(false);
        let first = source.load().unwrap().settings;
        let reload = Reload::start(source, first, stopped).unwrap();
        Self { changes: reload.changes(), reload, _stop: stop }
    }

    fn rate(&self) -> u32 {
        let settings = self.reload.settings().load_full();
        settings.rooms.values().next().unwrap().rules.new_users_per_minute
    }

    /// Waits until the rate is in force, and checks that nobody was told of another state first.
    async fn reaches(&mut self, rate: u32) {
        let is_there = |settings: &Arc<Settings>| {
            settings.rooms.values().any(|room| room.rules.new_users_per_minute == rate)
        };
        timeout(PATIENCE, self.changes.wait_for(is_there)).await.expect("the rate in the file").unwrap();
        assert_eq!(self.rate(), rate);
    }
}

fn folder_with(rate: u32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vestibule.toml");
    fs::write(&file, text(rate)).unwrap();
    (folder, file)
}

#[tokio::test]
async fn a_file_written_in_place_is_applied() {
    let (_folder, file) = folder_with(100);
    let mut running = Running::start(&file);
    fs::write(&file, text(200)).unwrap();
    running.reaches(200).await;
}

#[tokio::test]
async fn a_file_put_in_its_place_is_applied_again_and_again() {
    let (folder, file) = folder_with(100);
    let mut running = Running::start(&file);
    for rate in [200, 300, 400] {
        let new = folder.path().join(".vestibule.toml.swp");
        fs::write(&new, text(rate)).unwrap();
        fs::rename(&new, &file).unwrap();
        running.reaches(rate).await;
    }
}

#[tokio::test]
async fn a_swapped_link_of_a_mounted_config_map_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let publish = |generation: &str, rate: u32| {
        fs::create_dir(folder.path().join(generation)).unwrap();
        fs::write(folder.path().join(generation).join("vestibule.toml"), text(rate)).unwrap();
        symlink(generation, folder.path().join("..data_tmp")).unwrap();
        fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    };
    publish("..2026_01", 100);
    let file = folder.path().join("vestibule.toml");
    symlink("..data/vestibule.toml", &file).unwrap();
    let mut running = Running::start(&file);
    publish("..2026_02", 200);
    running.reaches(200).await;
    fs::remove_dir_all(folder.path().join("..2026_01")).unwrap();
    publish("..2026_03", 300);
    running.reaches(300).await;
}

#[tokio::test]
async fn what_needs_a_restart_stays_while_the_rest_is_applied() {
    let (_folder, file) = folder_with(100);
    let mut running = Running::start(&file);
    let listen = running.reload.settings().load().server.listen;
    let moved = "[server]\nlisten = \"127.0.0.1:9999\"\nqueue_path = \"/_line\"\ndefault_upstream = [\"http://b:1\"]\n";
    fs::write(&file, format!("{moved}{}", text(200))).unwrap();
    running.reaches(200).await;
    let settings = running.reload.settings().load_full();
    assert_eq!((settings.server.listen, settings.server.queue_path.as_str()), (listen, "/_queue"));
    assert_eq!(settings.default_upstream.len(), 1);
}
