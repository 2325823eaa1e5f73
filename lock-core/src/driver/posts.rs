//! Posts: where many clients of a host write at once, one of them writes for all.
//!
//! Who has met others that write, and sees in the table who of this host wrote last, sends what it wants
//! written to that one, which does so in its next swap, and rings. A post is like a swap whose answer is
//! lost: it may be written at any time, or never. So what was posted is settled by reading it in the
//! table, or by a swap of one's own, which ends the post.

use std::time::Duration;

use tokio::time::Instant;

use super::actor::{Actor, Turn};
use super::batch::Draft;
use super::entry::State;
use crate::backend::Version;
use crate::bell::POST_BYTES_MAX;
use crate::ids::ClientId;
use crate::table::{NUMBER_MAX, Op, Post, RequestState, Writer, read_post, write_post};

/// This part of the table's limit is left free by what is written for others: what does not fit is for each
/// client to be told itself.
const ROOM: usize = 4;
/// So many posts are kept at most.
const POSTS_MAX: usize = 256;

/// A post of this client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Posted {
    pub(super) number: Version,
    /// Who is to write it.
    pub(super) writer: ClientId,
    /// When it was sent, on the clock that leases run on.
    pub(super) sent_boot: Duration,
    /// Until when the writer is given time; `None`: it is this client's own to write by now.
    pub(super) until: Option<Instant>,
}

impl Actor {
    /// Whether somebody is given time to write what this client has posted.
    pub(super) fn is_lent(&self) -> bool {
        self.posted.is_some_and(|posted| posted.until.is_some())
    }

    /// What others of this host want to be written.
    pub(super) fn receive(&mut self, posts: Vec<Vec<u8>>) {
        if self.closing.is_some() {
            return;
        }
        for post in posts.into_iter().filter_map(read_post) {
            let is_newer = |other: &Post| other.client == post.client && other.number > post.number;
            if post.client == self.config.id || self.posts.iter().any(is_newer) {
                continue;
            }
            self.pace.met_poster();
            if let Some(posted) = self.posted.as_mut().filter(|own| own.writer == post.client) {
                posted.until = posted.until.map(|_| Instant::now()); // Each leaves it to the other.
            }
            self.posts.retain(|other| other.client != post.client);
            if self.posts.len() < POSTS_MAX {
                self.posts.push(post);
            }
        }
    }

    /// What is written in the table, for others to post to this client; `is_idle` if it writes nothing of
    /// its own and for one at most.
    pub(super) fn offer(&mut self, is_idle: bool) -> Option<Writer> {
        let has_room = self.bytes < self.room();
        let offers =
            self.pace.offers(is_idle) && has_room && !self.is_tight && self.closing.is_none();
        let bell = self.bell.as_ref().filter(|_| offers)?;
        Some(Writer { client: self.config.id, bell: bell.namespace(), user: bell.user() })
    }

    /// Up to how many bytes of the table others are written for.
    fn room(&self) -> usize {
        self.config.bytes_max - self.config.bytes_max / ROOM
    }

