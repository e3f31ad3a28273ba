//! What people read, as text: each kind of run in each form, compared byte for byte with `tests/cases/report/`.
//! `UPDATE_CASES=1 cargo test --test report` writes the files anew; read the difference before committing it.

mod fixtures;
mod hostile;
mod items;
mod live;
mod people;
mod projection;
mod scale;
mod terminal;
mod told;

use std::path::Path;

use runbook::engine::{State, StepStatus};
use runbook::model::{Record, TaskId, Timestamp};
use runbook::plan::{Body, Plan};
use runbook::report::{
    Closing, GraphFormat, History, Incident, Json, Look, ParamRow, Plain, PlanView, Reporter, RunSummary,
    Status, graph, log_text, timeline, write_closing, write_runs, write_show,
};

pub const HEAD: &str = "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab";

fn runs() -> Vec<(&'static str, Vec<Record>)> {
    vec![
        ("recovered", fixtures::recovered()),
        ("rolled-back", fixtures::rolled_back()),
        ("stuck", fixtures::stuck()),
        ("in-doubt", fixtures::in_doubt()),
        ("open", fixtures::open()),
        ("cancelled", fixtures::cancelled()),
        ("drill", fixtures::drill()),
    ]
}

/// What the commands of the fixtures are said to have printed.
pub fn tail(task: &TaskId, stderr: bool) -> Option<Vec<u8>> {
    match (task.to_string().as_str(), stderr) {
        ("healthy.1.verify0.4", false) => {
            Some(b"HTTP/1.1 503\n{\"error\": \"no such table: tasks\"}\n".to_vec())
        }
        ("restore.1.undo", true) => {
            Some(b"install: cannot stat 'damaged.db'\n\x1b[31mgone\x1b[0m\n".to_vec())
        }
        _ => None,
    }
}

/// Folds as the runner does, and fails if a fixture is no legal run.
pub fn fold(plan: &Plan, records: &[Record]) -> State {
    let mut state = State::new(plan);
    for record in records {
        state.apply(plan, record).expect("a legal run");
    }
    state
}

#[track_caller]
fn check(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/report").join(name);
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::write(&path, actual).expect("the case is written");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{name} differs; expected:\n{expected}\nactual:\n{actual}\nUPDATE_CASES=1 accepts the new text"
    );
}

fn text(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("a Vec takes everything");
    String::from_utf8(out).expect("text is UTF-8")
}

#[test]
fn the_log_as_text() {
    let plan = fixtures::plan();
    for (name, records) in runs() {
        let entries = timeline::Timeline::of(&records);
        assert_eq!(entries.len(), records.len(), "one entry for each record");
        check(&format!("{name}.log.txt"), &log_text::log_text(&plan, &entries, Look::PLAIN));
    }
    let entries = timeline::Timeline::of(&fixtures::recovered());
    let narrow = Look { color: false, unicode: false, width: Some(80) };
    let log = log_text::log_text(&plan, &entries, narrow);
    assert!(log.is_ascii() && log.lines().all(|l| l.len() <= 80), "{log}");
    check("recovered.log.narrow.txt", &log);
}

#[test]
fn the_report_in_every_form() {
    let plan = fixtures::plan();
    for (name, records) in runs() {
        let incident = Incident::build(&plan, &records, HEAD, &tail);
        check(&format!("{name}.report.md"), &incident.to_markdown());
        check(&format!("{name}.report.html"), &incident.to_html());
        check(&format!("{name}.report.json"), &incident.to_json().expect("a report is JSON"));
    }
}

#[test]
fn the_closing_block() {
    let plan = fixtures::plan();
    let mut all = String::new();
    for (name, records) in runs() {
        let history = History::of(&plan, &records);
        let report = Path::new("runs/r/report.html");
        let closing = Closing { head: HEAD, report: Some(report), look: Look::PLAIN, tail: &tail };
        all.push_str(&format!("=== {name}\n"));
        all.push_str(&text(|w| write_closing(w, &plan, &history, &closing)));
    }
    check("closing.txt", &all);
}

