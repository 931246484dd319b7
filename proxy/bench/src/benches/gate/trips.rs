//! What the store hears of admitted requests: nothing.

use std::net::SocketAddr;

use edge_bench::bench::{BenchError, Context};
use edge_bench::contest::LOAD_CORE;
use edge_bench::redis::Redis;
use edge_bench::row::{Goal, Row};
use edge_bench::store_trips::StoreTrips;

use super::{CONNECTIONS, admitted, open_room, passes};

/// A tick more or less in a turn, over the answers of the turn.
const NOISE_PER_THOUSAND: f64 = 1.0;

pub(super) fn rows(context: &Context, origin: SocketAddr) -> Result<Vec<Row>, BenchError> {
    let redis = Redis::start(context, Some(LOAD_CORE))?;
    let edge = open_room(origin).with_redis(redis.url()).start(context, "edge-gate-redis")?;
    let cookies = passes::of_visitors(&edge, CONNECTIONS)?;
    let load = admitted(&edge, &cookies);
    let trips = StoreTrips::of(&load, context.length.turn, &redis)?;
    let name = "store commands added by 1,000 admitted requests";
    Ok(vec![Row::new(name, None, trips.per_thousand(), "").with_goal(Goal::AtMost(NOISE_PER_THOUSAND))])
}
