//! Scenarios from the field with users, namespaces, process ids and clocks.

use crate::trial::trials;

trials!("places":);
