//! What is projected, moment by moment, and whom that calls.

use runbook::engine::{Overdue, Projection};
use runbook::model::{
    Answer, Cause, Event, Millis, Past, PastStep, Percentile, Spread, StartInfo, StepId, Timestamp,
};
use runbook::plan::{Body, Choose, Level, OnItemFailure, Plan, PlannedOption, Template, Use};

use super::Script;
use crate::plans::{any_of, ask, chain, channels, check, each, expr, for_each, run, step};
use crate::random::Random;
use crate::sim::{START, start_info};

const MINUTE: u64 = 60_000;

/// Ran ten times, with these minutes.
fn took(p50: u64, p90: u64) -> PastStep {
    PastStep { ran: 10, took: minutes(p50, p90), ..PastStep::default() }
}

fn minutes(p50: u64, p90: u64) -> Spread {
    Spread { p50: Millis(p50 * MINUTE), p90: Millis(p90 * MINUTE) }
}

fn info(steps: &[(&str, PastStep)]) -> StartInfo {
    let steps = steps.iter().map(|(id, told)| (StepId::parse(id).expect("an id"), *told)).collect();
    StartInfo { past: Some(Box::new(Past { runs: 10, drills: 0, steps })), ..start_info() }
}

fn level(level: u32, of: Percentile) -> Level {
    let notify = vec!["team".into()];
    Level { level, after: None, projected_breach: Some(of), notify, to: Vec::new() }
}

/// Three steps, one after the other, with an RTO of so many minutes and a level for each figure.
fn three(rto: u64) -> Plan {
    let mut plan = chain(vec![run("a"), run("b"), run("c")]);
    plan.channels = channels();
    plan.objectives.rto = Some(Millis(rto * MINUTE));
    plan.escalation = vec![level(1, Percentile::P90), level(2, Percentile::P50)];
    plan
}

fn of_three() -> StartInfo {
    info(&[("a", took(5, 8)), ("b", took(10, 12)), ("c", took(1, 2))])
}

/// Minutes of both figures, and steps of which nothing is known.
fn projected(s: &Script) -> Option<(u64, u64, usize)> {
    let projection = Projection::of(s.engine.plan(), s.state(), s.t)?;
    Some((projection.end.p50.0 / MINUTE, projection.end.p90.0 / MINUTE, projection.untold))
}

/// Milliseconds and words of each call.
fn called(s: &Script) -> Vec<(u64, u32, &str)> {
    let mut called = Vec::new();
    for record in &s.journal {
        if let Event::Notice { cause: Cause::Escalation { level, why }, .. } = &record.event {
            called.push((record.t.0, *level, why.as_str()));
        }
    }
    called
}

fn wait(s: &mut Script, until: u64) {
    while let Some(at) = s.deadline().filter(|at| *at <= until) {
        assert!(!s.tick(at).is_empty(), "a deadline at which nothing is due");
    }
}

#[test]
fn what_is_left_is_added_up_from_now() {
    let (mut s, _) = Script::start_with(three(60), of_three());
    assert_eq!(projected(&s), Some((16, 22, 0)));
    s.t = Millis(3 * MINUTE);
    assert_eq!(projected(&s), Some((16, 22, 0)), "it goes as it went");
    s.t = Millis(7 * MINUTE);
    assert_eq!(projected(&s), Some((18, 22, 0)), "late by the one figure, not by the other");
    s.at(9 * MINUTE).exits("a.1", 0);
    assert_eq!(projected(&s), Some((20, 23, 0)));
    s.at(10 * MINUTE).exits("b.1", 0);
    assert_eq!(projected(&s), Some((11, 12, 0)), "b was quick");
    s.at(11 * MINUTE).exits("c.1", 0);
    assert_eq!(projected(&s), None, "it is over");
}

#[test]
fn nothing_is_projected_without_past_runs() {
    let (s, _) = Script::start_with(three(60), info(&[]));
    assert_eq!(projected(&s), None);
    let (s, _) = Script::start(three(60));
    assert_eq!(projected(&s), None);
    let (s, _) = Script::start_with(three(60), info(&[("b", took(10, 12))]));
    assert_eq!(projected(&s), Some((10, 12, 2)), "of two steps nothing is known, and that is said");
}

