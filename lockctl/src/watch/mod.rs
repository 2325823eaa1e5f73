//! `lockctl watch`: the list, live.
//!
//! It reads the cell at an interval, and sooner where the store itself tells of changes. A store that
//! cannot be reached ends nothing: what was seen last stays, and is said to be old.

mod lines;
mod screen;

use std::{
    future::Future,
    io::{self, IsTerminal, Write, stdout},
    pin::pin,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use lock_core::{LockBackend, Locks, StoreError, Version, table::Listing};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH},
    iterator::Signals,
    low_level::emulate_default_handler,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::sleep,
};

use crate::{
    cli,
    exit::Exit,
    json::{self, JsonListing},
    keeper::LockError,
    notice,
    open::runtime,
    signals::ignored_at_start,
    store::Settings,
};
use lines::Lines;
use screen::Screen;

/// How long a store that does not answer is waited for before that is said.
const PATIENCE: Duration = Duration::from_secs(3);
/// The least time between two looks, however often things change.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// How often the ages on a screen are brought up to date.
const REFRESH: Duration = Duration::from_secs(1);

/// Shows the list until somebody ends it.
pub(crate) fn watch(settings: &Settings, options: &cli::Watch) -> Exit {
    follow(settings, options).unwrap_or_else(|error| {
        error.say();
        error.exit()
    })
}

fn follow(settings: &Settings, options: &cli::Watch) -> Result<Exit, LockError> {
    let backend = settings.open()?;
    let (sender, mut events) = unbounded_channel();
    let view = match View::new(settings, options.json, &sender) {
        Ok(view) => view,
        Err(error) => {
            notice::say(format_args!("cannot watch: {error}"));
            return Ok(Exit::System);
        }
    };
    runtime()?.block_on(async {
        let locks =
            Locks::builder(backend.clone()).store_patience(PATIENCE).in_current_runtime().build();
        let mut watch = Watch { view, news: News::default(), events: &mut events };
        let ended = watch.run(&locks, &backend, options.interval.max(PAUSE_MIN)).await;
        // The terminal is given back before anything else is said or waited for.
        drop(watch);
        let _ = locks.close().await;
        ended
    })
}

/// What happens besides what the store tells.
#[derive(Debug, Clone, Copy)]
enum Happens {
    Signal(i32),
    Key(u8),
    /// Nobody reads what is printed any more.
    Closed,
}

/// What is known.
#[derive(Debug, Default)]
struct News {
    listing: Option<Listing>,
    /// Since when the store cannot be used, and why.
    trouble: Option<(Instant, StoreError)>,
}

struct Watch<'a> {
    view: View<'a>,
    news: News,
    events: &'a mut UnboundedReceiver<Happens>,
}

impl Watch<'_> {
    async fn run(
        &mut self,
        locks: &Locks,
        backend: &Arc<dyn LockBackend>,
        interval: Duration,
    ) -> Result<Exit, LockError> {
        loop {
            match self.meanwhile(locks.list()).await {
                Err(exit) => return Ok(exit),
                Ok(Ok(listing)) => {
                    self.news = News { listing: Some(listing), trouble: None };
                }
                // What cannot be used at all is no passing trouble.
                Ok(Err(error)) if self.news.listing.is_none() && error.is_misconfigured() => {
                    return Err(error.into());
                }
                Ok(Err(error)) => {
                    let since = self.news.trouble.take().map_or_else(Instant::now, |(at, _)| at);
                    self.news.trouble = Some((since, error));
                }
            }
            if let Some(exit) = self.show() {
                return Ok(exit);
            }
            let seen =
                self.news.listing.as_ref().map_or(Version::ABSENT, |listing| listing.version);
            let next = async {
                tokio::select! {
                    () = sleep(interval) => {}
                    Ok(()) = backend.changed(seen) => sleep(PAUSE_MIN).await,
                }
            };
            if let Err(exit) = self.meanwhile(next).await {
                return Ok(exit);
            }
        }
    }

    /// Does what the terminal asks for until something has come true, or an end is asked for.
    async fn meanwhile<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Exit> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => {
                    if let Some(exit) = self.handle(event) {
                        return Err(exit);
                    }
                }
                output = &mut future => return Ok(output),
                () = sleep(REFRESH), if self.view.has_ages() => {
                    if let Some(exit) = self.show() {
                        return Err(exit);
                    }
                }
            }
        }
    }

    fn handle(&mut self, event: Happens) -> Option<Exit> {
        match event {
            Happens::Signal(SIGTSTP) => {
                self.view.leave();
                let _ = emulate_default_handler(SIGTSTP);
                self.view.enter();
                self.show()
            }
            Happens::Signal(SIGWINCH) => self.show(),
            Happens::Signal(signal) => Some(Exit::Signal(signal)),
            Happens::Key(b'q' | b'Q') | Happens::Closed => Some(Exit::Status(0)),
            Happens::Key(_) => None,
        }
    }

    /// Shows what is known; says how to end when nobody reads it any more.
    fn show(&mut self) -> Option<Exit> {
        self.view.show(&self.news).is_err().then_some(Exit::Status(0))
    }
}

