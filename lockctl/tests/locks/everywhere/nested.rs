//! What a command learns of its run, and runs inside of runs.

use crate::{
    scene::Scene,
    world::{stderr, stdout},
};

#[test]
fn the_command_learns_its_task_and_a_fence_that_rises() {
    let scene = Scene::new();
    let mut newest = 0;
    for _ in 0..3 {
        let script =
            r#"echo "$LOCKCTL_TASK $LOCKCTL_TASK_ID $LOCKCTL_FENCE"; "$LOCKCTL" list --json >list"#;
        let output = scene.script("--task job -l one", script);
        let line = stdout(&output);
        let [task, id, fence] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let list = std::fs::read_to_string(scene.path("list")).unwrap();
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!(task, "job");
        assert_eq!(list["holds"][0]["task_id"], id);
        assert_eq!(list["holds"][0]["fence"].to_string(), fence);
        let fence: u64 = fence.parse().unwrap();
        assert!(fence > newest, "{fence} after {newest}");
        newest = fence;
    }
    scene.assert_free();
}

#[test]
fn a_nested_run_that_waits_for_nobody_is_not_blocked_by_its_own() {
    let scene = Scene::new();
    let script = r#""$LOCKCTL" run --wait 0 -l one -- echo told
        env -u LOCKCTL_TASK_ID "$LOCKCTL" run --wait 0 -l one -- echo found"#;
    let output = scene.script("--task outer -l one", script);
    assert_eq!(stdout(&output), "told\nfound\n", "{}", stderr(&output));
    scene.assert_free();
}

#[test]
fn a_nested_run_is_not_blocked_by_its_own_and_is_a_task_below() {
    let scene = Scene::new();
    let script = r#"echo "$LOCKCTL_TASK_ID $LOCKCTL_FENCE"
        "$LOCKCTL" run -n --task inner -l one -l one/part -l two -- sh -c 'echo "$LOCKCTL_TASK_ID $LOCKCTL_FENCE"
            "$LOCKCTL" run -n -l two -- sh -c "echo \$LOCKCTL_TASK_ID \$LOCKCTL_FENCE"'
        "$LOCKCTL" list --json >list"#;
    let output = scene.script("--task outer -l one", script);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let lines: Vec<(&str, u64)> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(id, fence)| (id, fence.parse().unwrap()))
        .collect();
    assert_eq!(lines.len(), 3, "{text}");
    for pair in lines.windows(2) {
        assert_ne!(pair[1].0, pair[0].0);
        assert!(pair[1].0.starts_with(pair[0].0), "{} is not below {}", pair[1].0, pair[0].0);
    }
    // What the inner run gave back, the outer still has.
    let list = std::fs::read_to_string(scene.path("list")).unwrap();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["holds"].as_array().unwrap().len(), 1);
    assert_eq!(list["holds"][0]["task"], "outer");
    scene.assert_free();
}

#[test]
fn where_sudo_cleaned_the_environment_the_ancestors_tell() {
    let scene = Scene::new();
    let clean = r#"env -i HOME="$HOME" LOCKCTL_STORE="$LOCKCTL_STORE" sh -c '"$0" run -n -l one -- "$@"' "$LOCKCTL""#;
    let script = format!("echo $LOCKCTL_TASK_ID; {clean} sh -c 'echo $LOCKCTL_TASK_ID'");
    let output = scene.script("--task outer -l one", &script);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let (outer, inner) = text.trim().split_once('\n').unwrap();
    assert!(inner.starts_with(outer) && inner != outer, "{inner} is not below {outer}");
    // The proof that it is no accident: who is no descendant is blocked.
    let mut holder = scene.hold("-l one");
    scene.assert_ends("run -n -l one -- true", 75);
    holder.end();
    scene.assert_free();
}

#[test]
fn the_nearest_ancestor_counts() {
    let scene = Scene::new();
    let script = r#"env -i HOME="$HOME" LOCKCTL_STORE="$LOCKCTL_STORE" "$LOCKCTL" run --task middle -l two -- \
        sh -c 'echo $LOCKCTL_TASK_ID; env -i HOME="$HOME" LOCKCTL_STORE="$LOCKCTL_STORE" "$0" run -n -l one -l two -- \
            sh -c "echo \$LOCKCTL_TASK_ID"' "$LOCKCTL""#;
    let output = scene.script("--task outer -l one", script);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let (middle, inner) = text.trim().split_once('\n').unwrap();
    assert!(inner.starts_with(middle) && inner != middle, "{inner} is not below {middle}");
    scene.assert_free();
}

