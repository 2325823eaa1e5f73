//! `lockctl release` and `lockctl init`: what operators do to a store.

use std::io::Write;

use lock_core::{BackendError, LockBackend};
use nix::unistd::Group;

use crate::{
    exit::Exit,
    keeper::LockError,
    notice,
    open::with_locks,
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
                InitError::NoGroup(_) | InitError::Group { .. } => Exit::Usage,
            }
        }
    }
}

fn create(settings: &Settings, group: Option<&str>) -> Result<(), InitError> {
    let mut options = settings.options();
    if let Some(name) = group {
        let found = Group::from_name(name)
            .map_err(|source| InitError::Group { name: name.into(), source })?
            .ok_or_else(|| InitError::NoGroup(name.into()))?;
        let Store::Sqlite(path) = &settings.store;
        if path.exists() {
            notice::say(format_args!(
                "{} exists already: its mode and group are left as they are",
                path.display()
            ));
        }
        options = options.group_id(found.gid.as_raw());
    }
    let opened = || -> Result<(), BackendError> {
        let backend = options.open()?;
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| {
            let message = "cannot start a runtime";
            BackendError::new(lock_core::BackendErrorKind::Unavailable, message).with_source(error)
        })?;
        runtime.block_on(backend.load()).map(|_| ())
    };
    opened().map_err(LockError::from)?;
    Ok(())
}
