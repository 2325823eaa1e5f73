//! `lockctl kill`: ends the processes of a task, and frees its locks when they are gone.

use std::{
    collections::BTreeMap,
    io,
    io::Write,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use lock_core::{
    LockName, LockSet, TaskId,
    process::{Liveness, Place, Process, ProcessSet},
    table::{ClientView, Listing},
};

use crate::{
    cli,
    ending::{Ended, Ending},
    exit::Exit,
    keeper::LockError,
    notice,
    open::with_locks,
    processes::{Member, is_here},
    store::Settings,
    strays,
};

/// How long it may take until the dead and the living can be told apart.
const JUDGE_PATIENCE: Duration = Duration::from_secs(1);
const JUDGE_INTERVAL: Duration = Duration::from_millis(20);

/// Why a task is not ended.
#[derive(Debug, thiserror::Error)]
enum KillError {
    #[error("no task {task} holds or waits for anything in {store}; `lockctl list` shows who does")]
    NoTask { task: String, store: String },
    #[error("{task} {why}: nothing was done (`lockctl release` frees its locks and ends nobody)")]
    Refused { task: Arc<str>, why: String },
    #[error(
        "cannot find or signal the processes of {task}, and its locks are not freed: try it as root"
    )]
    Signal { task: String, source: io::Error },
    #[error(
        "{task} is not ended, so its locks are not freed: {pids} did not end when killed; \
         `ps` tells what they wait for, and they end when that does"
    )]
    Survived { task: String, pids: String },
    #[error(
        "the processes of {0} have ended, but this cannot be proved from here: its locks are not freed; \
         `lockctl release --task` frees them"
    )]
    Unproven(String),
    #[error(transparent)]
    Store(#[from] LockError),
}

impl KillError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoTask { .. } => Exit::Status(1),
            Self::Refused { .. } => Exit::Refused,
            Self::Signal { .. } | Self::Survived { .. } | Self::Unproven(_) => Exit::System,
            Self::Store(error) => error.exit(),
        }
    }
}

/// Ends all tasks of this name, with their sub-tasks, and frees their locks.
pub(crate) fn kill(settings: &Settings, options: &cli::Kill) -> Exit {
    match end(settings, options) {
        Ok(report) => {
            let _ = writeln!(io::stdout(), "{report}");
            Exit::Status(0)
        }
        Err(error) => {
            notice::say_error(&error);
            error.exit()
        }
    }
}

/// A client that is to be ended, and its tasks.
#[derive(Debug)]
struct Victim {
    client: Arc<ClientView>,
    tasks: BTreeMap<TaskId, Task>,
}

/// A task, as it is told to people.
#[derive(Debug)]
struct Task {
    name: Arc<str>,
    held: LockSet,
}

fn end(settings: &Settings, options: &cli::Kill) -> Result<String, KillError> {
    let task = &options.task;
    let (listing, victims) = look(settings, task)?;
    if victims.is_empty() {
        return Err(KillError::NoTask { task: task.clone(), store: settings.describe() });
    }
    let failed = |source| KillError::Signal { task: task.clone(), source };
    let alive = victims.iter().filter(|victim| victim.client.state == Liveness::Alive);
    let sets: Vec<&ProcessSet> = alive.map(|victim| &victim.client.processes).collect();
    let mut ending = Ending::sparing(sets, others(&listing, &victims));
    let members = ending.living().map_err(failed)?;
    check_members(task, &members)?;
    let ended = ending.end(settings.kill_grace(options.grace)).map_err(failed)?;
    if ended == Ended::Not {
        let pids = pids(&ending.living().map_err(failed)?);
        return Err(KillError::Survived { task: task.clone(), pids });
    }
    free(settings, task, &victims)?;
    say_detached(&victims);
    Ok(report(&victims, &members, ended))
}

