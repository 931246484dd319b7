//! From a host and a path to the room they belong to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use room::ids::RoomName;

use super::settings::{HostPattern, Match, RoomSettings};

/// All matches of all rooms, longest path first. An exact host goes before any host.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    by_host: HashMap<String, Vec<Route>>,
    any_host: Vec<Route>,
}

#[derive(Debug, Clone)]
struct Route {
    path: String,
    room: Arc<RoomSettings>,
}

impl Routes {
    pub fn new(rooms: &BTreeMap<RoomName, Arc<RoomSettings>>) -> Self {
        let mut routes = Self::default();
        for room in rooms.values() {
            for Match { host, path } in &room.matches {
                let route = Route { path: path.clone(), room: Arc::clone(room) };
                match host {
                    HostPattern::Any => routes.any_host.push(route),
                    HostPattern::Exact(host) => routes.by_host.entry(host.clone()).or_default().push(route),
                }
            }
        }
        for list in routes.by_host.values_mut().chain([&mut routes.any_host]) {
            list.sort_by_key(|route| std::cmp::Reverse(route.path.len()));
        }
        routes
    }

    /// The room of a request. `host` is lower case without port, `path` normalised.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<RoomSettings>> {
        let named = self.by_host.get(host).into_iter().flatten();
        named.chain(&self.any_host).find(|route| covers(&route.path, path)).map(|route| &route.room)
    }

    /// The only room that `host` can lead to; `None` when there is none or a choice.
    pub fn only_room(&self, host: &str) -> Option<&Arc<RoomSettings>> {
        let named = self.by_host.get(host).into_iter().flatten();
        let mut rooms = named.chain(&self.any_host).map(|route| &route.room);
        let first = rooms.next()?;
        rooms.all(|room| room.name == first.name).then_some(first)
    }
}

fn covers(prefix: &str, path: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn routes() -> Routes {
        let text = r#"
            [room.all]
            upstream = ["http://127.0.0.1:1"]
            [room.shop]
            match = [{ host = "shop.example.com" }]
            upstream = ["http://127.0.0.1:1"]
            [room.sale]
            match = [{ host = "shop.example.com", path = "/sale" }, { host = "sale.example.com" }]
            upstream = ["http://127.0.0.1:1"]
        "#;
        config::sample(text).routes
    }

    fn name(found: Option<&Arc<RoomSettings>>) -> &str {
        found.map_or("none", |room| room.name.as_str())
    }

    #[test]
    fn the_exact_host_with_the_longest_path_wins() {
        let routes = routes();
        for (host, path, room) in [
            ("shop.example.com", "/", "shop"),
            ("shop.example.com", "/sale", "sale"),
            ("shop.example.com", "/sale/1", "sale"),
            ("shop.example.com", "/sales", "shop"),
            ("sale.example.com", "/sales", "sale"),
            ("other.example.com", "/sale", "all"),
        ] {
            assert_eq!(name(routes.find(host, path)), room, "{host}{path}");
        }
        assert!(Routes::default().find("shop.example.com", "/").is_none());
    }

    #[test]
    fn a_host_names_its_room_only_where_there_is_no_choice() {
        let routes = routes();
        assert_eq!(name(routes.only_room("other.example.com")), "all");
        assert_eq!(name(routes.only_room("shop.example.com")), "none");
    }
}
