//! A process that locks in one way and does what it is told, line by line, and says when it did it.
//!
//! All approaches are driven by these same orders, each in processes of its own:
//!
//! | order | what it says |
//! |---|---|
//! | `acquire NAME` | when it was granted |
//! | `release` | when it was asked to, and `released` when that is done |
//! | `hold NAME MILLISECONDS` | when it was granted; it gives back after that time |
//! | `loop NAME SECONDS` | how long each acquire took, and in a second line each release |
//! | `tasks COUNT SECONDS` | how often that many tasks, each with a lock of its own, acquired and released |
//! | `many COUNT` | `held`, once it holds that many locks |
//!
//! What fails is said as a line that begins with [`FAILED`]; it goes on with the next order.

mod approach;
mod serve;

pub use approach::{Approach, Failure, Held, POLL, send_at_once};
pub use serve::{FAILED, THREADS, now, serve};
