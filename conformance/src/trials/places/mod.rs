//! Scenarios from the field with users, namespaces, process ids and clocks.

pub(super) mod clocks;
pub(super) mod hidden;
pub(super) mod ids;
pub(super) mod users;
