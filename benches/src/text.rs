//! What was measured as lines of text, for whoever looks on.

use std::fmt::{Display, Formatter, Result};

use crate::results::{
    Command, Compared, Contention, HandOff, Holding, Many, Parts, Recovery, Rest, Spread, Tasks,
    Versus, Waiting, number, time,
};

/// A difference in microseconds, which may be less than nothing.
pub(crate) fn signed(microseconds: f64) -> String {
    if microseconds < 0.0 { format!("−{}", time(-microseconds)) } else { time(microseconds) }
}

/// The same in words.
pub(crate) fn more(microseconds: f64) -> String {
    let word = if microseconds < 0.0 { "less" } else { "more" };
    format!("{} {word}", time(microseconds.abs()))
}

/// A ratio, in as many digits as say something.
pub(crate) fn times(ratio: f64) -> String {
    match ratio {
        ratio if ratio > 0.0 && ratio < 0.095 => format!("1/{:.0} ×", 1.0 / ratio),
        ratio if ratio < 9.995 => format!("{ratio:.2} ×"),
        ratio if ratio < 99.95 => format!("{ratio:.1} ×"),
        ratio => format!("{} ×", number(ratio)),
    }
}

/// The 99th of a hundred; of fewer than that there is none, and the slowest is told.
pub(crate) fn tail(spread: &Spread) -> String {
    match spread.samples {
        100.. => format!("p99 {}", time(spread.p99)),
        samples => format!("max of {samples} {}", time(spread.max)),
    }
}

/// So many in a second.
pub(crate) fn per_second(rate: f64) -> String {
    format!("{}/s", number(rate))
}

/// Milliseconds that somebody has waited.
pub(crate) fn seconds(ms: u64) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { format!("{} s", ms / 1_000) }
}

pub(crate) fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.into()
}

/// How processes of one host hear of each other.
fn help(bell: bool) -> &'static str {
    if bell { "on one host" } else { "without help of the host" }
}

impl Display for Versus {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { store, operation, holds, bytes, ours, .. } = self;
        write!(f, "{store}, {operation} beside {holds} holds, {bytes} bytes: {ours}")?;
        if let (Some(floor), Some((ratio, above))) = (self.floor, self.above()) {
            write!(f, "; bare {floor}; {}, {}", times(ratio), more(above))?;
        }
        Ok(())
    }
}

impl Display for Parts {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { store, cell, asked, in_runtime } = self;
        let all = [cell, asked, in_runtime];
        let [cell, asked, ours] =
            all.map(|pair| pair.map(|spread| time(spread.p50)).join(" and bare "));
        write!(f, "{store}: by the backend {cell}; by a thread {asked}; ")?;
        write!(f, "acquire without a thread {ours}")
    }
}

impl Display for Tasks {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { store, way, count, rate } = self;
        write!(f, "{store}, {count} tasks with {way}: {} per second", number(*rate))
    }
}

impl Display for Many {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { store, locks, seconds, .. } = self;
        write!(f, "{store}: {locks} locks held at once, taken in {seconds:.1} s")?;
        self.connections.map_or(Ok(()), |count| write!(f, ", by {count} connections"))
    }
}

impl Display for Holding {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { clients, holds, bytes, each } = self;
        write!(f, "{holds} holds of {clients} clients: {bytes} bytes, {each:.0} for one more")
    }
}

impl Display for HandOff {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { store, waited_ms, took, bare, bell } = self;
        write!(f, "{store}, {}, after {waited_ms} ms: {took}; ", help(*bell))?;
        write!(f, "by a server in memory {bare}")
    }
}

impl Display for Recovery {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}: {}", self.store, self.took)
    }
}

impl Display for Waiting {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { store, waiters, rate, writes, in_order, gap, bell } = self;
        write!(
            f,
            "{store}, {}, {waiters} waiting: {} statements per second; {writes} writes to serve \
             them, in order: {in_order}; from one to the next: {gap}",
            help(*bell),
            number(*rate)
        )
    }
}

impl Display for Contention {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { store, way, processes, rate, slowest, statements, took } = self;
        write!(
            f,
            "{store}, {processes} processes, {way}: {} per second; slowest {:.0} % of the mean; \
             {statements:.1} statements each; {took}",
            number(*rate),
            100.0 * slowest
        )
    }
}

impl Display for Rest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { store, tasks, seconds, statements, .. } = self;
        match self.lease_seconds {
            None => write!(f, "{store}, {tasks} tasks without a lease: ")?,
            Some(lease) => write!(f, "{store}, {tasks} tasks with a lease of {lease} s: ")?,
        }
        write!(f, "{statements} statements in {seconds:.1} s")
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}: {}", self.name, self.took)?;
        self.memory_kib.map_or(Ok(()), |kib| write!(f, "; {kib} KiB"))
    }
}

impl Display for Compared {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "{} ({}):", self.name, self.store)?;
        let p50 =
            |spread: Option<Spread>| spread.map_or_else(|| "?".into(), |spread| time(spread.p50));
        let rate = |rate: Option<f64>| rate.map_or_else(|| "?".into(), number);
        write!(
            f,
            "  acquire {}, release {}; per second: {} by tasks, {} by processes, {} on one lock; \
             handed on in {}; passed {:?}; crash {:?}; restart {:?}; connections {:?}",
            p50(self.acquire),
            p50(self.release),
            rate(self.tasks),
            rate(self.processes),
            rate(self.contended),
            p50(self.hand_off),
            self.passed,
            self.crash.as_ref().map(|crash| crash.free_after_ms),
            self.restart,
            self.connections
        )?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n  failed: {failure}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_less_is_not_hidden() {
        assert_eq!([signed(-17.0), signed(17.0)], ["−17 µs", "17 µs"]);
        assert_eq!([more(-17.0), more(17.0)], ["17 µs less", "17 µs more"]);
    }

    #[test]
    fn a_ratio_is_not_rounded_to_what_it_has_to_be() {
        assert_eq!(
            [0.02, 0.934, 3.96, 17.93, 683.2].map(times),
            ["1/50 ×", "0.93 ×", "3.96 ×", "17.9 ×", "683 ×"]
        );
    }

    #[test]
    fn few_samples_have_no_99th_of_a_hundred() {
        let of = |samples| Spread { p50: 1.0, p99: 20.0, max: 30.0, samples };
        assert_eq!([tail(&of(100)), tail(&of(12))], ["p99 20 µs", "max of 12 30 µs"]);
    }
}
