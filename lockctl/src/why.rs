//! `lockctl why`: what would have to happen for locks to be granted.

use std::{
    collections::BTreeSet,
    io::{Write, stdout},
};

use lock_core::{
    Mode, RequestId,
    process::Liveness,
    table::{Blocker, Condition, Why},
};

use crate::{
    cli, duration,
    exit::Exit,
    json::{self, JsonWhy},
    keeper::parent,
    list::locks_text,
    open::with_locks,
    store::Settings,
    style::{Paint, Style},
    waiting::{facts, reason},
};

/// Prints what is in the way of the locks, and ends with 75 if anything is.
pub(crate) fn why(settings: &Settings, options: &cli::Why) -> Exit {
    let found = with_locks(settings, async |locks| {
        let mut task = locks.task("why");
        if let Some(parent) = parent(locks).await? {
            task = task.under(&parent);
        }
        Ok(task.why(options.request()).await?)
    });
    let why = match found {
        Ok(why) => why,
        Err(error) => {
            error.say();
            return error.exit();
        }
    };
    let text = if options.json {
        json::pretty(&JsonWhy::of(&why, settings))
    } else {
        told(&why, settings)
    };
    // A reader that has seen enough closes the pipe.
    let _ = writeln!(stdout(), "{text}");
    if why.is_free() { Exit::Status(0) } else { Exit::Busy }
}

/// What people read.
fn told(why: &Why, settings: &Settings) -> String {
    let paint = Paint::on(&stdout());
    let mut lines = Vec::new();
    if why.is_free() {
        let free = paint.text(Style::Green, "free");
        lines.push(format!("{} {free}: granted at once [{}]", be(why), settings.describe()));
    } else {
        let busy = paint.text(Style::Yellow, "not free");
        lines.push(format!("{} {busy} [{}]", be(why), settings.describe()));
    }
    let mut shown = BTreeSet::new();
    for condition in &why.conditions {
        lines.push(demand(condition));
        for blocker in &condition.blockers {
            tell(why, condition, blocker, &mut shown, &mut lines);
        }
    }
    if !why.is_free() {
        lines.push(format!("who asks now has place {} in the queue", why.place + 1));
    }
    for hold in &why.dead {
        let freed = if why.is_free() {
            "its locks are freed by whoever asks"
        } else {
            "its locks count no more"
        };
        lines.push(format!("{} held {}, and is dead: {freed}", hold.task, locks_text(&hold.locks)));
    }
    lines.join("\n")
}

fn be(why: &Why) -> String {
    let are = if why.locks.len() == 1 { "is" } else { "are" };
    format!("{} {are}", locks_text(&why.locks))
}

/// `backup (limit 2) has to be given back by 1 of these 2:`
fn demand(condition: &Condition) -> String {
    let name = match condition.mode {
        Mode::Exclusive => condition.lock.to_string(),
        mode => format!("{} ({mode})", condition.lock),
    };
    let by = match (condition.count, condition.tasks()) {
        (1, 1) => String::new(),
        (count, all) if count == all => format!(" all {all} of"),
        (count, all) => format!(" {count} of these {all}"),
    };
    format!("{name} has to be given back by{by}:")
}

/// Somebody in the way, and below it whom it waits for itself.
fn tell(
    why: &Why,
    condition: &Condition,
    blocker: &Blocker,
    shown: &mut BTreeSet<RequestId>,
    lines: &mut Vec<String>,
) {
    let facts = facts(blocker, true);
    let other = blocker.lock != condition.lock;
    let lock = if other || blocker.waits { format!(" {}", blocker.lock) } else { " it".into() };
    let mode = if blocker.mode == Mode::Exclusive {
        String::new()
    } else {
        format!(" ({})", blocker.mode)
    };
    lines.push(if blocker.waits {
        format!("  {} is ahead in the queue for{lock}{mode}{facts}", blocker.task)
    } else {
        format!("  {} holds{lock}{mode}{facts}", blocker.task)
    });
    if blocker.client.state == Liveness::Unknown {
        lines.push(format!("    {}", lease(blocker)));
    }
    in_turn(why, blocker, 2, shown, lines);
}

/// Whom somebody in the way waits for in turn; each waiter is told once.
fn in_turn(
    why: &Why,
    blocker: &Blocker,
    depth: usize,
    shown: &mut BTreeSet<RequestId>,
    lines: &mut Vec<String>,
) {
    let indent = "  ".repeat(depth);
    for waiter in why.waits_of(blocker) {
        let who = if waiter.task_id == blocker.task_id {
            "it".into()
        } else {
            format!("its {}", waiter.task)
        };
        if !shown.insert(waiter.id) {
            lines.push(format!("{indent}{who} waits, as told above"));
            continue;
        }
        if waiter.blocked_by.is_empty() {
            lines.push(format!("{indent}{who} waits for {}", locks_text(&waiter.locks)));
        }
        for next in &waiter.blocked_by {
            lines.push(format!("{indent}{who} waits for {}", reason(&waiter.locks, next, true)));
            in_turn(why, next, depth + 1, shown, lines);
        }
    }
}

/// What decides of somebody whom nobody here can see.
fn lease(blocker: &Blocker) -> String {
    match blocker.client.lease {
        Some(lease) => format!(
            "if it has died, its lock is free when its lease of {} has been seen to end",
            duration::age(lease)
        ),
        None => format!(
            "if it has died, only `lockctl release --task {}` frees its lock: it has no lease",
            blocker.task
        ),
    }
}
