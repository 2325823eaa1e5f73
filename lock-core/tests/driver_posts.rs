//! Posts: where many clients of a host write at once, one of them writes for all.
#![cfg(target_os = "linux")]

mod driver;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use driver::{until, within};
use lock_core::table::{LockTable, PostMarks};
use lock_core::{
    AcquireError, BackendError, BackendErrorKind, ClientId, LockBackend, Locks, MemoryBackend,
    Reach, Snapshot, Swap, Version,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a swap takes, on the clock of tokio.
const SWAP: Duration = Duration::from_millis(1);

/// What the clients of a store share: the cell, and the line in front of it.
#[derive(Debug, Clone)]
struct Store {
    cell: MemoryBackend,
    line: Arc<Semaphore>,
    /// All that was ever written.
    written: Arc<Mutex<Vec<Snapshot>>>,
    /// Whether it has no room for more than it has.
    is_full: Arc<AtomicBool>,
}

impl Store {
    fn new() -> Self {
        Self {
            cell: MemoryBackend::new(),
            line: Arc::new(Semaphore::new(1)),
            written: Arc::default(),
            is_full: Arc::default(),
        }
    }

    /// A client, and what lets its swaps go on.
    fn client(&self) -> (Locks, Arc<Semaphore>) {
        self.client_with(usize::MAX)
    }

    fn client_with(&self, bytes_max: usize) -> (Locks, Arc<Semaphore>) {
        let (store, gate) = (self.clone(), Arc::new(Semaphore::new(1)));
        let client = Client { store, gate: gate.clone(), bytes_max, turn: Mutex::default() };
        (Locks::builder(client).in_current_runtime().build(), gate)
    }

    fn swaps(&self) -> usize {
        self.written.lock().unwrap().len()
    }

    /// What was written after the first so many swaps.
    fn tables(&self, from: usize) -> Vec<LockTable> {
        let written = self.written.lock().unwrap();
        written[from..].iter().map(|cell| LockTable::decode(cell).expect("it is good")).collect()
    }

    fn table(&self) -> LockTable {
        LockTable::decode(&self.cell.snapshot()).expect("the table keeps its rules")
    }

    /// Two clients, of which the first is known to write.
    async fn pair(&self) -> ((Locks, Arc<Semaphore>), Locks) {
        let (writer, gate) = self.client();
        let (poster, _) = self.client();
        let first = writer.acquire("first").await.unwrap();
        let second = poster.acquire("second").await.unwrap();
        // It finds that somebody else has written, and offers to write for others.
        first.release().await.unwrap();
        // And so does this one, and finds the offer.
        second.release().await.unwrap();
        assert_ne!(*self.table().posted(), PostMarks::default(), "it has posted its release");
        ((writer, gate), poster)
    }
}

/// A client of a store that makes its clients stand in line.
#[derive(Debug)]
struct Client {
    store: Store,
    gate: Arc<Semaphore>,
    /// What is longer is too much for it.
    bytes_max: usize,
    turn: Mutex<Option<OwnedSemaphorePermit>>,
}

#[async_trait]
impl LockBackend for Client {
    fn reach(&self) -> Reach {
        Reach::Network
    }

    fn describe(&self) -> String {
        "a crowded store".into()
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        self.store.cell.load().await
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        tokio::time::sleep(SWAP).await;
        let cell = self.store.cell.snapshot();
        let is_full = self.store.is_full.load(Ordering::Relaxed) && cell.version == expected;
        if data.len() > self.bytes_max || is_full && data.len() > cell.data.len() {
            return Err(BackendError::new(BackendErrorKind::TooLarge, "it is too much"));
        }
        let _permit = self.gate.acquire().await.expect("it is never closed");
        let swap = self.store.cell.compare_and_swap(expected, next, data).await?;
        if swap == Swap::Swapped {
            let cell = Snapshot { version: next, data: data.into() };
            self.store.written.lock().unwrap().push(cell);
        }
        Ok(swap)
    }

    async fn load_in_turn(&self) -> Result<Option<Snapshot>, BackendError> {
        let line = self.store.line.clone().acquire_owned();
        let Ok(permit) = tokio::time::timeout(10 * SWAP, line).await else { return Ok(None) };
        *self.turn.lock().unwrap() = Some(permit.expect("it is never closed"));
        Ok(Some(self.store.cell.snapshot()))
    }

    async fn end_turn(&self) {
        self.turn.lock().unwrap().take();
    }
}

#[tokio::test(start_paused = true)]
async fn many_are_written_by_one() {
    const CLIENTS: usize = 16;
    const ROUNDS: usize = 50;
    let store = Store::new();
    let mut work = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let (locks, _) = store.client();
        work.spawn(async move {
            for _ in 0..ROUNDS {
                let guard = locks.acquire(format!("app/{number}")).await.unwrap();
                guard.check().unwrap();
                guard.release().await.unwrap();
            }
            locks.close().await.unwrap();
        });
    }
    within("all of it", work.join_all()).await;
    let (swaps, changes) = (store.swaps(), 2 * CLIENTS * ROUNDS);
    assert!(swaps < changes / 2, "{swaps} swaps for {changes} changes");
    assert!(store.table().is_empty(), "{:?}", store.table().list());
}

