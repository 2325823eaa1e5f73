//! The rules that a table must keep, checked whenever one is read.

use super::{Claim, LockTable, fit};
use crate::backend::Version;
use crate::name::{self, LockName};

impl LockTable {
    /// Says which rule is broken, if one is. `version` is that of the cell.
    pub(super) fn check(&self, version: Version) -> Result<(), &'static str> {
        if version > Version::MAX || version == Version::ABSENT {
            return Err("its version is out of range");
        }
        if self.posted.numbers().any(|number| number > version) {
            return Err("a post is newer than the table");
        }
        for client in self.clients.values() {
            check_text(&client.name)?;
            if client.site.is_some_and(|number| !self.sites.contains_key(&number)) {
                return Err("a client is at no site");
            }
            if client.mark > version || client.seen.values().any(|seen| seen.mark > version) {
                return Err("a renewal is newer than the table");
            }
            if client.tasks.is_empty() && client.freed.is_empty() {
                return Err("a client has nothing");
            }
            for task in client.tasks.values() {
                task.name.as_ref().map_or(Ok(()), |name| check_text(name))?;
                if task.holds.is_empty() && task.waiters == 0 {
                    return Err("a task has nothing");
                }
                for (number, hold) in &task.holds {
                    if client.freed.contains(number) {
                        return Err("a request is in the table twice");
                    }
                    if hold.fence > version || hold.fence == Version::ABSENT {
                        return Err("a fence is out of range");
                    }
                    let covered = |(name, fence): (&LockName, &Version)| {
                        hold.locks.contains_key(name) && *fence <= hold.fence
                    };
                    if !hold.fences.iter().all(covered) {
                        return Err("a covered fence is out of range");
                    }
                }
            }
        }
        self.claims.iter().try_for_each(|(name, claims)| self.check_claims(name, claims))
    }

    /// No two holds conflict, but for those of tasks and their own sub-tasks.
    fn check_claims(&self, name: &LockName, claims: &[Claim]) -> Result<(), &'static str> {
        let strangers = |one: &Claim, other: &Claim| {
            !one.task.contains(&other.task) && !other.task.contains(&one.task)
        };
        let held = || claims.iter().filter(|claim| claim.ticket.is_none());
        for up in name.above().filter_map(|up| self.claims.get(up)) {
            for above in up.iter().filter(|claim| claim.ticket.is_none()) {
                let clash = |claim: &Claim| {
                    (claim.mode.is_exclusive() || above.mode.is_exclusive())
                        && strangers(claim, above)
                };
                if held().any(clash) {
                    return Err("two holds conflict");
                }
            }
        }
        let tightest = held().map(|claim| claim.mode.tolerance()).min().unwrap_or(u64::MAX);
        if tightest == u64::MAX || held().count() as u64 <= tightest {
            return Ok(());
        }
        for claim in held() {
            // What others tolerate is theirs to judge: sub-tasks may share out more widely what
            // their ancestor holds under a limit.
            let beside: Vec<&Claim> = held().filter(|other| strangers(claim, other)).collect();
            if fit::slots(&beside) >= claim.mode.tolerance() {
                return Err("two holds conflict");
            }
        }
        Ok(())
    }
}

fn check_text(text: &str) -> Result<(), &'static str> {
    name::check(text).map_err(|_| "a name is empty, too long or has control characters")
}
