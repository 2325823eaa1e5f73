//! Layer 3: histories of many processes, checked exactly.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use lock_core::Locks;
use rustix::process::Signal;

use crate::history::{self, Event, Recorder, Recording, What, check};
use crate::player::Play;
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict, trials};
use crate::worker::{Order, Report, Worker, WorkerOptions};

trials!("history":
    #[random] clients_of_one_process_make_a_good_history,
    #[random] processes_make_a_good_history,
    #[random] killed_processes_leave_a_good_history,
    #[random] stopped_processes_leave_a_good_history,
);

const CLIENTS: usize = 4;
const LINES: usize = 2;
const REQUESTS: usize = 25;

fn clients_of_one_process_make_a_good_history(scene: &Scene) -> Verdict {
    let files: Vec<PathBuf> = (0..CLIENTS).map(|number| file(scene, number)).collect();
    let mut clients = Vec::new();
    for (number, file) in (0..).zip(&files) {
        let recorder = Recorder::open(file)?;
        let locks = Locks::new(Recording::new(scene.backend()?, recorder.clone()));
        clients.push((locks, recorder, play(scene, number)));
    }
    let played: Vec<Result<(), String>> = thread::scope(|threads| {
        let play = |(locks, recorder, play): (Locks, Recorder, Play)| {
            scene.block_on(async {
                play.run(&locks, &recorder).await?;
                locks.close().await.map_err(|error| error.to_string())
            })
        };
        let threads: Vec<_> =
            clients.into_iter().map(|client| threads.spawn(move || play(client))).collect();
        threads.into_iter().map(|t| t.join().expect("a player does not panic")).collect()
    });
    judge(scene, &files, Vec::new())?;
    played.into_iter().collect::<Result<(), _>>().map_err(Failure::failed)
}

fn processes_make_a_good_history(scene: &Scene) -> Verdict {
    let mut crew = Crew::start(scene)?;
    while crew.goes_on()? {
        thread::sleep(Duration::from_millis(1));
    }
    crew.end()
}

fn killed_processes_leave_a_good_history(scene: &Scene) -> Verdict {
    let mut crew = Crew::start(scene)?;
    let mut random = scene.random(1);
    let mut left = scene.cases(6);
    while crew.goes_on()? {
        // When it strikes is up to chance.
        thread::sleep(Duration::from_millis(random.u64(1..40)));
        if left > 0 && crew.kill(random.usize(..CLIENTS))? {
            left -= 1;
        }
    }
    if crew.kills.is_empty() {
        return Err(Failure::failed("nobody was killed while it played"));
    }
    crew.end()
}

fn stopped_processes_leave_a_good_history(scene: &Scene) -> Verdict {
    let mut crew = Crew::start(scene)?;
    let mut random = scene.random(2);
    while crew.goes_on()? {
        thread::sleep(Duration::from_millis(random.u64(1..10)));
        let player = &crew.players[random.usize(..CLIENTS)];
        if !player.is_done {
            player.worker.signal(Signal::STOP)?;
            thread::sleep(Duration::from_millis(random.u64(1..30)));
            player.worker.signal(Signal::CONT)?;
            scene.count("stops", 1);
        }
    }
    crew.end()
}

/// Workers that play.
struct Crew<'s> {
    scene: &'s Scene,
    players: Vec<Player>,
    files: Vec<PathBuf>,
    kills: Vec<Event>,
    failures: Vec<Failure>,
    began: Instant,
}

struct Player {
    worker: Worker,
    order: u64,
    file: PathBuf,
    is_done: bool,
}

impl<'s> Crew<'s> {
    fn start(scene: &'s Scene) -> Result<Self, Failure> {
        scene.needs_processes()?;
        let began = Instant::now();
        let mut crew = Self {
            scene,
            players: Vec::new(),
            files: Vec::new(),
            kills: Vec::new(),
            failures: Vec::new(),
            began,
        };
        let mut workers = Vec::new();
        for _ in 0..CLIENTS {
            workers.push(crew.hire()?);
        }
        for (worker, file) in workers {
            let player = crew.send_off(worker, file)?;
            crew.players.push(player);
        }
        Ok(crew)
    }

