//! Who is dead: by probe where that is possible, else by watching a lease for its whole length.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Reach, Version};
use crate::failpoint::{Mutant, is};
use crate::ids::ClientId;
use crate::process::{Liveness, Place};
use crate::table::{ClientView, LockTable, Op};

/// So long it is not looked again where this process is: a look at a hundred others is one at that.
const HERE_AGE: Duration = Duration::from_millis(100);

/// What this client has seen of the others.
#[derive(Debug)]
pub(super) struct Judge {
    reach: Reach,
    /// Whose clock it is: the boot, and the time namespace in it.
    boot: Option<Arc<str>>,
    /// Renewal marks, and since when they have been seen (`CLOCK_BOOTTIME`).
    seen: HashMap<ClientId, (Version, Duration)>,
    /// Where this process is, and when that was looked at (`CLOCK_BOOTTIME`).
    here: Option<(Place, Duration)>,
}

impl Judge {
    pub(super) fn new(reach: Reach, here: &Place) -> Self {
        // A time namespace has a clock of its own.
        let key = |boot: &String| match here.time_ns {
            Some(time_ns) => format!("{boot}/{time_ns}").into(),
            None => boot.as_str().into(),
        };
        Self { reach, boot: here.boot.as_ref().map(key), seen: HashMap::new(), here: None }
    }

    /// Judges a client as it is in a table that was read before `now`.
    ///
    /// Its lease has ended if the same renewal was seen for all its length on the clock of this
    /// boot. No other clock is looked at.
    pub(super) fn judge(
        &mut self,
        client: &ClientView,
        table: &LockTable,
        now: Duration,
    ) -> Liveness {
        let is_recent = |(_, looked): &(Place, Duration)| now.saturating_sub(*looked) < HERE_AGE;
        let here = self.here.take().filter(is_recent).unwrap_or_else(|| (Place::here(), now));
        let (here, _) = self.here.insert(here);
        let probed = match client.processes.probe_from(here, self.reach) {
            Liveness::Unknown if is(Mutant::UnknownIsDead) => Liveness::Dead,
            probed => probed,
        };
        let (Liveness::Unknown, Some(lease)) = (probed, client.lease) else { return probed };
        let left_by_others = self.first_seen_in(client, table).unwrap_or(now);
        let seen = self.see(client, now);
        seen.1 = seen.1.min(left_by_others);
        if now.saturating_sub(seen.1) >= lease { Liveness::Dead } else { Liveness::Unknown }
    }

    /// Tells whether a client was seen not to renew for all its lease.
    ///
    /// One that lives and still has its holds does renew. A restored store may have given it back
    /// some that it has ended, and it has no reason of its own to look.
    pub(super) fn is_overdue(&mut self, client: &ClientView, now: Duration) -> bool {
        let Some(lease) = client.lease else { return false };
        now.saturating_sub(self.see(client, now).1) >= lease
    }

    fn see(&mut self, client: &ClientView, now: Duration) -> &mut (Version, Duration) {
        let seen = self.seen.entry(client.id).or_insert((client.mark, now));
        if seen.0 != client.mark {
            *seen = (client.mark, now);
        }
        seen
    }

    /// Since when observers of this boot have seen the client's mark, if one left that behind.
    fn first_seen_in(&self, client: &ClientView, table: &LockTable) -> Option<Duration> {
        let (mark, first_ms) = table.seen_since_ms(client.id, self.boot.as_ref()?)?;
        (mark == client.mark).then(|| Duration::from_millis(first_ms))
    }

    /// What to leave in the table for the next observer of this boot, if that is worth a write.
    pub(super) fn observation(&self, client: &ClientView, table: &LockTable) -> Option<Op> {
        client.lease?;
        let boot = self.boot.clone()?;
        let (mark, first) = self.seen.get(&client.id)?;
        let known = self.first_seen_in(client, table).is_some_and(|known| known <= *first);
        let first_ms = u64::try_from(first.as_millis()).unwrap_or(u64::MAX);
        (!known).then_some(Op::Observe { client: client.id, mark: *mark, boot, first_ms })
    }

    /// Forgets clients that are gone.
    pub(super) fn retain(&mut self, table: &LockTable) {
        self.seen.retain(|id, _| table.client(*id).is_some());
    }
}
