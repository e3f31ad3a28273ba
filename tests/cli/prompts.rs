//! Answers typed at a terminal: the interactive drill from end to end, and the prompt of a run and of `attach` when
//! somebody slips, types ahead, or is overtaken by somebody else.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::drill::{only_drill, shipped};
use crate::support::{BIN, Running, World, wait_until};
use crate::terminal::{Terminal, is_as_before};

/// Waits for a frame, drawn after the byte `from`, that says that the question has been open for `least` seconds or more.
#[track_caller]
fn wait_until_asked_for(terminal: &Terminal, least: u64, from: usize) {
    wait_until("a question that is open for longer", || {
        let text = terminal.text_from(from);
        let since =
            text.split("waiting for ").filter_map(|rest| rest.split_once(" for ")?.1.split('s').next());
        // `1m05s` is long enough for anything here.
        since
            .filter(|since| since.len() <= 6)
            .any(|since| since.parse::<u64>().is_ok_and(|n| n >= least) || since.contains('m'))
    });
}

/// What was said is still there when the clock has moved on.
#[track_caller]
fn still_says(terminal: &Terminal, text: &str) {
    terminal.wait_for(text, 0);
    // In the middle of a line of the frame, perhaps: the next ones are whole.
    let before = terminal.length();
    wait_until_asked_for(terminal, 1, before);
    terminal.wait_for(text, before);
}

/// A drill of the shipped playbook that asks its first question.
fn drilling(world: &World) -> Terminal {
    let mut terminal = Terminal::open(world);
    terminal.type_in(&format!("{BIN} drill {} --ask\n", shipped("db-corruption.yaml")));
    terminal.wait_for("type backup or salvage", 0);
    terminal
}

#[test]
fn a_drill_is_recovered_by_answers_at_the_prompt() {
    let world = World::new();
    let mut terminal = drilling(&world);
    let first = terminal.text_from(0);
    for shown in
        ["Choose what the database is recovered from", "3000 rows, 30 minutes old", "1 backup (suggested)"]
    {
        assert!(first.contains(shown), "{shown:?} is not on the screen:\n{first}");
    }
    assert!(first.contains("takes 1m; loses what was written since"), "{first}");
    // What is no answer says so until something else is typed.
    terminal.type_in("banana\n");
    still_says(&terminal, "\"banana\" is no answer here; type backup or salvage");
    terminal.type_in("\n");
    still_says(&terminal, "nothing was typed; type backup or salvage");
    let before = terminal.length();
    terminal.type_in("b");
    terminal.wait_for("then Enter", before);
    terminal.type_in("\x7f1 it is the newest\n");
    terminal.wait_for("type yes, or no with a reason", before);
    let second = terminal.text_from(before);
    for shown in
        ["tasks.db?", "New: the backup tasks-", "The damaged files stay in", "left, then the step fails"]
    {
        assert!(second.contains(shown), "{shown:?} is not on the screen:\n{second}");
    }
    terminal.type_in("no\n");
    terminal.wait_for("a reason is needed, for the report; type no and the reason", before);
    terminal.type_in("yes\n");
    terminal.wait_for("drill of db-corruption: passed", before);
    terminal.wait_for("people   waited for", before);
    terminal.type_in("echo code=$?\n");
    terminal.wait_for("code=0", before);
    is_as_before(&mut terminal);

    let answered = world.events_named("answered");
    let said: Vec<(&str, &str)> =
        answered.iter().map(|a| (a["step"].as_str().unwrap(), a["by"]["via"].as_str().unwrap())).collect();
    assert_eq!(said, [("strategy", "terminal"), ("restore", "terminal")]);
    assert_eq!(answered[0]["reply"]["answer"]["choose"]["option"], "backup");
    assert_eq!(answered[0]["reply"]["comment"], "it is the newest");
    assert!(world.events_named("answer_refused").is_empty(), "a slip of the fingers is nobody's answer");
    assert_eq!(world.outcome("take-salvaged"), "skipped");
    let drill = only_drill(&world);
    assert_eq!(drill["verdict"], "passed");
    let waited = drill["waiting_for_people"].as_u64().unwrap();
    // The questions stood there for longer than two redraws.
    assert!(waited >= 1000 && waited < drill["rto"]["measured"].as_u64().unwrap(), "{drill}");
    let report = world.run(&["report", "last", "--format", "json"]).exits(0);
    let report: Value = serde_json::from_str(&report.out).unwrap();
    assert_eq!(report["time"]["waiting_for_people"], waited);
    assert_eq!(std::fs::read_dir(world.tmp()).unwrap().count(), 0, "the world is taken down");
    drop(terminal);
    world.assert_nothing_runs();
}

