//! Stores made of files, whose disk, mount or owner refuses them.

use std::path::Path;
use std::time::Duration;

use super::super::tools::{
    Copy, NOBODY, Room, holds, is_busy, needs, needs_namespaces, needs_root,
};
use super::damaged::names;
use crate::scene::Scene;
use crate::trial::{Failure, Verdict, trials};
use crate::worker::{Report, Worker, WorkerOptions};

trials!("stores":
    a_read_only_directory_is_an_error,
    a_full_disk_is_an_error_until_there_is_room,
    a_store_of_somebody_else_is_an_error_until_it_is_shared,
);

/// How long to wait for a store that may come back.
const PATIENCE: Duration = Duration::from_millis(300);

fn directory(scene: &Scene) -> Result<&Path, Failure> {
    scene.needs_processes()?;
    scene.store().directory().ok_or_else(|| Failure::skipped("the store is not made of files"))
}

/// What a worker says that cannot use its store, when it starts or when it asks.
fn refusal(started: Result<Worker, Failure>, lock: &str) -> Result<String, Failure> {
    let mut worker = match started {
        Ok(worker) => worker,
        Err(Failure::Failed(said)) if said.contains("Refused { kind: \"Store\"") => {
            return Ok(said);
        }
        Err(other) => return Err(other),
    };
    let asked = worker.ask(lock, Some(Duration::ZERO))?;
    match worker.report(asked)? {
        Report::Refused { kind, text } if kind == "Store" => Ok(text),
        other => Err(Failure::failed(format!("not an error of the store: {other:?}"))),
    }
}

/// What is held is known to be busy, or it cannot be read; nobody is let in.
fn is_shut_out(started: Result<Worker, Failure>, lock: &str) -> Verdict {
    let Ok(mut worker) = started else { return refusal(started, lock).map(drop) };
    let asked = worker.ask(lock, Some(Duration::ZERO))?;
    match worker.report(asked)? {
        Report::Refused { kind, .. } if ["Busy", "Store"].contains(&&*kind) => Ok(()),
        other => Err(Failure::failed(format!("it is let in: {other:?}"))),
    }
}

fn a_read_only_directory_is_an_error(scene: &Scene) -> Verdict {
    let directory = directory(scene)?.display().to_string();
    let room = Room::open(
        &["--mount"],
        &format!("mount --bind {directory} {directory}; mount -o remount,bind,ro {directory}"),
    )?;
    let options = WorkerOptions::new("reader").patience(PATIENCE);
    let reader = || scene.worker_with(&options.clone().wrapped_in(room.enter()));
    // A store that is not there yet cannot be made.
    names(&refusal(reader(), "free")?, &directory);

    let mut holder = scene.worker("holder")?;
    let held = holder.acquire("app/blog")?;
    let mut other = scene.worker("other")?;
    let said = refusal(reader(), "free")?;
    names(&said, &directory);
    assert!(said.contains("read-only") || said.contains("write"), "{said}");
    is_shut_out(reader(), "app/blog")?;
    is_busy(&mut other, "app/blog")?;
    holds(&mut holder, held.key)?;
    room.run(&format!("mount -o remount,bind,rw {directory}"))?;
    let mut reader = reader()?;
    is_busy(&mut reader, "app/blog")?;
    reader.acquire("free")?;
    is_busy(&mut other, "free")?;
    reader.close()?;
    holder.close()
}

fn a_full_disk_is_an_error_until_there_is_room(scene: &Scene) -> Verdict {
    const LOCKS_MAX: usize = 1000;
    let directory = directory(scene)?.display().to_string();
    let mount = format!("mount -t tmpfs -o size=2m,mode=700 tmpfs {directory}");
    let room = Room::open(&["--mount"], &mount)?;
    let start = |name| {
        let options = WorkerOptions::new(name).patience(PATIENCE);
        scene.worker_with(&options.wrapped_in(room.enter()))
    };
    let mut holder = start("holder")?;
    let mut other = start("other")?;
    let mut held = vec![holder.acquire("app/0")?];
    room.run(&format!("cat /dev/zero >{directory}/filler || true"))?;
    scene.count("faults", 1);
    let refused = loop {
        assert!(held.len() < LOCKS_MAX, "it is never full");
        let name = format!("app/{}", held.len());
        let asked = holder.ask(&name, Some(Duration::ZERO))?;
        match holder.report(asked)? {
            Report::Granted { fence, task } => {
                held.push(crate::worker::Held { key: asked, fence, task });
            }
            Report::Refused { kind, text } if kind == "Store" => {
                names(&text, &directory);
                break name;
            }
            other => return Err(Failure::failed(format!("on a full disk: {other:?}"))),
        }
    };
    // Whoever comes now has no better luck, and nobody is let in.
    names(&refusal(start("late"), &refused)?, &directory);
    is_shut_out(start("later"), "app/0")?;
    room.run(&format!("rm {directory}/filler"))?;
    for held in &held {
        holds(&mut holder, held.key)?;
    }
    is_busy(&mut other, "app/0")?;
    // What was refused has left nothing behind.
    let free = other.acquire(&refused)?;
    assert!(held.iter().all(|held| held.fence < free.fence));
    let mut late = start("late")?;
    is_busy(&mut late, &refused)?;
    other.close()?;
    late.acquire(&refused)?;
    holder.close()?;
    late.acquire("app/0")?;
    late.close()
}

fn a_store_of_somebody_else_is_an_error_until_it_is_shared(scene: &Scene) -> Verdict {
    let directory = directory(scene)?.display().to_string();
    needs_root()?;
    needs(&["setpriv"])?;
    needs_namespaces(&["--mount"])?;
    let mut owner = scene.worker("owner")?;
    let held = owner.acquire("app/blog")?;
    let copy = Copy::make()?;
    let options = WorkerOptions::new("nobody").patience(PATIENCE).wrapped_in(copy.as_nobody());
    names(&refusal(scene.worker_with(&options), "free")?, &directory);
    is_shut_out(scene.worker_with(&options), "app/blog")?;
    holds(&mut owner, held.key)?;
    let none = || Err(Failure::skipped("its rights are not those of users"));
    scene.store().open_to(NOBODY, NOBODY).unwrap_or_else(none)?;
    let mut nobody = scene.worker_with(&options)?;
    is_busy(&mut nobody, "app/blog")?;
    let free = nobody.acquire("free")?;
    is_busy(&mut owner, "free")?;
    owner.close()?;
    assert!(nobody.acquire("app/blog")?.fence > free.fence);
    nobody.close()
}
