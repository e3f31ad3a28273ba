//! Who is told, and when: the levels of an escalation, the cadence of updates, messages of steps.

use runbook::model::{Cause, Event, Millis, Timestamp};
use runbook::plan::{Body, Cadence, Level, OnFailure, Plan, Tell, Template, Updates};

use super::Script;
use crate::plans::{chain, channels, run, step};
use crate::sim::{START, start_info};

const MINUTE: u64 = 60_000;

/// Four levels at 0, 5, 15 and 30 minutes.
fn levels() -> Vec<Level> {
    let level = |level: u32, after: u64, channel: &str| Level {
        level,
        after: Some(Millis(after * MINUTE)),
        projected_breach: None,
        notify: vec![channel.into()],
        to: vec![format!("people {level}")],
    };
    vec![level(1, 0, "team"), level(2, 5, "pager"), level(3, 15, "team"), level(4, 30, "pager")]
}

/// Every 5 minutes for half an hour, every 15 for another, then every 30.
fn cadence() -> Updates {
    let piece = |length: Option<u64>, every: u64| Cadence {
        length: length.map(|length| Millis(length * MINUTE)),
        every: Millis(every * MINUTE),
    };
    let every = vec![piece(Some(30), 5), piece(Some(30), 15), piece(None, 30)];
    Updates { channels: vec!["team".into()], every, status_file: None }
}

fn told(escalation: Vec<Level>, updates: Option<Updates>) -> Plan {
    let mut plan = chain(vec![run("a"), run("b")]);
    (plan.channels, plan.escalation, plan.updates) = (channels(), escalation, updates);
    plan
}

/// Minutes and what is said, in order.
fn said(script: &Script) -> Vec<(u64, String)> {
    let mut said = Vec::new();
    for record in &script.journal {
        if let Event::Notice { cause, .. } = &record.event {
            let what = match cause {
                Cause::Escalation { level, .. } => format!("level {level}"),
                Cause::Update { number, last: false } => format!("update {number}"),
                Cause::Update { number, last: true } => format!("final update {number}"),
                Cause::Step { step } => format!("step {step}"),
                Cause::Recovered => "called off".into(),
                Cause::Acknowledged { by } => format!("in hand of {by}"),
            };
            said.push((record.t.0 / MINUTE, what));
        }
    }
    said
}

/// Lets the clock run from deadline to deadline.
fn wait(script: &mut Script, until: u64) {
    while let Some(at) = script.deadline().filter(|at| *at <= until) {
        assert!(!script.tick(at).is_empty(), "a deadline at which nothing is due");
    }
}

fn pairs(all: &[(u64, &str)]) -> Vec<(u64, String)> {
    all.iter().map(|(at, what)| (*at, (*what).to_owned())).collect()
}

#[test]
fn four_levels_are_raised_in_their_time_and_called_off_at_the_end() {
    let (mut s, _) = Script::start(told(levels(), None));
    wait(&mut s, 59 * MINUTE);
    let raised = [(0, "level 1"), (5, "level 2"), (15, "level 3"), (30, "level 4")];
    assert_eq!(said(&s), pairs(&raised));
    assert_eq!(s.deadline(), None, "there is no fifth level");
    s.at(60 * MINUTE).exits("a.1", 0);
    s.at(61 * MINUTE).exits("b.1", 0);
    let mut all = raised.to_vec();
    all.push((61, "called off"));
    assert_eq!(said(&s), pairs(&all));
}

#[test]
fn updates_follow_the_cadence_from_the_start_of_the_incident() {
    let mut info = start_info();
    info.incident_since = Timestamp(START - 12 * MINUTE as i64);
    let (mut s, _) = Script::start_with(told(Vec::new(), Some(cadence())), info);
    wait(&mut s, 110 * MINUTE);
    let minutes: Vec<u64> = said(&s).into_iter().map(|(at, _)| at + 12).collect();
    assert_eq!(minutes, [12, 15, 20, 25, 30, 45, 60, 90, 120]);
    s.at(111 * MINUTE).exits("a.1", 1);
    assert_eq!(said(&s).last(), Some(&(111, "final update 10".into())), "also of a run that failed");
}

#[test]
fn levels_that_are_overdue_at_the_start_are_raised_at_once_in_their_order() {
    let mut info = start_info();
    info.incident_since = Timestamp(START - 20 * MINUTE as i64);
    let (mut s, _) = Script::start_with(told(levels(), None), info);
    wait(&mut s, 30 * MINUTE);
    assert_eq!(said(&s), pairs(&[(0, "level 1"), (0, "level 2"), (0, "level 3"), (10, "level 4")]));
}

