//! People are asked, and answer: at other terminals, as other users, from files, or not at all.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;

use crate::support::{BIN, Running, Shown, World, kill_hard, shown, wait_until};

const GUARDED: &str = "steps:\n  - id: restore\n    title: Replace the database\n    \
     approval: { prompt: 'Replace it with {{ params.from }}?', QUESTION }\n    \
     run: echo restore >> ledger\n  - { id: after, title: After, run: echo after >> ledger }\n\
     params:\n  from: { type: string, default: newest.db }\n";

fn guarded(world: &World, question: &str) {
    let comma = if question.is_empty() {
        GUARDED.replace(", QUESTION", "")
    } else {
        GUARDED.replace("QUESTION", question)
    };
    world.playbook("guarded", &comma);
}

/// A run that waits until its step `restore` asks.
fn waiting(world: &World) -> Running {
    let running = world.start(&["run", "guarded", "--wait"]);
    wait_until("the question", || running.out().contains("asked"));
    running
}

#[test]
fn nothing_starts_before_somebody_agrees() {
    let world = World::new();
    guarded(&world, "");
    let running = waiting(&world);
    assert!(world.ledger().is_empty());
    let status = world.run(&["status"]).exits(0);
    status.says(&["restore  waiting", "waiting for approval", "runbook approve guarded-"]);
    let approved = world.run(&["approve", "last", "--reason", "looks right"]).exits(0);
    approved.says(&["Replace it with newest.db?", "recorded: you agree"]);
    running.wait().exits(0).says(&["answered", "looks right"]);
    assert_eq!(world.ledger(), ["restore", "after"]);
    // Once is once.
    world.run(&["approve", "last", "restore"]).exits(8).says(&["asks you nothing"]);
    world.run(&["report"]).exits(0).says(&["answered restore: yes: looks right"]);
}

#[test]
fn a_no_is_a_failure_with_its_reason_and_a_resume_asks_again() {
    let world = World::new();
    guarded(&world, "");
    let running = waiting(&world);
    world.run(&["reject", "last"]).exits(2).says(&["--reason"]);
    world.run(&["reject", "last", "--reason", "wrong backup"]).exits(0);
    running.wait().exits(1).says(&["rejected by", "wrong backup"]);
    assert!(world.ledger().is_empty());
    let running = world.start(&["resume", "last", "--wait"]);
    wait_until("the second question", || running.out().contains("question 2"));
    world.run(&["approve", "last"]).exits(0);
    running.wait().exits(0);
    assert_eq!(world.ledger(), ["restore", "after"]);
}

#[test]
fn without_a_way_to_ask_the_run_ends_waiting_and_can_be_answered_then() {
    let world = World::new();
    guarded(&world, "");
    world.run(&["run", "guarded"]).exits(3).says(&[
        "waiting",
        "restore waits for a person",
        "runbook approve",
    ]);
    world.assert_nothing_runs();
    assert!(world.events_named("run_ended")[0].get("rto").is_none(), "what waits is not over");
    // Asked again by a resume: it still waits, and the question is the same one.
    world.run(&["resume", "last"]).exits(3);
    assert_eq!(world.events_named("asked").len(), 1);
    let shown = world.run(&["approve", "last", "restore"]).exits(0);
    shown.says(&["recorded", "runbook resume"]);
    assert!(world.ledger().is_empty(), "nobody drives it yet");
    world.run(&["approve", "last", "restore"]).exits(8);
    world.run(&["resume", "last"]).exits(0);
    assert_eq!(world.ledger(), ["restore", "after"]);
    world.run(&["verify"]).exits(0);
}

#[test]
fn a_run_that_was_killed_while_it_asked_is_answered_and_goes_on() {
    let world = World::new();
    guarded(&world, "");
    let running = waiting(&world);
    kill_hard(running.pid());
    running.wait();
    world.run(&["approve", "last"]).exits(0).says(&["runbook resume"]);
    world.run(&["resume", "last"]).exits(0);
    assert_eq!(world.ledger(), ["restore", "after"]);
}

