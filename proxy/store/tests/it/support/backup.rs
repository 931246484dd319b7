//! The keys of a room in one Redis server: saved, brought back, lost.

use std::cell::RefCell;

use redis::{Cmd, Connection, Pipeline, Value};
use room::ids::RoomName;

use super::servers::RedisServer;

/// All that Redis holds of a room, as `DUMP` gives it.
pub(crate) type Keys = Vec<(String, Vec<u8>)>;

pub(crate) struct Backup(RefCell<Connection>);

impl Backup {
    pub(crate) fn of(server: &RedisServer) -> Self {
        let url = server.url().replace("unix:", "redis+unix:");
        let client = redis::Client::open(url).expect("an address");
        Self(RefCell::new(client.get_connection().expect("a connection")))
    }

    pub(crate) fn save(&self, room: &RoomName) -> Keys {
        let names = self.names(room);
        let dumps = names.iter().map(|name| self.ask(redis::cmd("DUMP").arg(name)));
        names.iter().cloned().zip(dumps).collect()
    }

    /// The room is what it was then.
    pub(crate) fn load(&self, room: &RoomName, keys: &Keys) {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("UNLINK").arg("none").arg(self.names(room));
        for (name, dump) in keys {
            pipeline.cmd("RESTORE").arg(name).arg(0).arg(dump);
        }
        pipeline.exec(&mut *self.0.borrow_mut()).expect("the keys are brought back");
    }

    /// What `room::queue::Queue::kept` counts.
    pub(crate) fn kept(&self, room: &RoomName) -> usize {
        let count = |command: &str, name: &str| -> usize {
            self.ask(redis::cmd(command).arg(format!("vestibule:{{{room}}}:{name}")))
        };
        let tickets = ["spent", "revoked", "missed"].map(|name| count("ZCARD", name));
        count("HLEN", "owner") + tickets.into_iter().sum::<usize>()
    }

    fn names(&self, room: &RoomName) -> Vec<String> {
        self.ask(redis::cmd("KEYS").arg(format!("vestibule:{{{room}}}:*")))
    }

    fn ask<T: redis::FromRedisValue>(&self, command: &Cmd) -> T {
        let value: Value = command.query(&mut *self.0.borrow_mut()).expect("an answer");
        redis::from_redis_value(value).expect("an answer of this kind")
    }
}
