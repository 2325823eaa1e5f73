//! The table as bytes: what is written, how much it is, and what is refused.

use std::sync::Arc;

use lock_core::process::{Place, Process, ProcessGroup, ProcessSet};
use lock_core::table::{Acquire, ClientInfo, LockTable, Op, Outcome, Stamp, TableError};
use lock_core::{ClientId, Request, RequestId, Snapshot, TaskId, Version};
use proptest::prelude::*;
use proptest::sample::Index;

/// A table with everything in it that there can be.
const FULL: &str = concat!(
    r#"{"interlock":1,"sites":{"#,
    r#""0":{"host":"web1","boot":"b1","pidns":7,"timens":8,"bell":9}},"clients":{"#,
    r#""000000000001":{"name":"backup-17","site":0,"pids":[[4242,100]],"groups":[[4243,101]],"#,
    r#""rev":1,"lease":60000,"mark":2001,"#,
    r#""seen":{"b2":{"mark":2001,"at":55}},"tasks":{"#,
    r#""0":{"note":"nightly","holds":{"0":{"fence":2000,"locks":{"app/blog":"x","mail":"s"}}}},"#,
    r#""1":{"name":"step","under":"000000000001.0","holds":{"#,
    r#""1":{"fence":3000,"at":9,"fences":{"app/blog":2000},"locks":{"app/blog":"x"}},"#,
    r#""2":{"fence":3001,"at":9,"locks":{"cpu":3}}}}}},"#,
    r#""000000000002":{"name":"update","mark":4000,"freed":[8],"tasks":{"5":{}}}},"#,
    r#""queue":[{"task":"000000000002.5","id":9,"since":9,"locks":{"app":"x"}}]}"#
);

fn decode(text: &str) -> Result<LockTable, TableError> {
    decode_at(text.as_bytes(), 5000)
}

fn decode_at(data: &[u8], version: u64) -> Result<LockTable, TableError> {
    LockTable::decode(&Snapshot { version: Version(version), data: data.to_vec() })
}

/// What is said of the full table with one part replaced.
fn error_with(part: &str, other: &str) -> TableError {
    assert_eq!(FULL.matches(part).count(), 1, "{part} is in it once");
    decode(&FULL.replace(part, other)).expect_err(other)
}

#[track_caller]
fn assert_malformed(part: &str, other: &str) {
    let error = error_with(part, other);
    assert!(matches!(error, TableError::Malformed(_)), "{other}: {error:?}");
    assert!(error.to_string().contains("left as it is"), "{error}");
}

#[track_caller]
fn assert_inconsistent(part: &str, other: &str, why: &str) {
    match error_with(part, other) {
        TableError::Inconsistent(said) => assert!(said.contains(why), "{other}: {said}"),
        error => panic!("{other}: {error:?}"),
    }
}

fn client() -> ClientId {
    ClientId::from_random(1)
}

fn info() -> Arc<ClientInfo> {
    Arc::new(ClientInfo {
        name: "backup-17".into(),
        processes: ProcessSet {
            place: Place {
                host: Some("web1".into()),
                boot: Some("b1".into()),
                pid_ns: Some(7),
                time_ns: Some(8),
            },
            processes: vec![Process { pid: 4242, start: 100 }],
            groups: vec![ProcessGroup { id: 4243, start: 101 }],
        },
        bell: Some(9),
        lease: Some(std::time::Duration::from_secs(60)),
    })
}

fn ask(number: u64, task: &TaskId, name: &str, request: &Request) -> Op {
    Op::Acquire(Acquire {
        id: RequestId { client: task.client(), number },
        task: task.clone(),
        name: name.into(),
        note: None,
        client: info(),
        locks: Arc::new(request.locks().unwrap().clone()),
        wait: true,
    })
}

