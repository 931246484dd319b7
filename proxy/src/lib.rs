pub mod config;
pub mod edge;
pub mod metrics;
pub mod request;
pub mod telemetry;
