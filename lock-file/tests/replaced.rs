//! A store that is replaced while somebody uses it, after each of the calls that are made for a swap in turn.
//!
//! The client is a process of its own, which strace stops after one of its calls to the store. Then the store
//! is replaced, in most cases another client comes and writes, and the first one goes on.

mod support;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lock_core::Swap;
use lock_file::{FileBackend, FileOptions, Strategy};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use support::{BOTH, STORE, again, can_run, fresh, load, names, open, program, swap, until};

/// Names the file in which a client says what came of it.
const ANSWER: &str = "LOCK_FILE_TEST_ANSWER";
const NAMESPACE: &str = "LOCK_FILE_TEST_NAMESPACE";

/// What takes the place of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// A copy of it, with the same version: the version alone tells nobody that it is another one.
    Copied,
    /// A store of the other strategy that has the same cell.
    Converted,
    /// Nothing; the client itself makes a new one.
    Gone,
}

/// A store, and what is to take its place.
struct Scene {
    around: TempDir,
    store: PathBuf,
    /// What takes its place, and then what was replaced.
    other: PathBuf,
    namespace: &'static str,
    strategy: Strategy,
    change: Change,
}

/// A client that strace watches.
struct Client {
    strace: Child,
    log: PathBuf,
}

/// A call to the store: which of those that have its name.
#[derive(Debug, Clone)]
struct Call {
    name: String,
    number: usize,
    /// Whether it only looks at what is open already: where that leads to is decided by others.
    is_look: bool,
}

impl Scene {
    fn new(strategy: Strategy, change: Change) -> Self {
        let (around, store) = fresh();
        let other = store.with_file_name("other");
        swap(&open(&store, strategy), 0, 1, b"one").unwrap();
        match change {
            Change::Copied => copy(&store, &other),
            Change::Converted => {
                let to = if strategy == Strategy::Flock { Strategy::Excl } else { Strategy::Flock };
                swap(&open(&other, to), 0, 1, b"one").unwrap();
            }
            Change::Gone => {}
        }
        // Where there is no store any more, one that has to make its namespace has more to go wrong.
        let namespace = if change == Change::Gone { "new" } else { "default" };
        Self { around, store, other, namespace, strategy, change }
    }

    fn log(&self) -> PathBuf {
        self.around.path().join("log")
    }

    fn answer(&self) -> PathBuf {
        self.around.path().join("answer")
    }

    fn options(&self, store: &Path) -> FileOptions {
        FileOptions::new(store).namespace(self.namespace)
    }

    /// Starts a client under strace, which stops it after one call.
    fn start(&self, test: &str, stop: Option<&Call>) -> Client {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-y", "-e", "trace=%file,getdents64,flock,fsync"])
            .arg("-o")
            .arg(self.log());
        // Calls to other files are neither shown nor counted.
        for path in [self.store.clone(), self.store.join(self.namespace)] {
            command.arg("-P").arg(path);
        }
        if let Some(Call { name, number, .. }) = stop {
            command.args(["-e", &format!("inject={name}:signal=SIGSTOP:when={number}")]);
        }
        again(command.arg(program()), test, &self.store);
        command.env(ANSWER, self.answer()).env(NAMESPACE, self.namespace);
        let strace = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Client { strace, log: self.log() }
    }

    /// All calls of a client that nobody disturbs, in their order.
    fn calls(&self, test: &str) -> Vec<Call> {
        self.start(test, None).end();
        let answer = fs::read_to_string(self.answer()).unwrap();
        assert!(answer.ends_with(" Ok(Swapped)"), "undisturbed: {answer}");
        let mut calls: Vec<Call> = Vec::new();
        for line in fs::read_to_string(self.log()).unwrap().lines() {
            // After the number of the thread; other lines tell of ends.
            let (_, call) = line.split_once(' ').unwrap();
            let Some((name, _)) = call.trim_start().split_once('(') else { continue };
            let number = calls.iter().filter(|call| call.name == name).count() + 1;
            let is_look = call.contains("AT_EMPTY_PATH");
            calls.push(Call { name: name.to_owned(), number, is_look });
        }
        calls.retain(|call| !call.is_look);
        calls
    }

    /// Replaces the store after a call of a client, and looks what came of it.
    fn replace_after(&self, test: &str, call: &Call) -> String {
        let client = self.start(test, Some(call));
        let before = client.until_stopped();
        if self.change == Change::Gone {
            fs::rename(&self.store, &self.other).unwrap();
        } else {
            renameat_with(CWD, &self.store, CWD, &self.other, RenameFlags::EXCHANGE).unwrap();
            self.write("theirs");
        }
        client.signal(Signal::CONT);
        client.end();
        if self.change == Change::Gone {
            self.write("theirs");
        }
        let answer = fs::read_to_string(self.answer()).unwrap();
        self.check(&before, &answer);
        answer
    }

    /// Another client adds a word to the cell: nothing is in its way.
    fn write(&self, word: &str) {
        let backend = self.options(&self.store).open().unwrap();
        let seen = load(&backend).unwrap();
        let (from, data) = (seen.version.0, [&*seen.data, b" ", word.as_bytes()].concat());
        assert_eq!(swap(&backend, from, from + 100, &data).unwrap(), Swap::Swapped);
    }

    /// The words that are in the cell of a store.
    fn words(&self, store: &Path) -> Vec<String> {
        let data = load(&self.options(store).open().unwrap()).unwrap().data;
        String::from_utf8(data).unwrap().split_whitespace().map(str::to_owned).collect()
    }

