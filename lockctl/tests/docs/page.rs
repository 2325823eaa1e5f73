//! Pages of Markdown, and comments of Rust that are such, as far as they have blocks of code.

use std::{ffi::OsStr, path::Path};

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Language {
    /// Commands, and what they print.
    Console,
    /// A script.
    Script,
    /// Statements for MySQL and MariaDB.
    Sql,
    /// No commands.
    #[default]
    Other,
}

/// A fenced block.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// Where it is, for messages.
    pub(crate) place: String,
    pub(crate) language: Language,
    /// What the comment before it says it needs.
    pub(crate) needs: Option<String>,
    pub(crate) text: String,
}

/// A command, and what it prints as far as the page tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) output: Vec<String>,
}

/// All blocks of a page, or of the comments in a file of Rust that become pages.
pub(crate) fn blocks(page: &Path, text: &str) -> Vec<Block> {
    let is_rust = page.extension() == Some(OsStr::new("rs"));
    let text = if is_rust { &comments(text) } else { text };
    let mut blocks = Vec::new();
    let mut needs = None;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix("<!-- needs: ") {
            needs = comment.strip_suffix(" -->").map(str::to_owned);
        } else if let Some(language) = trimmed.strip_prefix("```") {
            let place = format!("{}:{}", page.display(), number + 1);
            let indent = line.len() - line.trim_start().len();
            let inside =
                lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
            let mut text: Vec<&str> = inside.map(|line| line.get(indent..).unwrap_or("")).collect();
            let language = match language.split(',').next().unwrap_or_default() {
                "console" => Language::Console,
                "sh" => Language::Script,
                "crontab" => {
                    text = text.into_iter().filter_map(command_of_cron).collect();
                    Language::Script
                }
                "sql" => Language::Sql,
                "ini" | "rust" | "text" | "toml" | "json" => Language::Other,
                // What `cargo test` compiles.
                "" | "no_run" if is_rust => Language::Other,
                other => panic!("{place}: {other:?} is no language of these pages"),
            };
            blocks.push(Block { place, language, needs: needs.take(), text: text.join("\n") });
        } else if !trimmed.is_empty() {
            needs = None;
        }
    }
    blocks
}

/// What a line of a crontab starts, whenever that is.
fn command_of_cron(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    for _ in 0..5 {
        rest = rest.split_once(char::is_whitespace)?.1.trim_start();
    }
    (!line.starts_with('#')).then_some(rest)
}

/// The comments that become pages, each in its line.
pub(crate) fn comments(text: &str) -> String {
    let of = |line: &str| {
        let line = line.trim_start();
        let comment = line.strip_prefix("//!").or_else(|| line.strip_prefix("///"));
        let comment = comment.unwrap_or_default();
        comment.strip_prefix(' ').unwrap_or(comment).to_owned() + "\n"
    };
    text.lines().map(of).collect()
}

impl Block {
    /// Its commands, one by one.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for line in self.text.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                steps.push(Step { command: without_comment(command), output: Vec::new() });
                continue;
            }
            let step = steps.last_mut().unwrap_or_else(|| panic!("{}: no command yet", self.place));
            match line.strip_prefix("> ") {
                Some(more) if step.output.is_empty() => {
                    step.command.push('\n');
                    step.command.push_str(more);
                }
                _ => step.output.push(line.to_owned()),
            }
        }
        steps
    }
}

/// A command without the remark behind it.
fn without_comment(command: &str) -> String {
    command.split("  # ").next().unwrap_or_default().trim_end().to_owned()
}

/// Whether this is what the page shows; `…` stands for anything, a line of it for any lines.
pub(crate) fn matches(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first.trim() == "…" => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        Some((first, rest)) => printed.split_first().is_some_and(|(line, more)| {
            is_like(&plain(first), &plain(line)) && matches(rest, more)
        }),
    }
}

fn is_like(shown: &str, printed: &str) -> bool {
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// A line without what differs each time: numbers of processes, seconds, and how wide columns are.
fn plain(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let digits = |word: &str| {
        let digits = word.trim_start_matches('(').trim_end_matches([',', ')']);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let varies = |at: usize| {
        let is_pid = at > 0 && words[at - 1].trim_start_matches('(') == "pid";
        let unit = words.get(at + 1).map(|next| next.trim_end_matches([',', ')', ']']));
        digits(words[at]) && (is_pid || unit == Some("s"))
    };
    let number = |word: &str| word.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let words = words.iter().enumerate();
    words
        .map(|(at, word)| if varies(at) { number(word) } else { (*word).to_owned() })
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn comments_are_pages_too() {
    let text = "fn a() {}\n\n    /// b\n    ///\n    /// ```console\n    /// $ c\n    /// ```\n";
    let blocks = blocks(Path::new("d.rs"), text);
    assert_eq!(blocks.len(), 1);
    assert_eq!((&*blocks[0].place, &*blocks[0].text), ("d.rs:5", "$ c"));
}

#[test]
fn what_varies_is_no_difference_and_all_else_is() {
    let is = |shown: &str, printed: &str| matches(&[shown.into()], &[printed.into()]);
    assert!(is("held (pid 4242 on web1, 12 s) […]", "held (pid 7 on web1, 1 s) [sqlite:/x]"));
    assert!(is("a  b", "a b"));
    assert!(!is("75", "1") && !is("a", "b") && !is("a…c", "abd") && !is("pid 1", "pid x"));
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(matches(&lines("a\n…\nd"), &lines("a\nb\nc\nd")));
    assert!(!matches(&lines("a\n…\nd"), &lines("a\nb\nc")));
}
