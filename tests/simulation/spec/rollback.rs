//! Taking back what was done.

use runbook::engine::Found;
use runbook::model::{Answer, Millis, OnTimeout, Resolution, TaskEndKind};
use runbook::plan::{Ask, OnFailure, Plan, Retry, Template};

use super::{Script, found, lost, unknown};
use crate::plans::{chain, expr, plan, run, undo};

/// `a`, then `b`, then `c`, which rolls the run back when it fails; all can be taken back.
fn three() -> Plan {
    let mut steps = vec![run("a"), run("b"), run("c")];
    for step in &mut steps {
        step.undo = undo();
    }
    steps[2].on_failure = OnFailure::Rollback;
    chain(steps)
}

fn failing_at_c(plan: Plan) -> (Script, Vec<String>) {
    let (mut s, _) = Script::start(plan);
    s.exits("a.1", 0);
    s.exits("b.1", 0);
    let lines = s.exits("c.1", 1);
    (s, lines)
}

#[test]
fn in_reverse_order_the_failed_step_included() {
    let (mut s, lines) = failing_at_c(three());
    assert_eq!(lines[1..], ["c failed: exit 1", "rollback: step c failed: exit 1", "c.1.undo starts"]);
    assert_eq!(s.exits("c.1.undo", 0), ["c.1.undo passed", "c undone", "b.1.undo starts"]);
    assert_eq!(s.exits("b.1.undo", 0), ["b.1.undo passed", "b undone", "a.1.undo starts"]);
    let end = "run rolled-back: step c failed: exit 1";
    assert_eq!(s.exits("a.1.undo", 0), ["a.1.undo passed", "a undone", end]);
    assert_eq!(s.resume(vec![]), Vec::<String>::new(), "a finished run is not taken up");
    assert_eq!(s.roll_back(), Vec::<String>::new());
}

/// The run went on without `a`, and a person has done it since, nobody knows when. In the plan `b` is built on it.
#[test]
fn what_a_person_says_late_does_not_turn_the_order_around() {
    let mut plan = three();
    plan.steps[0].when = Some(expr("nobody"));
    plan.steps[0].on_failure = OnFailure::Continue;
    plan.steps[2].on_failure = OnFailure::Stop;
    let (mut s, lines) = Script::start(plan);
    assert_eq!(lines.last().expect("a line"), "b.1 starts");
    s.exits("b.1", 0);
    s.exits("c.1", 1);
    s.resolve("a", Resolution::Done);
    assert_eq!(s.roll_back()[2..], ["c.1r1.undo starts"]);
    assert_eq!(s.exits("c.1r1.undo", 0)[1..], ["c undone", "b.1r1.undo starts"]);
    assert_eq!(s.exits("b.1r1.undo", 0)[1..], ["b undone", "a.1r2.undo starts"]);
}

#[test]
fn a_step_that_surely_never_ran_is_not_taken_back() {
    let (mut s, _) = Script::start(three());
    s.exits("a.1", 0);
    s.exits("b.1", 0);
    let lines = s.ends("c.1", TaskEndKind::NotStarted { error: "no such file".into() });
    assert_eq!(lines.last().map(String::as_str), Some("b.1.undo starts"));
}

#[test]
fn a_step_in_doubt_is_taken_back() {
    let (mut s, _) = Script::start(three());
    s.exits("a.1", 0);
    s.ends("b.1", unknown());
    assert_eq!(s.roll_back()[2], "b.1r2.undo starts");
}

#[test]
fn a_crash_resumes_the_rollback_and_never_the_run() {
    let (mut s, _) = failing_at_c(three());
    assert_eq!(s.resume(vec![("c.1.undo", found(0))])[2..], ["c undone", "b.1r1.undo starts"]);
    let never = vec![("b.1r1.undo", Found::NeverStarted)];
    assert_eq!(s.resume(never), ["resumed", "b.1r1.undo never ran", "b.1r3.undo starts"]);
}

#[test]
fn what_runs_is_waited_for_and_what_waits_is_not() {
    let mut steps = vec![run("a"), run("b"), run("c")];
    steps[1].retry = Retry { attempts: 2, delay: runbook::model::Millis(60_000), ..Retry::never() };
    steps[2].on_failure = OnFailure::Rollback;
    for step in &mut steps {
        step.undo = undo();
    }
    let (mut s, _) = Script::start(plan(1, 8, Vec::new(), steps));
    s.exits("b.1", 1);
    let lines = s.exits("c.1", 1);
    assert_eq!(lines[2..], ["rollback: step c failed: exit 1", "b cancelled: the run is rolled back"]);
    assert_eq!(s.exits("a.1", 0), ["a.1 passed", "a succeeded", "c.1.undo starts"]);
}

