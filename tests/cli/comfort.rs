//! Notes, who leads, who has taken notice, and the brief: in a run that is driven, in one that stands still and after the
//! end, by its owner and by others.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{BIN, Running, World, kill_hard, shown, wait_until};

const ASKS: &str = "roles: { lead: [nobody] }\nobjectives: { rto: 1h }\nphases:\n  \
    - id: contain\n    title: Contain\n    steps:\n      - { id: first, title: First, run: 'true', undo: { run: 'true' } }\n  \
    - id: restore\n    title: Restore\n    deadline: 30m\n    steps:\n      \
    - { id: replace, title: Replace it, run: 'echo done >> ledger', destructive: true, \
          approval: { prompt: 'Replace the database?', approvers: [lead, root], timeout: 20m } }\n      \
    - { id: open, title: Let them in, run: 'true', irreversible: true, needs: [replace] }\n";

/// A run that waits for an answer, driven.
fn waiting(world: &World) -> Running {
    world.playbook("asks", ASKS);
    let running = world.start(&["run", "asks", "--wait"]);
    wait_until("the question", || {
        world.state().exists() && world.run(&["log", "last"]).out.contains("asked")
    });
    running
}

#[test]
fn words_for_the_log_change_nothing() {
    let world = World::new();
    let running = waiting(&world);
    world.run(&["note", "last", "the vendor was called\nhe calls back"]).exits(0).says(&["recorded"]);
    world
        .run(&["handoff", "last", "--to", "carol", "--note", "end of shift"])
        .exits(0)
        .says(&["carol leads"]);
    world.run(&["ack"]).exits(0).says(&["has taken notice"]);
    world.run(&["note", "last", "  "]).exits(8).says(&["the note is empty"]);
    world.run(&["handoff", "last", "--to", "a\nb"]).exits(8).says(&["is no name"]);
    world.run(&["status"]).exits(0).says(&["led by carol", "noticed by "]);

    // The process dies; what is said then stands in the same journal.
    kill_hard(running.pid());
    running.wait();
    world.run(&["note", "last", "the machine was rebooted"]).exits(0);
    world.run(&["approve", "last", "replace"]).exits(0);
    world.run(&["resume", "last"]).exits(0);
    let ended = world.run(&["status", "--json"]).out;
    world.run(&["note", "last", "all quiet"]).exits(0);
    world.run(&["handoff", "last", "--to", "dora"]).exits(0);

    let log = world.run(&["log"]).exits(0).says(&["the vendor was called", "he calls back", "end of shift"]);
    assert_eq!(log.out.matches("  note ").count(), 3, "{}", log.out);
    let said: Vec<String> = world.events_named("noted").iter().map(|n| n["text"].to_string()).collect();
    assert_eq!(said.len(), 3);
    assert_eq!(world.events_named("handed_over").len(), 2);
    assert_eq!(world.events_named("acknowledged").len(), 1);
    // The run is as over, and took as long, as before.
    let status: serde_json::Value = serde_json::from_str(&world.run(&["status", "--json"]).out).unwrap();
    let before: serde_json::Value = serde_json::from_str(&ended).unwrap();
    assert_eq!((&status["state"], &status["elapsed"]), (&before["state"], &before["elapsed"]));
    assert_eq!((&status["state"], &status["commander"]), (&"recovered".into(), &"dora".into()));
    world.run(&["verify"]).exits(0).says(&["the run ended recovered"]);
    world.run(&["log", "--follow"]).exits(0).says(&["all quiet"]);
    let dir = world.run_dir(&world.last_run());
    assert!(!dir.join("journal.reserve").exists());
    let report = std::fs::read_to_string(dir.join("report.md")).unwrap();
    assert!(report.contains("all quiet") && report.contains("handed over to carol"), "{report}");
    // Its lock is free: another run of the same playbook starts.
    world.run(&["run", "asks"]).exits(3);
    assert_eq!(world.ledger(), ["done"]);
}

