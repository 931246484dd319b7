pub(crate) mod backup;
pub(crate) mod edge;
pub(crate) mod fault_link;
pub(crate) mod fleets;
pub(crate) mod history;
pub(crate) mod play;
pub(crate) mod servers;
pub(crate) mod world;
