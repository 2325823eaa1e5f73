//! What was measured as lines of text, for whoever looks on.

use std::fmt::{Display, Formatter, Result};

use crate::results::{
    Command, Compared, Contention, HandOff, Many, Parts, Recovery, Rest, Tasks, Versus, Waiting,
    number, time,
};

/// How processes of one host hear of each other.
fn help(bell: bool) -> &'static str {
    if bell { "on one host" } else { "without help of the host" }
}

impl Display for Versus {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { store, operation, holds, bytes, ours, .. } = self;
        write!(f, "{store}, {operation} beside {holds} holds, {bytes} bytes: {ours}")?;
        if let (Some(floor), Some((times, more))) = (self.floor, self.above()) {
            write!(f, "; bare {floor}; {times:.2} times, {} more", time(more.max(0.0)))?;
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
        let p50 = |spread: Option<crate::results::Spread>| {
            spread.map_or_else(|| "?".into(), |spread| time(spread.p50))
        };
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
