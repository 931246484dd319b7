//! The yardstick of the gate: a reverse proxy on Pingora as its own example would have it, with the allocator of the
//! edge. `plain-pingora LISTEN ORIGIN`

use async_trait::async_trait;
use pingora::prelude::{HttpPeer, Result, Server, http_proxy_service};
use pingora::proxy::{ProxyHttp, Session};
use pingora::server::configuration::ServerConf;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Plain {
    origin: String,
}

#[async_trait]
impl ProxyHttp for Plain {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.origin.as_str(), false, String::new())))
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(origin), None) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: plain-pingora LISTEN ORIGIN");
        std::process::exit(64);
    };
    let mut server = Server::new_with_opt_and_conf(None, ServerConf { threads: 1, ..ServerConf::default() });
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Plain { origin });
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
