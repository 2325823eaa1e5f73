//! Layer 2: random sequences of ops against the naive model.

use crate::trial::trials;

trials!("model":);
