//! A step that is done for each item of a list: one line with a count, and one for each item that needs a look.

use runbook::engine::State;
use runbook::model::{
    Event, Millis, Record, RunOutcome, StepOutcome, TaskEndKind, TaskId, TaskKind, TaskVerdict, Timestamp,
};
use runbook::plan::{Body, ForEach, OnItemFailure, Plan, Step};
use runbook::report::frame::{Size, View, frame};
use runbook::report::{
    Closing, GraphFormat, History, Incident, Live, Look, PlanView, Reporter, Status, graph, write_closing,
    write_show,
};
use serde_json::json;

use crate::fixtures::{self, Tape};
use crate::{HEAD, check, fold, tail, text};

/// `restart` for each of so many hosts, then `tell`. The fourth host's name is hostile.
fn plan(hosts: usize) -> Plan {
    let rule = ForEach {
        steps: (1..=hosts).collect(),
        max_parallel: Some(2),
        on_item_failure: OnItemFailure::Continue,
        at_least: Some(2),
    };
    let mut steps = vec![fixtures::step("restart", "Restart the web server", 0, Body::ForEach(rule))];
    for n in 1..=hosts {
        let name = if n == 4 { "web\x1b[2J 4".to_owned() } else { format!("web{n}") };
        let step = fixtures::run("x", &format!("Restart the web server: {name}"), 0, "./restart {{ item }}");
        let id = fixtures::id_of(&format!("restart/{n}"));
        steps.push(Step { id, parent: Some(0), item: Some(json!(name)), undo: fixtures::undo("x"), ..step });
    }
    steps.push(fixtures::run("tell", "Tell the others", 0, "true"));
    let plan = fixtures::plan_of(&[("steps", "")], steps);
    Plan::from_json(&plan.to_json()).expect("a legal plan")
}

/// The first two are done, the third failed, the fourth runs, and the fifth has not begun.
fn under_way() -> Tape {
    let mut tape = Tape::start(false);
    tape.phase("steps");
    let step = fixtures::id_of("restart");
    tape.event(Event::GroupStarted { step, params: std::collections::BTreeMap::new() });
    tape.good("restart/1", "./restart web1", 1_000);
    tape.good("restart/2", "./restart web2", 1_000);
    let fourth = TaskId::new(fixtures::id_of("restart/4"), TaskKind::Attempt, 1);
    tape.begin(fourth, "./restart web4");
    tape.attempt("restart/3", 1, "./restart web3", 2_000, 7);
    tape.over("restart/3", StepOutcome::Failed, Some("exit 7"));
    tape
}

fn over() -> Vec<Record> {
    let mut tape = under_way();
    let task = |n: u32| TaskId::new(fixtures::id_of(&format!("restart/{n}")), TaskKind::Attempt, 1);
    let (kind, why) = (TaskEndKind::Unknown { why: "the link broke".into() }, "the link broke".to_owned());
    tape.end(task(4), 500, kind, TaskVerdict::Unknown(why));
    tape.over("restart/4", StepOutcome::Unknown, Some("the link broke"));
    tape.good("restart/5", "./restart web5", 100);
    tape.over("restart", StepOutcome::Succeeded, None);
    tape.good("tell", "true", 10);
    tape.phase_end("steps");
    tape.ended(RunOutcome::Degraded, Some("step restart/3 failed and the run went on"))
}

#[test]
fn before_anything_is_run_it_is_one_step() {
    let plan = plan(25);
    let view = PlanView::of(&plan, &"5f1c".repeat(16));
    check("items.plan.txt", &text(|w| view.write(w, Look::PLAIN)));
    check("items.graph.mmd", &graph(&plan, GraphFormat::Mermaid, Look::PLAIN));
    check("items.graph.dot", &graph(&plan, GraphFormat::Dot, Look::PLAIN));
    check("items.graph.txt", &graph(&plan, GraphFormat::Text, Look::PLAIN));
    check("items.show.txt", &text(|w| write_show(w, &plan, &[], Look::PLAIN)));
}

#[test]
fn the_status_counts_them_and_lists_those_that_need_a_look() {
    let plan = plan(5);
    let records = under_way().records;
    let moment = Timestamp(records.last().expect("a record").at.0 + 1_000);
    let history = History::of(&plan, &records);
    let status = Status::of(&plan, &history, Some(moment), Some(true));
    let shown = text(|w| status.write(w, Look::PLAIN));
    let history = History::of(&plan, &over());
    let status = Status::of(&plan, &history, Some(moment), Some(false));
    check("items.status.txt", &(shown + "===\n" + &text(|w| status.write(w, Look::PLAIN))));
}

#[test]
fn the_report_and_the_closing_block() {
    let plan = plan(5);
    let records = over();
    check("items.report.md", &Incident::build(&plan, &records, HEAD, &tail).to_markdown());
    let history = History::of(&plan, &records);
    let closing = Closing { head: HEAD, report: None, look: Look::PLAIN, tail: &tail };
    check("items.closing.txt", &text(|w| write_closing(w, &plan, &history, &closing)));
}

#[test]
fn a_frame_tells_how_far_they_are() {
    let plan = plan(5);
    let records = under_way().records;
    let state = fold(&plan, &records);
    let look = Look { color: false, unicode: false, width: None };
    let size = Size { rows: 24, columns: 90 };
    let (now, tails) = (records.last().expect("a record").t, std::collections::BTreeMap::new());
    let lines = frame(&View { plan: &plan, state: &state, now, tails: &tails, prompt: None, look, size });
    assert_eq!(
        lines[3..],
        [
            "| restart  2/5 items done, 1 failed, 1 running  Restart the web server",
            "| restart/4  2s of 5m  Restart the web server: web\\x1b[2J 4",
        ],
        "{lines:?}"
    );
}

#[test]
fn of_those_that_went_well_none_stays_on_the_scrollback() {
    let plan = plan(5);
    let screen = crate::live::Screen::default();
    let look = Look { color: false, unicode: false, width: None };
    let mut live = Live::new(Box::new(screen.clone()), look, Box::new(|| Size { rows: 20, columns: 90 }));
    let mut state = State::new(&plan);
    for record in over() {
        state.apply(&plan, &record).expect("a legal run");
        live.record(&plan, &state, &record);
        live.tick(&plan, &state, Millis(record.t.0 + 1), record.at);
    }
    live.finish(&plan, &state);
    let shown = screen.shown().join("\n");
    for line in
        ["FAIL restart/3  2.0s, failed", "? restart/4", "3/5 items done, 1 failed, 1 in doubt", "tell"]
    {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
    assert!(!shown.contains("restart/1") && !shown.contains("restart/5"), "{shown}");
}