/// Whom it would hit.
fn look(settings: &Settings, task: &str) -> Result<(Listing, Vec<Victim>), KillError> {
    let is_hidden = |victim: &Victim| {
        let client = &victim.client;
        client.state == Liveness::Unknown && is_here(&client.processes.place)
    };
    let begin = Instant::now();
    loop {
        let listing = with_locks(settings, async |locks| Ok(locks.list().await?))?;
        let found = find(&listing, task);
        // Whoever is just dying cannot be judged for a moment.
        if !found.iter().any(is_hidden) || begin.elapsed() >= JUDGE_PATIENCE {
            check_victims(&listing, task, &found)?;
            return Ok((listing, found));
        }
        thread::sleep(JUDGE_INTERVAL);
    }
}

/// The tasks of this name or id and their sub-tasks, by client.
fn find(listing: &Listing, name: &str) -> Vec<Victim> {
    let all = tasks(listing);
    let is_meant = meant(&all, name);
    let mut victims: BTreeMap<_, Victim> = BTreeMap::new();
    for (id, task, client, locks) in all.iter().filter(|one| is_meant(one.0)) {
        let victim = victims
            .entry(client.id)
            .or_insert_with(|| Victim { client: (*client).clone(), tasks: BTreeMap::new() });
        let known = victim.tasks.entry((*id).clone());
        let known = known.or_insert_with(|| Task { name: (*task).clone(), held: LockSet::new() });
        known.held.extend((*locks).clone());
    }
    victims.into_values().collect()
}

type Row<'a> = (&'a TaskId, &'a Arc<str>, &'a Arc<ClientView>, LockSet);

/// All that hold or wait, and what they hold.
fn tasks(listing: &Listing) -> Vec<Row<'_>> {
    let holds = listing.holds.iter();
    let holds = holds.map(|hold| (&hold.task_id, &hold.task, &hold.client, hold.locks.clone()));
    let waiting = listing.waiting.iter();
    let waiting =
        waiting.map(|waiter| (&waiter.task_id, &waiter.task, &waiter.client, LockSet::new()));
    holds.chain(waiting).collect()
}

/// Tells which tasks are meant by a name or an id.
fn meant<'a>(all: &[Row<'a>], name: &str) -> impl Fn(&TaskId) -> bool + use<'a> {
    let meant: Vec<&TaskId> = all
        .iter()
        .filter(|one| **one.1 == *name || one.0.as_str() == name)
        .map(|one| one.0)
        .collect();
    move |id| meant.iter().any(|above| above.contains(id))
}

/// Refuses what would hit others too, or cannot be hit from here.
fn check_victims(listing: &Listing, name: &str, victims: &[Victim]) -> Result<(), KillError> {
    let all = tasks(listing);
    let is_meant = meant(&all, name);
    for victim in victims.iter().filter(|victim| victim.client.state != Liveness::Dead) {
        let task = victim.tasks.values().next().map(|task| task.name.clone()).unwrap_or_default();
        if victim.client.state == Liveness::Unknown {
            let why = unreachable(&victim.client.processes.place);
            return Err(KillError::Refused { task, why });
        }
        let set = &victim.client.processes;
        let shares = |client: &ClientView| {
            client.id == victim.client.id
                || client.processes.place == set.place
                    && set.processes.iter().any(|own| client.processes.processes.contains(own))
        };
        let other = all.iter().find(|one| !is_meant(one.0) && shares(one.2));
        if let Some((_, other, ..)) = other {
            let why = format!("shares its process with {other}, which would end as well");
            return Err(KillError::Refused { task, why });
        }
    }
    Ok(())
}

/// The processes on this host of tasks that are not meant, though one that is may have started them.
fn others<'l>(listing: &'l Listing, victims: &[Victim]) -> Vec<&'l ProcessSet> {
    let is_other = |client: &ClientView| {
        is_here(&client.processes.place) && victims.iter().all(|v| v.client.id != client.id)
    };
    let holders = listing.holds.iter().map(|hold| &hold.client);
    let clients = holders.chain(listing.waiting.iter().map(|waiter| &waiter.client));
    clients.filter(|client| is_other(client)).map(|client| &client.processes).collect()
}

/// Why the processes of that place cannot be ended from this one.
fn unreachable(place: &Place) -> String {
    let here = Place::here();
    let host = place.host.as_deref().unwrap_or("a host without a name");
    if place.boot != here.boot && place.host != here.host {
        format!("runs on {host}: run this command there")
    } else if place.boot != here.boot {
        format!("was started before {host} was booted, or on another host of this name")
    } else if place.pid_ns != here.pid_ns {
        format!("runs in another container of {host}: run this command there")
    } else {
        "has processes that cannot be seen from here".to_owned()
    }
}