#[test]
fn a_cancelled_run_that_is_taken_up_again_is_not_being_cancelled() {
    let world = World::new();
    guarded(&world, "");
    let running = waiting(&world);
    world.run(&["cancel", "last"]).exits(0);
    running.wait().exits(130);
    let again = world.start(&["resume", "last", "--wait"]);
    wait_until("the resume", || again.out().contains("resumed"));
    world.run(&["status"]).exits(0).says(&["  running\n"]);
    // The question is the one that was open before.
    world.run(&["approve", "last"]).exits(0);
    again.wait().exits(0);
    assert_eq!(world.events_named("asked").len(), 1);
    assert_eq!(world.ledger(), ["restore", "after"]);
}

/// As after a crash in the middle of a write: whoever speaks first tells of it.
#[test]
fn a_torn_tail_is_told_of_before_the_answer() {
    use std::io::Write;
    let world = World::new();
    guarded(&world, "");
    world.run(&["run", "guarded"]).exits(3);
    world.assert_nothing_runs();
    let journal = world.run_dir(&world.last_run()).join("journal.jsonl");
    std::fs::OpenOptions::new().append(true).open(journal).unwrap().write_all(b"{\"v\":1,").unwrap();
    world.run(&["approve", "last"]).exits(0);
    assert_eq!(world.events_named("tail_set_aside").len(), 1);
    world.run(&["verify"]).exits(0);
    world.run(&["resume", "last"]).exits(0);
    assert_eq!(world.ledger(), ["restore", "after"]);
}

#[test]
fn nobody_answers_in_time() {
    for (then, code, ledger) in [("fail", 1, &[][..]), ("proceed", 0, &["restore", "after"][..])] {
        let world = World::new();
        guarded(&world, &format!("timeout: 300ms, on_timeout: {then}"));
        world.run(&["run", "guarded", "--wait"]).exits(code).says(&["nobody answered in time"]);
        assert_eq!(world.ledger(), ledger);
        world.run(&["approve", "last", "restore"]).exits(8);
    }
}

/// Runs the program as another user of the machine, who has neither the run's folder nor its state.
fn as_user(world: &World, uid: u32, args: &[&str]) -> Shown {
    let program = world.path("runbook-for-others");
    if !program.exists() {
        std::fs::copy(BIN, &program).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        for folder in [world.dir(), world.dir().parent().unwrap().to_owned()] {
            std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
        }
    }
    let mut command = Command::new(&program);
    command.args(args).env_clear().env("HOME", "/nonexistent").current_dir("/").uid(uid).gid(uid);
    shown(&mut command)
}

/// Accounts that every Debian has.
const DAEMON: u32 = 1;
const BIN_USER: u32 = 2;
const NOBODY: u32 = 65534;

#[test]
fn two_other_users_agree_and_the_operator_is_excluded() {
    if !nix::unistd::getuid().is_root() {
        println!("SKIPPED: other users answer (needs root)");
        return;
    }
    let world = World::new();
    let question = "approvers: [root, dbas], count: 2, exclude_operator: true";
    guarded(&world, question);
    let path = world.path("playbooks/guarded.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}roles: {{ dbas: [daemon, bin] }}\n")).unwrap();
    let running = waiting(&world);
    let run = world.last_run();

    world.run(&["approve", "last"]).exits(8).says(&["root started the run, and somebody else has to answer"]);
    // A stranger is not even shown the question.
    let stranger = as_user(&world, NOBODY, &["approve", &run]).exits(8);
    assert!(!format!("{stranger:?}").contains("Replace it"), "{stranger:?}");
    let first = as_user(&world, DAEMON, &["approve", &run, "restore", "--reason", "checked"]).exits(0);
    first.says(&["driven by root", "Replace it with newest.db?", "recorded: you agree"]);
    as_user(&world, DAEMON, &["approve", &run]).exits(8).says(&["daemon has agreed already"]);
    assert!(world.ledger().is_empty(), "one of two has agreed");
    as_user(&world, BIN_USER, &["approve", &run]).exits(0).says(&["agreed so far: daemon"]);
    running.wait().exits(0);
    assert_eq!(world.ledger(), ["restore", "after"]);

    let refused = world.events_named("answer_refused");
    let why: Vec<&str> = refused.iter().map(|r| r["why"].as_str().unwrap()).collect();
    assert_eq!(why.len(), 2, "{why:?}");
    assert_eq!(refused[1]["by"]["name"], "daemon");
    assert_eq!(refused[1]["by"]["uid"], 1);
    // Over: the socket is gone with the process.
    as_user(&world, BIN_USER, &["approve", &run]).exits(2);
    world.run(&["report"]).exits(0).says(&["refused", "bin"]);
}

