//! Clusters: three servers that replicate to each other, and what befalls them.

use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};

use crate::galera::Galera;
use crate::group::Group;
use crate::programs::Programs;
use crate::{Error, Instance, Kind};

/// How many nodes a cluster has: the fewest of which one can be lost.
const NODES: usize = 3;
/// How long a cluster may take to serve on a machine that is busy.
const START: Duration = Duration::from_mins(2);
/// How long a statement may take that only looks.
const LOOK: Duration = Duration::from_secs(5);

/// What kind of cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterKind {
    /// `MariaDB` with Galera: every node can be written.
    Galera,
    /// Group Replication of `MySQL` in which one member, the primary, can be written.
    GroupSingle,
    /// Group Replication of `MySQL` in which every member can be written.
    GroupMulti,
}

impl ClusterKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Galera, Self::GroupSingle, Self::GroupMulti];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Galera => "galera",
            Self::GroupSingle => "group-single",
            Self::GroupMulti => "group-multi",
        }
    }

    /// What its nodes are.
    pub fn kind(self) -> Kind {
        match self {
            Self::Galera => Kind::MariaDb,
            Self::GroupSingle | Self::GroupMulti => Kind::MySql,
        }
    }

    /// Gets what it takes to start one.
    ///
    /// # Errors
    ///
    /// As [`Programs::find`].
    pub fn prepare(self) -> Result<(), Error> {
        self.programs().map(drop)
    }

    fn programs(self) -> Result<(Programs, Way), Error> {
        match self {
            Self::Galera => {
                Galera::find().map(|(programs, galera)| (programs, Way::Galera(galera)))
            }
            Self::GroupSingle | Self::GroupMulti => {
                let is_multi = self == Self::GroupMulti;
                Ok((Group::find()?, Way::Group(Group { is_multi })))
            }
        }
    }
}

impl fmt::Display for ClusterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Galera => "Galera",
            Self::GroupSingle => "Group Replication with one primary",
            Self::GroupMulti => "Group Replication with several primaries",
        })
    }
}

/// How the nodes find each other and get up to date.
#[derive(Debug)]
enum Way {
    Galera(Galera),
    Group(Group),
}

/// A cluster of three servers on loopback, each with a data directory of its own; it ends with this
/// value.
#[derive(Debug)]
pub struct Cluster {
    kind: ClusterKind,
    way: Way,
    nodes: Vec<Instance>,
}

