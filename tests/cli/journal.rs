//! A run read afterwards: log, status, report, verify; and what its files look like.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};

use serde_json::Value;

use crate::support::{World, event_of, shown};

fn small() -> World {
    let world = World::new();
    world.playbook(
        "small",
        "steps:\n  - { id: a, title: First thing, run: 'echo out-of-a; echo err-of-a >&2' }\n  \
         - { id: b, title: Second thing, run: 'echo why-it-failed >&2; exit 3', on_failure: continue }\n",
    );
    world.run(&["run", "small"]).exits(4);
    world
}

#[test]
fn the_lines_of_json_are_the_records() {
    let world = World::new();
    world.playbook("small", "steps: [{ id: a, title: A, run: 'true' }]\n");
    let shown = world.run(&["run", "small", "--json"]).exits(0);
    let live: Vec<Value> = shown.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let read: Vec<Value> =
        world.run(&["log", "--json"]).out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(live, read);
    let path = world.run_dir(&world.last_run()).join("journal.jsonl");
    let written = fs::read_to_string(path).unwrap();
    for ((line, record), n) in written.lines().zip(&read).zip(1..) {
        assert_eq!(record["seq"], n);
        let written: Value = serde_json::from_str(line).unwrap();
        assert_eq!(written["event"], record["event"]);
    }
    assert_eq!(written.lines().count(), read.len());
    let first = event_of(shown.out.lines().next().unwrap());
    assert_eq!(first.0, "run_started");
    for field in ["operator", "host", "version", "plan_hash", "params", "pid"] {
        assert!(!first.1[field].is_null(), "{field}");
    }
}

#[test]
fn every_view_tells_the_same_run() {
    let world = small();
    let run = world.last_run();
    for name in ["last", "small", &run, &run[..run.len() - 2]] {
        world.run(&["log", name]).exits(0).says(&["degraded", "exit 3"]);
        world.run(&["status", name]).exits(0).says(&[&run, "degraded", "First thing"]);
    }
    let markdown = world.run(&["report"]).exits(0).says(&["degraded", "why-it-failed", &run]).out;
    world.run(&["report", "--output", "r.md"]).exits(0).says(&["r.md"]);
    assert_eq!(world.read("r.md"), markdown, "a report depends on the journal alone");
    let html = world.run(&["report", "--format", "html"]).exits(0).says(&["<svg", "why-it-failed"]).out;
    assert!(!html.contains("<script src") && !html.contains("href=\"http"), "one self-contained file");
    let json: Value = serde_json::from_str(&world.run(&["report", "--format", "json"]).exits(0).out).unwrap();
    assert!(json.to_string().contains(&run));
    let listed = world.run(&["list", "--runs", "--json"]).exits(0).out;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["run"], run.as_str());
    let out = world.run_dir(&run).join("output");
    assert_eq!(fs::read_to_string(out.join("a.1.out")).unwrap(), "out-of-a\n");
    assert_eq!(fs::read_to_string(out.join("a.1.err")).unwrap(), "err-of-a\n");
}

#[test]
fn one_flipped_byte_is_found() {
    let world = small();
    let path = world.run_dir(&world.last_run()).join("journal.jsonl");
    let whole = fs::read(&path).unwrap();
    world.run(&["verify"]).exits(0).says(&["intact"]);
    // One place in the middle of each line, and the last byte before the end.
    let mut places: Vec<usize> = Vec::new();
    let mut start = 0;
    for line in whole.split_inclusive(|b| *b == b'\n') {
        places.push(start + line.len() / 2);
        start += line.len();
    }
    places.push(whole.len() - 4);
    for place in places {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        fs::write(&path, &bytes).unwrap();
        world.run(&["verify"]).exits(8).says(&["BROKEN", "byte "]);
        assert_eq!(fs::read(&path).unwrap(), bytes, "verify changes nothing");
    }
    let hint = format!("runbook verify {}`", world.runs()[0]);
    world.run(&["resume", "last"]).exits(8).says(&["damaged or was changed", &hint]);
    world.run(&["log"]).exits(8).says(&["damaged or was changed"]);
    fs::write(&path, &whole).unwrap();
    world.run(&["verify"]).exits(0);
}