#[test]
fn a_small_table_is_written_exactly_so() {
    let task = TaskId::new(None, client(), 0).unwrap();
    let step = TaskId::new(Some(&task), client(), 1).unwrap();
    let mut table = LockTable::new();
    // The time that the version tells (it counts microseconds) is not written.
    let stamp = Stamp { version: Version(2000), now_ms: 2 };
    let request = Request::exclusive("app/blog").and_shared("mail").and_limit("cpu", 3);
    assert_eq!(table.apply(&ask(0, &task, "backup-17", &request), stamp), Outcome::Granted);
    let stamp = Stamp { version: Version(3000), now_ms: 9 };
    let request = Request::exclusive("app/blog");
    assert_eq!(table.apply(&ask(1, &step, "step", &request), stamp), Outcome::Granted);
    let other = TaskId::new(None, client(), 2).unwrap();
    let request = Request::exclusive("app");
    assert_eq!(table.apply(&ask(2, &other, "update", &request), stamp), Outcome::Queued);
    assert_eq!(
        String::from_utf8(table.encode()).unwrap(),
        concat!(
            r#"{"interlock":1,"sites":{"0":{"host":"web1","boot":"b1","pidns":7,"timens":8,"#,
            r#""bell":9}},"clients":{"#,
            r#""000000000001":{"name":"backup-17","site":0,"pids":[[4242,100]],"#,
            r#""groups":[[4243,101]],"lease":60000,"mark":2000,"tasks":{"#,
            r#""0":{"holds":{"0":{"fence":2000,"#,
            r#""locks":{"app/blog":"x","cpu":3,"mail":"s"}}}},"#,
            r#""1":{"name":"step","under":"000000000001.0","holds":{"1":{"fence":3000,"at":9,"#,
            r#""fences":{"app/blog":2000},"locks":{"app/blog":"x"}}}},"#,
            r#""2":{"name":"update"}}}},"#,
            r#""queue":[{"task":"000000000001.2","id":2,"since":9,"locks":{"app":"x"}}]}"#
        )
    );
}

