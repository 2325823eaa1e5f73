//! What stores warn of in their logs, such as a server that may throw locks away: said to people.

use std::fmt;

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

use crate::notice;

/// The module whose warnings are about the store as a whole, and not about one lock.
const STORE: &str = "lock_redis";

/// Says from now on what stores warn of.
pub(crate) fn say() {
    // Nobody else sets one here.
    let _ = tracing::subscriber::set_global_default(Warnings);
}

struct Warnings;

impl Subscriber for Warnings {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && *metadata.level() == Level::WARN
            && metadata.target().starts_with(STORE)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        match text.store.as_str() {
            "" => notice::say(text.message),
            store => notice::say(format_args!("{} [{store}]", text.message)),
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The parts of an event that are for people.
#[derive(Debug, Default)]
struct Text {
    message: String,
    store: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let part = match field.name() {
            "message" => &mut self.message,
            "store" => &mut self.store,
            _ => return,
        };
        *part = format!("{value:?}");
    }
}
