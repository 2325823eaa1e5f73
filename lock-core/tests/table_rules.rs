//! What locks mean, by example: names, modes, sets, fairness and denials, a short story for each.

#[allow(dead_code, reason = "each test uses its part of a story")]
mod story;

use lock_core::table::{Op, Outcome};
use lock_core::{Mode, Request};
use story::Story;

// Names: a lock covers everything below it.

#[test]
fn a_lock_covers_everything_below_it() {
    let mut s = Story::default();
    s.gets("shop", "app/shop");
    s.gets("blog", "app/blog");
    s.gets("other", "app/blogger");
    s.is_refused("update", "app");
    s.is_refused("helper", "app/blog/files");
    s.gets("unrelated", "mail");
}

#[test]
fn an_exclusive_lock_waits_for_all_below_and_then_excludes_them() {
    let mut s = Story::default();
    let shop = s.gets("shop", "app/shop");
    let blog = s.gets("blog", "app/blog");
    let update = s.waits("update", "app");
    assert_eq!(s.release(shop), []);
    assert_eq!(s.release(blog), [update]);
    s.is_refused("shop", "app/shop");
}

#[test]
fn above_and_below_only_exclusives_conflict() {
    let mut s = Story::default();
    s.gets("reader", Request::shared("app"));
    s.gets("shop", Request::shared("app/shop"));
    s.gets("mail", Request::limit("app/mail", 2));
    s.is_refused("blog", "app/blog");
}

// Modes: how many holders a hold tolerates.

#[test]
fn shared_tolerates_any_number_and_exclusive_one() {
    let mut s = Story::default();
    s.gets("one", Request::shared("a"));
    s.gets("two", Request::shared("a"));
    s.is_refused("writer", "a");
    s.gets("writer", "b");
    s.is_refused("one", Request::shared("b"));
}

#[test]
fn a_limit_tolerates_so_many_and_the_smallest_counts() {
    let mut s = Story::default();
    s.gets("one", Request::limit("cpu", 3));
    s.gets("two", Request::limit("cpu", 2));
    s.is_refused("three", Request::limit("cpu", 3)); // "two" tolerates one other
    s.is_refused("three", Request::shared("cpu"));
    let mut s = Story::default();
    s.gets("one", Request::limit("cpu", 3));
    s.gets("two", Request::shared("cpu"));
    s.is_refused("three", Request::limit("cpu", 2)); // it would be one of three itself
    s.gets("three", Request::limit("cpu", 3));
}

#[test]
fn a_limit_of_one_is_exclusive() {
    let mut s = Story::default();
    s.gets("one", Request::limit("app", 1));
    s.is_refused("two", Request::shared("app/blog"));
}

#[test]
fn downgrade_turns_exclusive_into_shared_and_lets_others_in() {
    let mut s = Story::default();
    let writer = s.gets("writer", Request::exclusive("a").and_limit("cpu", 2));
    let reader = s.waits("reader", Request::shared("a"));
    assert_eq!(s.apply(&Op::Downgrade(writer)), Outcome::Done(true));
    assert!(s.is_held(reader));
    let hold = s.table.list().holds.into_iter().find(|h| h.id == writer).unwrap();
    assert_eq!((hold.locks["a"], hold.locks["cpu"]), (Mode::Shared, Mode::Limit(2)));
    assert_eq!(s.apply(&Op::Downgrade(writer)), Outcome::Done(false));
}

// All or nothing.

#[test]
fn a_set_is_granted_all_or_nothing() {
    let mut s = Story::default();
    let b = s.gets("other", "b");
    let both = s.waits("both", Request::exclusive("a").and_exclusive("b"));
    assert_eq!(s.table.list().holds.len(), 1, "not even the free one is held");
    assert_eq!(s.release(b), [both]);
}

#[test]
fn a_set_never_conflicts_with_itself() {
    Story::default().gets("one", Request::exclusive("app").and_exclusive("app/blog"));
}

// Fairness.

#[test]
fn a_waiting_update_is_not_starved_by_new_tasks() {
    let mut s = Story::default();
    let blog = s.gets("blog", "app/blog");
    let update = s.waits("update", "app");
    s.is_refused("shop", "app/shop"); // free, but the update came first
    let shop = s.waits("shop", "app/shop");
    s.gets("mail", "mail"); // in nobody's way
    assert_eq!(s.release(blog), [update]);
    assert_eq!(s.release(update), [shop]);
}

