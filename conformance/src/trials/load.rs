//! Scenarios from the field with many contenders: storms, backups and updates.

use crate::trial::trials;

trials!("load":);