/// How it is shown.
enum View<'a> {
    /// In place, on a terminal.
    Screen(Screen<'a>),
    /// One line per change, for logs and pipes.
    Lines(Lines<'a>),
    /// One line of JSON per change, for programs.
    Json { settings: &'a Settings, last: Option<JsonListing>, trouble: bool },
}

impl<'a> View<'a> {
    fn new(
        settings: &'a Settings,
        as_json: bool,
        events: &UnboundedSender<Happens>,
    ) -> io::Result<Self> {
        let on_terminal = stdout().is_terminal() && !as_json;
        listen(on_terminal, events.clone())?;
        Ok(if on_terminal {
            let screen = Screen::new(settings)?;
            if screen.reads_keys() {
                read_keys(events.clone())?;
            }
            Self::Screen(screen)
        } else if as_json {
            Self::Json { settings, last: None, trouble: false }
        } else {
            Self::Lines(Lines::new(settings))
        })
    }

    fn show(&mut self, news: &News) -> io::Result<()> {
        match self {
            Self::Screen(screen) => screen.show(news),
            Self::Lines(lines) => lines.show(news),
            Self::Json { settings, last, trouble } => {
                if let Some((_, error)) = &news.trouble {
                    if !std::mem::replace(trouble, true) {
                        notice::say_error(error);
                    }
                    return Ok(());
                }
                *trouble = false;
                let Some(listing) = &news.listing else { return Ok(()) };
                let now = JsonListing::of(listing, settings);
                if last.as_ref().is_none_or(|last| !last.tells_the_same(&now)) {
                    let mut out = stdout();
                    writeln!(out, "{}", json::line(&now))?;
                    out.flush()?;
                    *last = Some(now);
                }
                Ok(())
            }
        }
    }

    /// Whether it has to be drawn again though nothing has changed.
    fn has_ages(&self) -> bool {
        matches!(self, Self::Screen(_))
    }

    fn leave(&mut self) {
        if let Self::Screen(screen) = self {
            screen.leave();
        }
    }

    fn enter(&mut self) {
        if let Self::Screen(screen) = self {
            screen.enter();
        }
    }
}

/// Tells of signals, from a thread of its own; those that were ignored stay ignored.
fn listen(on_terminal: bool, events: UnboundedSender<Happens>) -> io::Result<()> {
    let ignored = ignored_at_start()?;
    let more: &[i32] = if on_terminal { &[SIGWINCH, SIGTSTP, SIGQUIT] } else { &[] };
    let wanted = [SIGHUP, SIGINT, SIGTERM].iter().chain(more);
    let wanted = wanted.filter(|signal| ignored & (1 << (**signal - 1)) == 0);
    let mut signals = Signals::new(wanted)?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in &mut signals {
            if events.send(Happens::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// Tells of keys, from a thread of its own.
fn read_keys(events: UnboundedSender<Happens>) -> io::Result<()> {
    thread::Builder::new().name("keys".into()).spawn(move || {
        let mut key = [0];
        loop {
            let event = match rustix::io::read(rustix::stdio::stdin(), &mut key) {
                Ok(1..) => Happens::Key(key[0]),
                Err(rustix::io::Errno::INTR) => continue,
                Ok(0) | Err(_) => Happens::Closed,
            };
            if events.send(event).is_err() || matches!(event, Happens::Closed) {
                return;
            }
        }
    })?;
    Ok(())
}