    fn hire(&mut self) -> Result<(Worker, PathBuf), Failure> {
        let number = self.files.len();
        let file = file(self.scene, number);
        self.files.push(file.clone());
        let options = WorkerOptions::new(&format!("player {number}")).history(&file);
        Ok((self.scene.worker_with(&options)?, file))
    }

    fn send_off(&self, mut worker: Worker, file: PathBuf) -> Result<Player, Failure> {
        let number = self.files.iter().position(|f| *f == file).unwrap_or_default();
        let order = worker.order(Order::Play(play(self.scene, number as u64)))?;
        Ok(Player { worker, order, file, is_done: false })
    }

    /// Whether anybody still plays.
    fn goes_on(&mut self) -> Result<bool, Failure> {
        for player in self.players.iter_mut().filter(|player| !player.is_done) {
            let report = player.worker.report_within(player.order, Duration::ZERO)?;
            player.is_done = report.is_some();
            if let Some(report) = report.filter(|report| *report != Report::Done) {
                self.failures.push(Failure::failed(format!("a player fails: {report:?}")));
            }
        }
        let goes_on = self.players.iter().any(|player| !player.is_done);
        if goes_on && self.began.elapsed() > LIVENESS {
            self.failures.push(Failure::failed("the players do not come to an end"));
            return Ok(false);
        }
        Ok(goes_on)
    }

    /// Kills a player if it still plays, and starts another in its place.
    fn kill(&mut self, number: usize) -> Result<bool, Failure> {
        if self.players[number].is_done {
            return Ok(false);
        }
        let at = history::now();
        self.players[number].worker.kill()?;
        self.scene.count("kills", 1);
        let written = history::read(&self.players[number].file)?;
        if let Some(task) = written.iter().find_map(|event| event.what.task()) {
            self.kills.push(Event { at, what: What::Killed { client: task.client() } });
        }
        let (worker, file) = self.hire()?;
        self.players[number] = self.send_off(worker, file)?;
        Ok(true)
    }

    /// Closes all, and judges.
    fn end(mut self) -> Verdict {
        for player in self.players.drain(..) {
            if player.is_done {
                player.worker.close()?;
            }
        }
        judge(self.scene, &self.files, self.kills)?;
        self.failures.into_iter().next().map_or(Ok(()), Err)
    }
}

fn file(scene: &Scene, number: usize) -> PathBuf {
    scene.evidence().join(format!("client-{number}.jsonl"))
}

fn play(scene: &Scene, number: u64) -> Play {
    Play { seed: scene.random(100 + number).u64(..), lines: LINES, requests: scene.cases(REQUESTS) }
}

/// Merges what all have written, and checks it.
fn judge(scene: &Scene, files: &[PathBuf], kills: Vec<Event>) -> Verdict {
    let mut events = kills;
    for file in files.iter().filter(|file| file.exists()) {
        events.extend(history::read(file)?);
    }
    events.sort_by_key(|event| event.at);
    let merged = scene.evidence().join("history.jsonl");
    history::write(&merged, &events)?;
    let asked = events.iter().filter(|event| matches!(event.what, What::Asked { .. })).count();
    scene.count("operations", asked);
    let count = |is: fn(&What) -> bool| events.iter().filter(|event| is(&event.what)).count();
    let [granted, queued, refused] = [
        count(|what| matches!(what, What::Granted { .. })),
        count(|what| matches!(what, What::Queued { .. })),
        count(|what| matches!(what, What::Refused { .. })),
    ];
    if granted.min(queued).min(refused) == 0 {
        let text =
            format!("{granted} granted, {queued} queued, {refused} refused: that says little");
        return Err(Failure::failed(text));
    }
    let violations = check(&events);
    if violations.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let name = merged.file_name().unwrap_or_default().display();
    Err(Failure::failed(format!("{}\n  of {} events in {name}", texts.join("\n"), events.len())))
}
