//! `lockctl release` and `lockctl init`: what operators do to a store.

use std::{io::Write, path::Path};

use lock_core::{BackendError, LockBackend};
use nix::unistd::Group;

#[cfg(any(feature = "mysql", feature = "redis"))]
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
                "no task {task} holds or waits for anything in {}; `lockctl list` shows who does",
                settings.describe()
            ));
            Exit::Status(1)
        }
        Ok(_) => {
            settings.journal(false).freed(task, None);
            Exit::Status(0)
        }
        Err(error) => {
            notice::say_error(&error);
            error.exit()
        }
    }
}

/// Why a store cannot be set up.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("there is no group {0}: `getent group` lists them")]
    NoGroup(String),
    #[error("cannot look up the group {name}")]
    Group { name: String, source: nix::Error },
    #[error(
        "--group is for stores that are files: a server chooses its users itself, with GRANT or ACL SETUSER"
    )]
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
        (_, Some(_)) => Err(InitError::NotAFile),
        #[cfg(feature = "mysql")]
        (Store::Mysql(url), None) => Ok(create_table(settings, url).map_err(LockError::from)?),
        #[cfg(feature = "redis")]
        (Store::Redis(url), None) => Ok(look_at_key(settings, url).map_err(LockError::from)?),
        #[cfg(not(all(feature = "mysql", feature = "redis")))]
        (_, None) => unreachable!("such settings are refused"),
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

/// Creates the table, unless it is there, and looks whether it can be used.
#[cfg(feature = "mysql")]
fn create_table(settings: &Settings, url: &ServerUrl) -> Result<(), BackendError> {
    let backend = settings.mysql(url)?;
    runtime()?.block_on(async {
        backend.migrate().await?;
        backend.load().await?;
        backend.close().await;
        Ok(())
    })
}

/// There is nothing to create; what the server may lose is said.
#[cfg(feature = "redis")]
fn look_at_key(settings: &Settings, url: &ServerUrl) -> Result<(), BackendError> {
    let backend = settings.redis(url)?;
    runtime()?.block_on(async {
        let ready = match backend.load().await {
            Ok(_) => backend.risks().await,
            Err(error) => Err(error),
        };
        backend.close().await;
        for risk in ready? {
            notice::say(format_args!("{}: {risk}", settings.describe()));
        }
        Ok(())
    })
}