#[test]
fn one_release_grants_everybody_who_fits_at_once() {
    let mut s = Story::default();
    let writer = s.gets("writer", "a");
    let one = s.waits("one", Request::shared("a"));
    let two = s.waits("two", Request::shared("a"));
    let last = s.waits("last", "a");
    s.waits("late", Request::shared("a"));
    assert_eq!(s.release(writer), [one, two]);
    assert_eq!(s.fence(one, "a"), s.version);
    assert_eq!(s.fence(two, "a"), s.version);
    assert_eq!(s.table.waits_for(last).unwrap().blockers.len(), 2);
}

#[test]
fn a_backup_passes_the_update_that_waits_for_it() {
    let mut s = Story::default();
    let a = s.gets("backup", "app/a");
    let update = s.waits("update", "app");
    let b = s.gets("backup", "app/b"); // else both would wait for each other
    s.is_refused("shop", "app/c"); // who holds nothing waits behind the update
    s.gets("mail", "mail");
    s.is_refused("mail", "app/c"); // and so does who holds something that the update does not want
    assert_eq!(s.release(a), []);
    assert_eq!(s.release(b), [update]);
}

#[test]
fn nobody_passes_a_waiter_that_may_itself_pass_the_first() {
    let mut s = Story::default();
    let busy = s.gets("busy", "app/b");
    s.gets("backup", "app/a");
    s.waits("update", "app"); // for the backup
    let backup = s.waits("backup", "app/b"); // for who is busy, past the update
    s.gets("mail", "mail");
    s.is_refused("mail", "app/c"); // the update can be granted without anything from "mail"
    assert_eq!(s.release(busy), [backup]);
}

#[test]
fn withdrawing_lets_those_behind_go_on() {
    let mut s = Story::default();
    s.gets("blog", Request::shared("app/blog"));
    let update = s.waits("update", "app");
    let shop = s.waits("shop", "app/shop");
    assert_eq!(s.apply(&Op::Withdraw(update)), Outcome::Done(true));
    assert!(s.is_held(shop));
    assert_eq!(s.apply(&Op::Withdraw(shop)), Outcome::Done(false), "holds are left alone");
    assert!(s.is_held(shop));
}

// Denials.

#[test]
fn a_denial_says_who_is_in_the_way() {
    let mut s = Story::default();
    s.gets("blog", "app/blog");
    s.waits("update", "app");
    let denial = s.is_refused("shop", Request::exclusive("app/shop").and_exclusive("app/blog"));
    assert_eq!(denial.place, 1);
    let facts: Vec<_> =
        denial.blockers.iter().map(|b| (&*b.task, b.lock.as_str(), b.mode, b.waits)).collect();
    assert_eq!(
        facts,
        [("blog", "app/blog", Mode::Exclusive, false), ("update", "app", Mode::Exclusive, true)]
    );
    let days = denial.blockers[0].since.elapsed().unwrap().as_secs() / 86400;
    let place = format!("(pid 4242 on web1, cannot be seen from here, {days} d)");
    assert_eq!(
        denial.to_string(),
        format!("app/blog held by blog {place}; app waited for by update {place}")
    );
    let locks = Request::exclusive("app/blog").locks().unwrap().clone();
    let task = s.task("shop");
    assert_eq!(s.table.would_block(&task, &locks).unwrap().blockers.len(), 2);
    let locks = Request::exclusive("mail").locks().unwrap().clone();
    assert_eq!(s.table.would_block(&task, &locks), None);
}

#[test]
fn a_long_denial_is_cut_short() {
    let mut s = Story::default();
    for task in ["one", "two", "three", "four", "five"] {
        s.gets(task, Request::shared("a"));
    }
    let denial = s.is_refused("writer", "a").to_string();
    assert_eq!(denial.matches("a held by ").count(), 3, "{denial}");
    assert!(denial.ends_with("; and 2 more"), "{denial}");
}

#[test]
fn a_blocker_on_several_names_is_named_once_for_each() {
    let mut s = Story::default();
    s.gets("one", Request::shared("a/x/p"));
    s.gets("one", Request::shared("a/x/p"));
    let denial = s.is_refused("two", Request::exclusive("a").and_exclusive("a/x"));
    assert_eq!(denial.blockers.len(), 2, "one for each hold: {denial}");
}