    /// Has somebody else write what is to be written, if it is known who does.
    ///
    /// Also what was posted to this client: it is not the one who writes any more.
    pub(super) fn post(&mut self, now: Instant) {
        let pauses = self.pace.not_before().is_some_and(|time| time > now);
        let busy = self.turn == Turn::Used || self.posted.is_some() || self.must_swap();
        if busy || pauses || !self.pace.has_rivals(now) || self.dirty.is_empty() {
            return;
        }
        let Some(writer) = self.writer() else { return };
        let table = &self.cached.as_ref().expect("it names the writer").table;
        let mut ops = Vec::new();
        for &number in &self.dirty {
            let (entry, id) = (&self.entries[&number], self.id(number));
            if entry.posted == Some(entry.state) {
                return;
            }
            match entry.state {
                // It is over, and only its end is to be told.
                State::Ending if table.place(id) == RequestState::Absent => {}
                State::Ending => ops.push(Op::Release(id)),
                State::New if !entry.expires => ops.push(Op::Acquire((*entry.acquire).clone())),
                _ => return,
            }
        }
        let number = self.next_version(self.config.clock.wall(), Version::ABSENT);
        let data = write_post(number, self.config.id, &self.info, ops);
        let fits = |data: &Vec<u8>| data.len() <= POST_BYTES_MAX && number < NUMBER_MAX;
        let (Some(data), Some(bell)) = (data.filter(fits), &self.bell) else { return };
        let sent_boot = self.config.clock.boot(); // Before it is sent: the lease counts from then.
        if !bell.post(writer, &data) {
            return;
        }
        // What there is no room for stays, for this client's own next swap.
        self.posts.retain(|post| !bell.post(writer, &post.data));
        for number in &self.dirty {
            if let Some(entry) = self.entries.get_mut(number) {
                entry.sent = true;
                entry.posted = Some(entry.state);
            }
        }
        self.tried = number;
        self.just_read = false;
        let until = Some(now + self.pace.patience());
        self.posted = Some(Posted { number, writer, sent_boot, until });
    }

    /// Who of this host writes for others.
    fn writer(&self) -> Option<ClientId> {
        let writer = self.cached.as_ref()?.table.writer()?;
        let here = self
            .bell
            .as_ref()
            .is_some_and(|bell| bell.namespace() == writer.bell && bell.is_heard_by(writer.user));
        (here && writer.client != self.config.id).then_some(writer.client)
    }

    /// What nobody has written in time, this client writes itself.
    pub(super) fn take_back(&mut self, now: Instant) {
        if let Some(posted) = &mut self.posted
            && posted.until.is_some_and(|until| until <= now)
        {
            posted.until = None;
            self.need_as_of = Some(self.next_moment());
        }
    }

    /// Learns from a table that was read what became of this client's post.
    pub(super) fn see_post(&mut self) {
        let (Some(posted), Some(cached)) = (self.posted, &self.cached) else { return };
        let client = cached.table.client(self.config.id);
        // Only what is written after a post has a version above its number: so this mark is one that
        // was set after the post was sent, by whoever wrote it.
        if client.as_ref().is_some_and(|client| client.mark > posted.number) {
            self.lease.renew(posted.sent_boot);
        } else if client.is_none() {
            self.lease.rest();
        }
        if posted.number <= cached.table.posted().up_to(self.config.id) {
            self.posted = None;
            let took = self.config.clock.boot().saturating_sub(posted.sent_boot);
            self.pace.was_patient(posted.until.map(|_| took));
        }
    }

    /// This client's own swap has ended its post, if there was one that nobody wrote in time.
    pub(super) fn end_post(&mut self) {
        if let Some(posted) = self.posted.take()
            && posted.until.is_none()
        {
            self.pace.was_patient(None);
        }
    }

    /// Writes what others have posted, and ends what it has written, and this client's own post.
    pub(super) fn write_posts(&mut self, draft: &mut Draft, posts: &[Post]) {
        let done = draft.table.posted();
        let is_open = |post: &&Post| post.number > done.up_to(post.client);
        let mut posts: Vec<&Post> = posts.iter().filter(is_open).collect();
        posts.sort_by_key(|post| post.number);
        let mut room = self.room().saturating_sub(self.bytes);
        for Post { number, client, ops, data } in posts {
            // What is asked for may take more than it says, but not much: names are given twice at most.
            let Some(rest) = room.checked_sub(2 * data.len()) else { break };
            room = rest;
            draft.changed = true; // Whoever has posted waits for it.
            draft.write_for(ops);
            self.sweep_dead(draft, [*client].into());
            draft.table.end_posts(*client, *number);
        }
        if let Some(posted) = self.posted {
            draft.table.end_posts(self.config.id, posted.number);
        }
    }
}