#[test]
fn a_failed_undo_leaves_what_it_was_built_on_and_the_rest_goes_on() {
    // d needs b, b needs a; c stands alone.
    let mut steps = vec![run("a"), run("b"), run("c"), run("d")];
    steps[1].needs = vec![0];
    steps[3].needs = vec![1];
    steps[3].on_failure = OnFailure::Rollback;
    for step in &mut steps {
        step.undo = undo();
    }
    let (mut s, _) = Script::start(plan(1, 8, Vec::new(), steps));
    for task in ["c.1", "a.1", "b.1"] {
        s.exits(task, 0);
    }
    s.exits("d.1", 1);
    s.exits("d.1.undo", 0);
    let lines = s.exits("b.1.undo", 1);
    assert_eq!(lines, ["b.1.undo failed: exit 1", "b not undone: exit 1", "c.1.undo starts"]);
    let end = "run stuck: step d failed: exit 1; the undo of b failed";
    assert_eq!(s.exits("c.1.undo", 0), ["c.1.undo passed", "c undone", end]);
    // A resume tries the failed one again, and goes on to what it had blocked.
    assert_eq!(s.resume(vec![]), ["resumed", "b.1r1.undo starts"]);
    assert_eq!(s.exits("b.1r1.undo", 0)[2], "a.1r1.undo starts");
}

#[test]
fn an_undo_has_its_own_retries() {
    let mut plan = three();
    if let Some(undo) = &mut plan.steps[2].undo {
        undo.retry = Retry { attempts: 2, delay: runbook::model::Millis(500), ..Retry::never() };
    }
    let (mut s, _) = failing_at_c(plan);
    assert_eq!(s.exits("c.1.undo", 1), ["c.1.undo failed: exit 1", "c again in 500"]);
    assert_eq!(s.deadline(), Some(500));
    assert_eq!(s.tick(500), ["c.2.undo starts"]);
}

#[test]
fn an_undo_that_was_lost_is_not_repeated() {
    let (mut s, _) = failing_at_c(three());
    let lines = s.resume(vec![("c.1.undo", lost())]);
    assert_eq!(lines[2], "c perhaps undone: the keeper is gone");
    assert!(lines[3].starts_with("run stuck"), "{lines:?}");
    let stuck = "run stuck: step c failed: exit 1; the undo of c failed";
    assert_eq!(s.resume(vec![]), ["resumed", stuck]);
    // In a rollback `not-done` says that there is nothing left to take back.
    s.resolve("c", runbook::model::Resolution::NotDone);
    assert_eq!(s.resume(vec![]), ["resumed", "b.1r3.undo starts"]);
}

#[test]
fn what_cannot_be_taken_back_is_said() {
    let mut plan = three();
    plan.steps[1].undo = None;
    plan.steps[1].irreversible = true;
    let (mut s, _) = failing_at_c(plan);
    s.exits("c.1.undo", 0);
    let end = "run failed: step c failed: exit 1; taken back, except what cannot be: b";
    assert_eq!(s.exits("a.1.undo", 0)[2], end);
}

#[test]
fn a_cancelled_rollback_goes_on_with_the_resume() {
    let (mut s, _) = failing_at_c(three());
    assert_eq!(s.cancel(), ["cancelled by dave"]);
    assert_eq!(s.acts.len(), 1, "the undo in flight is stopped");
    let lines = s.ends("c.1.undo", TaskEndKind::Cancelled);
    assert_eq!(lines, ["c.1.undo was stopped", "run cancelled: stopped by dave"]);
    assert_eq!(s.resume(vec![]), ["resumed", "c.1r2.undo starts"]);
}

#[test]
fn a_recovered_run_can_be_taken_back() {
    let (mut s, _) = Script::start(three());
    for task in ["a.1", "b.1", "c.1"] {
        s.exits(task, 0);
    }
    assert_eq!(s.resume(vec![]), Vec::<String>::new());
    assert_eq!(s.roll_back(), ["rollback: bob asked for it", "resumed", "c.1r1.undo starts"]);
}

/// `three`, and the undo of `b` is asked about.
fn guarded(timeout: Option<u64>, then: OnTimeout) -> Plan {
    let mut plan = three();
    let ask = plan.steps[1].undo.as_mut().map(|undo| &mut undo.approval).expect("an undo");
    *ask = Some(Box::new(Ask {
        prompt: Template { src: "Take b back?".into(), uses: Vec::new() },
        approvers: vec!["alice".into(), "bob".into()],
        count: 1,
        exclude_operator: true,
        timeout: timeout.map(Millis),
        on_timeout: then,
        evidence: false,
    }));
    plan
}