#[test]
fn the_environment_alone_tells_it_too() {
    let scene = Scene::new();
    let mut outer = scene.hold("--task outer -l one");
    let id = scene.list().entry("outer")["task_id"].as_str().unwrap().to_owned();
    // Not a child of the run, as behind ssh or in a container.
    let mut command = scene.script_command("-n -l one", "echo $LOCKCTL_TASK_ID");
    let output = command.env("LOCKCTL_TASK_ID", &id).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let inner = stdout(&output);
    assert!(inner.starts_with(&id) && inner.trim() != id, "{inner} is not below {id}");
    outer.end();
    scene.assert_free();
}

#[test]
fn a_nested_run_may_be_in_another_session() {
    let scene = Scene::new();
    let script = r#"setsid --fork --wait "$LOCKCTL" run -n -l one -- echo inside"#;
    let output = scene.script("-l one", script);
    assert_eq!(
        (stdout(&output).as_str(), output.status.code()),
        ("inside\n", Some(0)),
        "{}",
        stderr(&output)
    );
    scene.assert_free();
}

#[test]
fn siblings_block_each_other() {
    let scene = Scene::new();
    let script = r#"
        exec 3<&0
        "$LOCKCTL" run --task first -l part -- sh -c 'echo up; exec cat' <&3 &
        until "$LOCKCTL" list | grep -q first; do sleep 0.02; done
        "$LOCKCTL" run --task second -n -l part -- true; echo "second $?"
        "$LOCKCTL" run --task outside -n -l outer -- true; echo "outer $?"
        wait"#;
    let mut run = scene.start_script("--task outer -l outer", script);
    run.says("busy: part: held by first (pid ");
    let mut lines = [run.line(0), run.line(1), run.line(2)];
    lines.sort();
    assert_eq!(lines, ["outer 0", "second 75", "up"]);
    run.end();
    scene.assert_free();
}

#[test]
fn others_wait_for_outer_and_inner() {
    let scene = Scene::new();
    let script = r#""$LOCKCTL" run --task inner -l inner -- sh -c 'echo $$; exec cat'"#;
    let mut run = scene.start_script("--task outer -l outer", script);
    run.command_pid();
    let mut holders = scene.list().holders();
    holders.sort();
    assert_eq!(holders, ["inner", "outer"]);
    for lock in ["inner", "outer"] {
        scene.assert_ends(&format!("run -n -l {lock} -- true"), 75);
    }
    run.end();
    scene.assert_free();
}

#[test]
fn the_other_commands_count_as_the_run_that_calls_them() {
    let scene = Scene::new();
    // To wait for one's own lock would be to wait for ever.
    let output = scene.script("-l one", r#""$LOCKCTL" wait one && echo free"#);
    assert_eq!(stdout(&output), "free\n", "{}", stderr(&output));
}

#[test]
fn a_deadlock_of_two_is_refused_and_names_both() {
    let scene = Scene::new();
    let script = |other: &str| {
        format!(
            "echo $$; read go; \"$LOCKCTL\" run --task inner-{other} -l {other} -- echo got {other}; echo \"ended $?\""
        )
    };
    let mut a = scene.start_script("--task a -l one", &script("two"));
    let mut b = scene.start_script("--task b -l two", &script("one"));
    a.command_pid();
    b.command_pid();
    a.type_in("\n");
    scene.until_waiting("inner-two");
    b.type_in("\n");
    assert_eq!(b.line(1), "ended 75");
    let message = b.err();
    assert!(message.contains("deadlock"), "{message}");
    for part in ["inner-one waits for one, held by a", "inner-two waits for two, held by b"] {
        assert!(message.contains(part), "no {part} in {message}");
    }
    // The refused one gives back, and so the other goes on.
    b.end();
    assert_eq!(a.line(1), "got two");
    assert_eq!(a.line(2), "ended 0");
    a.end();
    scene.assert_free();
}
