//! Gets the servers that tests need, and starts them for people.

use std::io::Read;

use lock_servers::{ClusterKind, Error, Instance, Kind, RedisKind, RedisServer};

use crate::steps::Failure;

/// Gets them ready, so that no test has to; says which there are not.
pub(crate) fn prepare() -> Result<(), Failure> {
    for missing in lock_servers::prepare().map_err(|error| error.to_string())? {
        println!("xtask: some trials skip: {missing}");
    }
    Ok(())
}

/// Gets what clusters need besides, as [`prepare`] does.
pub(crate) fn prepare_clusters() -> Result<(), Failure> {
    for kind in ClusterKind::ALL {
        match kind.prepare() {
            Err(error) if error.may_be_skipped() => {
                println!("xtask: trials on {kind} skip: {error}");
            }
            prepared => prepared.map_err(|error| error.to_string())?,
        }
    }
    Ok(())
}

/// Starts one of each kind and prints how to reach it, until Ctrl-C or the end of the input.
pub(crate) fn serve() -> Result<(), Failure> {
    let mut servers = Vec::new();
    for kind in Kind::ALL {
        let Some(server) = unless_missing(Instance::start_with(kind, &[]))? else { continue };
        server.create("interlock").map_err(|error| error.to_string())?;
        println!("{kind}: LOCKCTL_STORE={}/interlock", server.url());
        servers.push(server);
    }
    let mut more = Vec::new();
    for kind in RedisKind::ALL {
        let Some(server) = unless_missing(RedisServer::start(kind))? else { continue };
        println!("{kind}: LOCKCTL_STORE={}", server.url());
        more.push(server);
    }
    println!("Ctrl-C ends them.");
    // Killed by Ctrl-C, this process takes them with it.
    while std::io::stdin().read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0) {}
    Ok(())
}

/// A server, or none where there is no such program, which is told.
pub(crate) fn unless_missing<T>(started: Result<T, Error>) -> Result<Option<T>, Failure> {
    match started {
        Ok(server) => Ok(Some(server)),
        Err(error) if error.may_be_skipped() => {
            println!("xtask: left out: {error}");
            Ok(None)
        }
        Err(error) => Err(error.to_string()),
    }
}
