//! Layer 7: backends, tables and drivers that are broken on purpose, and the trial that catches each.
//!
//! This binary runs itself once more for each of them, on one trial that has to fail, and without any,
//! when the same trial has to pass.

#[path = "../cell/mod.rs"]
mod cell;
mod flawed;

use std::collections::BTreeSet;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::{env, fs};

use libtest_mimic::{Arguments, Failed, Trial};
use lock_core::failpoint::{MUTANT, Mutant};

use flawed::Flawed;

/// The variable that makes this binary a runner of trials, on a backend with this flaw.
const FLAW: &str = "LOCK_CONFORMANCE_FLAW";

/// Each flaw of a backend, and a trial that sees it.
const FLAWS: &[(&str, &str)] = &[
    ("compares nothing", "contract::a_swap_from_another_version_changes_nothing"),
    ("swaps what is older", "contract::a_swap_from_another_version_changes_nothing"),
    ("creates what exists", "contract::a_cell_is_created_once"),
    ("every client has its own cell", "contract::a_cell_is_created_once"),
    ("swaps what is absent", "contract::an_absent_cell_is_not_swapped"),
    ("an absent cell is an error", "contract::an_absent_cell_has_version_zero_and_no_bytes"),
    ("compares, and then writes", "contract::of_many_with_the_same_expectation_one_swaps"),
    ("compares, and then writes", "contract::threads_lose_no_update"),
    ("reads a replica", "contract::a_load_is_as_new_as_what_anybody_was_told"),
    ("reads once", "contract::a_load_is_as_new_as_what_anybody_was_told"),
    ("reads a replica", "contract::what_was_acknowledged_is_there_for_who_comes_later"),
    ("folds case", "contract::any_text_comes_back"),
    ("trims", "contract::any_text_comes_back"),
    ("keeps three bytes a character", "contract::any_text_comes_back"),
    ("empty is absent", "contract::any_text_comes_back"),
    ("cuts off", "contract::three_megabytes_come_back_or_are_refused"),
    ("the same bytes are no swap", "contract::a_swap_of_the_same_bytes_is_a_swap"),
    ("versions are floats", "contract::versions_go_up_to_the_last"),
    ("versions have 32 bits", "contract::versions_go_up_to_the_last"),
    ("counts itself", "contract::versions_may_skip"),
    ("one cell for all stores", "contract::two_stores_are_independent"),
    ("shows the secret", "contract::a_store_is_named_without_its_secret"),
    ("changes its reach", "contract::a_store_says_who_can_reach_it"),
    ("hints in secret", "contract::a_change_is_told"),
    ("always hints", "contract::a_hint_is_only_a_hint"),
    ("cannot hint", "contract::a_hint_is_only_a_hint"),
    ("a hint blocks the client", "contract::a_hint_is_only_a_hint"),
    ("writes in halves", "contract::a_dropped_swap_is_applied_or_not_and_never_torn"),
    ("a dropped load jams it", "contract::a_dropped_load_changes_nothing"),
    ("a hint blocks the client", "contract::a_dropped_hint_changes_nothing"),
];

/// Each mutant of the table and of the driver, and a trial that sees it on a sound backend.
const MUTANTS: &[(Mutant, &str)] = &[
    (Mutant::NoExclusion, "handles::two_modes_fit_on_one_name_above_and_below"),
    (Mutant::NoExclusion, "load::of_fifty_tasks_that_go_for_one_lock_one_wins"),
    (Mutant::NoExclusion, "effect::updates_by_clients_of_one_process_are_not_lost"),
    (Mutant::NoExclusion, "history::clients_of_one_process_make_a_good_history"),
    (Mutant::NoHierarchy, "handles::a_lock_covers_what_is_below_it_and_nothing_beside_it"),
    (Mutant::NoHierarchy, "load::an_update_and_the_tasks_of_apps_exclude_each_other"),
    (Mutant::LimitOffByOne, "handles::a_limit_lets_in_so_many"),
    (Mutant::FirstLockOnly, "handles::a_set_is_looked_at_as_a_whole"),
    (Mutant::FenceReuse, "handles::fences_rise_with_every_hold_that_conflicts"),
    (Mutant::FoldedNames, "handles::names_are_compared_byte_for_byte"),
    (Mutant::PairwiseFairness, "handles::all_earlier_waiters_count_together"),
    (Mutant::QueueJumping, "handles::a_waiter_is_not_starved_by_those_who_fit_beside_the_holder"),
    (Mutant::OrphanedWaiter, "handles::a_downgrade_lets_in_who_fits_then"),
    (Mutant::ReleaseOfAnother, "crash::a_paused_holder_from_elsewhere_learns_of_its_loss_first"),
    (Mutant::LeakOnCancel, "handles::a_dropped_acquire_that_never_gets_its_turn"),
    (Mutant::VerdictUnbound, "crash::a_late_verdict_frees_nobody_who_has_renewed"),
    (
        Mutant::AbsentMeansNever,
        "faults::a_request_that_arrives_after_it_was_given_up_leaves_no_phantom",
    ),
    (
        Mutant::VersionReuse,
        "stores::a_version_does_not_come_again_after_acknowledged_swaps_were_lost",
    ),
    (
        Mutant::DenialFromCache,
        "places::a_busy_request_says_who_and_since_when_and_differs_from_an_unreachable_store",
    ),
    (Mutant::LeaseFromAnswer, "faults::a_holder_whose_renewals_are_answered_late_gives_up_in_time"),
    (Mutant::UnknownIsDead, "places::foreign_pid_namespaces_share_a_store"),
];