#[test]
fn a_cut_tail_is_found_by_the_head_that_was_shown() {
    let world = World::new();
    world.playbook("small", "steps: [{ id: a, title: A, run: 'true' }]\n");
    let shown = world.run(&["run", "small"]).exits(0);
    let head = shown.out.split("head ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    world.run(&["verify", "last", "--head", &head]).exits(0).says(&["nothing is missing"]);
    let path = world.run_dir(&world.last_run()).join("journal.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    fs::write(&path, lines[..lines.len() - 1].concat()).unwrap();
    world.run(&["verify"]).exits(0).says(&["has not ended", "--head"]);
    world.run(&["verify", "last", "--head", &head]).exits(8).says(&["MISSING"]);
}

#[test]
fn a_changed_plan_is_found_and_not_run() {
    let world = World::new();
    world.playbook("small", "steps: [{ id: a, title: A, run: 'echo a >> ledger; exit 1' }]\n");
    world.run(&["run", "small"]).exits(1);
    let path = world.run_dir(&world.last_run()).join("plan.json");
    let plan = fs::read_to_string(&path).unwrap();
    fs::write(&path, plan.replace("exit 1", "exit 0")).unwrap();
    world.run(&["verify"]).exits(8).says(&["plan.json is NOT"]);
    world.run(&["resume", "last"]).exits(8).says(&["plan.json is not what the run goes by"]);
    assert_eq!(world.ledger(), ["a"]);
}

#[test]
fn an_edit_of_the_playbook_does_not_change_what_a_resume_does() {
    let world = World::new();
    world.playbook("small", "steps: [{ id: a, title: A, run: 'echo old >> ledger; test -e go' }]\n");
    world.run(&["run", "small"]).exits(1);
    world.playbook("small", "steps: [{ id: a, title: A, run: 'echo new >> ledger' }]\n");
    world.write("go", "");
    world.run(&["resume", "last"]).exits(0);
    assert_eq!(world.ledger(), ["old", "old"]);
}

#[test]
fn a_torn_last_line_is_set_aside() {
    let world = World::new();
    world.playbook("small", "steps: [{ id: a, title: A, run: 'echo a >> ledger; test -e go' }]\n");
    world.run(&["run", "small"]).exits(1);
    let path = world.run_dir(&world.last_run()).join("journal.jsonl");
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"v\":1,\"seq\":99");
    fs::write(&path, text).unwrap();
    world.write("go", "");
    world.run(&["status"]).exits(0);
    world.run(&["resume", "last"]).exits(0).says(&["recovered", "set aside"]);
    assert_eq!(world.events_named("tail_set_aside").len(), 1);
    world.run(&["verify"]).exits(0);
}

fn tear(world: &World) {
    let path = world.run_dir(&world.last_run()).join("journal.jsonl");
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"v\":1,\"seq\":99");
    fs::write(&path, text).unwrap();
}

/// Whoever writes next tells of it, also after the end; and a run that is over stays over.
#[test]
fn whoever_speaks_after_a_tear_tells_of_it_and_opens_no_run() {
    let words: [&[&str]; 3] =
        [&["note", "last", "hello"], &["handoff", "last", "--to", "carol"], &["ack", "last"]];
    for (script, code) in [("true", 0), ("false", 1)] {
        let world = World::new();
        world.playbook("small", &format!("steps: [{{ id: a, title: A, run: '{script}' }}]\n"));
        world.run(&["run", "small"]).exits(code);
        let outcome = if code == 0 { "recovered" } else { "failed" };
        let before: serde_json::Value = serde_json::from_str(&world.run(&["status", "--json"]).out).unwrap();
        for (n, word) in words.iter().enumerate() {
            tear(&world);
            world.run(word).exits(0).says(&["recorded"]);
            assert_eq!(world.events_named("tail_set_aside").len(), n + 1, "{word:?}");
        }
        // What is refused, or was said before, changes nothing.
        tear(&world);
        world.run(&["note", "last", " "]).exits(8);
        world.run(&["ack", "last"]).exits(0).says(&["before"]);
        assert_eq!(world.events_named("tail_set_aside").len(), 3);
        let status: serde_json::Value = serde_json::from_str(&world.run(&["status", "--json"]).out).unwrap();
        for field in ["state", "elapsed", "outcome"] {
            assert_eq!(status[field], before[field], "{field}");
        }
        world.run(&["verify"]).exits(0).says(&[&format!("the run ended {outcome}")]);
        world.run(&["log", "--follow"]).exits(0).says(&["set aside"]);
        let report = world.run(&["report"]).exits(0);
        assert_eq!(report.out.matches("was set aside in").count(), 6, "remark and timeline: {}", report.out);
        let dir = world.run_dir(&world.last_run());
        assert!(!dir.join("journal.reserve").exists(), "an open run has one");
        if code == 0 {
            world.run(&["resume", "last"]).exits(8);
        } else {
            world.run(&["resume", "last"]).exits(1);
            assert_eq!(world.events_named("tail_set_aside").len(), 4, "the resume finds the last one");
        }
        // It holds nothing: another one starts.
        world.run(&["run", "small"]).exits(code);
    }
}