#[test]
fn a_step_that_takes_too_long_is_overdue() {
    let (mut s, _) = Script::start_with(three(60), of_three());
    let overdue = |s: &Script| {
        Projection::of(s.engine.plan(), s.state(), s.t)
            .map(|projection| projection.overdue)
            .unwrap_or_default()
    };
    s.t = Millis(8 * MINUTE + 48_000);
    assert_eq!(overdue(&s), [], "a tenth more is nothing to speak of");
    s.t = Millis(9 * MINUTE);
    assert_eq!(overdue(&s), [Overdue { step: 0, takes: s.t, p90: Millis(8 * MINUTE) }]);
}

#[test]
fn a_breach_that_shows_at_the_start_is_told_at_once() {
    let (s, _) = Script::start_with(three(15), of_three());
    let why = "recovery is projected after 16m00s (p50) to 22m00s (p90), and the RTO is 15m00s";
    assert_eq!(called(&s), [(0, 1, why), (0, 2, why)]);
    assert_eq!(s.deadline(), None);
}

#[test]
fn a_breach_is_told_when_it_shows_and_never_again() {
    let (mut s, _) = Script::start_with(three(23), of_three());
    assert_eq!(called(&s), []);
    // A minute more than in nine of ten runs is left.
    assert_eq!(s.deadline(), Some(9 * MINUTE + 1));
    wait(&mut s, 9 * MINUTE + 1);
    let at = 9 * MINUTE + 1;
    let why = "recovery is projected after 20m00s (p50) to 23m00s (p90) or later, and the RTO is 23m00s";
    assert_eq!(called(&s), [(at, 1, why)]);
    assert_eq!(s.deadline(), Some(12 * MINUTE + 1), "then by the usual figure");
    s.at(11 * MINUTE).resume(Vec::new());
    assert_eq!(called(&s).len(), 1, "another process does not repeat it");
    s.at(13 * MINUTE).resume(Vec::new());
    assert_eq!(
        called(&s).iter().map(|(_, level, _)| *level).collect::<Vec<_>>(),
        [1, 2],
        "and makes up for it"
    );
    wait(&mut s, 60 * MINUTE);
    assert_eq!(called(&s).len(), 2);
}

#[test]
fn an_early_incident_counts_and_notice_ends_it() {
    let since = Timestamp(START - 14 * MINUTE as i64);
    let (mut s, _) = Script::start_with(three(37), StartInfo { incident_since: since, ..of_three() });
    assert_eq!(s.deadline(), Some(9 * MINUTE + 1), "as with an RTO of 23 minutes from the start");
    s.takes_notice("carol");
    assert_eq!(s.deadline(), None);
    wait(&mut s, 60 * MINUTE);
    assert_eq!(called(&s), []);

    let since = Timestamp(START - 40 * MINUTE as i64);
    let (s, _) = Script::start_with(three(37), StartInfo { incident_since: since, ..of_three() });
    assert_eq!(called(&s), [(0, 1, "the RTO of 37m00s has passed"), (0, 2, "the RTO of 37m00s has passed")]);
}

#[test]
fn without_past_runs_the_breach_shows_when_the_time_is_over() {
    let (mut s, _) = Script::start_with(three(23), info(&[]));
    assert_eq!(s.deadline(), Some(23 * MINUTE + 1));
    wait(&mut s, 30 * MINUTE);
    let why = "the RTO of 23m00s has passed";
    assert_eq!(called(&s), [(23 * MINUTE + 1, 1, why), (23 * MINUTE + 1, 2, why)]);
}

#[test]
fn a_run_that_is_about_to_end_calls_nobody_for_its_time() {
    let (mut s, _) = Script::start_with(three(23), of_three());
    s.at(MINUTE).exits("a.1", 1);
    assert!(s.state().end().is_some());
    assert_eq!(called(&s), []);
    let mut plan = three(23);
    plan.objectives.rto = None;
    let (s, _) = Script::start_with(plan, of_three());
    assert_eq!(s.deadline(), None, "nothing can be missed");
}

