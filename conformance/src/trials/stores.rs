//! Scenarios from the field with stores that lose, refuse, lag or are restored.

use crate::trial::trials;

trials!("stores":);
