//! Stories about a lock table: who gets what, who waits, who is refused.

use std::collections::HashMap;
use std::sync::Arc;

use lock_core::process::{Place, Process, ProcessSet};
use lock_core::table::{
    Acquire, ClientInfo, Cycle, Denial, Event, LockTable, Op, Outcome, RequestState, Stamp,
};
use lock_core::{ClientId, Request, RequestId, TaskId, Version};

/// A table, and tasks by name. `backup` is a task of its own, `backup/step` is nested in it.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) table: LockTable,
    pub(crate) version: u64,
    tasks: HashMap<String, TaskId>,
    asked: u64,
}

impl Story {
    pub(crate) fn apply(&mut self, op: &Op) -> Outcome {
        self.version += 1;
        self.table.apply(op, Stamp { version: Version(self.version), now_ms: 0 })
    }

    /// The id of a task: each has a client of its own, named like it.
    pub(crate) fn task(&mut self, name: &str) -> TaskId {
        if let Some(task) = self.tasks.get(name) {
            return task.clone();
        }
        let parent = name.rsplit_once('/').map(|(parent, _)| self.task(parent));
        let client = ClientId::from_random(self.tasks.len() as u64 + 1);
        let task = TaskId::new(parent.as_ref(), client, 1).unwrap();
        self.tasks.insert(name.to_owned(), task.clone());
        task
    }

    pub(crate) fn ask(
        &mut self,
        task: &str,
        request: impl Into<Request>,
        wait: bool,
    ) -> (RequestId, Outcome) {
        let id = self.task(task);
        self.asked += 1;
        let op = Op::Acquire(Acquire {
            id: RequestId { client: id.client(), number: self.asked },
            task: id,
            name: task.into(),
            note: None,
            client: Arc::new(info(task)),
            locks: Arc::new(request.into().locks().unwrap().clone()),
            wait,
        });
        let Op::Acquire(Acquire { id, .. }) = op else { unreachable!() };
        (id, self.apply(&op))
    }

    /// The task gets the locks at once.
    #[track_caller]
    pub(crate) fn gets(&mut self, task: &str, request: impl Into<Request>) -> RequestId {
        let (id, outcome) = self.ask(task, request, false);
        assert_eq!(outcome, Outcome::Granted, "{task}");
        id
    }

    /// The task may not wait, and does not get the locks.
    #[track_caller]
    pub(crate) fn is_refused(&mut self, task: &str, request: impl Into<Request>) -> Denial {
        match self.ask(task, request, false).1 {
            Outcome::Busy(denial) => denial,
            outcome => panic!("{task}: {outcome:?}"),
        }
    }

    /// The task has to wait.
    #[track_caller]
    pub(crate) fn waits(&mut self, task: &str, request: impl Into<Request>) -> RequestId {
        let (id, outcome) = self.ask(task, request, true);
        assert_eq!(outcome, Outcome::Queued, "{task}");
        id
    }

    /// The task would wait for ever.
    #[track_caller]
    pub(crate) fn is_deadlocked(&mut self, task: &str, request: impl Into<Request>) -> Cycle {
        match self.ask(task, request, true).1 {
            Outcome::Deadlock(cycle) => cycle,
            outcome => panic!("{task}: {outcome:?}"),
        }
    }

    /// Gives a request back, and tells who was granted by that.
    pub(crate) fn release(&mut self, id: RequestId) -> Vec<RequestId> {
        self.table.take_events();
        self.apply(&Op::Release(id));
        let events = self.table.take_events().into_iter();
        events.filter_map(|e| if let Event::Granted(id) = e { Some(id) } else { None }).collect()
    }

    pub(crate) fn fence(&self, id: RequestId, name: &str) -> u64 {
        self.table.fences(id).expect("it is held")[name].0
    }

    pub(crate) fn is_held(&self, id: RequestId) -> bool {
        matches!(self.table.place(id), RequestState::Held(_))
    }
}

pub(crate) fn info(name: &str) -> ClientInfo {
    ClientInfo {
        name: name.into(),
        processes: ProcessSet {
            place: Place { host: Some("web1".into()), ..Place::default() },
            processes: vec![Process { pid: 4242, start: 1 }],
            groups: vec![],
        },
        bell: None,
        lease: None,
    }
}