#[test]
fn ctrl_c_at_the_drills_prompt_takes_its_world_down() {
    let world = World::new();
    let mut terminal = drilling(&world);
    let before = terminal.length();
    terminal.type_in("back\x03");
    terminal.wait_for("drill of db-corruption: cancelled", before);
    terminal.wait_for("stopped by", before);
    terminal.type_in("echo code=$?\n");
    terminal.wait_for("code=130", before);
    assert!(!terminal.text_from(before).contains("DOES NOT HOLD"), "nothing was judged");
    is_as_before(&mut terminal);
    let drill = only_drill(&world);
    assert_eq!(drill["verdict"], "cancelled");
    assert_eq!(drill["left_running"], Value::Array(Vec::new()));
    assert_eq!(std::fs::read_dir(world.tmp()).unwrap().count(), 0);
    drop(terminal);
    world.assert_nothing_runs();
}

const APPROVAL: &str = "steps:\n  - { id: wait, title: Wait, run: 'touch begun; while ! test -e go; do sleep 0.05; done' }\n  \
     - { id: restore, title: Replace the database, approval: { prompt: 'Replace it?' }, run: echo restore >> ledger }\n";

/// Whoever types before the question is there has not read it.
#[test]
fn what_is_typed_before_the_question_answers_nothing() {
    let world = World::new();
    world.playbook("ahead", APPROVAL);
    let mut terminal = Terminal::open(&world);
    terminal.type_in(&format!("{BIN} run ahead\n"));
    wait_until("the first step", || world.path("begun").exists());
    terminal.type_in("yes\nyes\n");
    // Echoed by the terminal: it has them.
    terminal.wait_for("yes\r\nyes\r\n", 0);
    let before = terminal.length();
    world.write("go", "");
    wait_until_asked_for(&terminal, 2, before);
    assert!(world.events_named("answered").is_empty() && world.ledger().is_empty());
    terminal.type_in("yes\n");
    terminal.wait_for("recovered", before);
    assert_eq!(world.ledger(), ["restore"]);
}

const TWO: &str = "steps:\n  - { id: a, title: First, needs: [], approval: { prompt: 'Do A?' }, run: echo a >> ledger }\n  \
     - { id: b, title: Second, needs: [], approval: { prompt: 'Do B?' }, run: echo b >> ledger }\n";

/// Somebody else answers while a person types: what they typed is not taken for the next question.
#[test]
fn an_answer_is_only_for_the_question_it_was_typed_at() {
    let world = World::new();
    world.playbook("two", TWO);
    let mut terminal = Terminal::open(&world);
    terminal.type_in(&format!("{BIN} run two\n"));
    terminal.wait_for("type yes", 0);
    terminal.type_in("ye");
    terminal.wait_for("> ye", 0);
    let before = terminal.length();
    world.run(&["approve", "last", "a"]).exits(0);
    terminal.wait_for("this is another question, and what you had typed was dropped", before);
    terminal.type_in("s\n");
    terminal.wait_for("\"s\" is no answer here", before);
    wait_until("the first", || world.ledger() == ["a"]);
    terminal.type_in("no not B\n");
    terminal.wait_for("rejected by", before);
    assert_eq!(world.ledger(), ["a"]);
}

/// A run that waits, driven by a process without a terminal.
fn waiting(world: &World, body: &str) -> Running {
    world.playbook("asks", body);
    world.write("go", "");
    let running = world.start(&["run", "asks", "--wait"]);
    wait_until("the question", || running.out().contains("asked"));
    running
}

fn attached(world: &World) -> Terminal {
    let mut terminal = Terminal::open(world);
    terminal.type_in(&format!("{BIN} attach last\n"));
    terminal.wait_for("type yes, or no with a reason", 0);
    terminal
}