/// A backend that waits for every answer, and a trial that sees it.
const PATIENT: &str = "faults::a_call_of_which_nothing_is_heard_ends";

fn main() -> ExitCode {
    if let Some(code) = cell::server::main() {
        return code;
    }
    if let Ok(flaw) = env::var(FLAW) {
        return lock_conformance::run(&[Arc::new(Flawed::new(flaw)), Arc::new(cell::Tcp)]);
    }
    let mut trials = vec![Trial::test("every mutant has a trial that sees it", every_mutant)];
    let mut sound = BTreeSet::from([("tcp", PATIENT)]);
    trials.push(Trial::test(format!("backend that waits for ever is seen by {PATIENT}"), || {
        fails("tcp", PATIENT, (cell::backend::PATIENT, ""))
    }));
    for &(flaw, trial) in FLAWS {
        sound.insert(("flawed", trial));
        let name = format!("backend that {flaw} is seen by {trial}");
        trials.push(Trial::test(name, move || fails("flawed", trial, (FLAW, flaw))));
    }
    for &(mutant, trial) in MUTANTS {
        sound.insert(("tcp", trial));
        let name = format!("mutant {} is seen by {trial}", mutant.name());
        trials.push(Trial::test(name, move || fails("tcp", trial, (MUTANT, mutant.name()))));
    }
    trials.extend(sound.into_iter().map(|(backend, trial)| {
        Trial::test(format!("no mutant, and {trial} passes on {backend}"), move || {
            match verdict(backend, trial, None)? {
                row if row.contains(r#""verdict":"passed""#) => Ok(()),
                row => Err(Failed::from(row)),
            }
        })
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn every_mutant() -> Result<(), Failed> {
    let is_unseen = |mutant: &&Mutant| !MUTANTS.iter().any(|(seen, _)| seen == *mutant);
    let unseen: Vec<_> = Mutant::ALL.iter().filter(is_unseen).collect();
    if unseen.is_empty() { Ok(()) } else { Err(format!("no trial sees {unseen:?}").into()) }
}

fn fails(backend: &str, trial: &str, broken: (&str, &str)) -> Result<(), Failed> {
    match verdict(backend, trial, Some(broken))? {
        row if row.contains(r#""verdict":"failed""#) => Ok(()),
        row => Err(format!("it survives: {row}").into()),
    }
}

/// The result of one trial, run in a process of its own that a variable breaks in some way.
fn verdict(backend: &str, trial: &str, broken: Option<(&str, &str)>) -> Result<String, Failed> {
    let results = tempfile::tempdir()?;
    let output = Command::new(env::current_exe()?)
        .args(["--exact", &format!("{backend}::{trial}")])
        .env(FLAW, "")
        .env("LOCK_CONFORMANCE_RESULTS", results.path())
        .env("TMPDIR", results.path())
        .envs(broken)
        .stdin(Stdio::null())
        .output()?;
    fs::read_to_string(results.path().join(format!("{backend}.jsonl"))).map_err(|error| {
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        Failed::from(format!("{trial} leaves no result ({error}): {out}{err}"))
    })
}
