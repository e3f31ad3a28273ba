//! The end by a person's hand, and what the objectives say of an end.

use runbook::model::{Millis, ObjectiveVerdict, RunEnd, TaskEndKind, Timestamp};
use runbook::plan::Plan;

use super::{Script, found};
use crate::plans::{chain, check, expr, run};
use crate::sim::{START, start_info};

#[test]
fn a_cancelled_run_starts_nothing_and_goes_on_where_it_was() {
    let mut a = run("a");
    a.verify = vec![check("up")];
    let (mut s, _) = Script::start(chain(vec![a, run("b")]));
    assert_eq!(s.cancel(), ["cancelled by dave"]);
    // The command ended well before it could be stopped.
    assert_eq!(s.exits("a.1", 0), ["a.1 passed", "run cancelled: stopped by dave"]);
    assert_eq!(s.resume(vec![]), ["resumed", "a.1r1.verify0.1 starts"], "the action is not repeated");
}

#[test]
fn a_stopped_command_is_run_again_by_the_resume() {
    let (mut s, _) = Script::start(chain(vec![run("a")]));
    s.cancel();
    let lines = s.ends("a.1", TaskEndKind::Cancelled);
    assert_eq!(lines[1..], ["a cancelled: ended by a person", "run cancelled: stopped by dave"]);
    assert_eq!(s.resume(vec![]), ["resumed", "a.2 starts"]);
}

#[test]
fn a_destructive_command_that_was_stopped_is_in_doubt() {
    let mut a = run("a");
    a.destructive = true;
    let (mut s, _) = Script::start(chain(vec![a]));
    s.cancel();
    let lines = s.ends("a.1", TaskEndKind::Cancelled);
    assert_eq!(lines[2], "run cancelled: stopped by dave; step a is in doubt");
}

#[test]
fn a_runner_that_died_while_cancelling_is_taken_up() {
    let (mut s, _) = Script::start(chain(vec![run("a"), run("b")]));
    s.cancel();
    assert_eq!(s.resume(vec![("a.1", found(0))]), ["resumed", "a.1 passed", "a succeeded", "b.1 starts"]);
}

#[test]
fn a_second_cancel_is_one_record_and_stops_again() {
    let (mut s, _) = Script::start(chain(vec![run("a")]));
    s.cancel();
    assert_eq!(s.cancel(), Vec::<String>::new());
    assert_eq!(s.acts.len(), 1);
}

fn timed(rto: Option<u64>, as_of: Option<&str>) -> Plan {
    let mut plan = chain(vec![run("a")]);
    plan.objectives.rto = rto.map(Millis);
    plan.objectives.rpo = Some(Millis(60_000));
    plan.objectives.data_as_of = as_of.map(expr);
    plan
}

/// The incident began a minute before the run, and the run took 10 s.
fn end(plan: Plan, code: i32) -> RunEnd {
    let mut info = start_info();
    info.incident_since = Timestamp(START - 60_000);
    let (mut s, _) = Script::start_with(plan, info);
    s.at(10_000).exits("a.1", code);
    s.state().end().expect("an end").clone()
}

#[test]
fn the_rto_counts_from_the_start_of_the_incident() {
    for (target, verdict) in [(70_000, ObjectiveVerdict::Met), (69_999, ObjectiveVerdict::Missed)] {
        let rto = end(timed(Some(target), None), 0).rto.expect("an RTO");
        assert_eq!((rto.measured, rto.verdict), (Some(Millis(70_000)), verdict));
    }
    let rto = end(timed(Some(99_999), None), 1).rto.expect("an RTO");
    assert_eq!((rto.measured, rto.verdict), (None, ObjectiveVerdict::Missed), "it did not recover");
}

#[test]
fn the_rpo_counts_from_the_data_to_the_incident() {
    let stamp = |before: i64| format!("'{}'", Timestamp(START - 60_000 - before));
    for (before, verdict) in [(60_000, ObjectiveVerdict::Met), (60_001, ObjectiveVerdict::Missed)] {
        let rpo = end(timed(None, Some(&stamp(before))), 0).rpo.expect("an RPO");
        assert_eq!(rpo.verdict, verdict);
        assert_eq!(rpo.measured.map(|m| m.0), u64::try_from(before).ok());
    }
    for (as_of, note) in [
        (None, "the playbook does not say how to measure it"),
        (Some("'yesterday'"), "`data_as_of` gave \"yesterday\", which is no RFC 3339 time"),
        (Some("3"), "`data_as_of` gave 3, which is no time"),
    ] {
        let rpo = end(timed(None, as_of), 0).rpo.expect("an RPO");
        assert_eq!((rpo.verdict, rpo.note.as_deref()), (ObjectiveVerdict::None, Some(note)));
    }
}
