//! New connections: to whichever of the servers in `DB_URL` takes writes.

use std::pin::Pin;

use deadpool_postgres::Connect;
use tokio::task::{JoinHandle, JoinSet};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Client, Config, Error, NoTls};

type Connected = (Client, JoinHandle<()>);

/// Asks all servers at once, so that one that hangs delays nobody: after a failover the old primary may be there and
/// silent. Names are resolved anew each time.
#[derive(Debug)]
pub(crate) struct AnyWritable;

impl Connect for AnyWritable {
    fn connect(
        &self,
        config: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move { connect(&config).await })
    }
}

/// The first connection that takes writes; its errors are what the last server said.
pub(crate) async fn connect(config: &Config) -> Result<Connected, Error> {
    let mut tries = JoinSet::new();
    for server in servers(config) {
        tries.spawn(async move { one(&server).await });
    }
    let mut failed = None;
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => failed = Some(error),
            Err(error) => tracing::error!(error = %error, "an attempt to connect broke off"),
        }
    }
    match failed {
        Some(error) => Err(error),
        // Without any server the library says what is missing.
        None => one(config).await,
    }
}

async fn one(server: &Config) -> Result<Connected, Error> {
    let (client, connection) = server.connect(NoTls).await?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(error = %error, "a connection to PostgreSQL ended");
        }
    });
    Ok((client, driver))
}

/// The same settings for each server alone.
pub(super) fn servers(config: &Config) -> Vec<Config> {
    let (names, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = names.len().max(addresses.len());
    let server = |index: usize| {
        let mut server = settings(config);
        match names.get(index) {
            Some(tokio_postgres::config::Host::Tcp(name)) => drop(server.host(name)),
            Some(tokio_postgres::config::Host::Unix(folder)) => drop(server.host_path(folder)),
            None => {}
        }
        if let Some(address) = addresses.get(index) {
            server.hostaddr(*address);
        }
        if let Some(port) = ports.get(index).or(ports.first()) {
            server.port(*port);
        }
        server
    };
    (0..count).map(server).collect()
}

/// All but where the server is.
fn settings(config: &Config) -> Config {
    let mut settings = Config::new();
    settings
        .ssl_mode(config.get_ssl_mode())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .channel_binding(config.get_channel_binding())
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    if let Some(user) = config.get_user() {
        settings.user(user);
    }
    if let Some(password) = config.get_password() {
        settings.password(password);
    }
    if let Some(name) = config.get_dbname() {
        settings.dbname(name);
    }
    if let Some(options) = config.get_options() {
        settings.options(options);
    }
    if let Some(name) = config.get_application_name() {
        settings.application_name(name);
    }
    if let Some(limit) = config.get_connect_timeout() {
        settings.connect_timeout(*limit);
    }
    if let Some(limit) = config.get_tcp_user_timeout() {
        settings.tcp_user_timeout(*limit);
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_asked_alone_with_the_settings_of_all() {
        let config: Config =
            "host=a,b port=1,2 user=shop password=hush dbname=box options='-c x=y'".parse().unwrap();
        let servers = servers(&config);
        let told: Vec<_> =
            servers.iter().map(|server| (server.get_hosts().to_vec(), server.get_ports().to_vec())).collect();
        let name = |name: &str| vec![tokio_postgres::config::Host::Tcp(name.into())];
        assert_eq!(told, [(name("a"), vec![1]), (name("b"), vec![2])]);
        for server in servers {
            assert_eq!((server.get_user(), server.get_dbname()), (Some("shop"), Some("box")));
            assert_eq!((server.get_password(), server.get_options()), (Some(&b"hush"[..]), Some("-c x=y")));
            assert_eq!(server.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        }
    }
}