#[test]
fn a_brief_fits_one_screen_driven_and_stopped() {
    let world = World::new();
    let running = waiting(&world);
    for n in 0..9 {
        world.run(&["note", "last", &format!("note {n} {}", "very long ".repeat(40))]).exits(0);
    }
    let run = world.last_run();
    let approve = format!("runbook approve {run} replace");
    let look = |texts: &[&str]| {
        let brief = world.run(&["brief"]).exits(0).says(texts);
        assert!(brief.out.lines().count() < 24, "{}", brief.out);
        for line in brief.out.lines() {
            assert!(line.chars().count() <= 80 || line.contains("runbook "), "{line}");
        }
    };
    look(&[
        &approve,
        "Replace the database?",
        "replace destroys; open cannot be taken back; no return after open",
        "of 1h (RTO)",
        "2 of 2: Restore",
        "1 of 3 steps done",
        "note 8 very",
        "running",
    ]);
    let json: serde_json::Value = serde_json::from_str(&world.run(&["brief", "--json"]).out).unwrap();
    assert_eq!(json["waiting"][0]["command"], approve.as_str());
    assert_eq!(json["notes"].as_array().unwrap().len(), 9);
    assert_eq!(json["next"][0]["step"], "open");
    kill_hard(running.pid());
    running.wait();
    look(&[&approve, &format!("runbook resume {run}"), "interrupted", " left: nobody, root"]);
    world.run(&["reject", "last", "--reason", "not now"]).exits(0);
    world.run(&["resume", "last"]).exits(1);
    look(&["replace failed: rejected by", "failed"]);
}

/// The program where every user of the machine can start it; `None`, and said loudly, where there is only one user.
fn as_user(uid: u32, program: &std::path::Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).env_clear().current_dir("/").uid(uid).gid(uid);
    command.env("HOME", "/nonexistent").env("LC_ALL", "C.UTF-8");
    command
}

#[test]
fn others_take_notice_if_they_have_a_role_and_can_say_no_more() {
    if !nix::unistd::getuid().is_root() {
        eprintln!("SKIPPED: only root can be several users, so nobody else took notice");
        return;
    }
    let place = tempfile::Builder::new().prefix("runbook-open-").tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("runbook");
    std::fs::copy(BIN, &program).unwrap();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let uid_of = |name: &str| -> Option<u32> {
        let line = passwd.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        line.split(':').nth(2)?.parse().ok()
    };
    let (Some(nobody), Some(daemon)) = (uid_of("nobody"), uid_of("daemon")) else {
        eprintln!("SKIPPED: there is no user nobody and daemon here, so nobody else took notice");
        return;
    };
    let world = World::new();
    let running = waiting(&world);
    let run = world.last_run();
    shown(&mut as_user(nobody, &program, &["ack", &run])).exits(0).says(&["nobody has taken notice"]);
    shown(&mut as_user(nobody, &program, &["note", &run, "hello"]))
        .exits(8)
        .says(&["only whoever owns the run"]);
    shown(&mut as_user(nobody, &program, &["handoff", &run, "--to", "nobody"])).exits(8);
    shown(&mut as_user(daemon, &program, &["ack", &run])).exits(8).says(&["holds a role"]);
    shown(&mut as_user(nobody, &program, &["ack", &run])).exits(0).says(&["has taken notice before"]);
    let acks = world.events_named("acknowledged");
    assert_eq!(
        (acks.len(), &acks[0]["by"]["name"], &acks[0]["by"]["via"]),
        (1, &"nobody".into(), &"socket".into())
    );
    assert!(world.events_named("noted").is_empty() && world.events_named("handed_over").is_empty());
    shown(&mut as_user(nobody, &program, &["approve", &run])).exits(0);
    running.wait().exits(0);
}

