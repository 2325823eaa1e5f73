//! Layer 5: processes that are killed or stopped at any moment.

use crate::trial::trials;

trials!("crash":);
