//! Galera: how nodes of MariaDB are started as one cluster, each from what it had.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::{ask, execute};
use crate::fetch::{Suite, Wanted, run};
use crate::instance::Port;
use crate::programs::{Programs, cache, get, lock};
use crate::{Error, Instance, Kind};

const WANTED: Wanted = Wanted { packages: &["galera-4"], suite: Suite::Own };
/// The name of all histories; they never meet.
const HISTORY: &str = "4c6f636b-0000-4000-8000-000000000001";

/// Brings a node up to date, from the writes that another one has kept: there is no need for all its
/// files, since it began with the same.
const TRANSFER: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in
    --role) role=$2 ;;
    --address) address=$2 ;;
    --datadir) data=$2 ;;
    --gtid) position=$2 ;;
    --parent) server=$2 ;;
    --bypass) bypass=yes ;;
  esac
  shift
done
case $role in
  joiner)
    rm -f "$data/transfer"
    echo "ready $data/transfer"
    # Not for longer than the server lives, whose end nobody tells of.
    until [ -e "$data/transfer" ]; do kill -0 "$server" || exit 3; sleep 0.05; done
    cat "$data/transfer"; rm -f "$data/transfer" ;;
  donor)
    [ "$bypass" ] || { echo "the writes that it lacks are not kept any more" >&2; exit 61; }
    echo "$position" >"$address.new"; mv "$address.new" "$address"
    echo "done $position" ;;
esac
"#;

/// What makes a cluster of servers.
#[derive(Debug)]
pub(crate) struct Galera {
    library: PathBuf,
}

impl Galera {
    /// Finds what it takes, and gets it if need be.
    pub(crate) fn find() -> Result<(Programs, Self), Error> {
        let mut programs = Programs::find(Kind::MariaDb)?;
        let cache = cache()?;
        let _lock = lock(&cache, "galera")?;
        let root = cache.join("galera");
        let why = get(WANTED, &root);
        let places = [root.join("usr/lib"), "/usr/lib".into(), "/usr/lib64".into()];
        let library = places.into_iter().map(|place| place.join("galera/libgalera_smm.so"));
        let Some(library) = library.into_iter().find(|library| library.exists()) else {
            return Err(Error::unavailable(
                Kind::MariaDb,
                Kind::MariaDb.url_variable(),
                WANTED,
                why,
            ));
        };
        let galera = Self { library };
        let template = cache.join("galera-data");
        if !template.exists() {
            galera.initialize(&programs, &template)?;
        }
        programs.template = template;
        Ok((programs, galera))
    }

    /// Makes a data directory that has a place in a history.
    fn initialize(&self, programs: &Programs, template: &Path) -> Result<(), Error> {
        let mut nodes = [Instance::lay(programs.clone())?];
        self.introduce(&mut nodes)?;
        let [node] = nodes;
        place(&node, 0)?;
        node.start_again_with(&["--wsrep-new-cluster"])?;
        node.kill()?;
        let position = recover(&node)?;
        place(&node, position)?;
        forget_view(&node);
        let _ = fs::remove_file(node.data().join("galera.cache"));
        node.become_template(template)
    }

    /// Tells nodes of each other.
    pub(crate) fn introduce(&self, nodes: &mut [Instance]) -> Result<(), Error> {
        let reserve = |_: &Instance| Ok((Port::reserve()?, Port::reserve()?));
        let ports = nodes.iter().map(reserve).collect::<Result<Vec<_>, Error>>()?;
        let members: Vec<String> =
            ports.iter().map(|(group, _)| group.address.to_string()).collect();
        let members = members.join(",");
        for (node, (group, state)) in nodes.iter_mut().zip(ports) {
            let script = node.directory().join("wsrep_sst_kept");
            let write = || {
                fs::write(&script, TRANSFER)?;
                fs::set_permissions(&script, Permissions::from_mode(0o755))
            };
            write().map_err(Error::io("write", &script))?;
            let (of_group, of_state) = (group.address, state.address);
            let own = [
                "--wsrep-on=ON".into(),
                // What an administrator may allow, and Interlock must not use.
                "--wsrep-dirty-reads=ON".into(),
                "--binlog-format=ROW".into(),
                "--innodb-autoinc-lock-mode=2".into(),
                format!("--wsrep-provider={}", self.library.display()),
                "--wsrep-cluster-name=interlock".into(),
                format!("--wsrep-cluster-address=gcomm://{members}"),
                format!("--wsrep-node-address={of_group}"),
                format!("--wsrep-node-incoming-address={}", node.address()),
                "--wsrep-sst-method=kept".into(),
                format!(
                    "--wsrep-provider-options=gmcast.listen_addr=tcp://{of_group};\
                     ist.recv_addr={of_state}"
                ),
            ];
            node.with_arguments(own);
            let path = env::var("PATH").unwrap_or_default();
            node.with_path(format!("{}:{path}", node.directory().display()));
            node.with_ports([group, state]);
        }
        Ok(())
    }