#[test]
fn a_checklist_is_printed_with_what_is_known_and_no_secret() {
    let world = World::new();
    world.write(
        "runbook.yaml",
        "apiVersion: runbook/v1\nplaybooks: [playbooks]\nroles: { lead: [ada, bob] }\n\
         responsibilities: { lead: [Decides] }\ncontacts: { vendor: '+49 30 1234567' }\n",
    );
    world.playbook(
        "paper",
        "reviewed: 2026-10-01\nreview_every: 90d\nsymptoms: [It is slow]\nparams: { file: { type: string, required: true } }\n\
         secrets: { token: { env: PAPER_TOKEN } }\nsteps:\n  \
         - { id: find, title: Find it, run: 'echo x > \"$RUNBOOK_OUTPUT\"', outputs: { path: result.stdout } }\n  \
         - { id: put, title: Put it, run: 'cp -- {{ steps.find.outputs.path }} {{ params.file }}', \
             env: { TOKEN: '{{ secrets.token }}' }, irreversible: true, \
             approval: { prompt: 'Put it to {{ params.file }}?', approvers: [lead] }, \
             verify: [{ title: It is there, run: 'test -e {{ params.file }}', within: 10s }] }\n",
    );
    let mut command = world.cmd(&["print", "paper", "-p", "file=/srv/a b.db"]);
    let sheet = shown(command.env("PAPER_TOKEN", "hunter2hunter2")).exits(0).says(&[
        "POINT OF NO RETURN",
        "ada, else bob",
        "+49 30 1234567",
        "due again 2026-12-30",
        "Put it to /srv/a b.db?",
        "[ ] ada __:__   [ ] bob __:__",
        "cp -- {{ steps.find.outputs.path }} {{ params.file }}",
        "params.file is /srv/a b.db",
        "[ ] It is there (within 10s",
        "RB_V1='/srv/a b.db'",
        "started __:__   done __:__",
        "export RUNBOOK_OUTPUT=/dev/stdout",
    ]);
    assert!(!sheet.out.contains("hunter2") && sheet.out.contains("TOKEN="), "{}", sheet.out);
    // What is not given is left to be filled in.
    world.run(&["print", "paper"]).exits(0).says(&["‹file›"]);
    world.run(&["print", "paper", "--format", "html"]).exits(0).says(&["@media print", "point of no return"]);
    world.run(&["print", "paper", "--env", "nowhere"]).exits(2);
    assert!(!world.state().exists());
}

#[test]
fn the_post_mortem_tells_people_from_machine_and_drafts_what_to_do() {
    let world = World::new();
    let running = waiting(&world);
    // Long enough to be told from the machine's own time.
    std::thread::sleep(std::time::Duration::from_millis(300));
    world.run(&["reject", "last", "--reason", "the replica is still alive"]).exits(0);
    running.wait().exits(1);
    let json: serde_json::Value =
        serde_json::from_str(&world.run(&["report", "--format", "json"]).exits(0).out).unwrap();
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or_else(|| panic!("{value}"));
    let (people, machine) = (number(&json["time"]["waiting_for_people"]), number(&json["time"]["machine"]));
    assert!(people >= 300, "{json:#}");
    assert_eq!(people + machine, number(&json["duration"]));
    let question = &json["questions"][0];
    assert_eq!((&question["step"], &question["answers"][0]["said"]), (&"replace".into(), &"no".into()));
    assert_eq!(number(&question["waited"]), people);
    for section in [
        "## Impact",
        "| revenue | *To be written.* |",
        "## Questions to people",
        "## Recovery report",
        "### Success metrics",
        "### Primary cause",
        "### Contributing factors",
        "## What went well",
        "## What could be improved",
        "| action | owner | due | priority |",
        "Put into the playbook what a person decided: replace:",
        "## Lessons",
        "48 hours after the end",
    ] {
        world.run(&["report"]).exits(0).says(&[section]);
    }
    world.run(&["report", "--format", "html"]).exits(0).says(&["<h2>Lessons</h2>", "a week after the end"]);
}
