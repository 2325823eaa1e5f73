//! What the compiler must be able to say of public items: who may send and share them.

use std::error::Error;
use std::fmt::Debug;

use lock_mysql::fence::FenceError;
use lock_mysql::{MySqlBackend, MySqlOptions, ServerFacts};

/// Between threads, by value and by reference, for as long as anybody likes.
fn is_shared<T: Send + Sync + Unpin + Debug + 'static>() {}

/// An error that `Box<dyn Error + Send + Sync>` takes.
fn is_error<T: Error + Send + Sync + Unpin + 'static>() {}

#[test]
fn all_go_between_threads() {
    is_shared::<MySqlBackend>();
    is_shared::<MySqlOptions>();
    is_shared::<ServerFacts>();
    is_error::<FenceError>();
}