#[tokio::test(start_paused = true)]
async fn nobody_writes_for_one_alone_without_work_of_its_own() {
    let store = Store::new();
    let ((_writer, _), poster) = store.pair().await;
    let take_and_give = async || {
        let guard = within("the lock", poster.acquire("second")).await.unwrap();
        within("the release", guard.release()).await.unwrap();
    };
    for _ in 0..16 {
        take_and_give().await;
    }
    let before = store.table().posted().clone();
    for _ in 0..16 {
        take_and_give().await;
    }
    assert_eq!(*store.table().posted(), before, "it writes by itself");
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_is_paused_stops_nobody_and_writes_nothing_late() {
    let store = Store::new();
    let ((writer, gate), poster) = store.pair().await;
    let paused = gate.acquire().await.unwrap();
    let guard = within("the lock", poster.acquire("a")).await.unwrap();
    guard.check().unwrap();
    within("the release", guard.release()).await.unwrap();
    // What was posted is on its way all the time; when it comes, all of it is over.
    let before = store.swaps();
    drop(paused);
    within("a look", writer.list()).await.unwrap();
    within("its own lock", writer.acquire("b")).await.unwrap().release().await.unwrap();
    within("a look", poster.list()).await.unwrap();
    assert_never_again(&store, before);
}

/// The lock `a` is in no table that was written after so many.
fn assert_never_again(store: &Store, before: usize) {
    assert!(store.swaps() > before, "nothing was written");
    for table in store.tables(before) {
        let holds = table.list().holds;
        assert!(holds.iter().all(|hold| !hold.locks.contains_key("a")), "{holds:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_not_left_to_others() {
    let store = Store::new();
    let ((writer, gate), poster) = store.pair().await;
    let paused = gate.acquire().await.unwrap();
    // It is posted, and given up before anybody has written it.
    let asked = tokio::time::timeout(SWAP / 4, poster.acquire("a")).await;
    assert!(asked.is_err(), "the writer is paused");
    let mut before = store.swaps();
    until("its end is written", || store.swaps() > before).await;
    before = store.swaps();
    drop(paused);
    within("a look", writer.list()).await.unwrap();
    within("its own lock", writer.acquire("b")).await.unwrap().release().await.unwrap();
    within("a look", poster.list()).await.unwrap();
    assert_never_again(&store, before);
}

#[tokio::test(start_paused = true)]
async fn who_posts_is_told_that_a_lock_is_busy() {
    let store = Store::new();
    let ((writer, _), poster) = store.pair().await;
    let guard = writer.acquire("a").await.unwrap();
    let other = poster.acquire("other").await.unwrap();
    let swaps = store.swaps();
    assert!(within("a denial", poster.try_acquire("a")).await.unwrap_err().is_busy());
    assert_eq!(store.swaps(), swaps + 1, "the writer has tried, and then it has looked itself");
    guard.release().await.unwrap();
    within("the lock", poster.try_acquire("a")).await.unwrap().release().await.unwrap();
    other.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_has_ended_is_done_without() {
    let store = Store::new();
    let ((writer, _), poster) = store.pair().await;
    writer.close().await.unwrap();
    let swaps = store.swaps();
    within("the lock", poster.acquire("a")).await.unwrap().release().await.unwrap();
    assert_eq!(store.swaps(), swaps + 2, "its own");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_with_others_posts_is_tried_without_them() {
    let store = Store::new();
    let (writer, gate) = store.client_with(1000);
    let held = writer.acquire("a").await.unwrap();
    let to = store.table().list().holds[0].client.id;
    let paused = gate.acquire().await.unwrap();
    let [first, small] = ["first", "small"].map(|name| {
        let writer = writer.clone();
        async move { writer.acquire(name).await }
    });
    let first = tokio::spawn(first);
    tokio::time::sleep(2 * SWAP).await; // It writes: what comes now is in its next swap.
    let client = ClientId::from_random(fastrand::u64(..));
    let long = "x".repeat(500);
    let request = ask(1, &format!("{client}.1"), &long);
    send(to, &post(1_000_000_000_000_000, client, &[request]));
    let small = tokio::spawn(small);
    tokio::time::sleep(SWAP).await;
    drop(paused);
    within("what was written", first).await.unwrap().unwrap().release().await.unwrap();
    within("what fits by itself", small).await.unwrap().unwrap().release().await.unwrap();
    held.release().await.unwrap();
}

/// What anybody of this user can send to a client.
fn send(to: ClientId, post: &str) {
    let to = SocketAddr::from_abstract_name(format!("interlock/{to}")).unwrap();
    UnixDatagram::unbound().unwrap().send_to_addr(post.as_bytes(), &to).unwrap();
}

/// A request of a post.
fn ask(id: u32, task: &str, lock: &str) -> String {
    let locks = format!(r#"{{"{lock}":"x"}}"#);
    let who = format!(r#""id":{id},"task":"{task}","name":"x","note":null"#);
    format!(r#"{{{who},"locks":{locks},"wait":true}}"#)
}

fn post(number: u64, client: ClientId, requests: &[String]) -> String {
    let requests = requests.join(",");
    let info = r#""name":"x","site":{},"pids":[],"groups":[],"lease":null"#;
    let head = format!(r#""interlock":1,"number":{number},"client":"{client}""#);
    format!(r#"{{{head},"ask":{{{info},"requests":[{requests}]}}}}"#)
}

#[tokio::test(start_paused = true)]
async fn a_post_that_contradicts_the_table_is_not_written() {
    let store = Store::new();
    let (writer, _) = store.client();
    let (other, _) = store.client();
    let held = writer.acquire("a").await.unwrap();
    let _also = other.acquire("b").await.unwrap();
    let holds = store.table().list().holds;
    let owner = |lock: &str| holds.iter().find(|hold| hold.locks.contains_key(lock)).unwrap();
    let (to, client, task) = (owner("a").client.id, owner("b").client.id, &owner("b").task_id);
    let number = store.cell.snapshot().version.0 + 1;
    // Nested in another task than the table has it.
    let wrong = ask(901, &format!("{to}.77/{task}"), "a");
    send(to, &post(number, client, &[wrong, ask(902, task.as_str(), "c")]));
    until("the rest of it is written", || store.table().posted().up_to(client) >= Version(number))
        .await;
    assert!(store.table().list().waiting.is_empty(), "{:?}", store.table().list());
    held.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whose_post_is_done_already_is_told() {
    let store = Store::new();
    let ((writer, _), _poster) = store.pair().await;
    let held = writer.acquire("a").await.unwrap();
    let writer_id = store.table().list().holds[0].client.id;
    let late = ClientId::from_random(fastrand::u64(..));
    let heard = SocketAddr::from_abstract_name(format!("interlock/{late}")).unwrap();
    let heard = UnixDatagram::bind_addr(&heard).unwrap();
    heard.set_nonblocking(true).unwrap();
    let number = store.cell.snapshot().version.0 + 1;
    for number in [number, 1] {
        let release = r#""release":[1]"#;
        send(
            writer_id,
            &format!(r#"{{"interlock":1,"number":{number},"client":"{late}",{release}}}"#),
        );
        until("it is rung", || heard.recv(&mut [0; 8]).is_ok()).await;
    }
    assert!(store.table().posted().up_to(late) >= Version(number));
    held.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_one_has_posted_does_not_end_what_another_has() {
    let store = Store::new();
    let ((writer, _), _poster) = store.pair().await;
    let held = writer.acquire("a").await.unwrap();
    let writer_id = store.table().list().holds[0].client.id;
    let number = store.cell.snapshot().version.0 + 1;
    // The second was sent before the first, and comes late.
    for (client, number) in [(1, number + 1), (2, number)] {
        let client = ClientId::from_random(client);
        let task = format!("{client}.1");
        send(writer_id, &post(number, client, &[ask(1, &task, &task.replace('.', "/"))]));
        let is_written = || store.table().posted().up_to(client) >= Version(number);
        until("it is written", is_written).await;
    }
    assert_eq!(store.table().list().holds.len(), 3, "{:?}", store.table().list());
    held.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_has_posted_goes_on_in_a_store_that_has_become_full() {
    let store = Store::new();
    let ((writer, _), _poster) = store.pair().await;
    let (late, _) = store.client();
    let held = late.acquire("held").await.unwrap();
    // So that it meets others that write.
    let _other = writer.acquire("other").await.unwrap();
    store.is_full.store(true, Ordering::Relaxed);
    let refused =
        within("what is new is refused", late.acquire("new".repeat(80))).await.unwrap_err();
    assert!(matches!(&refused, AcquireError::Store(error) if error.is_full()), "{refused:?}");
    // Which takes no room, but for what would be written of posts.
    within("what is not new goes on", held.downgrade()).await.unwrap();
    held.verify().await.unwrap();
}
