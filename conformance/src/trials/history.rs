//! Layer 3: histories of many processes, checked exactly.

use crate::trial::trials;

trials!("history":);
