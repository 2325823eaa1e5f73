//! `completions` and `man`: as the shells and man read them.

use std::{fs, process::Command};

use crate::{
    scene::{Scene, skip},
    world::{stderr, stdout},
};

#[test]
fn completions_are_scripts_that_the_shells_take() {
    let scene = Scene::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = scene.output(&format!("completions {shell}"));
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{shell}");
        let script = stdout(&output);
        assert!(script.contains("no-wait") && script.contains("doctor"), "{shell}");
        assert!(!script.contains("__shim"), "{shell} offers what nobody types");
        let path = scene.path(shell);
        fs::write(&path, &script).unwrap();
        // Whichever of these shells is there.
        if let Ok(output) = Command::new(shell).arg("-n").arg(&path).output() {
            assert!(output.status.success(), "{shell}: {}", stderr(&output));
        }
    }
    scene.assert_ends("completions tcsh", 64);
}

#[test]
fn bash_completes_commands_and_options() {
    let scene = Scene::new();
    let script = "eval \"$(\"$LOCKCTL\" completions bash)\"
        complete_at() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _lockctl lockctl \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"
            echo \"${COMPREPLY[@]}\"; }
        complete_at lockctl w
        complete_at lockctl run --no-";
    let output = scene.world.program("bash").args(["--norc", "-c", script]).output().unwrap();
    assert_eq!(stdout(&output), "why watch wait\n--no-wait\n", "{}", stderr(&output));
}

#[test]
fn man_has_a_page_for_each_command() {
    let scene = Scene::new();
    let output = scene.output("man");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains(".TH lockctl 1"), "{}", stdout(&output));
    scene.assert_ends("man --out pages", 0);
    let pages = fs::read_dir(scene.path("pages")).unwrap();
    let mut names: Vec<String> =
        pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for page in ["lockctl.1", "lockctl-run.1", "lockctl-why.1", "lockctl-doctor.1"] {
        assert!(names.contains(&page.to_owned()), "no {page} in {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("shim")), "{names:?}");
    let run = fs::read_to_string(scene.path("pages/lockctl-run.1")).unwrap();
    assert!(run.contains("the store cannot be reached"), "it lacks the exit statuses: {run}");
    // Neither needs a store, nor to know which.
    for command in ["man", "completions bash"] {
        let mut command = scene.lockctl(command);
        let output = command.env("LOCKCTL_STORE", "nonsense").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    fs::write(scene.path("file"), "").unwrap();
    let message = scene.assert_ends("man --out file/pages", 71);
    assert!(message.contains("cannot write the pages"), "{message}");
}

#[test]
fn man_shows_each_page_and_has_nothing_to_say_of_it() {
    let version = Command::new("man").arg("--version").output();
    if !version.is_ok_and(|output| stdout(&output).starts_with("man 2.")) {
        return skip("there is no man, or not that of man-db");
    }
    let scene = Scene::new();
    scene.assert_ends("man --out pages", 0);
    // What is printed is a page as well.
    fs::write(scene.path("pages/printed.1"), stdout(&scene.output("man"))).unwrap();
    for page in fs::read_dir(scene.path("pages")).unwrap() {
        let page = page.unwrap().path();
        let mut man = scene.world.program("man");
        man.args(["--warnings=w", "--encoding=UTF-8", "--local-file"]).arg(&page);
        man.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80").env("MANPAGER", "cat");
        let output = man.output().unwrap();
        let (text, said) = (stdout(&output), stderr(&output));
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{}", page.display());
        for part in ["NAME", "SYNOPSIS", "lockctl", "--help"] {
            assert!(text.contains(part), "no {part} in {}:\n{text}", page.display());
        }
    }
}