    /// Starts all nodes when none runs.
    pub(crate) fn start_all(nodes: &[Instance]) -> Result<(), Error> {
        let positions = nodes.iter().map(recover).collect::<Result<Vec<_>, _>>()?;
        let last = *positions.iter().max().expect("there are nodes");
        let first = positions.iter().position(|position| *position == last).expect("it is one");
        // Nobody has kept the writes that a node may lack.
        for (node, position) in nodes.iter().zip(&positions) {
            if *position < last {
                let data = node.data();
                fs::remove_dir_all(&data).map_err(Error::io("remove", &data))?;
                run(Command::new("cp").arg("-a").arg(nodes[first].data()).arg(&data))?;
            }
        }
        for node in nodes {
            place(node, last)?;
            forget_view(node);
        }
        nodes[first].start_again_with(&["--wsrep-new-cluster"])?;
        let others = nodes.iter().enumerate().filter(|(at, _)| *at != first);
        others.map(|(_, node)| node).try_for_each(Instance::start_again)
    }

    /// Starts a node while others run.
    pub(crate) fn start_again(node: &Instance) -> Result<(), Error> {
        place(node, recover(node)?)?;
        forget_view(node);
        node.start_again()
    }

    /// Whether a node serves, beside so many in all; else in what state it is.
    pub(crate) fn serves(node: &Instance, nodes: usize) -> Result<(), String> {
        let query = "SHOW STATUS WHERE Variable_name IN ('wsrep_local_state_comment', \
                     'wsrep_cluster_size', 'wsrep_ready')";
        let state = ask(node, query).map_err(|error| error.to_string())?;
        let is =
            |name: &str, value: &str| state.iter().any(|row| row[0] == name && row[1] == value);
        if is("wsrep_local_state_comment", "Synced")
            && is("wsrep_ready", "ON")
            && is("wsrep_cluster_size", &nodes.to_string())
        {
            return Ok(());
        }
        let alone = ask(node, "SELECT @@global.wsrep_cluster_address");
        if alone.is_ok_and(|address| address[0][0].is_empty()) {
            let address = node.argument("--wsrep-cluster-address=").unwrap_or_default();
            let join = format!("SET GLOBAL wsrep_cluster_address = '{address}'");
            execute(node, &[&join]).map_err(|error| error.to_string())?;
        }
        Err(format!("{state:?}"))
    }
}

/// The last write that a node has, by its own account.
fn recover(node: &Instance) -> Result<i64, Error> {
    let log = node.directory().join("recover.log");
    let _ = fs::remove_file(&log);
    let mut command = node.command();
    run(command.arg("--wsrep-recover").arg(format!("--log-error={}", log.display())))?;
    let text = fs::read_to_string(&log).map_err(Error::io("read", &log))?;
    let position = text.lines().rev().find_map(|line| {
        let (history, position) = line.split_once("Recovered position: ")?.1.split_once(':')?;
        (history == HISTORY).then(|| position.split(',').next()?.trim().parse().ok())?
    });
    Ok(position.unwrap_or(0))
}

/// Has a node forget who the others were, so that it joins whoever is there.
fn forget_view(node: &Instance) {
    let _ = fs::remove_file(node.data().join("gvwstate.dat"));
}

/// Tells a node that this is the last write that it has, and that it may begin a cluster.
fn place(node: &Instance, position: i64) -> Result<(), Error> {
    let file = node.data().join("grastate.dat");
    let text = format!(
        "# GALERA saved state\nversion: 2.1\nuuid:    {HISTORY}\nseqno:   {position}\n\
         safe_to_bootstrap: 1\n"
    );
    fs::write(&file, text).map_err(Error::io("write", file))
}
