//! What acted on another host and whose link broke: its host is asked, and what that says counts. Nothing is built on what
//! nobody knows, and nothing acts beside it.

use runbook::engine::Found;
use runbook::model::{Resolution, TaskEndKind};
use runbook::plan::{OnFailure, Plan, Retry, Step};

use super::{Script, found, lost, unknown};
use crate::plans::{any_of, chain, check, command, far, run, undo};

/// A step whose action and undo are elsewhere.
pub(super) fn distant(id: &str) -> Step {
    let mut step = run(id);
    step.undo = undo();
    far(&mut step);
    step
}

/// `base`, `act` elsewhere, and one that fails, so that `act` is being taken back, and the link breaks.
fn broken_undo() -> (Script, Vec<String>) {
    let mut base = run("base");
    base.undo = undo();
    let mut fails = run("fails");
    fails.on_failure = OnFailure::Rollback;
    let (mut s, _) = Script::start(chain(vec![base, distant("act"), fails]));
    s.exits("base.1", 0);
    s.exits("act.1", 0);
    assert_eq!(s.exits("fails.1", 1).last().unwrap(), "act.1.undo starts");
    let lines = s.ends("act.1.undo", unknown());
    (s, lines)
}

const STUCK: &str = "run stuck: step fails failed: exit 1; the undo of act failed";

#[test]
fn an_undo_of_which_its_host_knows_nothing_more_stays_unknown() {
    let (mut s, lines) = broken_undo();
    assert_eq!(lines[1..], ["act perhaps undone: the connection broke", STUCK]);
    assert_eq!(s.resume(vec![("act.1.undo", lost())]), ["resumed", STUCK]);
    assert_eq!(s.resume(vec![]), ["resumed", STUCK]);
    // A person's word ends the question for good.
    s.resolve("act", Resolution::NotDone);
    let lines = s.resume(vec![("act.1.undo", found(0))]);
    assert_eq!(lines, ["resumed", "base.1r3.undo starts"]);
}

#[test]
fn an_undo_that_has_ended_there_counts_as_it_ended() {
    let (mut s, _) = broken_undo();
    let lines = s.resume(vec![("act.1.undo", found(0))]);
    assert_eq!(lines[..2], ["act.1.undo found", "resumed"]);
    assert_eq!(lines[2..], ["act.1.undo passed", "act undone", "base.1r1.undo starts"]);

    let (mut s, _) = broken_undo();
    let lines = s.resume(vec![("act.1.undo", found(1))]);
    assert_eq!(lines[2..], ["act.1.undo failed: exit 1", "act not undone: exit 1", STUCK]);
}

#[test]
fn an_undo_that_still_runs_there_is_waited_for_and_nothing_is_taken_back_beside_it() {
    let (mut s, _) = broken_undo();
    assert_eq!(s.resume(vec![("act.1.undo", Found::Runs)]).len(), 2);
    assert!(s.acts.is_empty() && s.state().steps[1].is_undoing());
    // And once more the link breaks, and the process with it.
    s.ends("act.1.undo", unknown());
    assert_eq!(s.resume(vec![("act.1.undo", found(0))])[2..4], ["act.1.undo passed", "act undone"]);
}

#[test]
fn an_undo_that_never_began_is_begun_under_another_name() {
    let (mut s, _) = broken_undo();
    let lines = s.resume(vec![("act.1.undo", Found::NeverStarted)]);
    assert_eq!(lines[2..], ["act.1.undo never ran", "act.1r3.undo starts"]);
    assert_eq!(s.exits("act.1r3.undo", 0)[1], "act undone");
}

#[test]
fn whoever_orders_the_rollback_learns_of_an_undo_too() {
    let mut first = distant("first");
    first.on_failure = OnFailure::Continue;
    let mut steps = any_of(0, "ways", vec![first]);
    steps[0].on_failure = OnFailure::Continue;
    steps.push(run("next"));
    let (mut s, _) = Script::start(chain(steps));
    s.exits("ways/first.1", 1);
    s.ends("ways/first.1.undo", unknown());
    assert_eq!(s.exits("next.1", 1).last().unwrap(), "run failed: step next failed: exit 1");
    let lines = s.roll_back_with(vec![("ways/first.1.undo", found(0))]);
    assert!(lines[0].starts_with("rollback: bob"), "{lines:?}");
    assert_eq!(lines[1], "ways/first.1.undo found");
    assert_eq!(lines[3..5], ["ways/first.1.undo passed", "ways/first undone"]);
    assert!(lines.last().unwrap().starts_with("run rolled-back"), "{lines:?}");
}

fn two_ways() -> Plan {
    chain(any_of(0, "ways", vec![distant("first"), run("second")]))
}

#[test]
fn the_next_alternative_waits_for_the_word_of_a_host() {
    for (answer, then) in
        [(0, "ways/second.1 starts"), (1, "ways failed: the undo of step ways/first failed")]
    {
        let (mut s, _) = Script::start(two_ways());
        s.exits("ways/first.1", 1);
        let lines = s.ends("ways/first.1.undo", unknown());
        assert_eq!(lines[2], "ways failed: the undo of step ways/first failed");
        // Its host cannot be reached, and nothing is made up.
        assert!(s.resume(vec![("ways/first.1.undo", lost())]).iter().all(|line| !line.contains("starts")));
        s.resume(vec![("ways/first.1.undo", Found::Runs)]);
        assert!(s.acts.is_empty());
        let lines = s.exits("ways/first.1.undo", answer);
        assert!(lines.iter().any(|line| line == then), "{lines:?}");
    }
}

