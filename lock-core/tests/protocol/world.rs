//! The world of the model: the cell, the network, the clients, and everything that may happen.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lock_core::process::{Place, ProcessSet};
use lock_core::table::{Acquire, ClientInfo, LockTable, Op};
use lock_core::{ClientId, Request, RequestId, TaskId};

use crate::client::{Batch, Client, Entry, LEASE, Post};
use crate::{Mutant, REQUESTS_MAX};

pub(crate) const CLIENTS_MAX: usize = 3;

/// A version of the cell with the table in it.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) version: u64,
    pub(crate) table: Rc<LockTable>,
    /// What tells its table apart.
    pub(crate) words: Rc<[Word]>,
}

/// A number in a table; of versions only the order counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Word {
    Plain(u64),
    Version(u64),
}

impl Content {
    pub(crate) fn new(version: u64, table: LockTable) -> Self {
        let listing = table.list();
        let plain = |number: usize| Word::Plain(number as u64);
        let mut words = vec![plain(listing.holds.len()), plain(listing.waiting.len())];
        let posted = |client| Word::Version(table.posted().up_to(client_id(client)).0);
        words.extend((0..CLIENTS_MAX).map(posted));
        for client in table.clients() {
            words.extend([plain(index_of(client.id)), Word::Version(client.mark.0)]);
        }
        for hold in listing.holds {
            let owner = plain(index_of(hold.id.client));
            words.extend([owner, Word::Plain(hold.id.number), Word::Version(hold.fence)]);
        }
        for waiter in listing.waiting {
            words.extend([plain(index_of(waiter.id.client)), Word::Plain(waiter.id.number)]);
        }
        Self { version, table: Rc::new(table), words: words.into() }
    }
}

/// A swap in the network.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) owner: usize,
    pub(crate) batch: Batch,
    /// Whether its client still waits for the answer.
    pub(crate) awaited: bool,
    /// In which life of the store it was applied, if it was.
    pub(crate) answer: Option<u8>,
}

/// How often may happen what does not happen by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Requests of each client.
    pub(crate) requests: usize,
    pub(crate) ticks: u8,
    /// Answers of the store that are lost; the swap may be applied, then or later, or never.
    pub(crate) losses: u8,
    pub(crate) crashes: u8,
    /// Loads that are answered with an older state of the cell.
    pub(crate) stale_loads: u8,
    /// Posts of all clients; whether one is lost, or replaced by the next, is as it comes.
    pub(crate) posts: u8,
    /// Whether the cell may be copied, and the copy be put back.
    pub(crate) restores: u8,
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) mutant: Option<Mutant>,
    pub(crate) clients: Vec<Client>,
    pub(crate) cell: Content,
    pub(crate) older: Option<Content>,
    pub(crate) calls: Vec<Call>,
    /// The last of each client.
    pub(crate) posts: Vec<Post>,
    pub(crate) budget: Budget,
    /// How often the cell was put back.
    pub(crate) epoch: u8,
    /// The clock: greater than all versions that anybody has ever made.
    pub(crate) clock: u64,
    /// The greatest fence that any user was told.
    pub(crate) told: u64,
}

/// Something that can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    End(usize, usize),
    Load(usize),
    StaleLoad(usize),
    Build(usize),
    /// The same, with what others have posted.
    BuildForAll(usize),
    Post(usize),
    /// A swap reaches the store.
    Arrive(usize),
    Answer(usize),
    /// The client gives up waiting for the answer.
    Lose(usize),
    Tick,
    Crash(usize),
    Copy,
    Restore,
}

