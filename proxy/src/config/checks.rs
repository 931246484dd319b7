//! What settings mean together.

use std::net::SocketAddr;

use super::section::Section;
use super::settings::{Settings, StoreSettings};

/// Refuses what cannot work, warns of what a careful person would ask about.
pub(super) fn check(root: &Section<'_>, settings: &Settings) {
    one_listener_each(root, settings);
    trust(root, settings);
    exposure(root, settings);
    if settings.rooms.is_empty() && settings.default_upstream.is_empty() {
        root.warning("", "there is no [room.NAME] and no `default_upstream`: every path is answered 404");
    }
    if settings.store == StoreSettings::Memory && !settings.server.listen.ip().is_loopback() {
        let reason =
            "without [store] the queues live in this process: a second edge has its own, a restart ends them";
        root.warning("store", reason);
    }
}

fn one_listener_each(root: &Section<'_>, settings: &Settings) {
    let (site, operator) = (settings.server.listen, settings.operator.listen);
    let same_place =
        site.ip() == operator.ip() || site.ip().is_unspecified() || operator.ip().is_unspecified();
    if site.port() == operator.port() && site.port() != 0 && same_place {
        let reason = format!("[server] and [operator] both listen on port {}", site.port());
        root.problem("operator.listen", reason);
    }
}

fn trust(root: &Section<'_>, settings: &Settings) {
    if settings.server.trusted_proxies.iter().any(|net| net.prefix_len() == 0) {
        let reason =
            "`trusted_proxies` holds every address: anybody can say to be anybody, which voids the limits";
        root.warning("server.trusted_proxies", reason);
    }
}

fn exposure(root: &Section<'_>, settings: &Settings) {
    let is_public = |address: SocketAddr| !address.ip().is_loopback();
    let server = &settings.server;
    let behind_tls = server.tls.is_some()
        || !server.trusted_proxies.is_empty()
        || server.public_origin.as_ref().is_some_and(|origin| origin.as_str().starts_with("https://"));
    if is_public(server.listen) && !behind_tls {
        let reason = "plain HTTP on a public address: passes can be read on the way; set `server.tls`, or \
                      `trusted_proxies` for the proxy that speaks TLS";
        root.warning("server.listen", reason);
    }
    if is_public(settings.operator.listen) {
        let reason =
            "the operator's listener is public, and plain HTTP: put a network policy or proxy before it";
        root.warning("operator.listen", reason);
    }
}
