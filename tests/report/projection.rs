//! When a run is likely to be over, in every view; and what past runs tell of it.

use std::collections::BTreeMap;

use runbook::engine::Outgoing;
use runbook::model::{
    Cause, Event, Millis, Past, PastStep, Record, RunOutcome, Spread, StepOutcome, TaskId, TaskKind,
    Timestamp, Via,
};
use runbook::plan::{Cadence, Plan, Updates};
use runbook::report::frame::{Size, View, frame};
use runbook::report::past::{Told, Took, past};
use runbook::report::{Brief, History, Incident, Look, Outlook, Plain, Reporter, Status, notice};

use crate::fixtures::{self, START, Tape, id_of};
use crate::{HEAD, check, fold, people, tail, text};

fn took(p50: u64, p90: u64) -> PastStep {
    let took = Spread { p50: Millis(p50), p90: Millis(p90) };
    PastStep { ran: 12, took, ..PastStep::default() }
}

/// Of the fixture's six steps all but the last are known.
fn known() -> Past {
    let steps = [
        ("stop-app", took(3_000, 4_000)),
        ("keep-evidence", took(200, 400)),
        ("pick", took(4_000, 5_000)),
        ("restore", took(300_000, 480_000)),
        ("start-app", took(3_000, 9_000)),
    ];
    let steps = steps.into_iter().map(|(id, told)| (id_of(id), told)).collect();
    Past { runs: 12, drills: 4, steps }
}

fn with(past: Past, mut records: Vec<Record>) -> Vec<Record> {
    if let Event::RunStarted(start) = &mut records[0].event {
        start.past = Some(Box::new(past));
    }
    records
}

/// In the middle of `pick`, long after it should be over.
fn half() -> Vec<Record> {
    let mut half = with(known(), fixtures::recovered());
    half.truncate(11);
    half
}

#[test]
fn a_run_with_past_runs_in_every_form() {
    let plan = fixtures::plan();
    let mut all = String::new();
    let none = with(Past::default(), half());
    for (name, records, later) in [
        ("as ever", half(), 700),
        ("late", half(), 20_000),
        ("too late", half(), 800_000),
        ("no past runs", none, 700),
    ] {
        fold(&plan, &records);
        let now = Some(Timestamp(records.last().expect("a record").at.0 + later));
        let status = Status::of(&plan, &History::of(&plan, &records), now, Some(true));
        let brief = Brief::of(&plan, &records, now, Some(true));
        let shown = text(|w| brief.write(w, Look::PLAIN));
        assert!(shown.lines().all(|l| l.chars().count() <= 80 || l.contains("runbook ")), "{shown}");
        let head: String =
            text(|w| status.write(w, Look::PLAIN)).lines().take(7).collect::<Vec<_>>().join("\n");
        all.push_str(&format!("=== {name}\n{head}\n---\n{shown}"));
        if name == "late" {
            let json = serde_json::to_string_pretty(&status.projection).expect("JSON");
            assert_eq!(json, serde_json::to_string_pretty(&brief.projection).expect("JSON"));
            check("projected.status.json", &(json + "\n"));
        }
    }
    check("projected.txt", &all);
    let whole = with(known(), fixtures::recovered());
    let incident = Incident::build(&plan, &whole, HEAD, &tail);
    check("projected.report.md", &incident.to_markdown());
    check("projected.report.html", &incident.to_html());
    let json = serde_json::to_string_pretty(&incident.projection).expect("JSON");
    check("projected.report.json", &(json + "\n"));
}

