//! What is asked of the driver that is not a request for locks.

use std::collections::HashSet;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::entry::DoneReply;
use super::{Ask, Moment};
use crate::error::{StoreError, VerifyError};
use crate::ids::{ClientId, RequestId, TaskId};

/// What is asked, since when, and until when it may take.
#[derive(Debug)]
pub(super) struct Extra {
    pub(super) what: What,
    pub(super) began: Moment,
    pub(super) patience: Instant,
}

/// What is asked.
pub(super) enum What {
    /// The ids are looked up once, so that a task of the same name that comes later is spared.
    ReleaseTask {
        name: String,
        tasks: Option<Vec<TaskId>>,
        reply: DoneReply<usize>,
    },
    Downgrade {
        id: RequestId,
        reply: DoneReply<bool>,
    },
    /// Whoever was found dead in any attempt is gone when one of them has succeeded.
    Sweep {
        swept: HashSet<ClientId>,
        reply: DoneReply<usize>,
    },
    SetProcesses {
        reply: DoneReply,
    },
    Query(Ask),
    Verify {
        number: u64,
        reply: oneshot::Sender<Result<(), VerifyError>>,
    },
}

impl std::fmt::Debug for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("What")
    }
}

impl What {
    /// Whether it only needs a fresh table.
    pub(super) fn only_reads(&self) -> bool {
        matches!(self, Self::Query(_) | Self::Verify { .. })
    }

    pub(super) fn fail(self, error: StoreError) {
        match self {
            Self::ReleaseTask { reply, .. } | Self::Sweep { reply, .. } => {
                drop(reply.send(Err(error)));
            }
            Self::Downgrade { reply, .. } => drop(reply.send(Err(error))),
            Self::SetProcesses { reply } => drop(reply.send(Err(error))),
            Self::Query(ask) => ask(Err(error)),
            Self::Verify { reply, .. } => drop(reply.send(Err(error.into()))),
        }
    }
}