    /// `before` is what the client did before it was stopped.
    fn check(&self, before: &str, answer: &str) {
        let (seen, answer) = answer.split_once(' ').unwrap_or((answer, ""));
        let count = |store, word: &str| self.words(store).iter().filter(|one| *one == word).count();
        let (here, away) = (count(&self.store, "mine"), count(&self.other, "mine"));
        // No update is lost that was answered, and none is done twice.
        assert_eq!(count(&self.store, "theirs"), 1);
        assert_eq!(count(&self.other, "theirs"), 0);
        assert!(here + away <= 1);
        let all = |is_it: &dyn Fn(&str) -> bool| -> Vec<usize> {
            before.lines().enumerate().filter(|(_, line)| is_it(line)).map(|(at, _)| at).collect()
        };
        let path = format!("\"{}\"", self.store.join(self.namespace).display());
        let looks = all(&|line| line.contains("stat") && line.contains(&path));
        let reads = all(&|line| line.contains("openat(") && line.contains(file(self.strategy)));
        // It is unlocked by the same call.
        let flocks = all(&|line| line.contains("flock("));
        let writes = all(&|line| line.contains("rename") || line.contains("linkat("));
        let has_looked_after = |calls: &[usize]| !calls.is_empty() && calls.first() < looks.last();
        match answer {
            "Ok(Swapped)" if away == 1 => {
                assert!(has_looked_after(&writes), "it did not look where it was");
            }
            "Ok(Swapped)" => assert_eq!(here, 1, "it is nowhere"),
            "Ok(Conflict)" => assert_eq!((here, away), (0, 0), "it did swap"),
            unknown if unknown.starts_with("Err(OutcomeUnknown") => {}
            // Those say that nothing was done.
            refused => {
                assert!(refused.starts_with("Err(Unavailable"), "{refused}");
                assert_eq!((here, away), (0, 0), "it did swap: {refused}");
            }
        }
        if away == 1 && self.strategy == Strategy::Flock {
            assert!(has_looked_after(&flocks), "what it locked was replaced before");
        }
        if seen == "1" {
            assert!(!reads.is_empty(), "what it read was replaced before");
        }
        let left = names(&self.store.join(self.namespace));
        assert!(!left.iter().any(|name| name.starts_with("new-")), "{left:?}");
    }
}

impl Client {
    /// Waits until it is stopped, and gives the lines of what it did before.
    fn until_stopped(&self) -> String {
        let mut before = None;
        until("it is stopped", || {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            before = log.split_once(" --- stopped by SIGSTOP ---").map(|(log, _)| log.to_owned());
            before.is_some()
        });
        before.unwrap()
    }

    fn signal(&self, signal: Signal) {
        // A line begins with the number of the thread.
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let thread = log.split_whitespace().next().and_then(|thread| thread.parse().ok());
        if let Some(thread) = thread.and_then(Pid::from_raw) {
            let _ = kill_process(thread, signal);
        }
    }

    fn end(mut self) {
        until("the client ends", || self.strace.try_wait().unwrap().is_some());
        assert!(self.strace.wait().unwrap().success());
    }
}

impl Drop for Client {
    /// Also if the test fails, nobody is left behind who is stopped.
    fn drop(&mut self) {
        if matches!(self.strace.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
            let _ = self.strace.wait();
        }
    }
}

fn file(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Flock => "\"cell\"",
        _ => "\"after-0\"",
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// Swaps once, and tells from which version and what came of it.
fn client(store: &str) {
    let backend = FileOptions::new(store).namespace(env::var(NAMESPACE).unwrap()).open();
    let answer = backend.and_then(|backend: FileBackend| {
        let seen = load(&backend)?;
        let (from, data) = (seen.version.0, [&*seen.data, b" mine"].concat());
        Ok((from, swap(&backend, from, from + 1000, &data)))
    });
    let answer = match answer {
        Ok((from, Ok(swap))) => format!("{from} Ok({swap:?})"),
        Ok((from, Err(e))) => format!("{from} Err({:?}): {e}", e.kind()),
        Err(e) => format!("- Err({:?}): {e}", e.kind()),
    };
    fs::write(env::var(ANSWER).unwrap(), answer).unwrap();
}

/// Replaces a store after every call of a client, each time from the beginning; the answers have to be among
/// these, and all of these have to be seen.
fn after_every_call(test: &str, change: Change, answers: &[&str]) {
    if let Ok(store) = env::var(STORE) {
        return client(&store);
    }
    if !can_run(Command::new("strace").args(["-f", "-o", "/dev/null", "true"])) {
        return;
    }
    for strategy in BOTH {
        let calls = Scene::new(strategy, change).calls(test);
        assert!(calls.len() > 12, "{calls:?}");
        let mut missing = answers.to_vec();
        for call in &calls {
            println!("{strategy}, {change:?}, after {call:?}");
            let answer = Scene::new(strategy, change).replace_after(test, call);
            println!("{answer}");
            missing.retain(|one| !answer.contains(one));
        }
        assert!(missing.is_empty(), "{strategy}: {missing:?} were never answered");
    }
}

#[test]
fn beside_a_copy_no_update_is_lost() {
    let answers = ["Ok(Swapped)", "Ok(Conflict)", "OutcomeUnknown"];
    after_every_call("beside_a_copy_no_update_is_lost", Change::Copied, &answers);
}

#[test]
fn beside_a_store_of_the_other_strategy_no_update_is_lost() {
    let test = "beside_a_store_of_the_other_strategy_no_update_is_lost";
    let answers = ["Ok(Swapped)", "Ok(Conflict)", "OutcomeUnknown"];
    after_every_call(test, Change::Converted, &answers);
}

#[test]
fn a_store_that_is_taken_away_leaves_room_for_a_new_one() {
    let test = "a_store_that_is_taken_away_leaves_room_for_a_new_one";
    after_every_call(test, Change::Gone, &["Ok(Swapped)"]);
}