#[test]
fn frames_and_plain_lines() {
    let plan = fixtures::plan();
    let records = half();
    let state = fold(&plan, &records);
    let look = Look { color: false, unicode: false, width: None };
    let lines = |later: u64, columns: usize| {
        let now = Millis(records[10].t.0 + later);
        let tails = BTreeMap::new();
        let size = Size { rows: 24, columns };
        frame(&View { plan: &plan, state: &state, now, tails: &tails, prompt: None, look, size })
    };
    let early = lines(700, 160);
    assert_eq!(
        early[2],
        "projected to recover 10:43:05 (p50) to 10:46:12 (p90) UTC or later, RTO 10:51:55  from 12 past runs and 4 drills, without 1 step that no past run tells of"
    );
    assert_eq!(lines(700, 80)[2], "recovery 10:43:05 (p50) to 10:46:12 (p90) or later, RTO 10:51:55");
    let late = lines(20_000, 120);
    assert_eq!(
        late[4],
        "- pick  attempt 1 of 3 20s of 5m  late: 5.0s in past runs (p90)  Find the newest backup that verifies"
    );

    let mut out = Vec::new();
    let mut plain = Plain::new(&mut out, Look::PLAIN);
    let mut state = runbook::engine::State::new(&plan);
    for record in with(known(), fixtures::recovered()) {
        state.apply(&plan, &record).expect("a legal run");
        plain.record(&plan, &state, &record);
    }
    plain.finish(&plan, &state);
    let out = String::from_utf8(out).expect("UTF-8");
    let ahead: Vec<&str> = out.lines().filter(|line| line.contains("ahead")).collect();
    let untold = "without 1 step that no past run tells of";
    assert_eq!(
        ahead,
        [
            format!(
                "10:37:55 +4ms                     ahead       projected to recover 10:43:05 (p50) to 10:46:13 (p90) UTC or later, RTO 10:51:55, from 12 past runs and 4 drills, {untold}"
            ),
            format!(
                "10:37:58 +3.3s                    ahead       projected to recover 10:43:05 (p50) to 10:46:12 (p90) UTC or later, RTO 10:51:55, from 12 past runs and 4 drills, {untold}"
            ),
            format!(
                "10:38:04 +9.8s                    ahead       projected to recover 10:38:07 (p50) to 10:38:13 (p90) UTC or later, RTO 10:51:55, from 12 past runs and 4 drills, {untold}"
            ),
        ]
    );
}

/// What an update says of the time that is expected.
fn update(plan: &Plan, records: &[Record]) -> String {
    let text = whole_update(plan, records);
    let line = text.lines().find(|line| line.starts_with("Estimated resolution"));
    line.expect("an estimate").to_owned()
}

fn whole_update(plan: &Plan, records: &[Record]) -> String {
    let history = History::of(plan, records);
    let cause = Cause::Update { number: 2, last: false };
    let out = Outgoing { number: 2, cause, channels: vec!["team".into()], to: Vec::new(), text: None };
    let at = records.last().expect("a record").at;
    notice::compose(plan, &history, &out, "team", at).expect("a notice").text
}