/// The same when the process was killed: the run is as open as before.
#[test]
fn whoever_speaks_after_a_tear_in_an_open_run_leaves_it_open() {
    let world = World::new();
    world.playbook(
        "small",
        "steps: [{ id: a, title: A, idempotent: true, run: 'until test -e go; do sleep 0.05; done' }]\n",
    );
    let running = world.start(&["run", "small"]);
    crate::support::wait_until("the step", || {
        world.run(&["log", "last", "--json"]).out.contains("task_started")
    });
    crate::support::kill_hard(running.pid());
    running.wait();
    let words: [&[&str]; 3] =
        [&["note", "last", "hello"], &["handoff", "last", "--to", "carol"], &["ack", "last"]];
    for (n, word) in words.iter().enumerate() {
        tear(&world);
        world.run(word).exits(0);
        assert_eq!(world.events_named("tail_set_aside").len(), n + 1);
        world.run(&["status"]).exits(0).says(&["interrupted"]);
    }
    world.write("go", "");
    world.run(&["resume", "last"]).exits(0);
    world.run(&["verify"]).exits(0);
    world.assert_nothing_runs();
}

#[test]
fn files_are_private_whatever_the_umask() {
    let world = World::new();
    world.playbook("small", "steps: [{ id: a, title: A, run: 'umask > mask; echo x; echo y >&2' }]\n");
    let script = "umask 000; exec \"$0\" run small";
    shown(world.command("sh").args(["-c", script, crate::support::BIN])).exits(0);
    let mut seen = 0;
    let mut folders = vec![world.state()];
    while let Some(folder) = folders.pop() {
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{}", folder.display());
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                seen += 1;
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{}", entry.path().display());
            }
        }
    }
    assert!(seen >= 6, "journal, plan, playbook, outputs, reports: {seen}");
    assert_eq!(world.read("mask").trim(), "0000", "a command gets the caller's umask");
}

#[test]
fn a_planted_link_is_not_followed() {
    for planted in ["runs", "locks"] {
        let world = World::new();
        world.playbook("small", "steps: [{ id: a, title: A, run: echo a >> ledger }]\n");
        fs::create_dir(world.path("elsewhere")).unwrap();
        fs::DirBuilder::new().mode(0o700).create(world.state()).unwrap();
        symlink(world.path("elsewhere"), world.state().join(planted)).unwrap();
        world.run(&["run", "small"]).exits(8).says(&[planted, "is refused", "symbolic link"]);
        assert!(world.ledger().is_empty());
        assert_eq!(fs::read_dir(world.path("elsewhere")).unwrap().count(), 0);
    }
    // A run's folder or journal that is a link is no run.
    let world = small();
    let dir = world.run_dir(&world.last_run());
    fs::rename(dir.join("journal.jsonl"), world.path("moved")).unwrap();
    symlink(world.path("moved"), dir.join("journal.jsonl")).unwrap();
    for command in ["verify", "log", "status"] {
        world.run(&[command, "small"]).exits(8);
    }
    fs::rename(&dir, world.path("away")).unwrap();
    symlink(world.path("away"), &dir).unwrap();
    world.run(&["log", "small"]).exits(2).says(&["there is no run yet"]);
}

#[test]
fn a_state_folder_that_others_can_write_to_is_refused() {
    let world = World::new();
    world.playbook("small", "steps: [{ id: a, title: A, run: echo a >> ledger }]\n");
    fs::create_dir(world.state()).unwrap();
    fs::set_permissions(world.state(), fs::Permissions::from_mode(0o777)).unwrap();
    world.run(&["run", "small"]).exits(8).says(&["is refused"]);
    assert!(world.ledger().is_empty());
}