#[test]
fn everything_is_read_as_it_is_written() {
    let table = decode(FULL).unwrap();
    assert_eq!(String::from_utf8(table.encode()).unwrap(), FULL);
    assert_eq!(LockTable::new().encode(), br#"{"interlock":1,"clients":{},"queue":[]}"#);
}

#[test]
fn an_absent_cell_is_an_empty_table_but_an_empty_one_is_not() {
    assert!(LockTable::decode(&Snapshot::default()).unwrap().is_empty());
    assert!(matches!(decode_at(b"", 1), Err(TableError::Malformed(_))));
    assert!(decode_at(FULL.as_bytes(), 0).is_err(), "bytes without a version");
    assert!(decode_at(FULL.as_bytes(), Version::MAX.0).is_ok());
    assert!(decode_at(FULL.as_bytes(), Version::MAX.0 + 1).is_err());
}

#[test]
fn a_newer_format_is_not_touched() {
    for text in [
        FULL.replace(r#""interlock":1"#, r#""interlock":2"#),
        r#"{"interlock":7,"leases":{},"queue":"elsewhere"}"#.to_owned(),
    ] {
        let error = decode(&text).unwrap_err();
        assert!(matches!(error, TableError::Newer(2 | 7)), "{error:?}");
        assert!(error.to_string().contains("update this program"), "{error}");
    }
    assert_inconsistent(r#""interlock":1"#, r#""interlock":0"#, "format");
}

#[test]
fn what_is_not_understood_is_refused() {
    for (part, other) in [
        (r#""pidns":7"#, r#""pidns":7,"zone":1"#),
        (r#""note":"nightly""#, r#""note":"nightly","priority":1"#),
        (r#""fence":2000"#, r#""fence":2000,"until":1"#),
        (r#""id":9"#, r#""id":9,"until":1"#),
        (r#""queue""#, r#""other":1,"queue""#),
        (r#""at":55"#, r#""at":55,"by":1"#),
    ] {
        assert_malformed(part, other);
    }
}

/// Anybody may have written it, and it is shown in terminals.
#[test]
fn what_people_read_has_no_control_characters() {
    let text = FULL.replace("nightly", "\\u001b]52;c\\u0007").replace("web1", "web1\\u009b2J");
    let holds = decode(&text).unwrap().list().holds;
    assert_eq!(holds[0].note.as_deref(), Some(" ]52;c "));
    assert_eq!(holds[0].client.processes.place.host.as_deref(), Some("web1 2J"));
}

/// Whoever wrote them, nothing is lost by it: neither whose process a client is, nor that it has changed.
#[test]
fn the_last_numbers_of_sites_and_revisions_are_gone_on_from() {
    let last = u64::MAX.to_string();
    let text = FULL
        .replace(r#""rev":1"#, &format!(r#""rev":{last}"#))
        .replace(r#""0":{"host""#, &format!(r#""0":{{"host":"web9"}},"{last}":{{"host""#))
        .replace(r#""site":0"#, &format!(r#""site":{last}"#));
    let mut table = decode(&text).unwrap();
    let id = ClientId::from_random(1);
    let before = table.client(id).unwrap();
    let mut processes = before.processes.clone();
    processes.place.host = Some("web2".into());
    let stamp = Stamp { version: Version(5001), now_ms: 5 };
    let client = id;
    table.apply(&Op::SetProcesses { client, processes: processes.clone() }, stamp);
    let after = decode_at(&table.encode(), 5001).unwrap().client(id).unwrap();
    assert_eq!(after.processes, processes);
    assert_ne!(after.revision, before.revision);
}

#[test]
fn a_key_given_twice_is_refused() {
    for (part, other) in [
        (r#""pidns":7"#, r#""pidns":7,"pidns":7"#),
        (r#""interlock":1"#, r#""interlock":1,"interlock":1"#),
        (r#""mail":"s""#, r#""mail":"s","mail":"s""#),
        (r#""app/blog":2000}"#, r#""app/blog":2000,"app/blog":2000}"#),
        (r#""5":{}"#, r#""5":{},"5":{}"#),
        (r#""b2":{"mark":2001,"at":55}"#, r#""b2":{"mark":1,"at":5},"b2":{"mark":2001,"at":55}"#),
        (r#""000000000002":{"#, r#""000000000001":{"#),
        (r#""2":{"fence":3001"#, r#""1":{"fence":3001"#),
    ] {
        assert_malformed(part, other);
    }
}

#[test]
fn bad_values_are_refused() {
    for (part, other) in [
        (r#"{"cpu":3}"#, "{}"),
        (r#"{"cpu":3}"#, r#"{"cpu":1}"#),
        (r#"{"cpu":3}"#, r#"{"cpu":0}"#),
        (r#"{"cpu":3}"#, r#"{"cpu":-3}"#),
        (r#"{"cpu":3}"#, r#"{"cpu":2.5}"#),
        (r#"{"cpu":3}"#, r#"{"cpu":4294967296}"#),
        (r#"{"cpu":3}"#, r#"{"cpu":"X"}"#),
        (r#"{"cpu":3}"#, r#"{"cpu":null}"#),
        (r#"{"cpu":3}"#, r#"{"":3}"#),
        (r#"{"cpu":3}"#, r#"{"cpu//a":3}"#),
        (r#"{"cpu":3}"#, r#"{"/cpu":3}"#),
        (r#"{"cpu":3}"#, r#"{"cpu\n":3}"#),
        (r#"{"app":"x"}"#, "{}"),
        (r#""000000000002":{"#, r#""00000000000":{"#),
        (r#""under":"000000000001.0""#, r#""under":"000000000001.00""#),
        (r#""fence":3001"#, r#""fence":"3001""#),
        (r#""fence":3001,"#, ""),
        (r#""interlock":1,"#, ""),
        (r#","queue":[{"task":"000000000002.5","id":9,"since":9,"locks":{"app":"x"}}]"#, ""),
    ] {
        assert_malformed(part, other);
    }
    let long = format!(r#"{{"{}":3}}"#, "x".repeat(513));
    assert_malformed(r#"{"cpu":3}"#, &long);
}

#[test]
fn a_table_that_contradicts_itself_is_refused() {
    for (part, other, why) in [
        (r#""task":"000000000002.5""#, r#""task":"000000000002.6""#, "no task"),
        (r#""task":"000000000002.5""#, r#""task":"000000000003.5""#, "no task"),
        (r#""task":"000000000002.5""#, r#""task":"000000000001.0/000000000002.5""#, "family"),
        (r#""id":9"#, r#""id":8"#, "twice"),
        (r#""5":{}"#, r#""5":{},"6":{}"#, "nothing"),
        (
            r#""tasks":{"5":{}}"#,
            r#""tasks":{"5":{"holds":{"9":{"fence":1,"locks":{"z":"x"}}}}}"#,
            "twice",
        ),
        (
            r#""tasks":{"5":{}}"#,
            r#""tasks":{"5":{"holds":{"3":{"fence":1,"locks":{"mail":"x"}}}}}"#,
            "conflict",
        ),
        (
            r#""tasks":{"5":{}}"#,
            r#""tasks":{"5":{"holds":{"3":{"fence":1,"locks":{"app":"s"}}}}}"#,
            "conflict",
        ),
        (
            r#""tasks":{"5":{}}"#,
            r#""tasks":{"5":{"holds":{"3":{"fence":1,"locks":{"app/blog/x":"s"}}}}}"#,
            "conflict",
        ),
        (r#""fence":3001"#, r#""fence":5001"#, "fence"),
        (r#""fence":3001"#, r#""fence":0"#, "fence"),
        (r#""fences":{"app/blog":2000}"#, r#""fences":{"app/blog":3001}"#, "covered fence"),
        (r#""fences":{"app/blog":2000}"#, r#""fences":{"app/shop":2000}"#, "covered fence"),
        (r#""site":0"#, r#""site":1"#, "site"),
        (r#""mark":4000"#, r#""mark":5001"#, "renewal"),
        (r#""seen":{"b2":{"mark":2001"#, r#""seen":{"b2":{"mark":5001"#, "renewal"),
        (r#""name":"step""#, r#""name":"""#, "name"),
        (r#""name":"update""#, r#""name":"up\u0007date""#, "name"),
        (
            r#""freed":[8],"tasks":{"5":{}}}},"queue":[{"task":"000000000002.5","id":9,"since":9,"locks":{"app":"x"}}]"#,
            r#""tasks":{}}},"queue":[]"#,
            "nothing",
        ),
    ] {
        assert_inconsistent(part, other, why);
    }
}

#[test]
fn limits_are_checked_too() {
    let holder = |id: u64, mode: &str| {
        format!(
            r#""00000000000{id}":{{"name":"c","mark":1,"tasks":{{"0":{{"holds":{{"0":{{"fence":1,"locks":{{"cpu":{mode}}}}}}}}}}}}}"#
        )
    };
    let with = |modes: &[&str]| {
        let clients: Vec<String> = (1..).zip(modes).map(|(id, mode)| holder(id, mode)).collect();
        decode(&format!(r#"{{"interlock":1,"clients":{{{}}},"queue":[]}}"#, clients.join(",")))
    };
    assert!(with(&["2", "2"]).is_ok());
    assert!(with(&["3", "3", "\"s\""]).is_ok());
    assert!(with(&["3", "2", "\"s\""]).is_err());
    assert!(with(&["2", "2", "2"]).is_err());
    assert!(with(&["2", "\"x\""]).is_err());
}

#[test]
fn a_table_cut_off_anywhere_is_refused() {
    for length in 0..FULL.len() {
        assert!(decode(&FULL[..length]).is_err(), "{}", &FULL[..length]);
    }
    for more in ["x", "{}", "\0", "}"] {
        assert!(decode(&format!("{FULL}{more}")).is_err(), "{more}");
    }
    for garbage in ["null", "[]", "0", "\"\"", "{}", "\u{feff}{}", "{\"interlock\":1}"] {
        assert!(decode(garbage).is_err(), "{garbage}");
    }
}

#[test]
fn clients_of_one_place_have_it_in_common_until_the_last_is_gone() {
    let with_clients = |count: u64| {
        let mut table = LockTable::new();
        for number in 0..count {
            let id = ClientId::from_random(number);
            let task = TaskId::new(None, id, 0).unwrap();
            let request = Request::exclusive(format!("app/blog-{number}"));
            let stamp = Stamp { version: Version(2000), now_ms: 2 };
            table.apply(&ask(0, &task, "backup-17", &request), stamp);
        }
        table
    };
    let mut table = with_clients(3);
    let text = String::from_utf8(table.encode()).unwrap();
    assert_eq!(text.matches("web1").count(), 1, "{text}");
    let places: Vec<Place> =
        table.list().holds.iter().map(|hold| hold.client.processes.place.clone()).collect();
    assert_eq!(places, [&info().processes.place; 3].map(Clone::clone));

    let moved = ProcessSet::current();
    let op = Op::SetProcesses { client: ClientId::from_random(1), processes: moved.clone() };
    let stamp = Stamp { version: Version(3000), now_ms: 3 };
    assert_eq!(table.apply(&op, stamp), Outcome::Done(true));
    assert_eq!(table.apply(&op, stamp), Outcome::Done(false));
    let read = decode_at(&table.encode(), 5000).unwrap();
    assert_eq!(read.client(ClientId::from_random(1)).unwrap().processes, moved);
    assert_eq!(read.client(ClientId::from_random(1)).unwrap().bell, Some(9));
    assert_eq!(read.client(ClientId::from_random(2)).unwrap().processes, info().processes);

    let mut table = with_clients(1);
    table.apply(&Op::Release(RequestId { client: ClientId::from_random(0), number: 0 }), stamp);
    assert_eq!(table.encode(), LockTable::new().encode());
}

#[test]
fn a_thousand_holds_are_small() {
    let mut one_task = LockTable::new();
    let mut many_tasks = LockTable::new();
    for number in 0..1000 {
        let version = Version(1_763_900_000_000_000 + number * 1_001);
        let stamp = Stamp { version, now_ms: version.0 / 1000 };
        let request = Request::exclusive(format!("app/blog-{number:03}"));
        let task = TaskId::new(None, client(), 0).unwrap();
        one_task.apply(&ask(number, &task, "backup-17", &request), stamp);
        let task = TaskId::new(None, client(), number).unwrap();
        let name = format!("task-{number}");
        many_tasks.apply(&ask(number, &task, &name, &request), stamp);
    }
    let bytes = |table: &LockTable| table.encode().len() / 1000;
    println!("bytes a hold: {} in one task, {} in one each", bytes(&one_task), bytes(&many_tasks));
    assert!(bytes(&one_task) <= 70, "{}", bytes(&one_task));
    assert!(bytes(&many_tasks) <= 100, "{}", bytes(&many_tasks));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(
            proptest::test_runner::FileFailurePersistence::WithSource("proptest-regressions"),
        )),
        ..ProptestConfig::with_cases(20_000)
    })]

    /// Damage never panics, and what is still read as a table is one: it is written and read again.
    #[test]
    fn damage_is_noticed_or_harmless(damage in prop::collection::vec(damage(), 1..4)) {
        let mut data = FULL.as_bytes().to_vec();
        for (at, with) in damage {
            let at = at.index(data.len());
            match with {
                Damage::Byte(byte) => data[at] = byte,
                Damage::Insert(text) => drop(data.splice(at..at, text.bytes())),
                Damage::Remove(count) => drop(data.drain(at..(at + count).min(data.len()))),
            }
            data.push(b' '); // Never empty.
        }
        if let Ok(mut table) = decode_at(&data, 5000) {
            let written = table.encode();
            let read = decode_at(&written, 5000).expect("it was written by this release");
            prop_assert_eq!(read.encode(), written);
            prop_assert_eq!(read.list(), table.list());
            for client in table.clients().map(|c| c.id).collect::<Vec<_>>() {
                for id in table.requests_of(client) {
                    let stamp = Stamp { version: Version(5001), now_ms: 0 };
                    table.apply(&Op::Release(id), stamp);
                    decode_at(&table.encode(), 5001).expect("it was written by this release");
                }
            }
            prop_assert!(table.is_empty(), "everything was given back");
        }
    }
}

#[derive(Debug, Clone)]
enum Damage {
    Byte(u8),
    Insert(&'static str),
    Remove(usize),
}

fn damage() -> impl Strategy<Value = (Index, Damage)> {
    const TEXTS: [&str; 10] =
        ["1", "0", "\"", "x", "s", "/", ",", "}", "\"mail\":\"x\",", "000000000001"];
    let damage = prop_oneof![
        2 => (32_u8..127).prop_map(Damage::Byte),
        1 => any::<u8>().prop_map(Damage::Byte),
        2 => prop::sample::select(&TEXTS[..]).prop_map(Damage::Insert),
        1 => (1_usize..4).prop_map(Damage::Remove),
    ];
    (any::<Index>(), damage)
}
