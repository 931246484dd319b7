//! New connections: to whichever of the servers in `DB_URL` takes writes.

use std::pin::Pin;

use deadpool_postgres::Connect;
use tokio::task::{JoinHandle, JoinSet};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Error};

use super::tls::Tls;

type Connected = (Client, JoinHandle<()>);

/// Asks all servers at once, so that one that hangs delays nobody: after a failover the old primary may be there and
/// silent. Names are resolved anew each time.
#[derive(Debug)]
pub(crate) struct AnyWritable(pub(crate) Tls);

impl Connect for AnyWritable {
    fn connect(
        &self,
        config: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move { connect(&config, &self.0).await })
    }
}

/// The first connection that takes writes; its errors are what the last server said.
pub(crate) async fn connect(config: &Config, tls: &Tls) -> Result<Connected, Error> {
    let mut tries = JoinSet::new();
    for server in servers(config, tls) {
        let tls = tls.clone();
        tries.spawn(async move { one(&server, &tls).await });
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
        None => one(config, tls).await,
    }
}

async fn one(server: &Config, tls: &Tls) -> Result<Connected, Error> {
    let (client, connection) = server.connect(tls.connector()).await?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(error = %error, "a connection to PostgreSQL ended");
        }
    });
    Ok((client, driver))
}

/// The same settings for each server alone; TLS for those that are reached by TCP.
pub(super) fn servers(config: &Config, tls: &Tls) -> Vec<Config> {
    let (names, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = names.len().max(addresses.len());
    let server = |index: usize| {
        let mut server = settings(config);
        server.ssl_mode(tls.ssl_mode());
        let address = addresses.get(index);
        match (names.get(index), address) {
            (Some(Host::Tcp(name)), _) => drop(server.host(name)),
            (Some(Host::Unix(folder)), _) => drop(server.ssl_mode(SslMode::Disable).host_path(folder)),
            // The name that its certificate is to have.
            (None, Some(address)) => drop(server.host(address.to_string())),
            (None, None) => {}
        }
        if let Some(address) = address {
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
        .ssl_negotiation(config.get_ssl_negotiation())
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
    use rustls::RootCertStore;

    use super::super::tls::Mode;
    use super::*;

    fn tls(mode: Mode) -> Tls {
        Tls::new(mode, RootCertStore::empty()).unwrap()
    }

    #[test]
    fn each_server_is_asked_alone_with_the_settings_of_all() {
        let config: Config =
            "host=a,b port=1,2 user=shop password=hush dbname=box options='-c x=y'".parse().unwrap();
        let servers = servers(&config, &tls(Mode::VerifyFull));
        let told: Vec<_> =
            servers.iter().map(|server| (server.get_hosts().to_vec(), server.get_ports().to_vec())).collect();
        let name = |name: &str| vec![Host::Tcp(name.into())];
        assert_eq!(told, [(name("a"), vec![1]), (name("b"), vec![2])]);
        for server in servers {
            assert_eq!((server.get_user(), server.get_dbname()), (Some("shop"), Some("box")));
            assert_eq!((server.get_password(), server.get_options()), (Some(&b"hush"[..]), Some("-c x=y")));
            assert_eq!(server.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
            assert_eq!(server.get_ssl_mode(), SslMode::Require);
        }
    }

    #[test]
    fn a_socket_is_never_asked_for_tls_and_an_address_without_a_name_is_its_own() {
        let modes = |text: &str| -> Vec<_> {
            servers(&text.parse().unwrap(), &tls(Mode::Require))
                .iter()
                .map(|server| (server.get_hosts().to_vec(), server.get_ssl_mode()))
                .collect()
        };
        let socket = (vec![Host::Unix("/run/pg".into())], SslMode::Disable);
        assert_eq!(modes("host=/run/pg,db"), [socket, (vec![Host::Tcp("db".into())], SslMode::Require)]);
        let address = vec![Host::Tcp("10.0.0.9".into())];
        assert_eq!(modes("hostaddr=10.0.0.9"), [(address, SslMode::Require)]);
    }
}