#[test]
fn another_user_cannot_end_the_run_and_an_answer_to_another_plan_is_refused() {
    if !nix::unistd::getuid().is_root() {
        println!("SKIPPED: other users answer (needs root)");
        return;
    }
    let world = World::new();
    guarded(&world, "");
    let running = waiting(&world);
    let run = world.last_run();
    let plan = world.events_named("run_started")[0]["plan_hash"].as_str().unwrap().to_owned();
    // As a program would that somebody else wrote: by hand over the socket without a file.
    let script = "import os,socket,sys\nos.setgid(1); os.setuid(1)\ns=socket.socket(socket.AF_UNIX)\n\
         s.connect('\\0runbook/run/'+sys.argv[1])\nf=s.makefile('rw')\n\
         for line in sys.argv[2:]:\n  f.write(line+'\\n'); f.flush(); print(f.readline().strip())\n";
    let answer = |number: u32, plan: &str, reply: &str| {
        format!(
            r#"{{"answer":{{"step":"restore","binding":{{"number":{number},"plan_hash":"{plan}"}},"reply":{reply}}}}}"#
        )
    };
    let yes = r#"{"answer":"approve"}"#;
    let mut command = world.command("python3");
    command.args(["-c", script, &run, r#"{"cancel":{"force":true}}"#, "nonsense"]);
    command.args([
        answer(2, &plan, yes),
        answer(1, &"0".repeat(64), yes),
        answer(1, &plan, r#"{"answer":"retry"}"#),
    ]);
    let said = shown(&mut command).exits(0);
    said.says(&["only whoever owns the run may end it", "not understood"]);
    let refused = world.events_named("answer_refused");
    let why: Vec<&str> = refused.iter().map(|r| r["why"].as_str().unwrap()).collect();
    assert_eq!(
        why,
        [
            "it answers an earlier question of step restore",
            "it was given for another plan: the playbook was edited since",
            "\"try again\" is no answer to a request for approval (approve or reject)",
        ]
    );
    world.run(&["approve", "last"]).exits(0);
    running.wait().exits(0);
}

const WAYS: &str = "steps:\n  - id: way\n    title: Choose a way\n    choose:\n      prompt: Which?\n      options:\n        \
     replica: { title: Promote it, eta: 10m, loss: the lag, when: params.replica }\n        \
     backup: { title: Restore }\n      suggest: \"'replica' if params.replica else 'backup'\"\n  \
     - { id: promote, title: Promote, when: steps.way.choice == 'replica', run: echo promote >> ledger }\n  \
     - { id: restore, title: Restore, when: steps.way.choice == 'backup', run: echo restore >> ledger }\n\
     params:\n  replica: { type: boolean, default: false }\n";

#[test]
fn a_choice_steers_what_follows_and_a_closed_option_cannot_be_taken() {
    let world = World::new();
    world.playbook("ways", WAYS);
    let running = world.start(&["run", "ways", "--wait"]);
    wait_until("the question", || running.out().contains("asked"));
    world.run(&["approve", "last"]).exits(2).says(&["offers a choice", "runbook choose"]);
    world.run(&["choose", "last", "way", "sideways"]).exits(2).says(&["no answer here"]);
    world.run(&["choose", "last", "way", "replica"]).exits(8).says(&["cannot be taken"]);
    world.run(&["choose", "last", "way", "backup"]).exits(0).says(&["backup (suggested)"]);
    running.wait().exits(0);
    assert_eq!(world.ledger(), ["restore"]);
    assert_eq!(world.outcome("promote"), "skipped");
}

#[test]
fn answers_from_a_file_count_as_the_operators() {
    let world = World::new();
    world.playbook("ways", WAYS);
    world.write("answers.yaml", "way: replica\n");
    world
        .run(&["run", "ways", "-p", "replica=true", "--answers", "answers.yaml"])
        .exits(0)
        .says(&["(answers file)"]);
    assert_eq!(world.ledger(), ["promote"]);
    world.write("answers.yaml", "way: nowhere\n");
    world.run(&["run", "ways", "--answers", "answers.yaml"]).exits(3);
    world.write("answers.yaml", "way: [a]\n");
    world.run(&["run", "ways", "--answers", "answers.yaml"]).exits(2).says(&["is no answer"]);
    // A pipe is nobody who answers.
    let mut piped = world.command("bash");
    piped.args(["-c", &format!("yes | {BIN} run ways")]);
    shown(&mut piped).exits(3);
    // Whoever is excluded does not get around it by a file.
    guarded(&world, "exclude_operator: true");
    world.write("answers.yaml", "restore: approve\n");
    world
        .run(&["run", "guarded", "--answers", "answers.yaml"])
        .exits(3)
        .says(&["somebody else has to answer"]);
    assert!(!world.ledger().contains(&"after".to_owned()));
}

#[test]
fn a_manual_step_is_done_with_evidence_and_verified() {
    let world = World::new();
    world.playbook(
        "hands",
        "steps:\n  - id: switch\n    title: Switch the cable\n    \
         manual: { instructions: Put the cable into port 7, evidence: true }\n    \
         verify: [ { title: It is in, run: test -e cable } ]\n",
    );
    let running = world.start(&["run", "hands", "--wait"]);
    wait_until("the question", || running.out().contains("asked"));
    world.run(&["done", "last"]).exits(8).says(&["--evidence FILE"]);
    world.write("photo.jpg", "not really");
    world.write("cable", "");
    world.run(&["done", "last", "--evidence", "photo.jpg", "--reason", "in port 7"]).exits(0);
    running.wait().exits(0);
    let reply = &world.events_named("answered")[0]["reply"];
    let kept = reply["evidence"].as_str().unwrap().split(' ').nth(1).unwrap().to_owned();
    assert_eq!(std::fs::read(world.run_dir(&world.last_run()).join(kept)).unwrap(), b"not really");
}

fn failing(world: &World) -> Running {
    world.playbook(
        "what-now",
        "steps:\n  - { id: one, title: One, run: echo one >> ledger, undo: { run: echo undo-one >> ledger } }\n  \
         - id: flaky\n    title: Flaky\n    run: 'echo flaky >> ledger; test -e ok'\n    \
         verify: [ { title: It holds, run: test -e holds } ]\n    on_failure: ask\n  \
         - { id: last, title: Last, run: echo last >> ledger }\n",
    );
    let running = world.start(&["run", "what-now", "--wait"]);
    wait_until("the question", || running.out().contains("What now?"));
    running
}

#[test]
fn a_failed_step_asks_what_now() {
    // Again, once the cause is gone.
    let world = World::new();
    let running = failing(&world);
    world.write("ok", "");
    world.write("holds", "");
    world.run(&["choose", "last", "flaky", "retry"]).exits(0);
    running.wait().exits(0);
    assert_eq!(world.ledger(), ["one", "flaky", "flaky", "last"]);

    // Not needed: the log has the reason.
    let world = World::new();
    let running = failing(&world);
    world.run(&["choose", "last", "flaky", "skip"]).exits(8).says(&["a reason is needed"]);
    world.run(&["choose", "last", "flaky", "skip", "--reason", "not today"]).exits(0);
    running.wait().exits(0);
    assert_eq!(world.ledger(), ["one", "flaky", "last"]);
    world.run(&["report"]).exits(0).says(&["skipped by", "not today"]);

    // Done by hand: what it promises still has to hold.
    let world = World::new();
    let running = failing(&world);
    world.run(&["done", "last", "flaky", "--reason", "did it myself"]).exits(0);
    wait_until("the question after the check", || world.events_named("asked").len() == 2);
    world.write("holds", "");
    world.run(&["done", "last", "flaky", "--reason", "now it is"]).exits(0);
    running.wait().exits(0);
    assert_eq!(world.ledger(), ["one", "flaky", "last"]);

    // Everything back.
    let world = World::new();
    let running = failing(&world);
    world.run(&["choose", "last", "flaky", "rollback"]).exits(0);
    running.wait().exits(6);
    assert_eq!(world.ledger(), ["one", "flaky", "undo-one"]);

    // Stop here.
    let world = World::new();
    let running = failing(&world);
    world.run(&["choose", "last", "flaky", "abort"]).exits(0);
    running.wait().exits(1);
    assert_eq!(world.ledger(), ["one", "flaky"]);
}

#[test]
fn a_drill_answers_for_whoever_is_asked_and_without_an_answer_it_waits() {
    let world = World::new();
    let book = "steps:\n  - id: restore\n    title: Restore\n    \
         approval: { prompt: Sure?, approvers: [alice, bob], count: 2, exclude_operator: true }\n    \
         run: echo restored > {{ params.file }}\nparams:\n  file: { type: path, default: nowhere }\n";
    let drill = "drill:\n  params: { file: '{{ drill.dir }}/file' }\n  ANSWERS\n  assert: [ \"run.outcome == 'recovered'\" ]\n";
    world.playbook(
        "rehearsed",
        &format!("{book}{}", drill.replace("ANSWERS", "answers: { restore: approve }")),
    );
    world.run(&["drill", "rehearsed"]).exits(0).says(&["(drill)"]);
    world.playbook("rehearsed", &format!("{book}{}", drill.replace("  ANSWERS\n", "")));
    world.run(&["drill", "rehearsed"]).exits(1).says(&["waiting"]);
}

/// Whatever a person or the run did otherwise than the playbook had in mind stands in the report, each with a draft of
/// what to do about it.
#[test]
fn each_deviation_is_drafted_as_an_action_item() {
    let world = World::new();
    world.playbook(
        "odd",
        "max_parallel: 1\nsteps:\n  \
         - id: way\n    title: Way\n    choose:\n      prompt: Which?\n      options: { fast: {}, safe: {} }\n      suggest: \"'safe'\"\n  \
         - { id: by-hand, title: By hand, run: 'false', on_failure: ask }\n  \
         - { id: not-needed, title: Not needed, run: 'false', on_failure: ask }\n  \
         - { id: again, title: Again, run: 'test -e ok || { touch ok; false; }', on_failure: ask }\n  \
         - { id: flaky, title: Flaky, run: 'test -e second || { touch second; false; }', retry: { attempts: 2, delay: 10ms } }\n  \
         - { id: late, title: Late, approval: { prompt: 'Go?', timeout: 300ms, on_timeout: proceed }, run: 'true' }\n",
    );
    let answers =
        "way: fast\nby-hand: 'done: I restarted it'\nnot-needed: 'skip: the cache is cold'\nagain: retry\n";
    world.write("answers.yaml", answers);
    world.run(&["run", "odd", "--wait", "--answers", "answers.yaml"]).exits(0);
    let report: Value =
        serde_json::from_str(&world.run(&["report", "--format", "json"]).exits(0).out).unwrap();
    let actions: Vec<&str> = report["review"]["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["action"].as_str().unwrap())
        .collect();
    for (step, draft) in [
        ("way", "fast (suggested was safe)"),
        ("by-hand", "said done: I restarted it"),
        ("not-needed", "said skip: the cache is cold"),
        ("again", "said try again"),
        ("flaky", "attempt 1 failed and was tried again"),
        ("late", "nobody answered in time: the step starts all the same"),
    ] {
        let found = actions.iter().any(|a| a.contains(&format!(": {step}: ")) && a.contains(draft));
        assert!(found, "{step}: {draft}: {actions:#?}");
        // What people read has them as well.
        for format in ["md", "html"] {
            world.run(&["report", "--format", format]).exits(0).says(&[draft]);
        }
    }
}

/// What a person said of a step in doubt, and an edit that left it as it was, are drafted as well.
#[test]
fn a_word_on_a_step_in_doubt_is_drafted_as_an_action_item() {
    for (said, shown) in
        [("--done", "said done: seen"), ("--skip", "said skip: seen"), ("--retry", "said retry: seen")]
    {
        let world = World::new();
        world.playbook("doubt", "steps: [{ id: one, title: One, run: 'echo one >> ledger; sleep 600' }]\n");
        let running = world.start(&["run", "doubt"]);
        wait_until("the step", || !world.ledger().is_empty());
        // Keeper and runner at once, as in a power cut.
        for pid in world.processes() {
            kill_hard(pid);
        }
        running.wait();
        world.run(&["resume", "last"]).exits(5);
        world.run(&["resolve", "last", "one", said, "--reason", "seen"]).exits(0);
        let report = world.run(&["report"]).exits(0);
        let drafted = report.out.lines().filter(|l| l.contains("what a person had to: one:"));
        let drafted: Vec<&str> = drafted.collect();
        assert!(drafted.len() == 1 && drafted[0].contains(shown), "{said}: {}", report.out);
    }
}

const TAKE_BACK: &str = "steps:\n  \
     - { id: one, title: Switch over, run: echo one >> ledger, \
     undo: { run: echo undo-one >> ledger, approval: { prompt: 'Switch back?' } } }\n  \
     - { id: two, title: Two, run: echo two >> ledger; false, undo: { run: echo undo-two >> ledger }, on_failure: rollback }\n";

/// A rollback asks before it takes a step back whose author wants that, and waits for the answer.
#[test]
fn an_undo_is_asked_about_in_its_turn() {
    let world = World::new();
    world.playbook("back", TAKE_BACK);
    world.run(&["plan", "back"]).exits(0).says(&["undo asks   Switch back?"]);
    let running = world.start(&["run", "back", "--wait"]);
    wait_until("the question", || running.out().contains("Switch back?"));
    assert_eq!(world.ledger(), ["one", "two", "undo-two"]);
    let status = world.run(&["status"]).exits(0);
    status.says(&["waiting for approval to take it back", "runbook approve back-"]);
    world
        .run(&["approve", "last", "--reason", "the old one is well"])
        .exits(0)
        .says(&["Take back: Switch over"]);
    running.wait().exits(6);
    assert_eq!(world.ledger(), ["one", "two", "undo-two", "undo-one"]);
    world.run(&["verify"]).exits(0);

    // A no leaves it as it is; asked again by a resume.
    let world = World::new();
    world.playbook("back", TAKE_BACK);
    world.run(&["run", "back"]).exits(3).says(&["one waits for a person", "runbook approve"]);
    world.run(&["reject", "last", "--reason", "not before noon"]).exits(0).says(&["runbook resume"]);
    world.run(&["resume", "last"]).exits(7).says(&["stuck", "rejected by", "not before noon"]);
    assert_eq!(world.ledger(), ["one", "two", "undo-two"]);
    world.run(&["resume", "last"]).exits(3);
    world.run(&["approve", "last", "one"]).exits(0);
    world.run(&["resume", "last"]).exits(6).says(&["rolled-back"]);
    assert_eq!(world.ledger(), ["one", "two", "undo-two", "undo-one"]);
    world.run(&["report"]).exits(0).says(&["Switch back?", "not before noon"]);
}

/// Killed while it asks, and answered while nobody drives it.
#[test]
fn a_killed_rollback_keeps_its_question() {
    let world = World::new();
    world.playbook("back", TAKE_BACK);
    let running = world.start(&["run", "back", "--wait"]);
    wait_until("the question", || running.out().contains("Switch back?"));
    kill_hard(running.pid());
    running.wait();
    world.run(&["approve", "last"]).exits(0).says(&["runbook resume"]);
    world.run(&["resume", "last"]).exits(6);
    assert_eq!(world.ledger(), ["one", "two", "undo-two", "undo-one"]);
    assert_eq!(world.events_named("asked").len(), 1);
}

/// `rollback` is a way to be asked, too.
#[test]
fn a_rollback_by_hand_asks_and_takes_answers() {
    let world = World::new();
    world.playbook("back", &TAKE_BACK.replace("; false", "").replace("rollback }", "stop }"));
    world.run(&["run", "back"]).exits(0);
    world.run(&["rollback", "last"]).exits(3).says(&["runbook approve"]);
    world.write("answers.yaml", "one: approve\n");
    world.run(&["resume", "last", "--answers", "answers.yaml"]).exits(6).says(&["(answers file)"]);
    assert_eq!(world.ledger(), ["one", "two", "undo-two", "undo-one"]);
}
