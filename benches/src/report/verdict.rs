//! What is said of a figure: of one run as the sum of its cases, and of several runs together.

use std::fmt::Write as _;

/// One figure.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) figure: &'static str,
    pub(super) what: &'static str,
    pub(super) must: &'static str,
    /// What was found, ratios first; nothing if it was not measured.
    found: String,
    /// How near it is to what it must not exceed: 1 is just reached.
    pub(super) part: f64,
    /// Everything that it has to reach and does not.
    pub(super) misses: Vec<String>,
    /// In how many runs it was reached, and of how many.
    pub(super) reached: (usize, usize),
    /// The stores that it is about, each with the number of runs that it was measured in.
    measured: Vec<(&'static str, usize)>,
}

impl Verdict {
    pub(super) fn new(
        figure: &'static str,
        what: &'static str,
        must: &'static str,
        cases: Cases,
    ) -> Self {
        let of = |store: &&'static str| (*store, usize::from(cases.seen.contains(store)));
        Self {
            figure,
            what,
            must,
            measured: cases.stores.iter().map(of).collect(),
            reached: (usize::from(!cases.found.is_empty() && cases.misses.is_empty()), 1),
            found: cases.found,
            part: cases.worst,
            misses: cases.misses,
        }
    }

    /// Whether it is reached, in a word.
    pub(super) fn word(&self) -> String {
        match self.reached {
            _ if self.found.is_empty() => "not measured".into(),
            (0, _) => "**not reached**".into(),
            (some, all) if some < all => format!("**reached in {some} of {all} runs**"),
            _ if self.missing().next().is_some() => "**reached where measured**".into(),
            (1, 1) => "reached".into(),
            (_, all) => format!("reached in all {all} runs"),
        }
    }

    pub(super) fn is_reached(&self) -> bool {
        !self.found.is_empty()
            && self.reached.0 == self.reached.1
            && self.missing().next().is_none()
    }

    /// What was found, and in which stores it was not looked for, or not in each run.
    pub(super) fn told(&self) -> String {
        let mut text = self.found.clone();
        if text.is_empty() {
            return text;
        }
        let missing: Vec<_> = self.missing().collect();
        if !missing.is_empty() {
            let _ = write!(text, "; not measured: {}", missing.join(", "));
        }
        let runs = self.reached.1;
        for some in 1..runs {
            let stores = self.measured.iter().filter(|(_, count)| *count == some);
            let stores: Vec<_> = stores.map(|(store, _)| *store).collect();
            if !stores.is_empty() {
                let _ = write!(text, "; in {some} of {runs} runs: {}", stores.join(", "));
            }
        }
        text
    }

    fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.measured.iter().filter(|(_, runs)| *runs == 0).map(|(store, _)| *store)
    }

    /// Together with a later run: that one is told, unless it reached what an earlier one has missed.
    pub(super) fn and(self, later: Self) -> Self {
        let reached = (self.reached.0 + later.reached.0, self.reached.1 + later.reached.1);
        let both = self.measured.iter().zip(&later.measured);
        let measured = both.map(|((store, a), (_, b))| (*store, a + b)).collect();
        let is_told = match (self.misses.is_empty(), later.misses.is_empty()) {
            (_, false) => true,
            (true, true) => !later.found.is_empty() || self.found.is_empty(),
            (false, true) => false,
        };
        Self { reached, measured, ..if is_told { later } else { self } }
    }
}

/// What is looked at, as a sum of its cases.
pub(super) struct Cases {
    /// The stores that have to be looked at.
    stores: &'static [&'static str],
    seen: Vec<&'static str>,
    worst: f64,
    pub(super) found: String,
    misses: Vec<String>,
}

impl Cases {
    /// None yet, of these stores.
    pub(super) fn new(stores: &'static [&'static str]) -> Self {
        Self { stores, seen: Vec::new(), worst: 0.0, found: String::new(), misses: Vec::new() }
    }

    /// A store was looked at.
    pub(super) fn see(&mut self, store: &str) {
        let known = self.stores.iter().find(|known| **known == store);
        self.seen.extend(known.filter(|known| !self.seen.contains(known)));
    }

    /// A case that has to be at most the limit; the worst is what is told.
    pub(super) fn at_most(&mut self, value: f64, limit: f64, text: String) {
        // Of nothing, nothing is just enough.
        let part = if value <= 0.0 { 0.0 } else { value / limit };
        self.add(part, text);
    }

    /// A case that has to be at least the limit.
    pub(super) fn at_least(&mut self, value: f64, limit: f64, text: String) {
        self.add(limit / value, text);
    }

    fn add(&mut self, part: f64, text: String) {
        if part > 1.0 {
            self.misses.push(text.clone());
        }
        if part >= self.worst {
            (self.worst, self.found) = (part, text);
        }
    }

    /// One that is reached or not.
    pub(super) fn require(&mut self, is_reached: bool, text: String) {
        if !is_reached {
            self.misses.push(text.clone());
            (self.worst, self.found) = (f64::INFINITY, text);
        }
    }
}
