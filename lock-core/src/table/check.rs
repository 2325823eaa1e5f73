//! The rules that a table must keep, checked whenever one is read.

use super::claims::Claim;
use super::{LockTable, fit};
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
        self.check_claims()
    }

    /// No two holds conflict, but for those of tasks and their own sub-tasks.
    fn check_claims(&self) -> Result<(), &'static str> {
        const CONFLICT: Result<(), &str> = Err("two holds conflict");
        let strangers = |one: &Claim<'_>, other: &Claim<'_>| {
            !one.task.contains(other.task) && !other.task.contains(one.task)
        };
        let claims = &self.claims;
        for (name, exclusive) in claims.each_exclusive() {
            for (number, one) in exclusive.clone().filter(Claim::is_held).enumerate() {
                let others =
                    exclusive.clone().skip(number + 1).chain(claims.open_on(name.as_str()));
                let above = name.above();
                let above = above.flat_map(|up| claims.exclusive_on(up).chain(claims.open_on(up)));
                let mut beside = others.chain(above).filter(Claim::is_held);
                if beside.any(|other| strangers(&one, &other)) {
                    return CONFLICT;
                }
            }
        }
        for (name, open) in claims.each_open() {
            let held: Vec<Claim<'_>> = open.filter(Claim::is_held).collect();
            let mut above = name.above().flat_map(|up| claims.exclusive_on(up));
            if above.any(|up| up.is_held() && held.iter().any(|claim| strangers(claim, &up))) {
                return CONFLICT;
            }
            let tightest = held.iter().map(|claim| claim.mode.tolerance()).min();
            if tightest.is_none_or(|tightest| held.len() as u64 <= tightest) {
                continue;
            }
            for claim in &held {
                // What others tolerate is theirs to judge: sub-tasks may share out more widely what
                // their ancestor holds under a limit.
                let beside = held.iter().copied().filter(|other| strangers(claim, other));
                if fit::slots(&beside.collect::<Vec<_>>()) >= claim.mode.tolerance() {
                    return CONFLICT;
                }
            }
        }
        Ok(())
    }
}

fn check_text(text: &str) -> Result<(), &'static str> {
    name::check(text).map_err(|_| "a name is empty, too long or has control characters")
}
