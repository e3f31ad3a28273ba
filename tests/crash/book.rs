//! Playbooks whose steps bear witness in a ledger outside of the journal, and the oracle that compares the two.
//!
//! Every command adds one line when it starts and one when it takes effect. A command that was killed in between is
//! seen, and so is one that ran twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::support::World;

/// The two lines, with the task's name in them: `start a1.1`, `effect a1.1.undo`.
const ACT: &str = r#"name="$RUNBOOK_STEP.$RUNBOOK_ATTEMPT${2:-}"
echo "start $name" >> ledger
sleep "$1"
echo "effect $name" >> ledger
"#;

/// Twenty steps: four branches beside one another, a retry, a polled check, a step that may be repeated, one with a
/// `check`. None but the one that says so may be repeated.
pub const STEPS: usize = 20;

/// How the twenty steps end when nobody disturbs them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    Recovers,
    /// The last step fails and everything is taken back.
    RollsBack,
}

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Self::Recovers => "recovers",
            Self::RollsBack => "rolls-back",
        }
    }

    pub fn outcome(self) -> &'static str {
        match self {
            Self::Recovers => "recovered",
            Self::RollsBack => "rolled-back",
        }
    }

    pub fn code(self) -> i32 {
        match self {
            Self::Recovers => 0,
            Self::RollsBack => 6,
        }
    }
}

/// A world with the twenty steps in it.
pub fn twenty(shape: Shape) -> World {
    let world = World::new();
    world.write("act", ACT);
    let mut steps = String::new();
    let mut add = |id: &str, needs: &str, millis: u32, then: &str, more: &str| {
        let undo = format!("undo: {{ run: 'sh ./act 0.0{} .undo' }}", millis / 20 + 1);
        let run = format!("sh ./act 0.0{millis}{then}");
        let _ = writeln!(
            steps,
            "  - {{ id: {id}, title: Step {id}, run: '{run}'{needs}, {undo}{more}, timeout: 1m }}"
        );
    };
    add("first", "", 20, "", "");
    for (branch, millis) in [("a", 30), ("b", 50), ("c", 20), ("d", 80)] {
        add(&format!("{branch}1"), ", needs: [first]", millis, "", "");
        add(&format!("{branch}2"), "", 80 - millis / 2, "", "");
        add(&format!("{branch}3"), "", 20 + millis / 2, "", "");
    }
    add("join", ", needs: [a3, b3, c3, d3]", 30, "", "");
    let twice = "; test $(grep -c \"effect flaky\" ledger) -ge 2";
    add("flaky", "", 20, twice, ", retry: { attempts: 3, delay: 20ms }");
    let seen = ", verify: [{ title: It is in the ledger, run: grep -q \"effect proved\" ledger, within: 1m, every: 50ms }]";
    add("proved", "", 40, "", seen);
    add("safe", "", 60, "", ", idempotent: true");
    add("checked", "", 40, "", ", check: { run: grep -q \"effect checked.1$\" ledger }");
    add("late", "", 20, "", "");
    match shape {
        Shape::Recovers => add("last", "", 40, "", ""),
        Shape::RollsBack => add("last", "", 40, "; exit 9", ", on_failure: rollback"),
    }
    world.playbook(shape.name(), &format!("steps:\n{steps}"));
    world
}

/// Whether the newest run has a record. One that was killed before its first has nothing to go on with.
pub fn has_begun(world: &World) -> bool {
    !world.runs().is_empty() && !world.run(&["log", "last", "--json"]).out.is_empty()
}

/// The sorted ledger of a run that nobody disturbs.
pub fn undisturbed(shape: Shape) -> Vec<String> {
    let world = twenty(shape);
    world.run(&["run", shape.name()]).exits(shape.code());
    let ledger = world.ledger();
    // Each step once and `flaky` twice, each with two lines; and as many undos as there are steps, or none.
    let undos = if shape == Shape::RollsBack { STEPS } else { 0 };
    assert_eq!(ledger.len(), 2 * (STEPS + 1 + undos), "{ledger:#?}");
    assert_truth(&world, shape);
    sorted(ledger)
}

pub fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// How often each task took effect, by the ledger. Panics if a line is torn.
pub fn effects(world: &World) -> BTreeMap<String, usize> {
    count(world, "effect ")
}

