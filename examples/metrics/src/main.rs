//! A program whose tasks wait for each other's locks, and from which Prometheus can fetch how long.
//!
//! ```console
//! $ cargo run -p lock-metrics -- 127.0.0.1:9187
//! $ curl http://127.0.0.1:9187/metrics
//! ```
//!
//! It works until Ctrl-C, or until its input ends.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use lock_core::{AcquireError, Locks, MemoryBackend};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::time::sleep;

/// The upper ends of the buckets that requests and calls of the store are counted in.
const SECONDS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9187".into());
    let address: SocketAddr = address.parse()?;
    // The one thing to do: whatever records metrics in this program, locks count there too.
    PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .install()?;

    println!("http://{address}/metrics tells of them. Ctrl-C ends it.");

    let locks = Locks::new(MemoryBackend::new());
    tokio::select! {
        worked = work(&locks, "backup") => worked?,
        worked = work(&locks, "update") => worked?,
        ended = tokio::task::spawn_blocking(input_ends) => ended?,
    }
    locks.close().await?;
    Ok(())
}

/// Takes the lock again and again.
async fn work(locks: &Locks, task: &str) -> Result<(), AcquireError> {
    let mut task = locks.task(task);
    loop {
        let _guard = task.acquire("app/blog").await?;
        sleep(Duration::from_millis(20)).await;
    }
}

fn input_ends() {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}
