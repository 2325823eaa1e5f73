//! A table of MySQL or MariaDB as a store of locks: for production, on the database that is there.
//!
//! ```no_run
//! use lock_core::Locks;
//! use lock_mysql::MySqlBackend;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let backend = MySqlBackend::from_url("mysql://shop@db.internal/shop")?;
//! backend.migrate().await?;
//! let locks = Locks::new(backend);
//! let guard = locks.acquire("app/blog").await?;
//! # Ok(()) }
//! ```

mod backend;
mod error;
pub mod fence;
mod member;
mod options;
mod password;
mod session;
mod socket;
mod table;

pub use backend::MySqlBackend;
pub use options::MySqlOptions;
pub use table::MIGRATION;
