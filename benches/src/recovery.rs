//! The holder is killed: how soon the next process on the same host has the lock.

use std::thread::sleep;
use std::time::Duration;

use crate::Failure;
use crate::statistics::Samples;
use crate::store::Server;
use crate::worker::{Worker, now};

pub(crate) fn measure(server: &Server, quick: bool) -> Result<(), Failure> {
    println!("\n## From SIGKILL of the holder to acquire returned in another process on the host");
    for wait in [100, 1_000] {
        let wait = Duration::from_millis(wait);
        let rounds = if quick { 5 } else { 50 };
        let url = server.fresh().0;
        let mut samples = Vec::new();
        let mut holder = Worker::start(&url, true)?;
        holder.tell("acquire app/blog")?;
        holder.hear_time()?;
        for _ in 0..rounds {
            let mut waiter = Worker::start(&url, true)?;
            waiter.tell("acquire app/blog")?;
            sleep(wait);
            let killed = now();
            drop(holder);
            samples.push(waiter.hear_time()?.saturating_sub(killed));
            holder = waiter;
        }
        println!("  after {wait:?}: {}", Samples::new(samples));
    }
    Ok(())
}
