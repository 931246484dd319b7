pub mod config;
pub mod metrics;
pub mod telemetry;
