//! Many processes on one cell, each with a lock of its own: how much they get done, and how evenly.

use std::time::Duration;

use crate::Failure;
use crate::statistics::Samples;
use crate::store::Server;
use crate::worker::Worker;

const PROCESSES: usize = 16;

pub(crate) async fn measure(server: &Server, quick: bool) -> Result<(), Failure> {
    println!("\n## {PROCESSES} processes at once on one cell");
    let seconds = if quick { 3 } else { 10 };
    let mut naive = None;
    for (name, bell) in
        [("naive retry", None), ("locks", Some(true)), ("without bell", Some(false))]
    {
        let (url, _) = server.fresh();
        let mut connection = server.connect().await?;
        let mut workers = Worker::start_many(PROCESSES, &url, bell.unwrap_or(false))?;
        // The table is as large as it is while the others hold.
        for (index, worker) in workers.iter_mut().enumerate() {
            worker.tell(&format!("acquire app/{index}"))?;
            worker.hear_time()?;
        }
        if bell.is_some() {
            for worker in &mut workers {
                worker.tell("release")?;
                worker.hear_time()?;
                worker.hear()?;
            }
        }
        let before = connection.statements().await?;
        let updates = connection.writes().await?;
        for (index, worker) in workers.iter_mut().enumerate() {
            worker.tell(&match bell {
                None => format!("naive {seconds}"),
                Some(_) => format!("loop app/{index} {seconds}"),
            })?;
        }
        let samples: Vec<Vec<Duration>> =
            workers.iter_mut().map(Worker::hear_samples).collect::<Result<_, _>>()?;
        let statements = connection.statements().await? - before;
        let swaps = connection.writes().await? - updates;
        let counts: Vec<usize> = samples.iter().map(Vec::len).collect();
        let sum: usize = counts.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "it is not that much")]
        let [rate, mean, least, per] = [
            sum as f64 / f64::from(seconds),
            sum as f64 / PROCESSES as f64,
            counts.iter().copied().min().unwrap_or_default() as f64,
            statements as f64 / sum as f64,
        ];
        println!(
            "{name}: {rate:.0} per second, {:.1} times; slowest {:.0} % of the mean; {per:.1} \
             statements each, {swaps} swaps tried for {sum}; {}",
            rate / *naive.get_or_insert(rate),
            100.0 * least / mean,
            Samples::new(samples.concat())
        );
    }
    Ok(())
}