/// Refuses what would end this command itself, or part of the processes only.
fn check_members(task: &str, members: &[Member]) -> Result<(), KillError> {
    let refused = |why| Err(KillError::Refused { task: task.into(), why });
    let own = Process::current();
    if members.iter().any(|member| Some(member.process) == own) {
        return refused("runs this very command, which would end before its end".to_owned());
    }
    let foreign: Vec<Member> =
        members.iter().copied().filter(|member| !member.may_be_signalled()).collect();
    if foreign.is_empty() {
        return Ok(());
    }
    refused(format!(
        "belongs to another user ({}): only that user or root can end it",
        pids(&foreign)
    ))
}

/// Frees what is left of them: their clients are proven dead now, if they were not heard to give back.
fn free(settings: &Settings, task: &str, victims: &[Victim]) -> Result<(), KillError> {
    let left = with_locks(settings, async |locks| {
        locks.sweep_dead().await?;
        let listing = locks.list().await?;
        let is_left = |id: &TaskId| {
            listing.holds.iter().any(|hold| hold.task_id == *id)
                || listing.waiting.iter().any(|waiter| waiter.task_id == *id)
        };
        Ok(victims.iter().flat_map(|victim| victim.tasks.keys()).any(is_left))
    })?;
    if left {
        return Err(KillError::Unproven(task.to_owned()));
    }
    let journal = settings.journal(false);
    for (id, task) in victims.iter().flat_map(|victim| &victim.tasks) {
        journal.freed(&task.name, Some(id));
    }
    Ok(())
}

/// Names the daemons of the tasks: they are on their own, as they were meant to be.
fn say_detached(victims: &[Victim]) {
    let tasks: Vec<&TaskId> = victims.iter().flat_map(|victim| victim.tasks.keys()).collect();
    // Where /proc cannot be read nobody would have been ended either.
    let mut living = strays::started_by(&tasks).unwrap_or_default();
    living.retain(|process| Some(*process) != Process::current());
    if let [_, ..] = living[..] {
        let pids: Vec<String> = living.iter().map(|process| process.pid.to_string()).collect();
        notice::say(format_args!(
            "a process that had detached itself from the task lives on: pid {}",
            pids.join(", ")
        ));
    }
}

/// `backup-17: ended (pid 4242, 4243); free: app/blog`
fn report(victims: &[Victim], members: &[Member], ended: Ended) -> String {
    let mut lines = Vec::new();
    for victim in victims {
        let pids = pids(&own(&victim.client.processes, members));
        let how = match (victim.client.state, ended) {
            (Liveness::Dead, _) => "was dead".to_owned(),
            (_, Ended::Killed) => format!("killed ({pids})"),
            (..) => format!("ended ({pids})"),
        };
        for task in victim.tasks.values() {
            let locks: Vec<&str> = task.held.keys().map(LockName::as_str).collect();
            let freed = if locks.is_empty() {
                "out of the queue".to_owned()
            } else {
                format!("free: {}", locks.join(", "))
            };
            lines.push(format!("{}: {how}; {freed}", task.name));
        }
    }
    lines.join("\n")
}

/// Those that the set names, or all of its groups if no named one lives.
fn own(set: &ProcessSet, members: &[Member]) -> Vec<Member> {
    let of = |is_own: &dyn Fn(&Member) -> bool| -> Vec<Member> {
        members.iter().copied().filter(|member| is_own(member)).collect()
    };
    let named = of(&|member| set.processes.contains(&member.process));
    if !named.is_empty() {
        return named;
    }
    let groups: Vec<_> =
        set.groups.iter().filter_map(|group| i32::try_from(group.id).ok()).collect();
    of(&|member| groups.contains(&member.group))
}

/// `pid 4242, 4243`
fn pids(members: &[Member]) -> String {
    let pids: Vec<String> = members.iter().map(|member| member.process.pid.to_string()).collect();
    format!("pid {}", pids.join(", "))
}
