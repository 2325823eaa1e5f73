//! What tasks mean to locks, by example: deadlock, nesting, fences, and how what they hold ends.

#[allow(dead_code, reason = "each test uses its part of a story")]
mod story;

use std::sync::Arc;

use lock_core::process::{Process, ProcessSet};
use lock_core::table::{Acquire, Event, LockTable, Op, Outcome, RequestState};
use lock_core::{Request, RequestId, Version};
use story::{Story, info};

// Deadlock.

#[test]
fn the_request_that_closes_a_circle_is_refused() {
    let mut s = Story::default();
    s.gets("one", "a");
    let b = s.gets("two", "b");
    let one = s.waits("one", "b");
    let cycle = s.is_deadlocked("two", "a");
    assert_eq!(cycle.to_string(), "two waits for a, held by one, and one waits for b, held by two");
    assert_eq!(s.release(b), [one], "the others are not harmed");
}

#[test]
fn a_circle_of_three_is_found() {
    let mut s = Story::default();
    for (task, lock) in [("one", "a"), ("two", "b"), ("three", "c")] {
        s.gets(task, lock);
    }
    s.waits("one", "b");
    s.waits("two", "c");
    let cycle = s.is_deadlocked("three", "a");
    let tasks: Vec<&str> = cycle.edges.iter().map(|edge| &*edge.task).collect();
    assert_eq!(tasks, ["three", "one", "two"]);
}

#[test]
fn two_who_both_want_to_upgrade_are_a_deadlock() {
    let mut s = Story::default();
    s.gets("one", Request::shared("a"));
    s.gets("two", Request::shared("a"));
    s.waits("one", "a");
    s.is_deadlocked("two", "a");
}

#[test]
fn a_circle_is_no_deadlock_while_a_limit_has_another_holder_who_can_go_on() {
    let mut s = Story::default();
    s.gets("one", Request::limit("cpu", 2));
    let free = s.gets("free", Request::limit("cpu", 2));
    s.gets("two", "b");
    s.waits("one", "b");
    let two = s.waits("two", Request::limit("cpu", 2)); // "free" will give its place back
    assert_eq!(s.release(free), [two]);

    let mut s = Story::default();
    s.gets("one", Request::limit("cpu", 2));
    s.gets("also", Request::limit("cpu", 2));
    s.gets("two", "b");
    s.waits("one", "b");
    s.waits("also", "b");
    s.is_deadlocked("two", Request::limit("cpu", 2)); // now both places wait for "two"
}

#[test]
fn waiting_while_holding_nothing_is_never_a_deadlock() {
    let mut s = Story::default();
    s.gets("one", "a");
    s.waits("two", "a");
    s.waits("three", Request::exclusive("a").and_exclusive("b"));
}

// Nesting.

#[test]
fn a_sub_task_is_not_blocked_by_its_ancestors_but_siblings_block_each_other() {
    let mut s = Story::default();
    s.gets("backup", "app");
    s.gets("backup/one", "app/blog");
    s.is_refused("backup/two", "app/blog");
    s.gets("backup/one/deep", "app/blog");
    s.is_refused("other", "app/blog");
    s.is_refused("backup", "app/blog"); // its own sub-task is in its way
}

#[test]
fn a_sub_task_does_not_count_twice_in_a_limit() {
    let mut s = Story::default();
    s.gets("backup", Request::limit("disk", 2));
    s.gets("backup/one", Request::limit("disk", 2));
    s.gets("other", Request::limit("disk", 2));
    s.is_refused("backup/two", Request::limit("disk", 2)); // it would be a third
    s.is_refused("third", Request::limit("disk", 2));
}

#[test]
fn a_parent_counts_as_waiting_while_a_sub_task_waits() {
    let mut s = Story::default();
    s.gets("backup", "a");
    s.gets("other", "b");
    s.waits("backup/step", "b");
    let cycle = s.is_deadlocked("other", "a");
    assert_eq!(
        cycle.to_string(),
        "other waits for a, held by backup, and backup/step waits for b, held by other"
    );
}

#[test]
fn a_sub_task_passes_who_waits_behind_its_parent() {
    let mut s = Story::default();
    let a = s.gets("first", "a");
    let parent = s.waits("backup", "a");
    let other = s.waits("other", "a");
    let step = s.waits("backup/step", "a");
    assert_eq!(s.release(a), [step], "the parent cannot go on before");
    assert_eq!(s.release(step), [parent]);
    assert_eq!(s.release(parent), [other]);
}

