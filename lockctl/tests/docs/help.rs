//! The examples in the help of `lockctl`, which are in its manual pages too: they can be run as they stand.

use std::process::Command;

use crate::{
    page::{Block, Language},
    run_all,
};

/// Tasks that the examples are about.
const TASKS: &str = "\
lockctl run --task backup-17 -l night -- sleep 60 &
lockctl run --task report-4 -l report -- sleep 60 &
";

#[test]
fn examples_of_the_help() {
    let examples: Vec<Block> = commands().iter().flat_map(|command| examples(command)).collect();
    let all: usize = examples.iter().map(|block| block.text.lines().count()).sum();
    assert!(all > 20, "only {all} lines of examples were found");
    run_all(&examples, None);
}

/// `lockctl` itself, as no word, and its commands.
fn commands() -> Vec<String> {
    let help = help("");
    let list = help.split("Commands:\n").nth(1).expect("it lists its commands");
    let names = list.lines().map_while(|line| line.split_whitespace().next());
    let names = names.filter(|name| *name != "help");
    std::iter::once("").chain(names).map(str::to_owned).collect()
}

fn help(command: &str) -> String {
    let mut lockctl = Command::new(env!("CARGO_BIN_EXE_lockctl"));
    lockctl.args(Some(command).filter(|command| !command.is_empty()));
    String::from_utf8(lockctl.arg("--help").output().unwrap().stdout).unwrap()
}

/// What stands two columns from the margin, as one script for each paragraph that has `lockctl` in it.
fn examples(command: &str) -> Vec<Block> {
    let help = help(command);
    let is_command = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let paragraphs = help.split("\n\n").map(|text| text.lines().filter(is_command));
    let scripts = paragraphs.map(|lines| lines.fold(String::new(), |all, line| all + line + "\n"));
    scripts
        .filter(|script| script.lines().any(|line| line.starts_with("  lockctl ")))
        .map(|script| Block {
            place: format!("lockctl {command} --help"),
            language: Language::Script,
            needs: None,
            text: TASKS.to_owned() + &script,
        })
        .collect()
}
