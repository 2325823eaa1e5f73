//! Named locks across processes and machines, kept in the database that people already run.

mod backend;
mod ids;
mod memory;
mod name;
pub mod process;
mod request;
#[cfg(feature = "test-util")]
pub mod testing;

pub use backend::{BackendError, BackendErrorKind, LockBackend, Reach, Snapshot, Swap, Version};
pub use ids::{ClientId, IdError, RequestId, TaskId};
pub use memory::MemoryBackend;
pub use name::{LockName, NameError};
pub use request::{LockSet, Mode, Request, RequestError};