#[test]
fn a_parent_is_granted_when_its_sub_task_no_longer_waits() {
    let mut s = Story::default();
    let a = s.gets("first", "a");
    s.gets("second", "b");
    let parent = s.waits("backup", "a");
    let step = s.waits("backup/step", "b");
    assert_eq!(s.release(a), []);
    s.apply(&Op::Withdraw(step));
    assert!(s.is_held(parent));
}

#[test]
fn a_parent_with_a_waiting_sub_task_takes_nothing_that_others_need_first() {
    let mut s = Story::default();
    let a = s.gets("third", Request::limit("a", 2));
    let held = s.gets("other", Request::limit("a", 2));
    s.gets("backup", "b");
    let step = s.waits("backup/step", "a");
    let other = s.waits("other", "a"); // past the step, which waits for it
    s.is_refused("backup", Request::limit("a/x", 2)); // else "other" would wait for the step
    assert_eq!(s.release(a), [other]);
    assert_eq!(s.release(other), []);
    assert_eq!(s.release(held), [step]);
}

#[test]
fn that_holds_too_when_either_of_two_others_would_do() {
    let mut s = Story::default();
    let busy = s.gets("busy", "r");
    s.gets("one", Request::limit("cpu", 2));
    s.gets("two", Request::limit("cpu", 2));
    s.gets("backup", "p");
    s.waits("first", Request::exclusive("p").and_exclusive("q"));
    let wanted = || Request::shared("c").and_shared("q").and_shared("r");
    let one = s.waits("one", wanted());
    let two = s.waits("two", wanted());
    s.waits("backup/step", Request::limit("cpu", 2)); // for either of them
    s.is_refused("backup", "c");
    assert_eq!(s.release(busy), [one], "past the first, which waits for the backup");
    assert!(!s.is_held(two), "it need not pass: one of the two is enough");
}

#[test]
fn sub_tasks_may_share_more_widely_what_their_parent_limits() {
    let mut s = Story::default();
    s.gets("backup/one", Request::shared("c"));
    s.gets("backup", Request::limit("c", 2));
    s.gets("other", Request::shared("c"));
    s.gets("backup/two", Request::shared("c"));
    let cell = lock_core::Snapshot { version: Version(s.version), data: s.table.encode() };
    LockTable::decode(&cell).expect("that is a good table");
}

// Fences.

#[test]
fn a_fence_is_the_version_of_the_grant_and_rises() {
    let mut s = Story::default();
    let one = s.gets("one", "a");
    let first = s.fence(one, "a");
    let two = s.waits("two", "a");
    s.release(one);
    assert_eq!(s.table.place(two), RequestState::Held(Version(s.version)));
    assert!(s.fence(two, "a") > first);
}