impl Cluster {
    /// Starts a cluster, and waits until it serves.
    ///
    /// # Errors
    ///
    /// As [`Programs::find`], or it does not come up.
    pub fn start(kind: ClusterKind) -> Result<Self, Error> {
        let (programs, way) = kind.programs()?;
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            nodes.push(Instance::lay(programs.clone())?);
        }
        match &way {
            Way::Galera(galera) => galera.introduce(&mut nodes)?,
            Way::Group(group) => group.introduce(&mut nodes)?,
        }
        let cluster = Self { kind, way, nodes };
        cluster.start_all()?;
        Ok(cluster)
    }

    /// What kind of cluster it is.
    pub fn kind(&self) -> ClusterKind {
        self.kind
    }

    /// Its nodes. What is done to one of them on its own, such as stopping it, is done there; but
    /// they are started by the cluster.
    pub fn nodes(&self) -> &[Instance] {
        &self.nodes
    }

    /// Ends all nodes by `SIGKILL`.
    ///
    /// # Errors
    ///
    /// The system refused.
    pub fn kill_all(&self) -> Result<(), Error> {
        self.nodes.iter().try_for_each(Instance::kill)
    }

    /// Starts all nodes when none runs, from the one that knows most, and waits until all serve, the
    /// first as the primary where there is one.
    ///
    /// # Errors
    ///
    /// They do not come up.
    pub fn start_all(&self) -> Result<(), Error> {
        match &self.way {
            Way::Galera(_) => Galera::start_all(&self.nodes)?,
            Way::Group(_) => Group::start_all(&self.nodes)?,
        }
        self.settle()?;
        self.lead(0)
    }

    /// Starts a node that was killed, as part of the cluster that the others are, and waits until all
    /// that run serve.
    ///
    /// # Errors
    ///
    /// It does not come up.
    pub fn start_again(&self, node: usize) -> Result<(), Error> {
        match &self.way {
            Way::Galera(_) => Galera::start_again(&self.nodes[node])?,
            Way::Group(_) => self.nodes[node].start_again()?,
        }
        self.settle()
    }

    /// Takes a node out of the cluster, though it goes on running, as operators do.
    ///
    /// [`settle`](Self::settle) takes it in again.
    ///
    /// # Errors
    ///
    /// It refuses.
    pub fn leave(&self, node: usize) -> Result<(), Error> {
        let leave = match &self.way {
            Way::Galera(_) => "SET GLOBAL wsrep_cluster_address = ''",
            Way::Group(_) => "STOP GROUP_REPLICATION",
        };
        execute(&self.nodes[node], &[leave])
    }

    /// Waits until all nodes that run serve, and takes in again who was put out.
    ///
    /// # Errors
    ///
    /// They do not come together again.
    pub fn settle(&self) -> Result<(), Error> {
        self.settle_within(START)
    }

    /// As [`settle`](Self::settle), but for no longer than this.
    ///
    /// # Errors
    ///
    /// They do not come together again in that time.
    pub fn settle_within(&self, limit: Duration) -> Result<(), Error> {
        let running: Vec<&Instance> =
            self.nodes.iter().filter(|node| node.pid().is_some()).collect();
        let deadline = Instant::now() + limit;
        loop {
            // Each of them is looked at, since that takes in who was put out.
            let mut missing = None;
            for node in &running {
                let state = match &self.way {
                    Way::Galera(_) => Galera::serves(node, running.len()),
                    Way::Group(_) => Group::serves(node, &running),
                };
                if let Err(state) = state {
                    missing = Some(format!("{}: {state}", node.address()));
                }
            }
            match missing {
                None => return Ok(()),
                Some(said) if Instant::now() > deadline => {
                    let program = self.kind.to_string();
                    return Err(Error::Program {
                        program,
                        said: format!("it does not serve: {said}"),
                    });
                }
                Some(_) => sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Which node is the primary; `None` where all can be written.
    ///
    /// # Errors
    ///
    /// No node says it.
    pub fn primary(&self) -> Result<Option<usize>, Error> {
        match &self.way {
            Way::Group(Group { is_multi: false }) => Group::primary(&self.nodes).map(Some),
            _ => Ok(None),
        }
    }

    /// Makes a node the primary; nothing happens where all can be written.
    ///
    /// # Errors
    ///
    /// The group refuses.
    pub fn lead(&self, node: usize) -> Result<(), Error> {
        match self.primary()? {
            Some(primary) if primary != node => Group::lead(&self.nodes[node]),
            _ => Ok(()),
        }
    }
}

/// Executes statements.
pub(crate) fn execute(node: &Instance, statements: &[&str]) -> Result<(), Error> {
    converse(node, START, async |connection| {
        for statement in statements {
            connection.execute(AssertSqlSafe(*statement)).await?;
        }
        Ok(())
    })
}

/// All rows of an answer, as texts.
pub(crate) fn ask(node: &Instance, query: &str) -> Result<Vec<Vec<String>>, Error> {
    converse(node, LOOK, async |connection| {
        let rows = connection.fetch_all(AssertSqlSafe(query)).await?;
        let texts = |row: &sqlx::mysql::MySqlRow| {
            (0..row.len()).map(|at| row.try_get_unchecked::<String, _>(at)).collect()
        };
        rows.iter().map(texts).collect()
    })
}

/// On a thread of its own, since whoever asks may be in a runtime.
fn converse<T: Send>(
    node: &Instance,
    limit: Duration,
    talk: impl AsyncFnOnce(&mut MySqlConnection) -> Result<T, sqlx::Error> + Send,
) -> Result<T, Error> {
    let fail = |said: String| Error::Program { program: node.url(), said };
    let run = || -> Result<T, Box<dyn std::error::Error>> {
        let options: MySqlConnectOptions = node.url().parse()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            tokio::time::timeout(limit, async {
                // Statements on the state of a cluster do not go with what sqlx sets by itself.
                let plain = options.pipes_as_concat(false).no_engine_substitution(false);
                let mut connection = plain.timezone(None).set_names(false).connect().await?;
                let answer = talk(&mut connection).await?;
                // It may be ended already, by what was said.
                let _ = connection.close().await;
                Ok(answer)
            })
            .await?
        })
    };
    std::thread::scope(|scope| {
        let ran = scope.spawn(move || run().map_err(|error| error.to_string())).join();
        ran.expect("it does not panic").map_err(fail)
    })
}
