//! From a TOML file and the environment to [`settings::Settings`]: parsed once, refused whole.

mod address;
mod routes;
pub mod settings;