pub fn starts(world: &World) -> BTreeMap<String, usize> {
    count(world, "start ")
}

fn count(world: &World, what: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for line in world.ledger() {
        assert!(line.starts_with("start ") || line.starts_with("effect "), "a torn line: {line:?}");
        if let Some(task) = line.strip_prefix(what) {
            *found.entry(task.to_owned()).or_default() += 1;
        }
    }
    found
}

/// What the journal and the ledger must agree on after a run that lost nothing: every effect is recorded, everything
/// recorded is an effect, nothing is unknown, the chain is whole, and nothing runs.
#[track_caller]
pub fn assert_truth(world: &World, shape: Shape) {
    let events = world.events();
    let effects = effects(world);
    assert_eq!(effects, starts(world), "a command was started and did not come to its effect");
    let ended = exited(&events);
    let witnessed: BTreeMap<String, usize> = effects.clone();
    let recorded: BTreeMap<String, usize> =
        ended.iter().filter(|t| !is_looking(t)).map(|t| (without_rerun(t), 1)).collect();
    assert_eq!(recorded, witnessed, "the journal on the left, the ledger on the right");
    for (name, body) in &events {
        assert_ne!(name, "keeper_lost", "{body}");
        assert!(!is_unknown(body), "{name}: {body}");
    }
    let end = events.iter().rev().find(|(name, _)| name == "run_ended").expect("an end");
    assert_eq!(end.1["outcome"], shape.outcome(), "{}", end.1);
    assert_reverse_order(world);
    world.run(&["verify", "last"]).exits(0);
    world.assert_nothing_runs();
}

pub fn is_unknown(body: &Value) -> bool {
    body["outcome"] == "unknown"
        || body["verdict"].get("unknown").is_some()
        || body["state"].get("unknown").is_some()
}

/// The tasks that ended by themselves, as recorded.
fn exited(events: &[(String, Value)]) -> BTreeSet<String> {
    let ended = events.iter().filter(|(name, body)| name == "task_ended" && exited_by_itself(body));
    ended.map(|(_, body)| body["task"].as_str().unwrap().to_owned()).collect()
}

/// Not ended by the tool, and not lost.
pub fn exited_by_itself(body: &Value) -> bool {
    body["end"].get("exited").is_some() || body["end"]["kind"].get("exited").is_some()
}

/// A check: it leaves no trace in the ledger.
fn is_looking(task: &str) -> bool {
    task.contains(".verify") || task.ends_with(".check")
}

/// `a1.1r2.undo` is the task `a1.1.undo`, started again under another name.
pub fn without_rerun(task: &str) -> String {
    let mut parts: Vec<&str> = task.split('.').collect();
    if let Some(count) = parts.get_mut(1) {
        *count = count.split('r').next().unwrap_or_default();
    }
    parts.join(".")
}

/// Each undo began only after the undo of what was built on the step had ended.
#[track_caller]
fn assert_reverse_order(world: &World) {
    let ledger = world.ledger();
    let at = |line: String| ledger.iter().position(|l| *l == line);
    for (before, after) in NEEDS.iter().flat_map(|(after, before)| before.iter().map(move |b| (b, after))) {
        let undone_first = at(format!("effect {after}.1.undo"));
        let undone_then = at(format!("start {before}.1.undo"));
        if let (Some(first), Some(then)) = (undone_first, undone_then) {
            assert!(first < then, "{before} was taken back before {after}: {ledger:#?}");
        }
    }
}

/// What each step needs.
const NEEDS: &[(&str, &[&str])] = &[
    ("a1", &["first"]),
    ("a2", &["a1"]),
    ("a3", &["a2"]),
    ("b1", &["first"]),
    ("b2", &["b1"]),
    ("b3", &["b2"]),
    ("c1", &["first"]),
    ("c2", &["c1"]),
    ("c3", &["c2"]),
    ("d1", &["first"]),
    ("d2", &["d1"]),
    ("d3", &["d2"]),
    ("join", &["a3", "b3", "c3", "d3"]),
    ("flaky", &["join"]),
    ("proved", &["flaky"]),
    ("safe", &["proved"]),
    ("checked", &["safe"]),
    ("late", &["checked"]),
    ("last", &["late"]),
];