#[test]
fn another_process_repeats_no_level_and_makes_up_for_what_was_missed_once() {
    let (mut s, _) = Script::start(told(levels(), Some(cadence())));
    wait(&mut s, 6 * MINUTE);
    s.at(22 * MINUTE).resume(Vec::new());
    let all = [
        (0, "level 1"),
        (0, "update 1"),
        (5, "level 2"),
        (5, "update 2"),
        // Four updates were due in the meantime; one says what there is to say.
        (22, "level 3"),
        (22, "update 3"),
    ];
    assert_eq!(said(&s), pairs(&all));
    let unsure = |event: &Event| matches!(event, Event::NoticeEnded { unsure: true, delivered: false, .. });
    assert_eq!(s.journal.iter().filter(|r| unsure(&r.event)).count(), 4, "nobody knows of the first four");
    wait(&mut s, 26 * MINUTE);
    assert_eq!(said(&s).last(), Some(&(25, "update 4".into())));
}

#[test]
fn the_failure_of_a_step_raises_its_level() {
    let mut levels = levels();
    levels[3].after = None;
    for on_failure in [OnFailure::Stop, OnFailure::Continue, OnFailure::Rollback, OnFailure::Ask] {
        let mut plan = told(levels.clone(), None);
        (plan.steps[0].escalate, plan.steps[0].on_failure) = (Some(4), on_failure);
        let (mut s, _) = Script::start(plan);
        s.at(MINUTE).exits("a.1", 1);
        assert_eq!(said(&s)[..2], pairs(&[(0, "level 1"), (1, "level 4")]), "{on_failure:?}");
        if on_failure == OnFailure::Continue {
            wait(&mut s, 40 * MINUTE);
            // Those in between concern other people, and the time for them comes all the same.
            assert_eq!(said(&s)[2..], pairs(&[(5, "level 2"), (15, "level 3")]));
        }
    }
}

#[test]
fn a_missed_deadline_raises_the_next_level_once() {
    let mut plan = told(levels(), None);
    plan.phases[0].deadline = Some(Millis(2 * MINUTE));
    let (mut s, _) = Script::start(plan);
    wait(&mut s, 4 * MINUTE);
    assert_eq!(said(&s), pairs(&[(0, "level 1"), (2, "level 2")]));
    wait(&mut s, 16 * MINUTE);
    assert_eq!(said(&s).last(), Some(&(15, "level 3".into())));
}

#[test]
fn whoever_takes_notice_ends_the_escalation_and_not_the_updates() {
    let mut plan = told(levels(), Some(cadence()));
    (plan.steps[0].escalate, plan.phases[0].deadline) = (Some(4), Some(Millis(7 * MINUTE)));
    let (mut s, _) = Script::start(plan);
    wait(&mut s, 2 * MINUTE);
    s.takes_notice("carol");
    wait(&mut s, 11 * MINUTE);
    s.at(12 * MINUTE).resume(Vec::new());
    s.at(13 * MINUTE).exits("a.1", 1);
    let all = [(0, "level 1"), (0, "update 1"), (5, "update 2"), (10, "update 3"), (13, "final update 4")];
    assert_eq!(said(&s), pairs(&all));
}

#[test]
fn alerts_that_are_open_are_acknowledged_once_by_whoever_takes_notice_first() {
    let (mut s, _) = Script::start(told(levels(), None));
    wait(&mut s, 6 * MINUTE);
    let lines = s.at(7 * MINUTE).takes_notice("carol");
    assert!(lines[1].starts_with("notice 3 by pager: Acknowledged"), "{lines:?}");
    assert_eq!(s.takes_notice("dave").len(), 1, "it is known already");
    s.at(8 * MINUTE).resume(Vec::new());
    s.at(9 * MINUTE).exits("a.1", 1);
    let all = [(0, "level 1"), (5, "level 2"), (7, "in hand of carol")];
    assert_eq!(said(&s), pairs(&all));
}

