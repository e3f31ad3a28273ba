//! Ten thousand steps, no steps, and outputs without end: everything stays bounded and readable.

use runbook::model::{RunOutcome, Timestamp};
use runbook::plan::Body;
use runbook::report::{GraphFormat, History, Incident, Look, PlanView, Status, graph, log_text, timeline};

use crate::fixtures::{self, Tape};

const MANY: usize = 10_000;

fn many() -> (runbook::plan::Plan, Vec<runbook::model::Record>) {
    let steps = (0..MANY).map(|n| fixtures::run(&format!("s{n}"), "One of many", 0, "true")).collect();
    let plan = fixtures::plan_of(&[("steps", "")], steps);
    let mut tape = Tape::start(false);
    tape.phase("steps");
    for n in 0..MANY - 1 {
        tape.good(&format!("s{n}"), "true", 3);
    }
    let last = format!("s{}", MANY - 1);
    tape.attempt(&last, 1, "false", 3, 1).over(&last, runbook::model::StepOutcome::Failed, Some("exit 1"));
    let records = tape.ended(RunOutcome::Failed, Some("the last of them failed"));
    (plan, records)
}

#[test]
fn ten_thousand_steps() {
    let (plan, records) = many();
    let huge = vec![b'x'; 64 * 1024];
    let incident = Incident::build(&plan, &records, "head", &|_, _| Some(huge.clone()));
    let (html, markdown) = (incident.to_html(), incident.to_markdown());
    assert!(html.len() < 2 << 20, "{} bytes of HTML", html.len());
    assert!(markdown.len() < 1 << 20, "{} bytes of Markdown", markdown.len());
    for text in [&html, &markdown] {
        assert!(text.contains("s9999") && text.contains("are left out"));
    }
    assert_eq!(incident.steps.len(), MANY);
    let history = History::of(&plan, &records);
    let mut screen = Vec::new();
    Status::of(&plan, &history, Some(Timestamp(0)), None).write(&mut screen, Look::PLAIN).unwrap();
    let screen = String::from_utf8(screen).unwrap();
    assert!(screen.lines().count() < 60, "{screen}");
    assert!(screen.contains("of 10000 steps: 1 failed, 9999 succeeded"), "{screen}");
    let mut text = Vec::new();
    PlanView::of(&plan, "hash").write(&mut text, Look::PLAIN).unwrap();
    assert!(text.len() > MANY * 10);
    assert_eq!(graph(&plan, GraphFormat::Text, Look::PLAIN).lines().count(), MANY);
    let log = log_text::log_text(&plan, &timeline::Timeline::of(&records), Look::PLAIN);
    assert!(log.lines().count() >= 3 * MANY);
}

#[test]
fn nothing_at_all() {
    let plan = fixtures::plan_of(&[("steps", "")], Vec::new());
    let records = Tape::start(false).ended(RunOutcome::Recovered, None);
    for records in [&records[..], &[]] {
        let incident = Incident::build(&plan, records, "", &|_, _| None);
        assert!(incident.to_html().contains("The plan has no steps."));
        assert!(incident.to_markdown().contains("The plan has no steps."));
        assert!(incident.to_json().unwrap().starts_with("{\n  \"version\": 1,"));
        let mut out = Vec::new();
        Status::of(&plan, &History::of(&plan, records), None, None).write(&mut out, Look::PLAIN).unwrap();
        PlanView::of(&plan, "").write(&mut out, Look::PLAIN).unwrap();
        assert!(!out.is_empty());
    }
}

#[test]
fn groups_are_shown_with_what_is_inside() {
    let mut group = fixtures::step("strategy", "Bring the data back", 0, Body::AnyOf(vec![1, 2]));
    group.on_failure = runbook::plan::OnFailure::Stop;
    let mut replica = fixtures::run("strategy/replica", "Promote the replica", 0, "pg_ctl promote -w");
    replica.parent = Some(0);
    let mut backup = fixtures::run("strategy/backup", "Restore the backup", 0, "pg_restore");
    backup.parent = Some(0);
    let after = fixtures::run("after", "Afterwards", 0, "true");
    let plan = fixtures::plan_of(&[("steps", "")], vec![group, replica, backup, after]);
    let mermaid = graph(&plan, GraphFormat::Mermaid, Look::PLAIN);
    assert!(mermaid.contains("subgraph s0[\"strategy<br/>Bring the data back\"]"), "{mermaid}");
    assert!(mermaid.contains("s1 -. else .-> s2") && mermaid.contains("s0 --> s3"), "{mermaid}");
    let text = graph(&plan, GraphFormat::Text, Look::PLAIN);
    let expected =
        "strategy  (the first that serves)\n  strategy/replica\n  strategy/backup\nstrategy → after\n";
    assert_eq!(text, expected);
    let view = PlanView::of(&plan, "hash");
    assert_eq!(view.phases[0].waves.len(), 2);
    assert_eq!(view.phases[0].waves[0][0].inside.len(), 2);
}

#[test]
fn commands_are_shown_as_far_as_they_are_known() {
    let known = fixtures::run("copy", "Copy", 0, "cp -a -- {{ params.database }} \"$RUNBOOK_DIR\"");
    let open = fixtures::run("restore", "Restore", 0, "install {{ steps[\"copy-it\"].outputs.path }} x");
    let spliced = fixtures::run("stop", "Stop", 0, "{{ params.database | raw }}");
    let plan = fixtures::plan_of(&[("steps", "")], vec![known, open, spliced]);
    let view = PlanView::of(&plan, "hash");
    let command = |n: usize| view.phases[0].waves[n][0].command.clone().unwrap();
    assert_eq!(command(0).text, "cp -a -- \"${RB_V1}\" \"$RUNBOOK_DIR\"");
    assert_eq!(command(0).values, [("RB_V1".to_owned(), "/srv/app/tasks.db".to_owned())]);
    assert!(command(0).known && !command(1).known);
    assert_eq!(command(1).text, "install {{ steps.copy-it.outputs.path }} x");
    assert_eq!(command(2).text, "/srv/app/tasks.db");
    let raw = |n: usize| view.phases[0].waves[n][0].raw;
    assert!(raw(2) && !raw(0));
}
