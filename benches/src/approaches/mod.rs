//! The ways to have named locks that are compared, each as small as whoever knows its store would write it.

mod file;
mod product;
mod redis;
pub(crate) mod socket;
mod sql;

use std::sync::Arc;

use lock_bench_worker::{Approach, Failure};

/// Opens an approach by its name, at a URL or path.
pub(crate) async fn open(name: &str, at: &str) -> Result<Arc<dyn Approach>, Failure> {
    Ok(match name {
        "interlock" => Arc::new(product::Product::open(at, true)?),
        "interlock-without-bell" => Arc::new(product::Product::open(at, false)?),
        "interlock-without-renewals" => Arc::new(product::Product::without_renewals(at, true)?),
        "interlock-without-renewals-or-bell" => {
            Arc::new(product::Product::without_renewals(at, false)?)
        }
        "naive" => Arc::new(product::Naive::open(at)?),
        "old-blob" => Arc::new(sql::OldBlob::open(at).await?),
        "row" => Arc::new(sql::Row::open(at).await?),
        "for-update" => Arc::new(sql::ForUpdate::open(at).await?),
        "lock-tables" => Arc::new(sql::LockTables::open(at).await?),
        "get-lock" => Arc::new(sql::GetLock::open(at).await?),
        "o-excl" => Arc::new(file::Excl::open(at)),
        "flock" => Arc::new(file::Flock::open(at)),
        "sqlite" => Arc::new(file::Sqlite::open(at)?),
        "redis" => Arc::new(redis::SetNx::open(at).await?),
        "socket" => Arc::new(socket::Client::open(at)),
        _ => return Err(format!("there is no approach {name}").into()),
    })
}

/// Who holds, as the approaches write it that write anything: unique among all processes.
fn owner() -> String {
    format!("{}-{:016x}", std::process::id(), fastrand::u64(..))
}