/// The record of the word may be the last that a process wrote, or the run may be over.
#[test]
fn an_acknowledgement_that_was_not_sent_is_made_up_for_and_may_follow_the_end() {
    let mut plan = told(levels(), None);
    plan.steps[0].on_failure = OnFailure::Ask;
    let (mut s, _) = Script::start(plan.clone());
    wait(&mut s, 6 * MINUTE);
    s.at(7 * MINUTE).takes_notice("carol");
    s.forget_last();
    assert_eq!(said(&s).len(), 2);
    s.at(9 * MINUTE).resume(Vec::new());
    assert_eq!(said(&s)[2..], pairs(&[(9, "in hand of carol")]));

    let (mut s, _) = Script::start(told(levels(), None));
    wait(&mut s, 6 * MINUTE);
    s.exits("a.1", 1);
    let end = s.state().end().cloned();
    assert!(end.is_some());
    let lines = s.at(60 * MINUTE).takes_notice_undriven("carol");
    assert!(lines.len() == 2 && lines[1].starts_with("notice 3 by pager"), "{lines:?}");
    assert!(s.takes_notice_undriven("dave").len() == 1, "once for an alert");
    assert_eq!(s.state().end(), end.as_ref(), "the run is as over as before");
    s.resume(Vec::new());
    assert_eq!(said(&s).len(), 3);
}

/// One that first hears of the run when somebody has it in hand calls nobody for long; a run that recovered has none.
#[test]
fn an_alert_that_opens_late_is_acknowledged_too_and_a_resolved_one_never() {
    let mut updates = cadence();
    updates.channels = vec!["pager".into()];
    let (mut s, _) = Script::start(told(Vec::new(), Some(updates)));
    s.takes_notice("carol");
    assert_eq!(said(&s), pairs(&[(0, "update 1"), (0, "in hand of carol")]));
    s.exits("a.1", 0);
    s.exits("b.1", 0);
    let all = [(0, "update 1"), (0, "in hand of carol"), (0, "final update 2"), (0, "called off")];
    assert_eq!(said(&s), pairs(&all));
    assert_eq!(s.takes_notice_undriven("dave").len(), 1, "nothing is open any more");
}

#[test]
fn the_page_for_people_is_told_of_like_a_channel() {
    let mut updates = cadence();
    updates.status_file = Some("/books/status.txt".into());
    let (mut s, lines) = Script::start(told(Vec::new(), Some(updates)));
    assert!(lines.iter().any(|line| line.starts_with("notice 1 by team, status file: ")), "{lines:?}");
    assert_eq!(s.hears_of(1, "status file", false), ["notice 1 by status file: not told"]);
    wait(&mut s, 5 * MINUTE);
    assert_eq!(said(&s), pairs(&[(0, "update 1"), (5, "update 2")]), "and tried with the next update");
}

#[test]
fn a_message_of_a_step_is_handed_over_and_not_waited_for() {
    let tell = Tell {
        channels: vec!["team".into(), "pager".into()],
        message: Template { src: "{{ run.operator }} has begun.".into(), uses: Vec::new() },
    };
    let mut plan = chain(vec![step("tell", Body::Notify(Box::new(tell))), run("after")]);
    plan.channels = channels();
    let (mut s, lines) = Script::start(plan.clone());
    assert_eq!(lines, ["notice 1 by team, pager: alice has begun.", "tell succeeded", "after.1 starts"]);
    assert_eq!(s.hears_of(1, "pager", false), ["notice 1 by pager: not told"]);
    assert!(s.hears_of(1, "pager", true).is_empty(), "once is enough");
    s.exits("after.1", 0);
    assert!(s.state().end().is_some());
    assert_eq!(s.hears_of(1, "team", true), ["notice 1 by team: told"], "also after the end");

    plan.drill = Some(runbook::plan::DrillPlace { dir: "/drill".into(), port: 1, run: None });
    plan.channels.retain(|channel| channel.name == "pager");
    let (_, lines) = Script::start(plan.clone());
    assert_eq!(lines[0], "notice 1 by pager: alice has begun.", "the one that the drill has set up");
    plan.channels.clear();
    let (_, lines) = Script::start(plan);
    assert_eq!(lines[0], "notice 1 by nobody: alice has begun.");
}

#[test]
fn a_run_that_waits_for_a_person_has_no_final_update() {
    let mut plan = told(Vec::new(), Some(cadence()));
    plan.steps[0].on_failure = OnFailure::Ask;
    let (mut s, _) = Script::start(plan);
    s.at(MINUTE).exits("a.1", 1);
    s.cannot_wait();
    assert!(s.state().end().is_some());
    assert_eq!(said(&s), pairs(&[(0, "update 1")]));
    s.at(7 * MINUTE).resume(Vec::new());
    assert_eq!(said(&s).last(), Some(&(7, "update 2".into())));
}