#[test]
fn what_an_ancestor_holds_exclusively_keeps_its_fence() {
    let mut s = Story::default();
    let parent = s.gets("backup", Request::exclusive("app").and_shared("mail"));
    let fence = s.fence(parent, "app");
    let step =
        s.gets("backup/step", Request::exclusive("app/blog").and_shared("mail").and_shared("x"));
    assert_eq!(s.fence(step, "app/blog"), fence);
    assert_eq!(s.fence(step, "x"), s.version);
    assert_eq!(s.fence(step, "mail"), s.version, "others may write under a shared lock's siblings");
    let deep = s.gets("backup/step/deep", "app/blog/files");
    assert_eq!(s.fence(deep, "app/blog/files"), fence);

    // Lists, and what is told of the dead, have the token that the holder has.
    let listed = s.table.list().holds;
    assert_eq!(listed.iter().map(|hold| hold.id).collect::<Vec<_>>(), [parent, step, deep]);
    assert_eq!(listed[2].fence, fence);
    let verdict = s.table.client(deep.client).unwrap().verdict();
    s.table.take_events();
    s.apply(&Op::Sweep(verdict));
    let events = s.table.take_events();
    let [Event::Swept { holds, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(holds.iter().find(|hold| hold.id == deep).unwrap().fence, fence);
}

#[test]
fn fences_of_sub_tasks_under_a_shared_lock_never_fall() {
    let mut s = Story::default();
    s.gets("backup", Request::shared("a"));
    let one = s.gets("backup/one", "a");
    let first = s.fence(one, "a");
    s.release(one);
    let two = s.gets("backup/two", Request::shared("a"));
    assert!(s.fence(two, "a") > first);
}

// Releasing a task, and the dead.

#[test]
fn releasing_a_task_frees_its_holds_and_waiters_but_not_its_sub_tasks() {
    let mut s = Story::default();
    let held = s.gets("backup", "a");
    let step = s.gets("backup/step", "b");
    s.gets("other", "c");
    let (waits, _) = s.ask("backup", "c", true);
    let next = s.waits("next", "a");
    let tasks = s.table.tasks_named("backup");
    assert_eq!(s.apply(&Op::ReleaseTasks(tasks.clone())), Outcome::Done(true));
    assert!(s.is_held(next) && s.is_held(step));
    assert_eq!(s.table.place(waits), RequestState::Freed);
    assert_eq!(
        s.table.place(held),
        RequestState::Freed,
        "its client may not know yet that it was granted"
    );
    assert_eq!(s.apply(&Op::ReleaseTasks(tasks)), Outcome::Done(false));
}

#[test]
fn a_freed_waiter_does_not_queue_again() {
    let mut s = Story::default();
    s.gets("other", "c");
    let task = s.task("backup");
    let op = Op::Acquire(Acquire {
        id: RequestId { client: task.client(), number: 99 },
        task: task.clone(),
        name: "backup".into(),
        note: None,
        client: Arc::new(info("backup")),
        locks: Arc::new(Request::exclusive("c").locks().unwrap().clone()),
        wait: true,
    });
    assert_eq!(s.apply(&op), Outcome::Queued);
    assert_eq!(s.apply(&op), Outcome::Queued, "asked again, it is the same request");
    s.apply(&Op::ReleaseTasks(vec![task.clone()]));
    assert_eq!(s.apply(&op), Outcome::Freed);
    s.apply(&Op::Release(RequestId { client: task.client(), number: 99 }));
    assert!(s.table.client(task.client()).is_none(), "nothing is left of it");
}

#[test]
fn what_one_freed_task_gives_back_is_not_granted_to_the_other() {
    let mut s = Story::default();
    s.gets("one", "a");
    let two = s.waits("two", "a");
    let tasks = vec![s.task("one"), s.task("two")];
    s.apply(&Op::ReleaseTasks(tasks));
    assert_eq!(s.table.place(two), RequestState::Freed);
}

#[test]
fn a_dead_client_is_swept_in_the_swap_that_grants_the_next() {
    let mut s = Story::default();
    s.gets("dead", "a");
    let next = s.waits("next", "a");
    let dead = s.task("dead").client();
    let verdict = s.table.client(dead).unwrap().verdict();
    s.table.take_events();
    assert_eq!(s.apply(&Op::Sweep(verdict)), Outcome::Done(true));
    assert_eq!(s.fence(next, "a"), s.version);
    let events = s.table.take_events();
    assert!(
        matches!(&events[..], [Event::Swept { client, .. }, Event::Granted(id)]
        if *client == dead && *id == next),
        "{events:?}"
    );
}

#[test]
fn a_verdict_is_void_when_the_client_renewed_or_changed_its_processes() {
    let mut s = Story::default();
    let hold = s.gets("slow", "a");
    let slow = s.task("slow").client();

    let verdict = s.table.client(slow).unwrap().verdict();
    s.apply(&Op::Renew(slow));
    assert_eq!(s.apply(&Op::Sweep(verdict)), Outcome::Done(false));

    let verdict = s.table.client(slow).unwrap().verdict();
    let processes =
        ProcessSet { processes: vec![Process { pid: 1, start: 1 }], ..ProcessSet::default() };
    s.apply(&Op::SetProcesses { client: slow, processes });
    assert_eq!(s.apply(&Op::Sweep(verdict)), Outcome::Done(false));
    assert!(s.is_held(hold));
}

#[test]
fn an_observation_is_kept_for_the_next_try_and_ends_with_a_renewal() {
    let mut s = Story::default();
    s.gets("slow", "a");
    let client = s.task("slow").client();
    let mark = s.table.client(client).unwrap().mark;
    let seen = |first_ms, mark| Op::Observe { client, mark, boot: "b1".into(), first_ms };
    assert_eq!(s.apply(&seen(500, mark)), Outcome::Done(true));
    assert_eq!(s.apply(&seen(700, mark)), Outcome::Done(false), "the first time counts");
    assert_eq!(s.apply(&seen(300, Version(mark.0 + 1))), Outcome::Done(false), "not its mark");
    assert_eq!(s.table.seen_since_ms(client, "b1"), Some((mark, 500)));
    assert_eq!(s.table.seen_since_ms(client, "b2"), None);
    s.apply(&Op::Renew(client));
    assert_eq!(s.table.seen_since_ms(client, "b1"), None);
}

#[test]
fn a_client_that_has_nothing_is_forgotten() {
    let mut s = Story::default();
    let hold = s.gets("one", "a");
    s.release(hold);
    assert!(s.table.is_empty());
    assert_eq!(s.table.place(hold), RequestState::Absent);
}
