//! The store that the settings name.

use std::sync::Arc;
use std::time::Duration;

use store::Store;
use store::memory::Memory;
use store::redis::{Redis, RedisOptions};
use tokio::time::{Instant, sleep};

use super::ServeError;
use crate::config::settings::{self, Settings, StoreSettings, StoreUrl};

/// How long a store that is not there is asked for before the start is given up.
pub(super) const STORE_PATIENCE: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The store that the settings name; one that is not there yet may come within [`STORE_PATIENCE`].
pub(super) async fn await_store(settings: &Settings) -> Result<Arc<dyn Store>, ServeError> {
    let deadline = Instant::now() + STORE_PATIENCE;
    loop {
        match open_store(settings).await {
            Err(error) if Instant::now() + ASK_EVERY < deadline => {
                tracing::warn!(%error, "the store is not there yet");
                sleep(ASK_EVERY).await;
            }
            outcome => return outcome,
        }
    }
}

/// The store that the settings name, once it has answered.
pub async fn open_store(settings: &Settings) -> Result<Arc<dyn Store>, ServeError> {
    match &settings.store {
        StoreSettings::Memory => Ok(Arc::new(Memory::default())),
        StoreSettings::Redis(redis) => {
            let options = RedisOptions {
                username: redis.username.clone(),
                password: redis.password.as_ref().map(|password| password.reveal().to_owned()),
                key_prefix: redis.key_prefix.clone(),
                timeout: redis.timeout,
                ..RedisOptions::new(topology(&redis.topology))
            };
            let connected = Redis::connect(options).await;
            connected.map_or_else(
                |error| Err(ServeError::Unreachable(error.to_string())),
                |redis| Ok(Arc::new(redis) as _),
            )
        }
    }
}

fn topology(topology: &settings::Topology) -> store::redis::Topology {
    let texts = |urls: &[StoreUrl]| urls.iter().map(|url| url.reveal().to_owned()).collect();
    match topology {
        settings::Topology::Single { url } => store::redis::Topology::Single { url: url.reveal().to_owned() },
        settings::Topology::Sentinel { urls, master } => {
            store::redis::Topology::Sentinel { urls: texts(urls), master: master.clone() }
        }
        settings::Topology::Cluster { urls } => store::redis::Topology::Cluster { urls: texts(urls) },
    }
}
