//! The platform example: run with the `lockctl` of this tree, and for long on every kind of store.

use lock_servers::{Instance, Kind};

use crate::{Failure, cargo};

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
    for kind in Kind::ALL {
        let server = match Instance::start(kind) {
            Ok(server) => server,
            Err(error) if error.is_unavailable() => {
                println!("xtask: the platform skips {kind}: {error}");
                continue;
            }
            Err(error) => return Err(error.to_string()),
        };
        server.create("platform").map_err(|error| error.to_string())?;
        let url = format!("{}/platform", server.url());
        cargo(&["run", "--quiet", "--locked", "-p", "lockctl", "--", "--store", &url, "init"])?;
        on(kind.name(), &[minutes.clone(), format!("--store={url}")]);
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}
