//! The runner: names, filters and lists trials as any test binary does, and writes down the results.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed};

use crate::fixture::Fixture;
use crate::results::{Results, Row};
use crate::scene::Scene;
use crate::trial::{Failure, Trial, Verdict};
use crate::{catalogue, worker};

/// The variable that replays a run.
pub(crate) const SEED: &str = "LOCK_CONFORMANCE_SEED";
/// The variable that makes a run a long one, of so many seconds for each backend.
pub(crate) const SOAK: &str = "LOCK_CONFORMANCE_SOAK_SECONDS";
/// The variable that makes each trial draw so many times the cases of an everyday run.
pub(crate) const EFFORT: &str = "LOCK_CONFORMANCE_EFFORT";

/// The effort of a long run, if none is given: to start a store and its clients costs as much as an
/// everyday run of most trials, so that more of the time goes into cases, and more befalls one store;
/// and yet a round of all trials is over in minutes.
const EFFORT_OF_SOAK: usize = 4;

/// Runs the suite on these backends, as the `main` of a test binary with `harness = false`.
///
/// The same binary is a worker when the suite has started it as one.
pub fn run(fixtures: &[Arc<dyn Fixture>]) -> ExitCode {
    if let Some(code) = worker::main(fixtures) {
        return code;
    }
    let arguments = Arguments::from_args();
    let results = Arc::new(Mutex::new(Results::default()));
    let soak = number(SOAK).map(Duration::from_secs);
    let mut trials = Vec::new();
    for fixture in fixtures {
        let all = catalogue();
        match soak {
            None => trials.extend(all.map(|trial| short(fixture, trial, &results))),
            Some(time) => trials.push(long(fixture, time, &results)),
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list
        && let Err(error) = results.lock().unwrap_or_else(PoisonError::into_inner).write()
    {
        eprintln!("the results cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

type Shared = Arc<Mutex<Results>>;

fn short(fixture: &Arc<dyn Fixture>, trial: Trial, results: &Shared) -> libtest_mimic::Trial {
    let (fixture, results) = (fixture.clone(), results.clone());
    let name = format!("{}::{}", fixture.name(), trial.name);
    libtest_mimic::Trial::ignorable_test(name, move || {
        let row = perform(&fixture, trial, seed(), number(EFFORT).unwrap_or(1));
        let end = row.end.clone();
        results.lock().unwrap_or_else(PoisonError::into_inner).add(row);
        match end {
            Ok(()) => Ok(Completion::Completed),
            Err(Failure::Skipped(reason)) => Ok(Completion::ignored_with(reason)),
            Err(Failure::Failed(what)) => Err(Failed::from(what)),
        }
    })
}

/// All trials that draw new cases, one after the other, until the time is over; each once at least.
fn long(fixture: &Arc<dyn Fixture>, time: Duration, results: &Shared) -> libtest_mimic::Trial {
    let (fixture, results) = (fixture.clone(), results.clone());
    libtest_mimic::Trial::test(format!("{}::soak", fixture.name()), move || {
        let deadline = Instant::now() + time;
        let effort = number(EFFORT).unwrap_or(EFFORT_OF_SOAK);
        for round in 0_u64.. {
            for trial in catalogue().filter(|trial| trial.random) {
                if round > 0 && Instant::now() > deadline {
                    return Ok(());
                }
                let row = perform(&fixture, trial, fastrand::u64(..), effort);
                let end = row.end.clone();
                results.lock().unwrap_or_else(PoisonError::into_inner).add(row);
                if let Err(Failure::Failed(what)) = end {
                    let name = format!("{}::{}", fixture.name(), trial.name);
                    return Err(Failed::from(format!("{name} in round {}: {what}", round + 1)));
                }
            }
        }
        unreachable!("the deadline comes before 2^64 rounds")
    })
}

fn seed() -> u64 {
    number(SEED).unwrap_or_else(|| fastrand::u64(..))
}

fn number<N: FromStr>(variable: &str) -> Option<N> {
    env::var(variable).ok()?.parse().ok()
}

fn perform(fixture: &Arc<dyn Fixture>, trial: Trial, seed: u64, effort: usize) -> Row {
    let started = Instant::now();
    let mut row = Row::new(fixture.name(), trial.name, seed);
    let scene = match Scene::set(fixture.clone(), trial.name, seed, effort) {
        Ok(scene) => scene,
        Err(failure) => {
            row.end = Err(failure);
            return row;
        }
    };
    row.end = look(trial, &scene);
    row.counts = scene.counts();
    row.seconds = started.elapsed().as_secs_f64();
    if let Err(Failure::Failed(what)) = &mut row.end {
        let kept = scene.keep();
        let variables = match effort {
            1 => format!("{SEED}={seed}"),
            _ => format!("{SEED}={seed} {EFFORT}={effort}"),
        };
        *what = format!(
            "{what}\n  replay with {variables} and the name of the trial, --exact\n  evidence in {}",
            kept.display()
        );
    }
    row
}

/// Runs one trial alone and keeps nothing of it: for tests of the suite itself.
///
/// # Errors
///
/// [`Failure`] as the trial says it.
pub fn attempt(fixture: &Arc<dyn Fixture>, trial: Trial, seed: u64) -> Verdict {
    look(trial, &Scene::set(fixture.clone(), trial.name, seed, 1)?)
}

fn look(trial: Trial, scene: &Scene) -> Verdict {
    let end = catch_unwind(AssertUnwindSafe(|| (trial.run)(scene)));
    end.unwrap_or_else(|panic| Err(Failure::Failed(text_of(&*panic))))?;
    match (trial.random, scene.has_drawn()) {
        (false, true) => Err(Failure::failed("it draws cases, and is not marked as random")),
        (true, false) => Err(Failure::failed("it is marked as random, and draws nothing")),
        _ => Ok(()),
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").into()
}
