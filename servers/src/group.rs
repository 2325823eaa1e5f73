//! Group Replication: how servers of MySQL are started as one group.

use std::fs;
use std::path::Path;
use std::thread;

use crate::cluster::{ask, execute};
use crate::instance::Port;
use crate::programs::{Programs, cache, lock};
use crate::{Error, Instance, Kind};

const JOIN: &str = "START GROUP_REPLICATION USER = 'root', PASSWORD = ''";
const MEMBERS: &str = "SELECT CAST(member_port AS CHAR), member_state, member_role \
                       FROM performance_schema.replication_group_members";

/// What makes a group of servers.
#[derive(Debug)]
pub(crate) struct Group {
    /// Whether every member can be written.
    pub(crate) is_multi: bool,
}

impl Group {
    /// Finds what it takes, and gets it if need be.
    pub(crate) fn find() -> Result<Programs, Error> {
        let mut programs = Programs::find(Kind::MySql)?;
        let cache = cache()?;
        let _lock = lock(&cache, "group")?;
        let template = cache.join("group-data");
        if !template.exists() {
            Self::initialize(&programs, &template)?;
        }
        programs.template = template;
        Ok(programs)
    }

    /// Makes a data directory whose users are not written by any member, and so conflict with none.
    fn initialize(programs: &Programs, template: &Path) -> Result<(), Error> {
        let mut node = Instance::lay(programs.clone())?;
        node.with_arguments(["--disable-log-bin".into()]);
        node.is_told()?;
        node.start_again()?;
        execute(&node, &["FLUSH TABLES", "SHUTDOWN"])?;
        while node.is_alive() {
            thread::sleep(std::time::Duration::from_millis(10));
        }
        node.kill()?;
        let name = node.data().join("auto.cnf");
        fs::remove_file(&name).map_err(Error::io("remove", name))?;
        node.become_template(template)
    }

    /// Tells members of each other.
    pub(crate) fn introduce(&self, nodes: &mut [Instance]) -> Result<(), Error> {
        let ports = nodes.iter().map(|_| Port::reserve()).collect::<Result<Vec<_>, Error>>()?;
        let seeds: Vec<String> = ports.iter().map(|port| port.address.to_string()).collect();
        let seeds = seeds.join(",");
        let [single, everywhere] = if self.is_multi { ["OFF", "ON"] } else { ["ON", "OFF"] };
        for (number, (node, port)) in (1..).zip(nodes.iter_mut().zip(ports)) {
            let option =
                |name: &str, value: &str| format!("--loose-group-replication-{name}={value}");
            let own = [
                format!("--server-id={number}"),
                "--gtid-mode=ON".into(),
                "--enforce-gtid-consistency=ON".into(),
                // Nobody writes to a server before it is a member.
                "--super-read-only=ON".into(),
                // Tables of it tell of the group.
                "--performance-schema=ON".into(),
                // A member that was away gets what it lacks from there.
                "--binlog-expire-logs-seconds=900".into(),
                "--report-host=127.0.0.1".into(),
                format!("--report-port={}", node.address().port()),
                "--plugin-load-add=group_replication.so".into(),
                option("group-name", "4c6f636b-0000-4000-8000-000000000001"),
                option("start-on-boot", "OFF"),
                option("local-address", &port.address.to_string()),
                option("group-seeds", &seeds),
                option("ip-allowlist", "127.0.0.1"),
                option("recovery-get-public-key", "ON"),
                option("single-primary-mode", single),
                option("enforce-update-everywhere-checks", everywhere),
            ];
            node.with_arguments(own);
            node.with_ports([port]);
        }
        Ok(())
    }

    /// Starts all members when none runs, the group by the one that knows most.
    pub(crate) fn start_all(nodes: &[Instance]) -> Result<(), Error> {
        thread::scope(|threads| {
            let starts: Vec<_> =
                nodes.iter().map(|node| threads.spawn(|| node.start_again())).collect();
            starts.into_iter().try_for_each(|start| start.join().expect("it does not panic"))
        })?;
        let mut best = (&nodes[0], known(&nodes[0])?);
        for node in &nodes[1..] {
            let own = known(node)?;
            let query = format!("SELECT CAST(GTID_SUBSET('{own}', '{}') AS CHAR)", best.1);
            if ask(node, &query)?[0][0] == "0" {
                best = (node, own);
            }
        }
        let begin = [
            "SET GLOBAL group_replication_bootstrap_group = ON",
            JOIN,
            "SET GLOBAL group_replication_bootstrap_group = OFF",
        ];
        execute(best.0, &begin)
    }

    /// Whether a member serves, as all these do; else in what state it is. Who is no member joins.
    pub(crate) fn serves(node: &Instance, nodes: &[&Instance]) -> Result<(), String> {
        let members = ask(node, MEMBERS).map_err(|error| error.to_string())?;
        let port = node.address().port().to_string();
        let own = members.iter().find(|member| member[0] == port).or(members.first());
        let state = own.map_or("OFFLINE", |member| member[1].as_str());
        let join = |statements: &[&str]| execute(node, statements).map_err(|e| e.to_string());
        match state {
            "ONLINE"
                if members.len() == nodes.len() && members.iter().all(|m| m[1] == "ONLINE") =>
            {
                return Ok(());
            }
            "OFFLINE" => join(&[JOIN])?,
            "ERROR" => join(&["STOP GROUP_REPLICATION", "SET GLOBAL offline_mode = OFF", JOIN])?,
            _ => {}
        }
        Err(format!("{members:?}"))
    }

    /// Which member is the primary, as those see it who serve.
    pub(crate) fn primary(nodes: &[Instance]) -> Result<usize, Error> {
        let mut said = "no member serves".into();
        for node in nodes.iter().filter(|node| node.pid().is_some()) {
            let members = match ask(node, MEMBERS) {
                Ok(members) => members,
                Err(error) => {
                    said = error.to_string();
                    continue;
                }
            };
            let primary = members.iter().find(|member| member[1..] == ["ONLINE", "PRIMARY"]);
            let is = |node: &Instance, port: &str| node.address().port().to_string() == port;
            let found = primary.and_then(|row| nodes.iter().position(|node| is(node, &row[0])));
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Err(Error::Program { program: "Group Replication".into(), said })
    }

    /// Makes a member the primary.
    pub(crate) fn lead(node: &Instance) -> Result<(), Error> {
        let id = &ask(node, "SELECT @@server_uuid")?[0][0];
        execute(node, &[&format!("SELECT group_replication_set_as_primary('{id}')")])
    }
}

/// What a server has, by its own account.
fn known(node: &Instance) -> Result<String, Error> {
    Ok(ask(node, "SELECT @@global.gtid_executed")?[0][0].replace('\n', ""))
}
