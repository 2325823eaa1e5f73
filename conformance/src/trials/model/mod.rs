//! Layer 2: random sequences of ops against the naive model.

mod case;
mod crew;
mod soak;
mod step;

use std::cell::RefCell;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use self::crew::Crew;
use self::soak::no_fault_breaks_a_lock;
use self::step::Step;
use crate::scene::Scene;
use crate::trial::{Failure, Verdict, trials};

trials!("model": #[random] clients_do_what_the_model_does,
    waiters_are_counted_as_if_they_all_held,
    #[random] no_fault_breaks_a_lock);

/// How many stores are played on at once: most of the time is spent waiting for them.
const LANES: u64 = 8;
/// The length of the longest sequence.
const STEPS_MAX: usize = 32;
/// How long a failed sequence is made smaller, in milliseconds.
const SHRINK_MS_MAX: u32 = 20_000;

/// After each op of each sequence the table and all answers are those of the model.
fn clients_do_what_the_model_does(scene: &Scene) -> Verdict {
    std::thread::scope(|threads| {
        let lane = |lane| threads.spawn(move || play_lane(scene, lane));
        let lanes: Vec<_> = (0..LANES).map(lane).collect();
        let ends = lanes.into_iter().map(|lane| lane.join().expect("its panics are caught"));
        ends.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Plays a part of the sequences on a store of their own.
fn play_lane(scene: &Scene, lane: u64) -> Verdict {
    let cases = u32::try_from(scene.cases(25)).unwrap_or(u32::MAX);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_time: SHRINK_MS_MAX,
        max_shrink_iters: u32::MAX,
        ..Config::default()
    };
    let mut seed = [0; 32];
    scene.random(lane).fill(&mut seed);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let store = &*scene.other_store()?;
    // One for all sequences: connections may be bound to the runtime that they were opened in.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let crew = RefCell::new(runtime.block_on(async { Crew::new(scene, store) })?);
    let first: RefCell<Option<String>> = RefCell::default();
    let play = |steps: Vec<Step>| {
        scene.count("cases", 1);
        scene.count("operations", steps.len());
        let mut crew = crew.borrow_mut();
        runtime.block_on(crew.play(&steps)).map_err(|failure| {
            let why = failure.to_string();
            first.borrow_mut().get_or_insert_with(|| why.clone());
            match runtime.block_on(crew.start_again(scene, store)) {
                Ok(()) => TestCaseError::fail(why),
                Err(failure) => TestCaseError::fail(format!("{why}; then {failure}")),
            }
        })
    };
    match TestRunner::new_with_rng(config, rng).run(&step::sequences(STEPS_MAX), play) {
        Ok(()) => Ok(()),
        Err(TestError::Abort(why)) => Err(Failure::failed(why.to_string())),
        Err(TestError::Fail(why, steps)) => {
            let lines: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
            let lines = lines.join("\n    ");
            let first = first.take().unwrap_or_default();
            Err(Failure::failed(format!(
                "{first}\n  the smallest sequence that fails:\n    {lines}\n  fails by this: {why}"
            )))
        }
    }
}

fn waiters_are_counted_as_if_they_all_held(scene: &Scene) -> Verdict {
    scene.block_on(async {
        Crew::new(scene, scene.store())?.play(&step::two_wait_and_leave_no_place()).await
    })
}
