//! What acted on another host and whose link broke, and is to be taken back: its host is asked first, by whoever orders the
//! rollback and by whoever goes on with one, and nothing is taken back before it is over.

use runbook::engine::Found;
use runbook::model::{Resolution, TaskEnd, TaskEndKind, TaskOutput};
use runbook::plan::Plan;

use super::far::distant;
use super::{Script, found, lost, unknown};
use crate::plans::{chain, check, far, run, undo};

const ASKED: &str = "rollback: bob asked for it";
const BACK: &str = "run rolled-back: bob asked for it";

/// `base`, and `act` elsewhere, whose link breaks.
fn broken() -> Script {
    broken_in(distant("act"))
}

fn broken_in(act: runbook::plan::Step) -> Script {
    let mut base = run("base");
    base.undo = undo();
    let (mut s, _) = Script::start(chain(vec![base, act]));
    s.exits("base.1", 0);
    s.ends("act.1", unknown());
    s
}

fn never_connected() -> TaskEndKind {
    TaskEndKind::NotStarted { error: "no route to host".into() }
}

fn restarted() -> Found {
    let mut end = TaskEnd::new(unknown(), runbook::model::Millis(1));
    end.gone = true;
    Found::Ended { end, output: Box::new(TaskOutput::none()) }
}

#[test]
fn an_attempt_that_still_runs_is_waited_for_before_anything_is_taken_back() {
    let mut s = broken();
    assert_eq!(s.roll_back_with(vec![("act.1", Found::Runs)]), [ASKED, "act.1 found", "resumed"]);
    assert!(s.acts.is_empty());
    let lines = s.exits("act.1", 0);
    assert_eq!(lines, ["act.1 passed", "act succeeded", "act.1r2.undo starts"]);
    s.exits("act.1r2.undo", 0);
    assert_eq!(s.exits("base.1r1.undo", 0).last().unwrap(), BACK);
}

#[test]
fn how_it_ended_there_counts() {
    let mut s = broken();
    let lines = s.roll_back_with(vec![("act.1", found(0))]);
    assert_eq!(lines[3..], ["act.1 passed", "act succeeded", "act.1r2.undo starts"]);
    // What failed may have had an effect all the same.
    let mut s = broken();
    let lines = s.roll_back_with(vec![("act.1", found(3))]);
    assert_eq!(lines[3..], ["act.1 failed: exit 3", "act failed: exit 3", "act.1r2.undo starts"]);
    // The host was restarted: it is over, and nobody knows how.
    let mut s = broken();
    let lines = s.roll_back_with(vec![("act.1", restarted())]);
    assert_eq!(lines[4..], ["act unknown: the connection broke", "act.1r3.undo starts"]);
    // It never will begin, and nothing is there to take back.
    let mut s = broken();
    let lines = s.roll_back_with(vec![("act.1", Found::NeverStarted)]);
    assert_eq!(
        lines[3..],
        ["act.1 never ran", "act cancelled: the run is rolled back", "base.1r1.undo starts"]
    );
}

#[test]
fn a_host_that_cannot_be_asked_is_told_of_and_the_rollback_goes_on() {
    let mut s = broken();
    let lines = s.roll_back_with(vec![("act.1", lost())]);
    assert_eq!(lines, [ASKED, "resumed", "act.1 silent: the keeper is gone", "act.1r2.undo starts"]);
    assert_eq!(s.ends("act.1r2.undo", never_connected())[1], "act not undone: no route to host");
    // By now the host answers: it is asked again, for the next try would be made beside the attempt.
    let lines = s.resume(vec![("act.1", Found::Runs)]);
    assert_eq!(lines, ["act.1 found", "resumed"]);
    assert!(s.acts.is_empty());
    let lines = s.exits("act.1", 1);
    assert_eq!(lines, ["act.1 failed: exit 1", "act failed: exit 1", "act.1r4.undo starts"]);
    assert_eq!(s.exits("act.1r4.undo", 0)[1], "act undone");
    // It is over for good.
    let lines = s.resume(vec![("act.1", Found::Runs)]);
    assert!(lines.iter().all(|line| !line.contains("found")), "{lines:?}");
}

#[test]
fn a_process_that_dies_in_the_wait_leaves_the_rollback_waiting() {
    let mut s = broken();
    s.roll_back_with(vec![("act.1", Found::Runs)]);
    assert_eq!(s.resume(vec![]), ["resumed"]);
    assert!(s.acts.is_empty());
    // The link breaks again under it, and that process dies, too, before its undo has begun.
    assert_eq!(s.ends("act.1", unknown()).last().unwrap(), "act.1r4.undo starts");
    s.forget_last();
    assert_eq!(s.resume(vec![("act.1", Found::Runs)]), ["act.1 found", "resumed"]);
    assert!(s.acts.is_empty());
    assert_eq!(s.exits("act.1", 0)[1], "act succeeded");
}

/// What a step was built on is not taken from under it, whether or not it has an undo of its own.
#[test]
fn what_it_was_built_on_waits_too() {
    let mut act = run("act");
    far(&mut act);
    let mut s = broken_in(act.clone());
    s.roll_back_with(vec![("act.1", Found::Runs)]);
    assert!(s.acts.is_empty());
    assert_eq!(s.exits("act.1", 0).last().unwrap(), "base.1r1.undo starts");
    assert_eq!(s.exits("base.1r1.undo", 0).last().unwrap(), BACK);

    let mut s = broken_in(act);
    assert_eq!(s.roll_back_with(vec![("act.1", lost())]).last().unwrap(), "base.1r1.undo starts");
    let lines = s.exits("base.1r1.undo", 0);
    assert!(lines.last().unwrap().starts_with("run in-doubt: "), "{lines:?}");
    // Not for ever: the rollback is taken up again.
    assert_eq!(s.resume(vec![("act.1", found(0))]).last().unwrap(), BACK);
}