thread_local! {
    /// Whether the posts of all clients are counted together, as of clients that share a place.
    pub(crate) static TOGETHER: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn client_id(client: usize) -> ClientId {
    let apart = if TOGETHER.get() { 64 } else { 1 };
    ClientId::from_random(client as u64 * apart)
}

pub(crate) fn index_of(id: ClientId) -> usize {
    (0..CLIENTS_MAX).find(|index| client_id(*index) == id).expect("one of the model")
}

/// All requests are for the same lock.
pub(crate) fn acquire(id: RequestId) -> Op {
    let info = ClientInfo {
        name: "client".into(),
        processes: ProcessSet { place: Place::default(), processes: vec![], groups: vec![] },
        bell: None,
        lease: Some(Duration::from_secs(u64::from(LEASE))),
    };
    Op::Acquire(Acquire {
        id,
        task: TaskId::new(None, id.client, id.number).expect("it is nested in nothing"),
        name: "task".into(),
        note: None,
        client: Arc::new(info),
        locks: Arc::new(Request::exclusive("lock").locks().expect("it is good").clone()),
        wait: true,
    })
}

impl World {
    pub(crate) fn new(clients: usize, budget: Budget, mutant: Option<Mutant>) -> Self {
        let mut world = Self {
            mutant,
            clients: (0..clients).map(Client::new).collect(),
            cell: Content::new(0, LockTable::new()),
            older: None,
            calls: Vec::new(),
            posts: Vec::new(),
            budget,
            epoch: 0,
            clock: 0,
            told: 0,
        };
        world.next_requests();
        world
    }

    /// Everything that can happen now.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (index, client) in self.clients.iter().enumerate().filter(|(_, c)| c.alive) {
            for (number, entry) in client.entries.iter().enumerate() {
                if matches!(entry, Entry::New { sent: true } | Entry::Waiting | Entry::Held) {
                    events.push(Event::End(index, number));
                }
            }
            if !client.in_flight {
                let current =
                    client.cached.as_ref().is_some_and(|c| c.version == self.cell.version);
                let waits = client.entries.contains(&Entry::Waiting);
                let news = !current || client.recheck || waits;
                if news && client.wants_load(self.mutant) {
                    events.push(Event::Load(index));
                    if self.budget.stale_loads > 0 && self.older.is_some() {
                        events.push(Event::StaleLoad(index));
                    }
                }
                if client.cached.is_some() && client.has_writes(self.mutant) {
                    events.push(Event::Build(index));
                    if self.posts.iter().any(|post| post.owner != index) {
                        events.push(Event::BuildForAll(index));
                    }
                    if self.budget.posts > 0 && client.is_asking() {
                        events.push(Event::Post(index));
                    }
                }
            }
            if self.budget.crashes > 0 {
                events.push(Event::Crash(index));
            }
        }
        for (at, call) in self.calls.iter().enumerate() {
            match call.answer {
                None => events.push(Event::Arrive(at)),
                Some(_) => events.push(Event::Answer(at)),
            }
            if call.awaited && self.budget.losses > 0 {
                events.push(Event::Lose(at));
            }
        }
        if self.budget.ticks > 0 {
            events.push(Event::Tick);
        }
        if (self.budget.restores > 0 || self.budget.stale_loads > 0) && self.older.is_none() {
            events.push(Event::Copy);
        }
        if self.budget.restores > 0 && self.older.is_some() {
            events.push(Event::Restore);
        }
        events
    }

    /// Makes it happen. `Err`: a property is broken at this very step.
    pub(crate) fn happen(&mut self, event: Event) -> Result<(), String> {
        let mutant = self.mutant;
        match event {
            Event::End(client, number) => self.clients[client].end(number),
            Event::Load(client) => {
                let cell = self.cell.clone();
                self.clients[client].learn(&cell, mutant);
            }
            Event::StaleLoad(client) => {
                self.budget.stale_loads -= 1;
                let cell = self.older.clone().expect("it was copied");
                self.clients[client].learn(&cell, mutant);
            }
            Event::Build(client) => {
                self.build(client, &[]);
            }
            Event::BuildForAll(client) => {
                let posts = self.posts.clone();
                self.build(client, &posts);
            }
            Event::Post(client) => {
                self.budget.posts -= 1;
                self.clock += 1;
                self.posts.retain(|post| post.owner != client);
                self.posts.push(self.clients[client].post(self.clock));
            }
            Event::Arrive(at) => self.arrive(at),
            Event::Answer(at) => {
                let Call { owner, batch, answer, .. } = self.calls.remove(at);
                let client = &mut self.clients[owner];
                client.epoch = answer.expect("it was swapped");
                client.commit(batch, mutant == Some(Mutant::LeaseFromAnswer));
            }
            Event::Lose(at) => {
                self.budget.losses -= 1;
                let owner = self.calls[at].owner;
                self.clients[owner].unknown(self.calls[at].batch.expected, mutant);
                self.abandon(at);
            }
            Event::Tick => {
                self.budget.ticks -= 1;
                self.tick();
            }
            Event::Crash(client) => {
                self.budget.crashes -= 1;
                self.clients[client] = Client { alive: false, ..Client::new(client) };
                if let Some(at) = self.calls.iter().position(|c| c.owner == client && c.awaited) {
                    self.abandon(at);
                }
            }
            Event::Copy => self.older = Some(self.cell.clone()),
            Event::Restore => {
                self.budget.restores -= 1;
                self.epoch += 1;
                self.cell = self.older.take().expect("it was copied");
            }
        }
        self.next_requests();
        if self.budget.restores == 0 {
            // No version comes back: what was late once is late for ever.
            let version = self.cell.version;
            self.calls.retain(|call| call.awaited || call.batch.expected == version);
            self.older = self.older.take().filter(|_| self.budget.stale_loads > 0);
        }
        self.judge()
    }

    fn build(&mut self, client: usize, posts: &[Post]) {
        if let Some(batch) = self.clients[client].build(self.clock + 1, posts, self.mutant) {
            self.clock = self.clock.max(batch.written.version);
            self.calls.push(Call { owner: client, batch, awaited: true, answer: None });
        }
    }

    /// Whoever has nothing asks: to do nothing then is as to ask later.
    fn next_requests(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.alive) {
            let next = client.entries.iter().position(|entry| *entry != Entry::Gone);
            if let Some(number) = next.filter(|number| *number < self.budget.requests)
                && client.entries[number] == Entry::Idle
            {
                client.entries[number] = Entry::New { sent: false };
            }
        }
    }

    /// Nobody waits for the answer of a call any more.
    fn abandon(&mut self, at: usize) {
        if self.calls[at].answer.is_some() {
            self.calls.remove(at);
        } else {
            self.calls[at].awaited = false;
        }
    }

    fn arrive(&mut self, at: usize) {
        let Call { owner, batch, awaited, answer } = &mut self.calls[at];
        let swapped = batch.expected == self.cell.version;
        if swapped {
            self.cell = batch.written.clone();
            *answer = Some(self.epoch);
        } else if *awaited {
            // A conflict that is heard of later is as one that came later.
            self.clients[*owner].in_flight = false;
        }
        if !(swapped && *awaited) {
            self.calls.remove(at);
        }
    }

    fn tick(&mut self) {
        self.clients.iter_mut().for_each(Client::tick);
        for call in &mut self.calls {
            call.batch.age = (call.batch.age + 1).min(LEASE);
        }
    }

    /// What must be true in every state.
    fn judge(&mut self) -> Result<(), String> {
        // What a restore took away its holder cannot know before it asks; others can have it.
        let holders: Vec<usize> = (0..self.clients.len())
            .filter(|at| self.clients[*at].believes() && self.clients[*at].epoch == self.epoch)
            .collect();
        if holders.len() > 1 {
            return Err(format!("clients {holders:?} hold the same lock"));
        }
        for client in &mut self.clients {
            for fence in std::mem::take(&mut client.told) {
                // A swap that was under way while the cell was put back may be late for ever.
                if fence <= self.told && self.epoch == 0 {
                    return Err(format!("client {} is told an old fence", client.me));
                }
                self.told = self.told.max(fence);
            }
            for number in std::mem::take(&mut client.lost) {
                if self.epoch == 0 && self.cell.table.fences(client.id(number)).is_some() {
                    return Err(format!("client {} lost what it still holds", client.me));
                }
            }
        }
        Ok(())
    }

    /// Goes on fairly and without faults, until nobody wants anything; `seen` knows where that is
    /// already known to end well.
    pub(crate) fn settle(&self, mut is_known: impl FnMut(&World) -> bool) -> Result<(), String> {
        const ROUNDS_MAX: usize = 24;
        let mut world = self.clone();
        let Budget { requests, .. } = world.budget;
        world.budget = Budget {
            requests,
            ticks: 0,
            losses: 0,
            crashes: 0,
            stale_loads: 0,
            posts: 0,
            restores: 0,
        };
        world.older = None;
        world.calls.retain(|call| call.awaited);
        for _ in 0..ROUNDS_MAX {
            while !world.calls.is_empty() {
                let arrived = world.calls[0].answer.is_some();
                world.happen(if arrived { Event::Answer(0) } else { Event::Arrive(0) })?;
            }
            if is_known(&world) {
                return Ok(());
            }
            for client in (0..world.clients.len()).filter(|at| self.clients[*at].alive) {
                world.work(client)?;
            }
            let done = |client: &Client| {
                let ended = client.entries.iter().all(|e| matches!(e, Entry::Idle | Entry::Gone));
                !client.alive || ended && !client.has_writes(world.mutant)
            };
            if world.clients.iter().all(done) {
                if self.epoch > 0 {
                    world.read_again()?;
                }
                return world.assert_clean();
            }
            world.tick();
        }
        Err("somebody waits for ever".into())
    }

    /// A client does all that it can do now; who holds gives back.
    fn work(&mut self, client: usize) -> Result<(), String> {
        const STEPS_MAX: usize = 4;
        for _ in 0..STEPS_MAX {
            for number in 0..REQUESTS_MAX {
                if self.clients[client].entries[number] == Entry::Held {
                    self.happen(Event::End(client, number))?;
                }
            }
            if !self.clients[client].wants_load(self.mutant) {
                return Ok(());
            }
            self.happen(Event::Load(client))?;
            if self.clients[client].has_writes(self.mutant) {
                self.happen(Event::Build(client))?;
                if !self.calls.is_empty() {
                    self.happen(Event::Arrive(0))?;
                    self.happen(Event::Answer(0))?;
                }
            }
        }
        Ok(())
    }

    /// What a restore has brought back is found when its client reads the next time.
    fn read_again(&mut self) -> Result<(), String> {
        for client in 0..self.clients.len() {
            if self.clients[client].alive {
                self.happen(Event::Load(client))?;
                self.work(client)?;
            }
        }
        Ok(())
    }

    /// Nothing is left in the table of a client that wants nothing.
    fn assert_clean(&self) -> Result<(), String> {
        for client in self.clients.iter().filter(|client| client.alive) {
            let left = self.cell.table.requests_of(client_id(client.me));
            if !left.is_empty() {
                return Err(format!("client {} wants nothing, but has {left:?}", client.me));
            }
        }
        Ok(())
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = String::from_utf8(self.cell.table.encode()).expect("it is JSON");
        write!(f, "cell {} = {table}", self.cell.version)?;
        for client in &self.clients {
            let Client { me, entries, cached, seen, unresolved, lease, .. } = client;
            let cached = cached.as_ref().map(|cached| cached.version);
            write!(
                f,
                "\n      {me}: {entries:?} cached {cached:?} seen {seen} unresolved {unresolved:?} \
                 lease {lease:?}"
            )?;
        }
        Ok(())
    }
}
