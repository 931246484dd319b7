//! The yardsticks: other programs that do the same.

use std::net::SocketAddr;

use tempfile::TempDir;

use crate::bench::{BenchError, Context};
use crate::process::{Launch, Process, folder, free_address, write};

/// One of them, running; it ends when dropped.
#[derive(Debug)]
pub struct Peer {
    process: Process,
    _folder: Option<TempDir>,
    pub address: SocketAddr,
}

impl Peer {
    /// A reverse proxy on Pingora without anything of ours.
    pub fn plain_pingora(context: &Context, origin: SocketAddr, core: usize) -> Result<Self, BenchError> {
        let address = free_address()?;
        let launch = Launch::on_core(core, context.program("plain-pingora")?);
        let launch = launch.args([address.to_string(), origin.to_string()]);
        let mut process = launch.log(context.log("plain-pingora")?).start()?;
        process.await_listening(address)?;
        Ok(Self { process, _folder: None, address })
    }

    /// One worker with kept connections to the origin; `/503` is answered by itself.
    pub fn nginx(context: &Context, origin: SocketAddr, core: usize) -> Result<Self, BenchError> {
        let (folder, address) = (folder()?, free_address()?);
        let path = folder.path().display();
        let config = write(folder.path(), "nginx.conf", &nginx_settings(&path, address, origin))?;
        let launch =
            Launch::on_core(core, "nginx").args(["-p"]).args([folder.path()]).args(["-c"]).args([&config]);
        let mut process = launch.args(["-e", "stderr"]).log(context.log("nginx")?).start()?;
        process.await_listening(address)?;
        Ok(Self { process, _folder: Some(folder), address })
    }

    /// One thread with kept connections to the origin.
    pub fn haproxy(context: &Context, origin: SocketAddr, core: usize) -> Result<Self, BenchError> {
        let (folder, address) = (folder()?, free_address()?);
        let config = write(folder.path(), "haproxy.cfg", &haproxy_settings(address, origin))?;
        let launch = Launch::on_core(core, "haproxy").args(["-db", "-q", "-f"]).args([&config]);
        let mut process = launch.log(context.log("haproxy")?).start()?;
        process.await_listening(address)?;
        Ok(Self { process, _folder: Some(folder), address })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn nginx_settings(folder: &impl std::fmt::Display, address: SocketAddr, origin: SocketAddr) -> String {
    format!(
        r#"
user root;
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    upstream origin {{ server {origin}; keepalive 128; keepalive_requests 1000000000; }}
    server {{
        listen {address} backlog=4096;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
        location /503 {{ add_header Retry-After 10 always; return 503 "busy"; }}
    }}
}}
"#
    )
}

fn haproxy_settings(address: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "global
    nbthread 1
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    option forwardfor
    http-reuse always
frontend site
    bind {address}
    default_backend origin
backend origin
    server origin {origin} maxconn 1000
"
    )
}
