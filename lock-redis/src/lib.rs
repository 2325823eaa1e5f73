//! Redis or Valkey as a store of locks: where it is there, and speed counts more than durability.

mod backend;
mod error;
mod listener;
mod options;
mod risk;
mod script;
mod servers;
mod session;

pub use backend::RedisBackend;
pub use options::RedisOptions;
pub use risk::Risk;
