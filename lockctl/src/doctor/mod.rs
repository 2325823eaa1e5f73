//! `lockctl doctor`: one line for each thing that has to be well, and what to do where it is not.
//!
//! What only one kind of store has is in a file of its own, as a function that adds to the report.

mod common;
mod files;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(feature = "mysql", feature = "redis"))]
mod network;
#[cfg(feature = "redis")]
mod redis;
mod report;

use std::sync::Arc;

use lock_core::{LockBackend, Locks, StoreError, table::LockTable};
use tokio::runtime::Runtime;

use crate::{
    cli,
    exit::Exit,
    history::newest_fence,
    keeper::LockError,
    open::runtime,
    store::{Settings, SettingsError, Store},
};
use report::Report;

/// Checks everything, prints the report, and ends as the worst of it asks for.
pub(crate) fn examine(found: &Result<Settings, SettingsError>, options: &cli::Doctor) -> Exit {
    let mut report = Report::default();
    match found {
        Err(error) => report.fail("settings", error, Exit::Config),
        Ok(settings) => {
            report.ok(
                "settings",
                format!("{}, chosen by {}", settings.describe(), settings.chosen_by),
            );
            common::other_stores(settings, &mut report);
            common::password(settings, &mut report);
            common::processes(&mut report);
            if files::is_there(settings, &mut report) {
                store(settings, options.repair, &mut report);
            }
        }
    }
    report.print(found.as_ref().ok(), options.json);
    report.exit()
}

/// Everything about a store that is there.
fn store(settings: &Settings, repair: bool, report: &mut Report) {
    let opened = || Ok::<_, LockError>((settings.open()?, runtime()?));
    let (backend, runtime): (Arc<dyn LockBackend>, Runtime) = match opened() {
        Ok(opened) => opened,
        Err(error) => return report.fail("connect", &error, error.exit()),
    };
    runtime.block_on(async {
        let snapshot = match backend.load().await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let error = LockError::Open(error);
                return report.fail("connect", &error, error.exit());
            }
        };
        report.ok("connect", "the store can be read");
        match LockTable::decode(&snapshot) {
            Ok(table) => {
                common::table(&table, snapshot.data.len(), report);
                common::version(snapshot.version, newest_fence(settings), report);
                if let Err(error) = dead(&backend, repair, report).await {
                    let error = LockError::from(error);
                    report.fail("dead", &error, error.exit());
                }
            }
            Err(error) => report.fail_with(
                "table",
                error.to_string(),
                "use the lockctl that wrote it, or restore a backup; nothing was changed",
                Exit::Config,
            ),
        }
        match &settings.store {
            Store::Sqlite(path) => files::check(path, report),
            Store::File(path, _) => {
                files::check_right_to_write(path, report);
                files::check(path, report);
            }
            #[cfg(feature = "mysql")]
            Store::Mysql(url) => mysql::check(settings, url, snapshot.version, report).await,
            #[cfg(feature = "redis")]
            Store::Redis(url) => redis::check(settings, url, report).await,
            #[cfg(not(all(feature = "mysql", feature = "redis")))]
            _ => unreachable!("such settings are refused"),
        }
        backend.close().await;
    });
}

/// The dead, who are swept if that is wanted.
async fn dead(
    backend: &Arc<dyn LockBackend>,
    repair: bool,
    report: &mut Report,
) -> Result<(), StoreError> {
    let locks = Locks::builder(backend.clone()).in_current_runtime().build();
    let seen = async {
        let before = locks.list().await?;
        let swept = if repair { Some(locks.sweep_dead().await?) } else { None };
        Ok((before, swept))
    };
    let seen = seen.await;
    let closed = locks.close().await;
    let (before, swept) = seen?;
    closed?;
    common::dead(&before, swept, report);
    Ok(())
}
