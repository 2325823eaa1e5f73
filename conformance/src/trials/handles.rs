//! Layer 1: the obligations of tasks and guards over the backend.

use crate::trial::trials;

trials!("handles":);
