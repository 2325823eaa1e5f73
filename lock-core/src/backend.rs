//! The trait that a store implements: one versioned cell with compare-and-swap.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// A versioned cell that holds the lock table.
///
/// That is all a store has to be: every rule about locks lives in
/// [`LockTable`](crate::table::LockTable), everything about time and retries in the driver. A backend
/// never looks into the bytes.
///
/// How one is written, and put under the suite that it has to pass, is shown by the
/// [guide](https://docs.rs/lock-conformance/latest/lock_conformance/guide/) of `lock-conformance`.
///
/// The bytes are readable text, always valid UTF-8, so that a store may keep them as text.
///
/// A backend belongs to one [`Locks`](crate::Locks), whose driver calls it from its own thread, one
/// call at a time, save that [`changed`](Self::changed) may be pending meanwhile. A method may
/// block that thread for as long as a write to a local disk takes.
///
/// # Contract
///
/// The driver drops the future of a call when it loses interest, and may do so at any await. For
/// [`load`](Self::load) and [`changed`](Self::changed) that has no effect; for
/// [`compare_and_swap`](Self::compare_and_swap) it is the same as
/// [`OutcomeUnknown`](BackendErrorKind::OutcomeUnknown). The next call must work.
///
/// Every call of [`load`](Self::load) and [`compare_and_swap`](Self::compare_and_swap) must end by
/// itself, within some seconds, also when the network swallows everything: the driver sets no limit
/// of its own, and while a call is pending it can neither renew the lease nor write anything else.
#[async_trait]
pub trait LockBackend: fmt::Debug + Send + Sync + 'static {
    /// Who can reach the store: this host only, or a network.
    ///
    /// # Contract
    ///
    /// [`Reach::Host`] only if processes under another kernel can never reach the store. It lets
    /// everybody of another boot be taken for dead at once, because that boot must have ended. If
    /// in doubt, say [`Reach::Network`].
    fn reach(&self) -> Reach;

    /// The store as operators know it, for messages, such as `sqlite:/var/lib/app/locks.db`.
    ///
    /// # Contract
    ///
    /// Never contains a password or another secret.
    fn describe(&self) -> String;

    /// Reads the cell: its version and its bytes.
    ///
    /// # Contract
    ///
    /// A cell that does not exist is [`Version::ABSENT`] with no bytes. What is read must be at
    /// least as new as every swap that anybody was told of before this call: a replica that may
    /// lag is not good enough.
    ///
    /// # Errors
    ///
    /// [`BackendError`]. Data that cannot be what this store wrote is an error of kind
    /// [`Misconfigured`](BackendErrorKind::Misconfigured), never an absent cell.
    async fn load(&self) -> Result<Snapshot, BackendError>;

    /// Replaces the cell by `data` at version `next`, if its version still is `expected`.
    ///
    /// # Contract
    ///
    /// Atomic and durable before it is answered: [`Swap::Swapped`] means that every later load, by
    /// anybody, sees this version or a newer one, also after a crash of everything. `expected ==
    /// Version::ABSENT` creates the cell and conflicts with one that exists. `next` is greater than
    /// `expected` and at most [`Version::MAX`].
    ///
    /// # Errors
    ///
    /// [`BackendError`]. Any kind but [`OutcomeUnknown`](BackendErrorKind::OutcomeUnknown) promises
    /// that the swap was not applied and never will be.
    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError>;

    /// Reads the cell once it is this client's turn to write, if the store can make clients take turns.
    ///
    /// The driver calls it instead of [`load`](Self::load) when it wants to write and has met
    /// others who do, so that few swaps are lost and nobody starves. `None`, the default: the store
    /// gives no turns, and the driver keeps rivals apart by chance.
    ///
    /// # Contract
    ///
    /// As [`load`](Self::load). A turn is a courtesy, never a lock: it is waited for no longer than
    /// some tens of milliseconds, and a client that is paused in its turn stops nobody for longer.
    /// It ends with [`end_turn`](Self::end_turn), or by itself at any time.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    async fn load_in_turn(&self) -> Result<Option<Snapshot>, BackendError> {
        Ok(None)
    }

    /// Ends the turn of this client, if it has one: the next may write.
    ///
    /// The driver calls it right after its swap, or when there is nothing to write after all.
    /// Nobody needs to know if it fails: then the turn ends by itself. The default does nothing.
    async fn end_turn(&self) {}

    /// Takes leave of the store in good order; the driver calls it last.
    ///
    /// A client may also end without it. The default does nothing.
    async fn close(&self) {}

    /// Resolves when the cell has probably moved past `seen`.
    ///
    /// A hint for stores that can tell (by publish and subscribe, say); the default never resolves,
    /// and the driver polls.
    ///
    /// # Errors
    ///
    /// [`BackendError`] when the store can no longer tell; the driver falls back to polling and
    /// asks again later.
    async fn changed(&self, seen: Version) -> Result<(), BackendError> {
        let _ = seen;
        std::future::pending().await
    }
}

