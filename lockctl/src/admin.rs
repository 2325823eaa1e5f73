//! `lockctl release` and `lockctl init`: what operators do to a store.

use std::{io::Write, path::Path};

#[cfg(feature = "mysql")]
use lock_core::BackendErrorKind;
use lock_core::{BackendError, LockBackend};
use nix::unistd::Group;

#[cfg(feature = "mysql")]
use crate::store::ServerUrl;
use crate::{
    exit::Exit,
    keeper::LockError,
    notice,
    open::{runtime, with_locks},
    store::{Settings, Store},
};

/// Frees the locks of all tasks of this name.
pub(crate) fn release(settings: &Settings, task: &str) -> Exit {
    match with_locks(settings, async |locks| Ok(locks.release_task(task).await?)) {
        Ok(0) => {
            notice::say(format_args!(
                "no task {task} holds or waits for anything in {}",
                settings.describe()
            ));
            Exit::Status(1)
        }
        Ok(_) => Exit::Status(0),
        Err(error) => {
            notice::say_error(&error);
            error.exit()
        }
    }
}

/// Why a store cannot be set up.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("there is no group {0}")]
    NoGroup(String),
    #[error("cannot look up the group {name}")]
    Group { name: String, source: nix::Error },
    #[error("--group is for stores that are files: the users of a table are chosen with GRANT")]
    NotAFile,
    #[error(transparent)]
    Open(#[from] LockError),
}

/// Creates the store, for a group if one is given.
pub(crate) fn init(settings: &Settings, group: Option<&str>) -> Exit {
    match create(settings, group) {
        Ok(()) => {
            let _ = writeln!(std::io::stdout(), "{} is ready", settings.describe());
            Exit::Status(0)
        }
        Err(error) => {
            notice::say_error(&error);
            match error {
                InitError::Open(error) => error.exit(),
                InitError::NoGroup(_) | InitError::Group { .. } | InitError::NotAFile => {
                    Exit::Usage
                }
            }
        }
    }
}

fn create(settings: &Settings, group: Option<&str>) -> Result<(), InitError> {
    match (&settings.store, group) {
        (Store::Sqlite(path), _) => {
            let options = settings.sqlite(path);
            Ok(match group_id(path, group)? {
                Some(group) => ready(options.group_id(group).open()),
                None => ready(options.open()),
            }?)
        }
        (Store::File(path, strategy), _) => {
            let options = settings.file(path, *strategy);
            Ok(match group_id(path, group)? {
                Some(group) => ready(options.group_id(group).open()),
                None => ready(options.open()),
            }?)
        }
        (Store::Mysql(_), Some(_)) => Err(InitError::NotAFile),
        #[cfg(feature = "mysql")]
        (Store::Mysql(url), None) => Ok(create_table(settings, url).map_err(LockError::from)?),
        #[cfg(not(feature = "mysql"))]
        (Store::Mysql(_), None) => unreachable!("such settings are refused"),
    }
}

/// The number of a group that a store is to be made for.
fn group_id(path: &Path, group: Option<&str>) -> Result<Option<u32>, InitError> {
    let Some(name) = group else { return Ok(None) };
    let found = Group::from_name(name)
        .map_err(|source| InitError::Group { name: name.into(), source })?
        .ok_or_else(|| InitError::NoGroup(name.into()))?;
    if path.exists() {
        notice::say(format_args!(
            "{} exists already: its mode and group are left as they are",
            path.display()
        ));
    }
    Ok(Some(found.gid.as_raw()))
}

/// A store is ready once its cell can be read.
fn ready(backend: Result<impl LockBackend, BackendError>) -> Result<(), LockError> {
    let loaded = || runtime()?.block_on(backend?.load()).map(drop);
    loaded().map_err(LockError::from)
}

/// Creates the table, unless it can be used already: who may use it need not be allowed to create it.
#[cfg(feature = "mysql")]
fn create_table(settings: &Settings, url: &ServerUrl) -> Result<(), BackendError> {
    let backend = settings.mysql(url)?;
    runtime()?.block_on(async {
        let ready = match backend.load().await {
            Err(error) if error.kind() == BackendErrorKind::Misconfigured => {
                backend.migrate().await?;
                backend.load().await
            }
            loaded => loaded,
        };
        backend.close().await;
        ready.map(drop)
    })
}