/// A choice, and a way for each answer.
fn ways() -> Plan {
    let mut random = Random::new(1);
    let option =
        |id: &str| PlannedOption { id: id.into(), title: id.into(), eta: None, loss: None, when: None };
    let mut question = ask(&mut random);
    (question.approvers, question.count, question.timeout) = (Vec::new(), 1, None);
    question.exclude_operator = false;
    question.prompt = Template { src: "Which?".into(), uses: Vec::new() };
    let choose = Choose { ask: question, options: vec![option("replica"), option("backup")], suggest: None };
    let taken = |id: &str| {
        let mut when = expr(&format!("steps.way.choice == '{id}'"));
        when.uses = vec![Use { name: "way".into(), step: 0 }];
        let mut step = run(id);
        step.when = Some(when);
        step
    };
    chain(vec![step("way", Body::Choose(Box::new(choose))), taken("replica"), taken("backup"), run("prove")])
}

/// The replica is what was nearly always taken, and people took two to four minutes to say so.
fn of_ways() -> StartInfo {
    let way = PastStep { ran: 20, people: Some(minutes(2, 4)), ..PastStep::default() };
    let replica = PastStep { ran: 18, not_needed: 2, ..took(10, 12) };
    let backup = PastStep { ran: 2, not_needed: 18, ..took(60, 90) };
    info(&[("way", way), ("replica", replica), ("backup", backup), ("prove", took(1, 1))])
}

#[test]
fn a_way_that_is_seldom_taken_counts_only_for_the_cautious() {
    let (s, _) = Script::start_with(ways(), of_ways());
    assert_eq!(projected(&s), Some((2 + 10 + 1, 4 + 12 + 90 + 1, 0)));
}

#[test]
fn once_the_choice_is_made_the_way_is_known() {
    let (mut s, _) = Script::start_with(ways(), of_ways());
    s.at(MINUTE).says("alice", "way", Answer::Choose { option: "backup".into() });
    assert_eq!(projected(&s), Some((1 + 60 + 1, 1 + 90 + 1, 0)));
    let (mut s, _) = Script::start_with(ways(), of_ways());
    s.at(3 * MINUTE).says("alice", "way", Answer::Choose { option: "replica".into() });
    assert_eq!(projected(&s), Some((3 + 10 + 1, 3 + 12 + 1, 0)));
}

#[test]
fn whoever_is_waited_for_moves_the_end() {
    let (mut s, _) = Script::start_with(ways(), of_ways());
    s.t = Millis(3 * MINUTE);
    assert_eq!(projected(&s), Some((3 + 11, 4 + 103, 0)), "longer than usual, but not than seldom");
    s.t = Millis(30 * MINUTE);
    assert_eq!(projected(&s), Some((30 + 11, 30 + 103, 0)));
    s.cannot_wait();
    assert!(s.state().waits());
    s.t = Millis(40 * MINUTE);
    assert_eq!(projected(&s), Some((40 + 11, 40 + 103, 0)), "also when no process waits");
}

#[test]
fn what_a_question_takes_is_not_what_the_step_takes() {
    let mut plan = chain(vec![run("a"), run("b")]);
    let mut question = ask(&mut Random::new(1));
    (question.approvers, question.count, question.timeout) = (Vec::new(), 1, None);
    question.exclude_operator = false;
    plan.steps[0].approval = Some(Box::new(question));
    let a = PastStep { people: Some(minutes(5, 5)), ..took(10, 10) };
    let (mut s, _) = Script::start_with(plan.clone(), info(&[("a", a), ("b", took(1, 1))]));
    assert_eq!(projected(&s), Some((16, 16, 0)));
    s.at(9 * MINUTE).says("alice", "a", Answer::Approve);
    assert_eq!(projected(&s), Some((20, 20, 0)), "the command has only begun");
    s.t = Millis(21 * MINUTE);
    assert_eq!(projected(&s), Some((22, 22, 0)));

    // Drills answer from a file: how long people take is not known, and that is said.
    let (mut s, _) = Script::start_with(plan, info(&[("a", took(10, 10)), ("b", took(1, 1))]));
    assert_eq!(projected(&s), Some((11, 11, 1)));
    s.t = Millis(4 * MINUTE);
    assert_eq!(projected(&s), Some((15, 15, 1)));
    s.says("alice", "a", Answer::Approve);
    assert_eq!(projected(&s), Some((15, 15, 0)));
}