macro_rules! pass_on {
    ($($pointer:ident)*) => {$(
        /// A backend that is chosen when the program runs.
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<B: LockBackend + ?Sized> LockBackend for $pointer<B> {
            fn reach(&self) -> Reach {
                (**self).reach()
            }

            fn describe(&self) -> String {
                (**self).describe()
            }

            async fn load(&self) -> Result<Snapshot, BackendError> {
                (**self).load().await
            }

            async fn compare_and_swap(
                &self,
                expected: Version,
                next: Version,
                data: &[u8],
            ) -> Result<Swap, BackendError> {
                (**self).compare_and_swap(expected, next, data).await
            }

            async fn load_in_turn(&self) -> Result<Option<Snapshot>, BackendError> {
                (**self).load_in_turn().await
            }

            async fn end_turn(&self) {
                (**self).end_turn().await;
            }

            async fn close(&self) {
                (**self).close().await;
            }

            async fn changed(&self, seen: Version) -> Result<(), BackendError> {
                (**self).changed(seen).await
            }
        }
    )*};
}

pass_on!(Arc Box);

/// Who can reach a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Processes of this host only, so that whoever was started before the last boot is dead.
    Host,
    /// Anybody on a network.
    Network,
}

/// The version of a cell: it grows with every swap, for the life of the store.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The version of a cell that does not exist.
    pub const ABSENT: Self = Self(0);
    /// The greatest version, 2^53: exact as a number in JSON, in Lua and in every SQL store.
    pub const MAX: Self = Self(1 << 53);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A cell as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Its version; [`Version::ABSENT`] if there is no cell.
    pub version: Version,
    /// Its bytes; empty if there is no cell.
    pub data: Vec<u8>,
}

/// How a swap ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The cell is now what was sent.
    Swapped,
    /// The version was not the expected one; nothing changed.
    Conflict,
}

/// What went wrong in a store, sorted by what the driver does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// The store cannot be reached or does not serve now; nothing was applied. Retried with
    /// back-off.
    Unavailable,
    /// The swap may or may not have been applied, or may still be. Resolved by reading and
    /// swapping again.
    OutcomeUnknown,
    /// Somebody else is writing; nothing was applied. Retried at once, in turn with the others.
    Busy,
    /// The store works but does not fit: a missing table or right, foreign data, a read-only file.
    /// Not retried for new requests: somebody has to act.
    Misconfigured,
    /// The store does not take that many bytes; nothing was applied.
    TooLarge,
}

impl BackendErrorKind {
    /// Whether the connection, or file, over which a call ended with this is good for the next call: the
    /// store has said what it has against the call, and nothing is wrong with the way to it.
    ///
    /// ```
    /// use lock_core::BackendErrorKind;
    ///
    /// assert!(BackendErrorKind::TooLarge.spares_connection());
    /// assert!(!BackendErrorKind::OutcomeUnknown.spares_connection());
    /// ```
    pub fn spares_connection(self) -> bool {
        matches!(self, Self::Busy | Self::TooLarge)
    }
}

/// A word or two, as in `outcome unknown`.
impl fmt::Display for BackendErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unavailable => "unavailable",
            Self::OutcomeUnknown => "outcome unknown",
            Self::Busy => "busy",
            Self::Misconfigured => "misconfigured",
            Self::TooLarge => "too large",
        })
    }
}

/// An error of a store: its kind, what was done on what, and the cause.
#[derive(Debug)]
pub struct BackendError {
    kind: BackendErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl BackendError {
    /// Makes an error of this kind.
    ///
    /// The message names the operation and the thing, and what to do about it if that is known; it
    /// is one sentence in lower case and has no password in it.
    pub fn new(kind: BackendErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the driver does about it.
    pub fn kind(&self) -> BackendErrorKind {
        self.kind
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for BackendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}
