//! The platform example: run with the `lockctl` of this tree, and for long on every kind of store.

use std::{env, fs, process};

use lock_servers::{Instance, Kind, RedisKind, RedisServer};

use crate::servers::unless_missing;
use crate::steps::{Failure, cargo};

/// Runs it with these options.
pub(crate) fn run(options: &[String]) -> Result<(), Failure> {
    cargo(&["build", "--quiet", "--locked", "-p", "lockctl", "-p", "lock-platform"])?;
    let options = options.iter().map(String::as_str);
    let run = ["run", "--quiet", "--locked", "-p", "lock-platform", "--"];
    cargo(&run.into_iter().chain(options).collect::<Vec<_>>())
}

/// Runs it for a tenth of the time on each kind of store.
pub(crate) fn soak(minutes: u64) -> Result<(), Failure> {
    let minutes = format!("--minutes={}", (minutes / 10).max(1));
    let mut failed = Vec::new();
    let mut on = |store: &str, options: &[String]| {
        println!("xtask: the platform on {store}");
        if let Err(error) = run(options) {
            failed.push(format!("on {store}: {error}"));
        }
    };
    on("SQLite", std::slice::from_ref(&minutes));
    let files = env::temp_dir().join(format!("platform-soak-{}", process::id()));
    // Which others may enter: some tasks run under another user.
    fs::create_dir_all(&files).map_err(|error| format!("{}: {error}", files.display()))?;
    for strategy in ["flock", "excl"] {
        let store = files.join(strategy);
        let url = format!("--store=file:{}?strategy={strategy}", store.display());
        on(&format!("files ({strategy})"), &[minutes.clone(), url]);
    }
    let _ = fs::remove_dir_all(files);
    for kind in Kind::ALL {
        let Some(server) = unless_missing(Instance::start(kind))? else { continue };
        server.create("platform").map_err(|error| error.to_string())?;
        let url = format!("{}/platform", server.url());
        cargo(&["run", "--quiet", "--locked", "-p", "lockctl", "--", "--store", &url, "init"])?;
        on(kind.name(), &[minutes.clone(), format!("--store={url}")]);
    }
    for kind in RedisKind::ALL {
        let Some(server) = unless_missing(RedisServer::start(kind))? else { continue };
        on(kind.name(), &[minutes.clone(), format!("--store={}", server.url())]);
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}
