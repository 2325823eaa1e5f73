//! The versioned blob: this product; and its cell alone, swapped again after each conflict without a pause.

use std::sync::Arc;

use async_trait::async_trait;
use lock_bench_worker::{Approach, Failure, Held};
use lock_core::{BackendErrorKind, Guard, LockBackend, Locks, Swap, Version};

use crate::store::{backend, locks, locks_without_renewals};

/// This product as it is.
pub(crate) struct Product(Locks);

impl Product {
    pub(crate) fn open(url: &str, bell: bool) -> Result<Self, Failure> {
        Ok(Self(locks(url, bell)?))
    }

    pub(crate) fn without_renewals(url: &str, bell: bool) -> Result<Self, Failure> {
        Ok(Self(locks_without_renewals(url, bell)?))
    }
}

#[async_trait]
impl Approach for Product {
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure> {
        Ok(Box::new(HeldGuard(self.0.acquire(name).await?)))
    }
}

struct HeldGuard(Guard);

#[async_trait]
impl Held for HeldGuard {
    async fn release(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.0.release().await?)
    }
}

/// Reads and swaps the cell: what acquiring would cost if everybody just tried again.
pub(crate) struct Naive(Arc<dyn LockBackend>);

impl Naive {
    pub(crate) fn open(url: &str) -> Result<Self, Failure> {
        Ok(Self(backend(url)?))
    }
}

#[async_trait]
impl Approach for Naive {
    async fn acquire(&self, _: &str) -> Result<Box<dyn Held>, Failure> {
        loop {
            let cell = self.0.load().await?;
            let next = Version(cell.version.0 + 1);
            match self.0.compare_and_swap(cell.version, next, &cell.data).await {
                Ok(Swap::Swapped) => return Ok(Box::new(Nothing)),
                Ok(Swap::Conflict) => {}
                Err(error) if error.kind() == BackendErrorKind::Busy => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

struct Nothing;

#[async_trait]
impl Held for Nothing {
    async fn release(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