#[test]
fn a_step_that_may_be_satisfied_counts_as_often_as_it_ran() {
    let plan = |of: PastStep| {
        let mut plan = chain(vec![run("a"), run("b")]);
        plan.steps[1].unless = Some(check("unless").into());
        let (s, _) = Script::start_with(plan, info(&[("a", took(1, 1)), ("b", of)]));
        projected(&s)
    };
    assert_eq!(plan(PastStep { ran: 10, not_needed: 10, ..took(5, 6) }), Some((6, 7, 0)));
    assert_eq!(plan(PastStep { ran: 9, not_needed: 11, ..took(5, 6) }), Some((1, 7, 0)));
    assert_eq!(plan(PastStep { ran: 1, not_needed: 19, ..took(5, 6) }), Some((1, 1, 0)));
    assert_eq!(plan(PastStep { ran: 0, not_needed: 3, ..PastStep::default() }), Some((1, 1, 0)));
}

#[test]
fn alternatives_are_one_step_with_a_time_of_its_own() {
    let mut steps = any_of(0, "way", vec![run("first"), run("second")]);
    steps.push(run("after"));
    let mut plan = chain(steps);
    plan.steps[3].needs = vec![0];
    let (mut s, _) = Script::start_with(plan, info(&[("way", took(9, 12)), ("after", took(1, 1))]));
    assert_eq!(projected(&s), Some((10, 13, 0)));
    s.at(4 * MINUTE).exits("way/first.1", 1);
    assert_eq!(projected(&s), Some((10, 13, 0)), "the failed one is part of it");
    s.t = Millis(10 * MINUTE);
    assert_eq!(projected(&s), Some((11, 13, 0)));
}

#[test]
fn a_step_that_is_taken_up_again_counts_from_then() {
    let (mut s, _) = Script::start_with(three(200), of_three());
    s.at(MINUTE).exits("a.1", 0);
    s.at(5 * MINUTE).exits("b.1", 1);
    assert_eq!(projected(&s), None, "the run has failed");
    s.at(100 * MINUTE).resume(Vec::new());
    assert_eq!(projected(&s), Some((111, 114, 0)));
}

#[test]
fn the_items_of_a_list_go_as_many_at_once_as_they_may() {
    let of = |most: Option<usize>| {
        let mut steps = for_each(0, "hosts", 4, each(most, OnItemFailure::Stop, None), &run("host"));
        steps.push(run("after"));
        let mut plan = chain(steps);
        plan.steps[5].needs = vec![0];
        // The list had two items then.
        Script::start_with(
            plan,
            info(&[("hosts/1", took(2, 3)), ("hosts/2", took(3, 5)), ("after", took(1, 1))]),
        )
        .0
    };
    assert_eq!(projected(&of(None)), Some((3 + 1, 5 + 1, 0)), "all at once");
    let mut s = of(Some(1));
    assert_eq!(projected(&s), Some((2 + 3 + 3 + 3 + 1, 3 + 5 + 5 + 5 + 1, 0)), "one after the other");
    s.at(4 * MINUTE).exits("hosts/1.1", 0);
    assert_eq!(projected(&s), Some((4 + 3 + 3 + 3 + 1, 4 + 5 + 5 + 5 + 1, 0)));
    s.at(5 * MINUTE).exits("hosts/2.1", 0);
    assert_eq!(projected(&s), Some((5 + 3 + 3 + 1, 5 + 5 + 5 + 1, 0)));
    let s = of(Some(2));
    assert_eq!(projected(&s), Some((3 + 3 + 1, 5 + 5 + 1, 0)), "two and two");
}
