//! Layer 4: what is done under a lock has its effect.

use std::collections::HashMap;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::scene::Scene;
use crate::trial::{Failure, Verdict, trials};
use crate::updates::{Update, lines};
use crate::worker::{Order, Report, Worker};

trials!("effect":
    #[random] updates_by_clients_of_one_process_are_not_lost,
    #[random] updates_by_processes_are_not_lost,
    #[random] updates_are_not_lost_when_processes_are_killed,
    #[random] a_fenced_resource_refuses_every_older_token,
    a_fenced_resource_refuses_a_paused_writer,
);

const WRITERS: usize = 4;
const TIMES: usize = 25;

fn updates_by_clients_of_one_process_are_not_lost(scene: &Scene) -> Verdict {
    let sheet = Sheet::new(scene)?;
    thread::scope(|threads| {
        let write = |number| {
            let locks = scene.locks()?;
            scene.block_on(async {
                sheet.update(number).run(&locks).await.map_err(Failure::failed)?;
                Ok::<(), Failure>(locks.close().await?)
            })
        };
        let threads: Vec<_> =
            (0..WRITERS).map(|number| threads.spawn(move || write(number))).collect();
        threads.into_iter().try_for_each(|t| t.join().expect("a writer does not panic"))
    })?;
    sheet.check(scene, &[])
}

fn updates_by_processes_are_not_lost(scene: &Scene) -> Verdict {
    let sheet = Sheet::new(scene)?;
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let mut worker = scene.worker(&format!("writer {number}"))?;
        let order = worker.order(Order::Update(sheet.update(number)))?;
        writers.push((worker, order));
    }
    for (mut worker, order) in writers {
        done(&worker.report(order)?)?;
        worker.close()?;
    }
    sheet.check(scene, &[])
}

fn updates_are_not_lost_when_processes_are_killed(scene: &Scene) -> Verdict {
    let sheet = Sheet::new(scene)?;
    let mut random = scene.random(1);
    let kills = scene.cases(6);
    let mut killed = Vec::new();
    let mut hired = 0;
    let mut hire = || -> Result<(usize, Worker, u64), Failure> {
        let number = hired;
        hired += 1;
        let mut worker = scene.worker(&format!("writer {number}"))?;
        let order = worker.order(Order::Update(sheet.update(number)))?;
        Ok((number, worker, order))
    };
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push(hire()?);
    }
    for _ in 0..kills {
        // When it strikes is up to chance.
        thread::sleep(Duration::from_millis(random.u64(1..30)));
        let at = random.usize(..WRITERS);
        let next = hire()?;
        let (number, mut worker, _) = std::mem::replace(&mut writers[at], next);
        worker.kill()?;
        scene.count("kills", 1);
        killed.push(number);
    }
    for (_, mut worker, order) in writers {
        done(&worker.report(order)?)?;
        worker.close()?;
    }
    sheet.check(scene, &killed)
}

fn done(report: &Report) -> Verdict {
    match report {
        Report::Done => Ok(()),
        other => Err(Failure::failed(format!("a writer fails: {other:?}"))),
    }
}

/// The file that all write to.
struct Sheet {
    directory: PathBuf,
    file: PathBuf,
    /// How many lines each writer writes.
    times: usize,
}

impl Sheet {
    fn new(scene: &Scene) -> Result<Self, Failure> {
        let directory = scene.evidence();
        let file = directory.join("sheet");
        std::fs::write(&file, "")?;
        Ok(Self { directory, file, times: scene.cases(TIMES) })
    }

    fn update(&self, number: usize) -> Update {
        Update {
            lock: "sheet".into(),
            file: self.file.clone(),
            notes: self.directory.join(format!("notes-{number}")),
            writer: number.to_string(),
            times: self.times,
        }
    }

    /// Each line that was noted is there once; a killed writer may have written one more.
    fn check(&self, scene: &Scene, killed: &[usize]) -> Verdict {
        let text = std::fs::read_to_string(&self.file)?;
        let mut found = lines(&text);
        let mut more: HashMap<usize, usize> = HashMap::new();
        let mut noted = 0;
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path == self.file {
                continue;
            }
            for line in std::fs::read_to_string(path)?.lines() {
                noted += 1;
                if found.remove(line) != Some(1) {
                    return Err(Failure::failed(format!("the line \"{line}\" is lost or doubled")));
                }
            }
        }
        for (line, times) in found {
            let writer = line.split_whitespace().next().and_then(|writer| writer.parse().ok());
            let Some(writer) = writer.filter(|writer| killed.contains(writer) && times == 1) else {
                return Err(Failure::failed(format!("nobody wrote the line \"{line}\"")));
            };
            *more.entry(writer).or_default() += 1;
        }
        scene.count("operations", noted);
        match more.iter().find(|(_, lines)| **lines > 1) {
            Some((writer, lines)) => {
                Err(Failure::failed(format!("{lines} lines of the killed {writer} are not noted")))
            }
            None => Ok(()),
        }
    }
}

/// A resource that remembers the greatest token it was written with, and refuses smaller ones.
#[derive(Debug, Default)]
struct Fenced {
    greatest: u64,
    content: String,
}

impl Fenced {
    #[must_use]
    fn write(&mut self, token: u64, content: &str) -> bool {
        let accepted = token >= self.greatest;
        if accepted {
            self.greatest = token;
            self.content = content.into();
        }
        accepted
    }
}

fn a_fenced_resource_refuses_every_older_token(scene: &Scene) -> Verdict {
    let clients = [scene.locks()?.blocking(), scene.locks()?.blocking()];
    let mut random = scene.random(1);
    let mut resource = Fenced::default();
    let mut tokens: Vec<u64> = Vec::new();
    for case in 0..scene.cases(30) {
        // What conflicts with each other writes to the resource, by whatever name.
        let lock = *random.choice(&["app/blog", "app"]).expect("there are some");
        let guard = random.choice(&clients).expect("there are some").acquire(lock)?;
        let token = guard.fence();
        if tokens.last().is_some_and(|last| *last >= token) {
            return Err(Failure::failed(format!("token {token} comes after {tokens:?}")));
        }
        assert!(resource.write(token, &format!("write {case}")));
        if let Some(old) = tokens.iter().find(|old| resource.write(**old, "late")) {
            return Err(Failure::failed(format!("token {old} was accepted after {token}")));
        }
        assert_eq!(resource.content, format!("write {case}"));
        tokens.push(token);
        guard.release()?;
        scene.count("operations", 1);
    }
    for client in clients {
        client.close()?;
    }
    Ok(())
}

/// An operator gives a paused writer's lock to somebody else: the writer cannot know yet.
fn a_fenced_resource_refuses_a_paused_writer(scene: &Scene) -> Verdict {
    let mut resource = Fenced::default();
    let mut writer = scene.worker("writer")?;
    let held = writer.acquire("app/blog")?;
    assert!(resource.write(held.fence, "first"));
    writer.signal(Signal::STOP)?;
    scene.count("stops", 1);
    let locks = scene.locks()?.blocking();
    assert!(locks.try_acquire("app/blog").unwrap_err().is_busy());
    assert_eq!(locks.release_task("task app/blog")?, 1);
    let guard = locks.try_acquire("app/blog")?;
    assert!(resource.write(guard.fence(), "second"));
    writer.signal(Signal::CONT)?;
    if resource.write(held.fence, "late") {
        return Err(Failure::failed("the token of the paused writer was accepted"));
    }
    assert_eq!(resource.content, "second");
    // And it learns of it.
    done(&writer.call(Order::Lost(held.key))?)?;
    guard.verify()?;
    guard.release()?;
    writer.close()
}
