//! Layer 6: faults of the network and of the server.

use crate::trial::trials;

trials!("faults":);
