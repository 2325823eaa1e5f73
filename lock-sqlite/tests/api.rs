//! What the compiler must be able to say of public items: who may send and share them.

use std::fmt::Debug;

use lock_sqlite::{SqliteBackend, SqliteOptions};

/// Between threads, by value and by reference, for as long as anybody likes.
fn is_shared<T: Send + Sync + Unpin + Debug + 'static>() {}

#[test]
fn all_go_between_threads() {
    is_shared::<SqliteBackend>();
    is_shared::<SqliteOptions>();
}