#[test]
fn updates_say_what_comes_next_and_how_long_it_usually_takes() {
    let plan = fixtures::plan();
    let next = |records: &[Record]| {
        let text = whole_update(&plan, records);
        let lines = text.lines().skip_while(|line| !line.starts_with("Next steps")).skip(1);
        lines.take_while(|line| line.starts_with("- ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        next(&half()),
        [
            "- Put the backup in place (usually 5m00s)",
            "- Start the application (usually 3.0s)",
            // No past run tells of it.
            "- The application answers",
        ]
    );
    assert_eq!(
        next(&with(Past::default(), half())),
        ["- Put the backup in place", "- Start the application", "- The application answers"]
    );
}

#[test]
fn updates_say_when() {
    let mut plan = fixtures::plan();
    let every = vec![Cadence { length: None, every: Millis(60_000) }];
    plan.updates = Some(Updates { channels: vec!["team".into()], every, status_file: None });
    assert_eq!(
        update(&plan, &half()),
        "Estimated resolution: 10:43:05 (p50) to 10:46:12 (p90) UTC or later, from 12 past runs and 4 drills, \
         without 1 step that no past run tells of; the objective is 2026-11-21 10:51:55 UTC"
    );
    assert_eq!(
        update(&plan, &with(Past::default(), half())),
        "Estimated resolution: under investigation, no past runs; the objective is 2026-11-21 10:51:55 UTC"
    );
    let cause = Cause::Escalation { level: 1, why: "the incident has lasted 5m".into() };
    let out = Outgoing { number: 2, cause, channels: vec!["team".into()], to: Vec::new(), text: None };
    let notice =
        notice::compose(&plan, &History::of(&plan, &half()), &out, "team", Timestamp(START)).expect("one");
    let fact = ("projected".to_owned(), "10:43:05 (p50) to 10:46:12 (p90) UTC or later".to_owned());
    assert!(notice.facts.contains(&fact), "{:?}", notice.facts);
}

#[test]
fn far_ahead_the_minutes_are_enough_and_the_date_is_said() {
    let plan = fixtures::plan();
    let mut past = known();
    past.steps.insert(id_of("healthy"), took(3_600_000, 14 * 3_600_000));
    let outlook = |past: Past| {
        let records = with(past, half());
        let history = History::of(&plan, &records);
        history.outlook(&plan, history.last_t).expect("an outlook")
    };
    let far: Outlook = outlook(past.clone());
    assert_eq!(
        far.sentence(),
        "projected to recover 11:43 (p50) to 2026-11-22 00:46 (p90) UTC, RTO 10:51 missed"
    );
    assert_eq!(far.basis().as_deref(), Some("from 12 past runs and 4 drills"));
    past.steps.insert(id_of("healthy"), took(0, 600_000));
    assert_eq!(
        outlook(past).sentence(),
        "projected to recover 10:43:05 (p50) to 10:56:12 (p90) UTC, RTO 10:51:55 at risk"
    );
    let only = |ids: &[&str]| {
        let mut past = known();
        past.steps.retain(|id, _| ids.contains(&id.as_str()));
        outlook(past)
    };
    assert_eq!(only(&["stop-app"]).sentence(), "not projected: no past run tells of what is left");
}

#[test]
fn what_finished_runs_tell() {
    let told = Told::of(&people::recovered()).expect("a finished run");
    assert_eq!(
        (told.playbook.as_str(), told.environment.as_deref(), told.drill),
        ("db-corruption", Some("production"), false)
    );
    let ran = |machine: u64, people: Option<u64>| Took::Ran {
        machine: Millis(machine),
        people: people.map(Millis),
    };
    let steps: Vec<(&str, Took)> = told.steps.iter().map(|(id, took)| (id.as_str(), *took)).collect();
    // A person skipped `warm`; while `keys` waited, the run was taken up by another process.
    assert_eq!(
        steps,
        [("open", ran(1_100, None)), ("restore", ran(2_400, Some(90_000))), ("way", ran(0, Some(300_000)))]
    );
    let told = Told::of(&fixtures::recovered()).expect("a finished run");
    assert_eq!(told.steps[&id_of("pick")], ran(6_250, None), "with its retry");
    let told = Told::of(&fixtures::rolled_back()).expect("a finished run");
    assert_eq!(told.steps[&id_of("stop-app")], ran(3_210, None), "what was taken back ran all the same");
    assert!(!told.steps.contains_key(&id_of("healthy")), "a failure is no measure");
    let told = Told::of(&fixtures::in_doubt()).expect("a finished run");
    assert!(!told.steps.contains_key(&id_of("restore")), "it was interrupted");
    assert_eq!(Told::of(&fixtures::open()), None, "it is not over");
    let mut waits = people::waiting();
    let end = Tape::start(false).ended(RunOutcome::Waiting, None).pop().expect("an end");
    waits.push(end);
    assert_eq!(Told::of(&waits), None, "it only waits");
    assert_eq!(Told::of(&[]), None);
}

#[test]
fn answers_from_a_file_are_no_measure_of_people() {
    let mut records = people::recovered();
    for record in &mut records {
        if let Event::Answered { by, .. } = &mut record.event {
            by.via = Via::File;
        }
    }
    let told = Told::of(&records).expect("a finished run");
    assert_eq!(told.steps[&id_of("restore")], Took::Ran { machine: Millis(2_400), people: None });
}

#[test]
fn what_was_waited_for_inside_is_not_the_groups_time() {
    let mut tape = Tape::start(false);
    let (group, inside) = (id_of("way"), id_of("way").child("ask").expect("an id"));
    tape.event(Event::GroupStarted { step: group.clone(), params: BTreeMap::new() });
    let Event::Asked { question, .. } = &people::recovered()[2].event else { panic!("a question") };
    tape.pass(1_000).event(Event::Asked { step: inside.clone(), number: 1, question: question.clone() });
    tape.pass(50_000).over(inside.as_str(), StepOutcome::Succeeded, None);
    tape.pass(2_000).over("way", StepOutcome::Succeeded, None);
    let told = Told::of(&tape.ended(RunOutcome::Recovered, None)).expect("a finished run");
    assert_eq!(told.steps[&group], Took::Ran { machine: Millis(3_000), people: None });
    assert_eq!(told.steps[&inside], Took::Ran { machine: Millis(0), people: Some(Millis(50_000)) });
}

#[test]
fn a_step_that_is_taken_up_again_is_no_measure() {
    let mut tape = Tape::start(false);
    tape.attempt("a", 1, "a", 1_000, 1).over("a", StepOutcome::Failed, Some("exit 1"));
    tape.resume(60_000);
    tape.attempt("a", 2, "a", 1_000, 0).over("a", StepOutcome::Succeeded, None);
    tape.good("b", "b", 2_000);
    let task = TaskId::new(id_of("b"), TaskKind::Undo, 1);
    tape.begin(task, "undo b");
    let told = Told::of(&tape.ended(RunOutcome::Recovered, None)).expect("a finished run");
    let only: Vec<_> = told.steps.iter().map(|(id, took)| (id.as_str(), *took)).collect();
    assert_eq!(only, [("b", Took::Ran { machine: Millis(2_000), people: None })]);
}

fn one(environment: Option<&str>, drill: bool, steps: &[(&str, Took)]) -> Told {
    Told {
        playbook: "p".to_owned(),
        environment: environment.map(str::to_owned),
        drill,
        steps: steps.iter().map(|(id, took)| (id_of(id), *took)).collect(),
    }
}

#[test]
fn the_runs_that_are_most_alike_tell() {
    let ran = |ms: u64| Took::Ran { machine: Millis(ms), people: Some(Millis(ms * 10)) };
    let told = [
        one(Some("production"), false, &[("a", ran(100)), ("d", Took::NotNeeded)]),
        one(Some("production"), false, &[("a", ran(300)), ("d", ran(7))]),
        one(Some("staging"), false, &[("a", ran(1)), ("b", ran(2))]),
        one(None, true, &[("a", ran(1)), ("b", ran(1)), ("c", ran(3))]),
    ];
    let told = past(&told, Some("production"));
    assert_eq!((told.runs, told.drills), (3, 1));
    let figures = |id: &str| {
        let step = told.steps[&id_of(id)];
        (step.ran, step.not_needed, step.took.p50.0, step.took.p90.0, step.people.map(|p| p.p50.0))
    };
    assert_eq!(figures("a"), (2, 0, 100, 300, Some(1_000)), "of production alone");
    assert_eq!(figures("b"), (1, 0, 2, 2, Some(20)), "staging knows better than a drill");
    assert_eq!(figures("c"), (1, 0, 3, 3, None), "a drill answers at once");
    assert_eq!(figures("d"), (1, 1, 7, 7, Some(70)));
    assert_eq!(past(&[], None), Past::default());
}