#[test]
fn a_run_does_not_end_before_an_undo_that_was_found() {
    let mut first = distant("first");
    first.needs = Vec::new();
    let mut steps = any_of(0, "ways", vec![first]);
    steps[0].on_failure = OnFailure::Continue;
    steps.push(run("next"));
    let (mut s, _) = Script::start(chain(steps));
    s.exits("ways/first.1", 1);
    s.ends("ways/first.1.undo", unknown());
    s.exits("next.1", 1);
    s.resume(vec![("ways/first.1.undo", Found::Runs)]);
    assert_eq!(s.exits("next.2", 0), ["next.2 passed", "next succeeded"]);
    let lines = s.exits("ways/first.1.undo", 0);
    assert_eq!(lines[..2], ["ways/first.1.undo passed", "ways/first undone"]);
    assert!(lines[2].starts_with("run degraded"), "{lines:?}");
}

#[test]
fn an_attempt_counts_as_its_host_says() {
    for (answer, then) in [(found(0), "act succeeded"), (found(3), "act failed: exit 3")] {
        let (mut s, _) = Script::start(chain(vec![distant("act")]));
        assert_eq!(s.ends("act.1", unknown())[1], "act unknown: the connection broke");
        let lines = s.resume(vec![("act.1", answer)]);
        assert!(lines.iter().any(|line| line == then), "{lines:?}");
    }
    let (mut s, _) = Script::start(chain(vec![distant("act")]));
    s.ends("act.1", unknown());
    assert_eq!(s.resume(vec![("act.1", Found::NeverStarted)])[2..], ["act.1 never ran", "act.1r1 starts"]);
}

/// Its action is here and its remedy elsewhere.
fn remedied() -> Step {
    let mut step = run("act");
    step.idempotent = true;
    step.check = Some(check("is it there").into());
    step.retry = Retry { attempts: 3, remedies: vec![("mend".into(), command("mend"))], ..Retry::never() };
    step.retry.remedies[0].1.on = super::super::plans::elsewhere();
    step
}

#[test]
fn no_attempt_is_made_beside_a_remedy_that_may_still_run() {
    let start = || {
        let (mut s, _) = Script::start(chain(vec![remedied()]));
        assert_eq!(s.exits("act.1", 1)[1], "act.1.remedy starts");
        let lines = s.ends("act.1.remedy", unknown());
        assert_eq!(lines[1], "act unknown: its remedy: the connection broke");
        s
    };
    let mut s = start();
    let doubt = "run in-doubt: step act is in doubt: its remedy: the connection broke";
    assert_eq!(s.resume(vec![("act.1.remedy", lost())]), ["resumed", doubt]);
    s.resume(vec![("act.1.remedy", Found::Runs)]);
    assert!(s.acts.is_empty());
    assert_eq!(s.exits("act.1.remedy", 1)[1], "act again in 0");

    let mut s = start();
    assert_eq!(s.resume(vec![("act.1.remedy", found(0))])[3], "act again in 0");
    let mut s = start();
    assert!(s.resume(vec![("act.1.remedy", Found::NeverStarted)])[3].ends_with("remedy starts"));
    let mut s = start();
    s.resolve("act", Resolution::Retry);
    assert_eq!(s.resume(vec![("act.1.remedy", found(0))]), ["resumed", "act.2 starts"]);
}

/// A check here, of what is done there.
#[test]
fn that_nothing_is_there_yet_says_little_while_it_may_still_run() {
    let start = || {
        let mut step = distant("act");
        step.check = Some(check("is it there").into());
        step.retry = Retry { attempts: 3, ..Retry::never() };
        let (mut s, _) = Script::start(chain(vec![step]));
        assert_eq!(s.ends("act.1", unknown())[1], "act.1r1.check starts");
        let lines = s.exits("act.1r1.check", 1);
        assert!(
            lines[1].starts_with("act unknown: ") && lines[1].ends_with("it may still run on its host"),
            "{lines:?}"
        );
        s
    };
    // Its host cannot be asked, and by now something is there.
    let mut s = start();
    let lines = s.resume(vec![("act.1", lost())]);
    assert_eq!(lines[1], "act.1r3.check starts");
    assert_eq!(s.exits("act.1r3.check", 0)[1], "act succeeded");
    // It runs, and the check is not needed.
    let mut s = start();
    s.resume(vec![("act.1", Found::Runs)]);
    assert!(s.acts.is_empty());
    assert_eq!(s.exits("act.1", 0)[1], "act succeeded");
    // The host was restarted: nobody knows how it ended, but it has. Now the check counts.
    let mut s = start();
    let mut end = runbook::model::TaskEnd::new(unknown(), runbook::model::Millis(1));
    end.gone = true;
    let output = Box::new(runbook::model::TaskOutput::none());
    let lines = s.resume(vec![("act.1", Found::Ended { end, output })]);
    assert_eq!(lines[0], "act.1 found");
    let check = lines.last().unwrap().trim_end_matches(" starts").to_owned();
    assert_eq!(s.exits(&check, 1)[1], "act.1r1 starts");
}

/// What it saw then is old: it looks again, and nobody is asked.
#[test]
fn a_check_looks_again() {
    let mut step = distant("act");
    step.check = Some(check("is it there").into());
    far(&mut step);
    let (mut s, _) = Script::start(chain(vec![step]));
    s.ends("act.1", unknown());
    let lines = s.ends("act.1r1.check", unknown());
    assert_eq!(lines[1], "act.1r2.check starts");
    assert_eq!(s.ends("act.1r2.check", TaskEndKind::Exited { code: 0 })[1], "act succeeded");
}
