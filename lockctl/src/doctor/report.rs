//! What was found: for people in lines, for programs as JSON, for scripts as an exit status.

use std::{
    error::Error,
    io::{Write, stdout},
    time::SystemTime,
};

use serde::Serialize;

use crate::{
    exit::Exit,
    json::{self, rfc3339},
    notice,
    store::Settings,
    style::{Paint, Style},
};

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: &'static str,
    verdict: Verdict,
    text: String,
    /// What to do about it.
    todo: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

/// All that was looked at, in order.
#[derive(Debug, Default)]
pub(super) struct Report {
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct JsonReport<'a> {
    store: Option<String>,
    now: String,
    verdict: Verdict,
    checks: &'a [Check],
}

impl Report {
    /// It is well.
    pub(super) fn ok(&mut self, check: &'static str, text: impl Into<String>) {
        self.add(check, Verdict::Ok, text.into(), None, Exit::Status(0));
    }

    /// It works, and somebody should look at it.
    pub(super) fn warn(
        &mut self,
        check: &'static str,
        text: impl Into<String>,
        todo: impl Into<String>,
    ) {
        self.add(check, Verdict::Warn, text.into(), Some(todo.into()), Exit::Status(1));
    }

    /// It does not work; the error says what to do.
    pub(super) fn fail(&mut self, check: &'static str, error: &dyn Error, exit: Exit) {
        let text = notice::with_causes(error);
        let todo = notice::todo(&text).map(String::from);
        self.add(check, Verdict::Fail, text, todo, exit);
    }

    /// It does not work.
    pub(super) fn fail_with(
        &mut self,
        check: &'static str,
        text: impl Into<String>,
        todo: impl Into<String>,
        exit: Exit,
    ) {
        self.add(check, Verdict::Fail, text.into(), Some(todo.into()), exit);
    }

    fn add(
        &mut self,
        check: &'static str,
        verdict: Verdict,
        text: String,
        todo: Option<String>,
        exit: Exit,
    ) {
        self.checks.push(Check { name: check, verdict, text, todo, exit });
    }

    fn verdict(&self) -> Verdict {
        let has = |verdict| self.checks.iter().any(|check| check.verdict == verdict);
        match () {
            () if has(Verdict::Fail) => Verdict::Fail,
            () if has(Verdict::Warn) => Verdict::Warn,
            () => Verdict::Ok,
        }
    }

    /// As the first of the worst asks for.
    pub(super) fn exit(&self) -> Exit {
        let worst = self.verdict();
        let first = self.checks.iter().find(|check| check.verdict == worst);
        first.map_or(Exit::Status(0), |check| check.exit)
    }

    pub(super) fn print(&self, settings: Option<&Settings>, as_json: bool) {
        let text = if as_json {
            json::pretty(&JsonReport {
                store: settings.map(Settings::describe),
                now: rfc3339(SystemTime::now()),
                verdict: self.verdict(),
                checks: &self.checks,
            })
        } else {
            let paint = Paint::on(&stdout());
            self.checks.iter().map(|check| check.line(paint)).collect::<Vec<_>>().join("\n")
        };
        // A reader that has seen enough closes the pipe.
        let _ = writeln!(stdout(), "{text}");
    }
}

impl Check {
    /// `warn  dead       2 clients are dead: lockctl doctor --repair frees their locks`
    fn line(&self, paint: Paint) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => paint.text(Style::Green, "ok  "),
            Verdict::Warn => paint.text(Style::Yellow, "warn"),
            Verdict::Fail => paint.text(Style::Red, "FAIL"),
        };
        let todo = self.todo.as_ref().map(|todo| format!(": {todo}")).unwrap_or_default();
        format!("{verdict}  {:<10} {}{todo}", self.name, self.text)
    }
}
