pub(crate) mod fleets;
pub(crate) mod history;
pub(crate) mod servers;
pub(crate) mod world;
