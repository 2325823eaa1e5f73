//! Layer 4: what is done under a lock has its effect.

use crate::trial::trials;

trials!("effect":);
