//! What a user may do, and what it has to be allowed.

/// What the user of a store may do there, as [`RedisBackend::rights`](crate::RedisBackend::rights) tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rights {
    /// Whom the server takes this client for.
    pub user: String,
    /// The rights that are missing for a change, such as `+hset`; none of them if all is well.
    pub lacking: Vec<String>,
    /// What the administrator has to type to give all rights that are needed, and no other.
    pub rule: String,
}
