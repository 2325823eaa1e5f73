//! What changes, one line each: for logs, pipes and terminals that are none.

use std::{
    collections::BTreeMap,
    io::{self, Write, stdout},
};

use jiff::Timestamp;
use lock_core::{
    RequestId,
    table::{Blocker, HoldView, Listing, WaiterView},
};

use super::News;
use crate::{
    duration,
    list::{locks_text, whereabouts},
    store::Settings,
    waiting::{age, reasons},
};

/// What was told last, to tell only what is new.
pub(super) struct Lines<'a> {
    settings: &'a Settings,
    told: Option<Listing>,
    trouble: bool,
}

impl<'a> Lines<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self { settings, told: None, trouble: false }
    }

    pub(super) fn show(&mut self, news: &News) -> io::Result<()> {
        let mut lines = Vec::new();
        match &news.trouble {
            Some((_, error)) if !self.trouble => {
                lines.push(format!("the store cannot be used: {error}"));
            }
            None if self.trouble => lines.push("the store can be used again".into()),
            _ => {}
        }
        self.trouble = news.trouble.is_some();
        if let (Some(listing), None) = (&news.listing, &news.trouble) {
            if self.told.is_none() {
                let (held, waits) = (listing.holds.len(), listing.waiting.len());
                lines.push(format!("{}: {held} held, {waits} waiting", self.settings.describe()));
            }
            let none = Listing::default();
            changes(self.told.as_ref().unwrap_or(&none), listing, &mut lines);
            self.told = Some(listing.clone());
        }
        let mut out = stdout().lock();
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        for line in lines {
            writeln!(out, "{now} {line}")?;
        }
        out.flush()
    }
}

/// What has changed between two listings: what ended first, then what began.
fn changes(before: &Listing, now: &Listing, lines: &mut Vec<String>) {
    let (held, holds) = (by_id(&before.holds, |hold| hold.id), by_id(&now.holds, |hold| hold.id));
    let (waited, waits) = (by_id(&before.waiting, |w| w.id), by_id(&now.waiting, |w| w.id));
    for hold in before.holds.iter().filter(|hold| !holds.contains_key(&hold.id)) {
        let (locks, age) = (locks_text(&hold.locks), duration::age(age(hold.since)));
        lines.push(format!("{} no longer holds {locks}, which it did for {age}", hold.task));
    }
    for waiter in &before.waiting {
        if !waits.contains_key(&waiter.id) && !holds.contains_key(&waiter.id) {
            lines.push(format!(
                "{} no longer waits for {}",
                waiter.task,
                locks_text(&waiter.locks)
            ));
        }
    }
    for hold in &now.holds {
        match held.get(&hold.id) {
            None => lines.push(holding(hold)),
            Some(before) if before.client.state != hold.client.state => {
                lines.push(format!("{} is {}", hold.task, hold.client.state));
            }
            Some(_) => {}
        }
    }
    for waiter in &now.waiting {
        let is_told = waited.get(&waiter.id).is_some_and(|before| waits_alike(before, waiter));
        if !is_told {
            lines.push(waiting(waiter));
        }
    }
}

fn by_id<T>(all: &[T], id: impl Fn(&T) -> RequestId) -> BTreeMap<RequestId, &T> {
    all.iter().map(|one| (id(one), one)).collect()
}

fn holding(hold: &HoldView) -> String {
    let place = whereabouts(&hold.client);
    let note = hold.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
    format!("{} holds {} ({place}){note}", hold.task, locks_text(&hold.locks))
}

fn waiting(waiter: &WaiterView) -> String {
    let for_whom = match reasons(&waiter.locks, &waiter.blocked_by, true) {
        reasons if reasons.is_empty() => locks_text(&waiter.locks),
        reasons => reasons,
    };
    format!("{} waits for {for_whom}", waiter.task)
}

fn waits_alike(one: &WaiterView, other: &WaiterView) -> bool {
    let whom = |waiter: &WaiterView| {
        let who = |blocker: &Blocker| {
            (blocker.task_id.clone(), blocker.lock.clone(), blocker.waits, blocker.client.state)
        };
        waiter.blocked_by.iter().map(who).collect::<Vec<_>>()
    };
    whom(one) == whom(other)
}
