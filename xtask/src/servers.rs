//! Gets the servers that tests need, and starts them for people.

use std::io::Read;

use lock_servers::{Instance, Kind};

use crate::Failure;

/// Gets them ready, so that no test has to; says which there are not.
pub(crate) fn prepare() -> Result<(), Failure> {
    for missing in lock_servers::prepare().map_err(|error| error.to_string())? {
        println!("xtask: some trials skip: {missing}");
    }
    Ok(())
}

/// Starts one of each kind and prints how to reach it, until Ctrl-C or the end of the input.
pub(crate) fn serve() -> Result<(), Failure> {
    let mut servers = Vec::new();
    for kind in Kind::ALL {
        let server = Instance::start_with(kind, &[]).map_err(|error| error.to_string())?;
        server.create("interlock").map_err(|error| error.to_string())?;
        println!("{kind}: LOCKCTL_STORE={}/interlock", server.url());
        servers.push(server);
    }
    println!("Ctrl-C ends them.");
    // Killed by Ctrl-C, this process takes them with it.
    while std::io::stdin().read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0) {}
    Ok(())
}