#[test]
fn the_status_on_one_screen() {
    let plan = fixtures::plan();
    let now = Timestamp(fixtures::START + 3_700_000);
    let mut all = String::new();
    let mut list = Vec::new();
    for (name, records) in runs() {
        let history = History::of(&plan, &records);
        let status = Status::of(&plan, &history, Some(now), Some(false));
        all.push_str(&format!("=== {name}\n"));
        all.push_str(&text(|w| status.write(w, Look::PLAIN)));
        list.extend(RunSummary::of(&history, Some(now), Some(false)));
    }
    all.push_str("=== list\n");
    all.push_str(&text(|w| write_runs(w, &list, Look::PLAIN)));
    check("status.txt", &all);
    let mut half = fixtures::recovered();
    half.truncate(14);
    let moment = Timestamp(half[13].at.0 + 1_000);
    let history = History::of(&plan, &half);
    let status = Status::of(&plan, &history, Some(moment), Some(true));
    check("status.running.txt", &text(|w| status.write(w, Look::PLAIN)));
    check("status.running.json", &(serde_json::to_string_pretty(&status).expect("JSON") + "\n"));
}

#[test]
fn a_plan_before_anything_is_run() {
    let plan = fixtures::plan();
    let view = PlanView::of(&plan, &"5f1c".repeat(16));
    check("plan.txt", &text(|w| view.write(w, Look::PLAIN)));
    check("plan.json", &(serde_json::to_string_pretty(&view).expect("JSON") + "\n"));
    check("graph.mmd", &graph(&plan, GraphFormat::Mermaid, Look::PLAIN));
    check("graph.dot", &graph(&plan, GraphFormat::Dot, Look::PLAIN));
    check("graph.txt", &graph(&plan, GraphFormat::Text, Look::PLAIN));
    let params = vec![
        ParamRow {
            name: "database".to_owned(),
            kind: "path".to_owned(),
            required: true,
            default: None,
            description: Some("The SQLite file to recover".to_owned()),
        },
        ParamRow {
            name: "backups".to_owned(),
            kind: "path".to_owned(),
            required: false,
            default: Some("./backups".to_owned()),
            description: None,
        },
    ];
    check("show.txt", &text(|w| write_show(w, &plan, &params, Look::PLAIN)));
}

#[test]
fn plain_lines_while_it_runs() {
    let plan = fixtures::plan();
    let mut out = Vec::new();
    let mut plain = Plain::new(&mut out, Look::PLAIN);
    let mut state = State::new(&plan);
    for record in fixtures::rolled_back() {
        state.apply(&plan, &record).expect("a legal run");
        plain.record(&plan, &state, &record);
        if let runbook::model::Event::TaskStarted { task, .. } = &record.event {
            plain.output(task, false, b"one\ntw");
            plain.output(task, true, b"careful: \x1b]0;owned\x07\n");
            plain.output(task, false, b"o");
        }
    }
    plain.finish(&plan, &state);
    check("rolled-back.plain.txt", &String::from_utf8(out).expect("UTF-8"));
}

#[test]
fn json_lines_carry_the_record() {
    let plan = fixtures::plan();
    let mut out = Vec::new();
    let mut json = Json::new(&mut out);
    let records = fixtures::in_doubt();
    let mut state = State::new(&plan);
    for record in &records {
        state.apply(&plan, record).expect("a legal run");
        json.record(&plan, &state, record);
    }
    json.flush();
    let out = String::from_utf8(out).expect("UTF-8");
    for (line, record) in out.lines().zip(&records) {
        let value: serde_json::Value = serde_json::from_str(line).expect("one JSON object a line");
        let keys: Vec<&String> = value.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["v", "seq", "epoch", "t", "at", "event"]);
        let event = serde_json::from_value(value["event"].clone()).expect("an event");
        assert_eq!((value["seq"].as_u64(), &event), (Some(record.seq), &record.event));
    }
    assert_eq!(out.lines().count(), records.len());
}

#[test]
fn the_history_agrees_with_the_engine() {
    let plan = fixtures::plan();
    for (name, records) in runs() {
        let (state, history) = (fold(&plan, &records), History::of(&plan, &records));
        for (ix, step) in plan.steps.iter().enumerate() {
            let engine = match state.steps[ix].status {
                StepStatus::Over(outcome) => Some(outcome),
                _ => None,
            };
            assert_eq!(history.steps[ix].final_outcome(), engine, "{name}: {}", step.id);
            if !matches!(step.body, Body::Command(_)) {
                // The engine counts a round of checks as an attempt; people do not.
                continue;
            }
            assert_eq!(history.steps[ix].attempts, state.steps[ix].attempts, "{name}: {}", step.id);
        }
        let open: Vec<&TaskId> = history.open_tasks().map(|(_, task, _)| task).collect();
        assert_eq!(open, state.in_flight.keys().collect::<Vec<_>>(), "{name}");
    }
}
