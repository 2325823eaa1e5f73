//! What the compiler must be able to say of public items: who may send and share them.

use std::fmt::Debug;

use lock_redis::{RedisBackend, RedisOptions, Rights, Risk};

/// Between threads, by value and by reference, for as long as anybody likes.
fn is_shared<T: Send + Sync + Unpin + Debug + 'static>() {}

#[test]
fn all_go_between_threads() {
    is_shared::<RedisBackend>();
    is_shared::<RedisOptions>();
    is_shared::<Rights>();
    is_shared::<Risk>();
}
