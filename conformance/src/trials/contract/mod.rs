//! Layer 1: the obligations of `LockBackend`, one cell at a time.

pub(crate) mod cell;
pub(crate) mod clients;
pub(crate) mod drops;
