//! Trials: one named property each, and how they end.

use std::fmt;

use crate::scene::Scene;

/// How a trial ends when it does not end well.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The property does not hold, or could not be looked at.
    Failed(String),
    /// It cannot be looked at here, for this reason.
    Skipped(String),
}

impl Failure {
    /// It cannot be looked at here, for this reason.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::Skipped(reason.into())
    }

    /// It cannot be looked at because this machine lacks something that can be installed.
    ///
    /// Skipped, but failed where `CI` is `true`: there everything has to be.
    pub fn missing(what: impl fmt::Display) -> Self {
        match std::env::var("CI").as_deref() {
            Ok("true") => Self::Failed(format!("{what} is missing, and nothing may be in CI")),
            _ => Self::Skipped(format!("{what} is missing")),
        }
    }

    /// The property does not hold.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed(what.into())
    }

    /// The same, with what was being looked at before it.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        match self {
            Self::Failed(what) => Self::Failed(format!("{place}: {what}")),
            skipped @ Self::Skipped(_) => skipped,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Failed(text) | Self::Skipped(text)) = self;
        f.write_str(text)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(with_causes(&error))
    }
}

/// An error with all its causes, as people read it.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What a trial says.
pub type Verdict = Result<(), Failure>;

/// One property that every backend must have.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Trial {
    /// Its layer and what it proves: `contract::a_cell_is_created_once`.
    pub name: &'static str,
    /// Whether every run draws new cases, so that running it for longer proves more: whether it
    /// calls [`Scene::random`] or [`Scene::cases`].
    pub random: bool,
    /// Looks at the property.
    pub run: fn(&Scene) -> Verdict,
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Lists trials by the names of their functions: `trials![random torture, contract::simple]`.
macro_rules! trials {
    ($layer:literal: $($(#[$random:ident])? $name:ident),* $(,)?) => {
        pub(crate) const TRIALS: &[$crate::Trial] = &[$($crate::Trial {
            name: concat!($layer, "::", stringify!($name)),
            random: trials!(@ $($random)?),
            run: $name,
        }),*];
    };
    (@ random) => { true };
    (@) => { false };
}
pub(crate) use trials;
