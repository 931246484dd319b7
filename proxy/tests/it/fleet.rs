//! Several edges on one Redis.
