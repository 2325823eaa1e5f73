//! Fencing in a table of the user: whoever was paused past the lease writes nothing any more.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lock_core::Locks;
use lock_core::process::ProcessSet;
use lock_mysql::MySqlBackend;
use lock_mysql::fence::{self, FenceError};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::mysql::{MySql, MySqlPoolOptions};
use sqlx::{Executor, Row};

use crate::place::{Place, everywhere};

/// The store, for a process that is started as a holder.
const HOLDER: &str = "INTERLOCK_TEST_HOLDER";

async fn table(place: &Place) {
    place
        .run(&[
            "CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL, \
             fence BIGINT UNSIGNED NOT NULL DEFAULT 0)",
            "INSERT INTO account (id, balance) VALUES (1, 100)",
        ])
        .await;
}

async fn account(place: &Place) -> (i64, i64) {
    let row = place.row("SELECT CAST(balance AS SIGNED), CAST(fence AS SIGNED) FROM account").await;
    (row.try_get_unchecked(0).unwrap(), row.try_get_unchecked(1).unwrap())
}

async fn write<'e>(
    executor: impl Executor<'e, Database = MySql>,
    balance: i64,
    fence: u64,
) -> Result<u64, FenceError> {
    let update = "UPDATE account SET balance = ?, fence = ? WHERE id = 1 AND fence <= ?";
    fence::update(executor, sqlx::query(update).bind(balance).bind(fence).bind(fence)).await
}

#[test]
fn a_holder_writes_as_often_as_it_likes_and_one_from_before_does_not() {
    everywhere(async |place| {
        table(place).await;
        let pool = MySqlPoolOptions::new().connect(&place.url()).await.unwrap();
        let locks = Locks::new(MySqlBackend::from_pool(&pool).unwrap());
        let old = locks.acquire("account/1").await.unwrap();
        let old_fence = old.fence();
        old.release().await.unwrap();
        let new = locks.acquire("account/1").await.unwrap();
        assert_eq!(write(&pool, 90, old_fence).await.unwrap(), 1);
        assert_eq!(write(&pool, 80, new.fence()).await.unwrap(), 1);
        assert_eq!(write(&pool, 80, new.fence()).await.unwrap(), 1, "the same once more");
        assert_eq!(write(&pool, 70, new.fence()).await.unwrap(), 1);
        let refused = write(&pool, 60, old_fence).await.unwrap_err();
        assert!(matches!(refused, FenceError::Refused), "{refused}");
        // In a transaction, and on a connection.
        let mut transaction = pool.begin().await.unwrap();
        assert!(write(&mut *transaction, 60, old_fence).await.is_err());
        assert_eq!(write(&mut *transaction, 50, new.fence()).await.unwrap(), 1);
        transaction.commit().await.unwrap();
        assert_eq!(account(place).await, (50, new.fence().try_into().unwrap()));
        assert!(write(&mut *pool.acquire().await.unwrap(), 60, old_fence).await.is_err());
        assert_eq!(account(place).await, (50, new.fence().try_into().unwrap()));
        // What would not be fenced is not sent.
        let all = sqlx::query("UPDATE account SET balance = 0");
        assert!(matches!(fence::update(&pool, all).await, Err(FenceError::NotFenced)));
        let none = sqlx::query("UPDATE none SET fence = ? WHERE fence <= ?").bind(1).bind(1);
        assert!(matches!(fence::update(&pool, none).await, Err(FenceError::Sql(_))));
        assert_eq!(account(place).await, (50, new.fence().try_into().unwrap()));
        new.release().await.unwrap();
        locks.close().await.unwrap();
        pool.close().await;
    });
}

/// Why the recipe has no upsert: the count cannot tell a refusal from a write.
#[test]
fn an_upsert_that_is_refused_counts_a_row() {
    everywhere(async |place| {
        table(place).await;
        place.run(&["UPDATE account SET fence = 7"]).await;
        let upsert = "INSERT INTO account (id, balance, fence) VALUES (1, 0, 6) \
                      ON DUPLICATE KEY UPDATE balance = IF(fence <= 6, 0, balance), \
                      fence = GREATEST(fence, 6)";
        let mut connection = place.connect().await;
        assert_eq!(connection.execute(upsert).await.unwrap().rows_affected(), 1);
        assert_eq!(account(place).await, (100, 7));
    });
}

#[test]
fn a_holder_that_was_paused_past_its_lease_writes_nothing_any_more() {
    everywhere(async |place| {
        table(place).await;
        let pool = MySqlPoolOptions::new().connect(&place.url()).await.unwrap();
        let mut paused = Holder::start(&place.url());
        let old: u64 = paused.line().parse().unwrap();
        assert_eq!(paused.order("10"), "written");
        paused.signal(Signal::STOP);

        let locks = Locks::new(place.backend());
        let guard = locks.acquire("account/1").await.expect("the lease of the other ends");
        assert!(guard.fence() > old);
        assert_eq!(write(&pool, 20, guard.fence()).await.unwrap(), 1);

        paused.signal(Signal::CONT);
        assert_eq!(paused.order("30"), "refused");
        assert_eq!(account(place).await, (20, guard.fence().try_into().unwrap()));
        assert_eq!(write(&pool, 40, guard.fence()).await.unwrap(), 1);
        guard.release().await.unwrap();
        locks.close().await.unwrap();
        pool.close().await;
    });
}

/// A process of its own that holds the lock, and writes what it is told without a look at its guard.
struct Holder {
    process: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Holder {
    fn start(url: &str) -> Self {
        let mut process = Command::new(env::current_exe().expect("it has a path"))
            .args(["--exact", "fences::holder", "--nocapture"])
            .env(HOLDER, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let said = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, said }
    }

    /// The next line that is meant for us, and not for who reads the results of tests.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).expect("it can be read") > 0, "it has ended");
            if let Some((_, line)) = line.trim_end().split_once("holder: ") {
                return line.to_owned();
            }
        }
    }

    fn order(&mut self, balance: &str) -> String {
        let input = self.process.stdin.as_mut().expect("it is piped");
        writeln!(input, "{balance}").expect("it reads");
        self.line()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).expect("it is there");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Not a test, but the other process, where the environment says so.
#[test]
fn holder() {
    let Ok(url) = env::var(HOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system has what a runtime needs").block_on(async {
        let pool = MySqlPoolOptions::new().connect(&url).await.unwrap();
        let mut processes = ProcessSet::current();
        // As seen from another host: nobody can tell whether it lives, and its lease decides.
        processes.place.pid_ns = Some(1);
        let backend = MySqlBackend::from_pool(&pool).unwrap();
        let builder = Locks::builder(backend).processes(processes).lease(Duration::from_secs(1));
        let locks = builder.build();
        let guard = locks.acquire("account/1").await.unwrap();
        println!("holder: {}", guard.fence());
        for line in std::io::stdin().lines() {
            let balance = line.unwrap().parse().unwrap();
            match write(&pool, balance, guard.fence()).await {
                Ok(_) => println!("holder: written"),
                Err(FenceError::Refused) => println!("holder: refused"),
                Err(error) => println!("holder: {error}"),
            }
        }
    });
}