#[test]
fn attach_answers_at_the_same_prompt() {
    let world = World::new();
    let running = waiting(&world, TWO);
    let mut terminal = attached(&world);
    terminal.type_in("banana\n");
    still_says(&terminal, "\"banana\" is no answer here");
    let before = terminal.length();
    terminal.type_in("yes seen\n");
    terminal.wait_for("answered a", before);
    wait_until("the first", || world.ledger() == ["a"]);
    // In its own time: the next question is on the screen.
    terminal.wait_for("Do B?", before);
    terminal.type_in("no\n");
    terminal.wait_for("a reason is needed", before);
    terminal.type_in("yes\n");
    terminal.wait_for("ended recovered", before);
    terminal.type_in("echo code=$?\n");
    terminal.wait_for("code=0", before);
    is_as_before(&mut terminal);
    running.wait().exits(0);
    assert_eq!(world.ledger(), ["a", "b"]);
    let answered = world.events_named("answered");
    let me = nix::unistd::getuid();
    assert_eq!(answered[0]["by"]["via"], "socket");
    assert_eq!(answered[0]["by"]["uid"], me.as_raw());
    assert_eq!(answered[0]["reply"]["comment"], "seen");
    assert!(world.events_named("answer_refused").is_empty());
}

/// Whoever may not answer is told who may, as at the run's own terminal.
#[test]
fn attach_does_not_ask_who_is_not_asked() {
    let world = World::new();
    let book = "steps: [{ id: a, title: A, approval: { prompt: 'Do A?', approvers: [daemon] }, run: echo a >> ledger }]\n";
    let running = waiting(&world, book);
    let mut terminal = Terminal::open(&world);
    terminal.type_in(&format!("{BIN} attach last\n"));
    terminal.wait_for("may answer: daemon", 0);
    terminal.wait_for("answer with: runbook approve", 0);
    terminal.type_in("yes\n");
    terminal.wait_for("waiting for approval for", terminal.length());
    assert!(world.events_named("answered").is_empty());
    terminal.type_in("\x03");
    running.wait().exits(130);
}

/// A pipe is nobody who answers.
#[test]
fn attach_without_a_terminal_only_looks() {
    let world = World::new();
    let running = waiting(&world, APPROVAL);
    let mut terminal = Terminal::open(&world);
    terminal.type_in(&format!("yes | {BIN} attach last\n"));
    terminal.wait_for("answer with: runbook approve", 0);
    let before = terminal.length();
    terminal.wait_for("waiting for approval for", before);
    assert!(!terminal.text_from(0).contains("type yes"), "{}", terminal.text_from(0));
    assert!(world.events_named("answered").is_empty() && world.ledger().is_empty());
    world.run(&["approve", "last"]).exits(0);
    terminal.wait_for("ended recovered", 0);
    running.wait().exits(0);
}

#[test]
fn a_rest_or_an_end_of_attach_gives_the_terminal_back_and_leaves_the_run_alone() {
    let world = World::new();
    let running = waiting(&world, APPROVAL);
    let mut terminal = attached(&world);
    let before = terminal.length();
    terminal.type_in("\x1a");
    terminal.wait_for("Stopped", before);
    is_as_before(&mut terminal);
    let rested = terminal.length();
    terminal.type_in("fg\n");
    terminal.wait_for("type yes, or no with a reason", rested);
    let ended = terminal.length();
    let watcher = world.processes_like("attach last");
    assert_eq!(watcher.len(), 1, "{watcher:?}");
    kill(Pid::from_raw(watcher[0]), Signal::SIGTERM).unwrap();
    // Until then it is the one who reads what is typed.
    wait_until("its end", || world.processes_like("attach last").is_empty());
    terminal.type_in("echo code=$?\n");
    terminal.wait_for("code=143", ended);
    is_as_before(&mut terminal);
    assert!(world.ledger().is_empty() && world.events_named("run_ended").is_empty());
    let again = terminal.length();
    terminal.type_in(&format!("{BIN} attach last\n"));
    terminal.wait_for("type yes, or no with a reason", again);
    terminal.type_in("yes\n");
    terminal.wait_for("ended recovered", again);
    running.wait().exits(0);
    assert_eq!(world.ledger(), ["restore"]);
}

/// On a small terminal what is asked, and where to type, stay; what is between goes.
#[test]
fn a_small_terminal_still_shows_what_is_asked() {
    let world = World::new();
    let mut terminal = drilling(&world);
    let before = terminal.length();
    terminal.resize(9, 60);
    terminal.wait_for("more than fits here", before);
    let small = terminal.text_from(before);
    assert!(small.contains("Choose what the database is recovered from"), "{small}");
    assert!(small.contains("type backup or salvage"), "{small}");
    terminal.resize(30, 120);
    let large = terminal.length();
    terminal.wait_for("Newest good backup", large);
    terminal.type_in("\x03");
    terminal.wait_for("cancelled", large);
}