/// Up to the question: what was done after `b` is taken back, what was done before it waits.
fn asking(plan: Plan) -> Script {
    let (mut s, _) = failing_at_c(plan);
    assert_eq!(s.exits("c.1.undo", 0), ["c.1.undo passed", "c undone", "b asks 1: Undo"]);
    assert!(s.acts.is_empty());
    s
}

#[test]
fn an_undo_waits_until_somebody_agrees() {
    let mut s = asking(guarded(None, OnTimeout::Wait));
    assert_eq!(s.says("alice", "b", Answer::Choose { option: "x".into() }).len(), 1, "no answer to it");
    // Who started the run, and who is not asked.
    assert!(s.says("alice", "b", Answer::Approve)[0].contains("refuses"), "alice started the run");
    assert!(s.says("mallory", "b", Answer::Approve)[0].contains("refuses"));
    assert!(s.acts.is_empty());
    assert_eq!(s.says("bob", "b", Answer::Approve)[1..], ["b.1.undo starts"]);
    assert!(s.says("bob", "b", Answer::Approve)[0].contains("too late"));
    assert_eq!(s.exits("b.1.undo", 0), ["b.1.undo passed", "b undone", "a.1.undo starts"]);
    assert_eq!(s.exits("a.1.undo", 0)[2], "run rolled-back: step c failed: exit 1");
}

/// What `b` was built on stays, and a resume asks again.
#[test]
fn a_no_leaves_the_rollback_stuck() {
    let mut s = asking(guarded(None, OnTimeout::Wait));
    let lines = s.says("bob", "b", Answer::Reject);
    assert_eq!(lines[1], "b not undone: rejected by bob: seen");
    assert!(lines[2].starts_with("run stuck: "), "{lines:?}");
    assert_eq!(s.resume(vec![]), ["resumed", "b asks 2: Undo"]);
    assert_eq!(s.says("bob", "b", Answer::Approve)[1..], ["b.1r1.undo starts"]);
}

#[test]
fn an_undo_about_which_nobody_answers_in_time() {
    let mut s = asking(guarded(Some(5000), OnTimeout::Proceed));
    assert_eq!(s.deadline(), Some(5000));
    assert_eq!(s.tick(5000), ["b 1: nobody, so Proceed", "b.1.undo starts"]);
    let mut s = asking(guarded(Some(5000), OnTimeout::Fail));
    assert_eq!(s.tick(5000)[1], "b not undone: nobody answered within 5.0s");
    let mut s = asking(guarded(Some(5000), OnTimeout::Wait));
    assert_eq!(s.tick(5000), ["b 1: nobody, so Wait"]);
    assert_eq!(s.deadline(), None);
    assert_eq!(s.says("bob", "b", Answer::Approve)[1..], ["b.1.undo starts"]);
}

/// One agreement covers the retries, and a try that a crash kept from starting.
#[test]
fn an_undo_that_was_agreed_to_is_tried_again_without_asking() {
    let mut plan = guarded(None, OnTimeout::Wait);
    let undo = plan.steps[1].undo.as_mut().expect("an undo");
    undo.retry = Retry { attempts: 2, delay: Millis(100), ..Retry::never() };
    let mut s = asking(plan);
    s.says("bob", "b", Answer::Approve);
    assert_eq!(
        s.resume(vec![("b.1.undo", Found::NeverStarted)])[1..],
        ["b.1.undo never ran", "b.1r2.undo starts"]
    );
    s.exits("b.1r2.undo", 1);
    let due = s.deadline().expect("a second try");
    assert_eq!(s.tick(due), ["b.2r2.undo starts"]);
}

#[test]
fn a_rollback_that_nobody_can_be_asked_about_waits_and_goes_on() {
    let mut s = asking(guarded(None, OnTimeout::Wait));
    assert_eq!(s.cannot_wait(), ["run waiting: b waits for a person"]);
    assert_eq!(s.resume(vec![]), ["resumed"], "the question is open");
    assert_eq!(s.says("bob", "b", Answer::Approve)[1..], ["b.1r1.undo starts"]);

    // Cancelled while it asks: a resume goes on with the rollback, and with the question.
    let mut s = asking(guarded(None, OnTimeout::Wait));
    assert_eq!(s.cancel()[1..], ["run cancelled: stopped by dave"]);
    assert!(s.says("bob", "b", Answer::Approve)[0].contains("refuses"), "the run is over");
    assert_eq!(s.resume(vec![]), ["resumed"]);
    assert_eq!(s.says("bob", "b", Answer::Approve)[1..], ["b.1r1.undo starts"]);
}