fn checked() -> Plan {
    let mut base = run("base");
    base.undo = undo();
    let mut act = distant("act");
    act.check = Some(Box::new(check("is it there")));
    chain(vec![base, act, run("fails")])
}

#[test]
fn an_attempt_that_a_check_has_settled_is_waited_for_and_its_step_stays_as_it_is() {
    let start = || {
        let (mut s, _) = Script::start(checked());
        s.exits("base.1", 0);
        s.ends("act.1", unknown());
        assert_eq!(s.exits("act.1r1.check", 0)[1], "act succeeded");
        s.exits("fails.1", 1);
        s
    };
    let mut s = start();
    // Whoever goes on has no question.
    assert_eq!(s.resume(vec![("act.1", Found::Runs)]), ["resumed", "fails.2 starts"]);
    s.exits("fails.2", 1);
    s.roll_back_with(vec![("act.1", Found::Runs)]);
    assert!(s.acts.is_empty());
    assert_eq!(s.exits("act.1", 1), ["act.1 failed: exit 1", "act.1r3.undo starts"]);

    let mut s = start();
    assert_eq!(
        s.roll_back_with(vec![("act.1", Found::NeverStarted)]).last().unwrap(),
        "base.1r1.undo starts"
    );
}

/// The process died while the check ran: both are waited for, in whatever order they end.
#[test]
fn a_check_beside_it_decides_nothing_any_more() {
    let start = || {
        let (mut s, _) = Script::start(checked());
        s.exits("base.1", 0);
        s.ends("act.1", unknown());
        s.roll_back_with(vec![("act.1", Found::Runs)]);
        assert!(s.acts.is_empty());
        s
    };
    let mut s = start();
    assert_eq!(s.exits("act.1r1.check", 1), ["act.1r1.check failed: exit 1"]);
    assert_eq!(s.exits("act.1", 0), ["act.1 passed", "act succeeded", "act.1r2.undo starts"]);
    let mut s = start();
    assert_eq!(s.exits("act.1", 0), ["act.1 passed", "act succeeded"]);
    assert_eq!(s.exits("act.1r1.check", 1), ["act.1r1.check failed: exit 1", "act.1r2.undo starts"]);
}

/// It was started again without a question, for that does no harm; to take it back beside the first one does.
#[test]
fn every_attempt_of_a_step_that_may_be_repeated_is_asked_for() {
    let mut act = distant("act");
    act.idempotent = true;
    let mut s = broken_in(act);
    assert_eq!(s.ends("act.1r1", never_connected())[1], "act failed: no route to host");
    s.roll_back_with(vec![("act.1", Found::Runs)]);
    assert!(s.acts.is_empty());
    assert_eq!(s.exits("act.1", 0), ["act.1 passed", "act.1r3.undo starts"]);
    s.exits("act.1r3.undo", 0);
    assert_eq!(s.exits("base.1r1.undo", 0).last().unwrap(), BACK);
}

#[test]
fn a_remedy_is_waited_for_in_the_same_way() {
    let start = || {
        let mut act = run("act");
        act.undo = undo();
        let remedies = vec![("mend".into(), crate::plans::command("mend"))];
        act.retry = runbook::plan::Retry { attempts: 3, remedies, ..runbook::plan::Retry::never() };
        act.retry.remedies[0].1.on = crate::plans::elsewhere();
        let (mut s, _) = Script::start(chain(vec![act]));
        s.exits("act.1", 1);
        s.ends("act.1.remedy", unknown());
        s
    };
    let mut s = start();
    s.roll_back_with(vec![("act.1.remedy", Found::Runs)]);
    assert!(s.acts.is_empty());
    let lines = s.exits("act.1.remedy", 0);
    assert_eq!(lines[1..], ["act cancelled: the run is rolled back", "act.1r2.undo starts"]);
    let mut s = start();
    let lines = s.roll_back_with(vec![("act.1.remedy", lost())]);
    assert_eq!(lines[2..], ["act.1.remedy silent: the keeper is gone", "act.1r2.undo starts"]);
}

/// The undo was begun beside it, while nobody could ask: that it ended well says little.
#[test]
fn an_undo_that_the_attempt_outlived_has_perhaps_undone_it() {
    let mut s = broken();
    s.roll_back_with(vec![("act.1", lost())]);
    let lines = s.resume(vec![("act.1", Found::Runs)]);
    assert_eq!(lines, ["act.1 found", "resumed"]);
    let lines = s.exits("act.1r2.undo", 0);
    assert!(lines[1].starts_with("act perhaps undone: what it takes back still ran"), "{lines:?}");
    let lines = s.exits("act.1", 0);
    assert_eq!(lines.last().unwrap(), "run stuck: bob asked for it; the undo of act failed");
    s.resolve("act", Resolution::NotDone);
    assert_eq!(s.resume(vec![]), ["resumed", "base.1r3.undo starts"]);
}
