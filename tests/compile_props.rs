//! Properties of compiled plans: any graph keeps its promises, and no stored plan, however forged, causes a panic.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use runbook::plan::{Plan, PlanError, Request, compile};
use runbook::playbook::load::{Book, Loaded};
use runbook::playbook::parse;
use runbook::playbook::source::SourceMap;
use serde_json::Value;

fn compiled(text: &str) -> Plan {
    let mut sources = SourceMap::default();
    let path = PathBuf::from("/books/book.yaml");
    let file = sources.add(path.clone(), text.to_owned());
    let parsed = parse(file, text, None);
    assert!(parsed.diagnostics.is_empty(), "{:?}\n{text}", parsed.diagnostics);
    let book =
        Book { playbook: parsed.value.expect("a playbook"), file, path, folder: PathBuf::from("/books") };
    let request = Request {
        environment: None,
        params: &[],
        cwd: Path::new("/"),
        shared: &[],
        roles: &[],
        shared_folder: Path::new("/"),
        show_missing: false,
        root: None,
    };
    compile(&Loaded { sources, books: vec![book], ..Loaded::default() }, &request)
        .unwrap_or_else(|e| panic!("{e:?}\n{text}"))
}

/// A step: whether `needs` is typed, which earlier steps of its phase it takes, whether it is a group.
type Typed = (bool, Vec<prop::sample::Index>, bool);

fn playbooks() -> impl Strategy<Value = Vec<Vec<Typed>>> {
    let step =
        (any::<bool>(), prop::collection::vec(any::<prop::sample::Index>(), 0..4), prop::bool::weighted(0.2));
    prop::collection::vec(prop::collection::vec(step, 1..12), 1..4)
}

/// The playbook, each step in some place of its phase, so that needs point up and down.
fn write(phases: &[Vec<Typed>], turn: bool) -> String {
    let mut text = String::from("apiVersion: runbook/v1\nname: book\nphases:\n");
    for (p, steps) in phases.iter().enumerate() {
        write!(text, "  - id: p{p}\n    steps:\n").unwrap();
        let mut written: Vec<String> = Vec::new();
        for (s, (typed, needs, group)) in steps.iter().enumerate() {
            let mut one = format!("      - id: s{p}-{s}\n");
            // When the order is turned around, the default would make cycles.
            if *typed || turn {
                let names: HashSet<usize> =
                    needs.iter().filter(|_| s > 0).map(|n| n.index(s.max(1))).collect();
                let mut names: Vec<String> = names.iter().map(|n| format!("s{p}-{n}")).collect();
                names.sort();
                writeln!(one, "        needs: [{}]", names.join(", ")).unwrap();
            }
            if *group && s % 2 == 1 {
                writeln!(one, "        foreach: [a, b]\n        run: x {{{{ item }}}}\n        undo: {{ run: 'y {{{{ item }}}}' }}")
                    .unwrap();
            } else if *group {
                writeln!(one, "        any_of: [{{ id: a{p}-{s}, run: x, undo: {{ run: y }} }}, {{ id: b{p}-{s}, run: x }}]")
                    .unwrap();
            } else {
                one.push_str("        run: x\n        undo: { run: y }\n");
            }
            written.push(one);
        }
        if turn {
            written.reverse();
        }
        text.push_str(&written.concat());
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn waves_keep_every_promise(phases in playbooks(), turn: bool) {
        let plan = compiled(&write(&phases, turn));
        let waves = plan.waves();
        let mut at = vec![None; plan.steps.len()];
        for (wave, steps) in waves.iter().enumerate() {
            prop_assert!(!steps.is_empty());
            for ix in steps {
                prop_assert!(at[*ix].replace(wave).is_none(), "a step stands in two waves");
            }
        }
        let ids: HashSet<&str> = plan.steps.iter().map(|s| s.id.as_str()).collect();
        prop_assert_eq!(ids.len(), plan.steps.len());
        for (ix, step) in plan.steps.iter().enumerate() {
            prop_assert!(at[ix].is_some());
            prop_assert_eq!(plan.find(&step.id), Some(ix));
            for before in plan.ancestors(ix) {
                prop_assert!(at[before] < at[ix], "{} before {}", plan.steps[before].id, step.id);
            }
            let before: HashSet<usize> = plan.ancestors(ix).into_iter().collect();
            for need in &step.needs {
                prop_assert!(before.contains(need));
            }
            for (other, s) in plan.steps.iter().enumerate() {
                prop_assert!(s.phase >= step.phase || before.contains(&other), "an earlier phase is over");
            }
            // What is undone last was done first.
            let undone = plan.undone_on_failure(ix);
            for pair in undone.windows(2) {
                prop_assert!(at[pair[0]] >= at[pair[1]]);
            }
        }
        let json = plan.to_json();
        prop_assert_eq!(Plan::from_json(&json).expect("a plan reads back"), plan.clone());
        prop_assert_eq!(Plan::hash(&json), Plan::hash(&plan.to_json()));
    }

    #[test]
    fn a_step_reads_exactly_what_is_before_it(phases in playbooks(), turn: bool, from: prop::sample::Index, to: prop::sample::Index) {
        let text = write(&phases, turn);
        let plan = compiled(&text);
        let top: Vec<usize> = (0..plan.steps.len()).filter(|ix| plan.steps[*ix].parent.is_none()).collect();
        let (reader, read) = (top[from.index(top.len())], top[to.index(top.len())]);
        let (id, name) = (plan.steps[reader].id.as_str(), plan.steps[read].id.as_str());
        let line = format!("- id: {id}\n");
        let text = text.replace(&line, &format!("{line}        when: steps.{name}.outcome == 'succeeded'\n"));
        let mut sources = SourceMap::default();
        let file = sources.add(PathBuf::from("/b.yaml"), text.clone());
        let parsed = parse(file, &text, None);
        let book = Book { playbook: parsed.value.expect("a playbook"), file, path: PathBuf::from("/b.yaml"), folder: PathBuf::from("/") };
        let day = chrono::NaiveDate::from_ymd_opt(2026, 11, 21).expect("a day");
        let found = runbook::plan::lint(&Loaded { sources, books: vec![book], ..Loaded::default() }, day);
        let refused = found.iter().any(|d| d.code == "not-over");
        prop_assert_eq!(refused, !plan.ancestors(reader).contains(&read), "{}", text);
    }
}

const RICH: &str = "\
apiVersion: runbook/v1
name: book
params: { a: { type: string, default: x } }
phases:
  - id: one
    steps:
      - id: s
        run: echo {{ params.a }}
        outputs: { o: result.stdout }
        retry: { attempts: 2, remedies: [ { run: x } ] }
      - id: g
        any_of:
          - { id: i, run: 'echo {{ steps.s.outputs.o }}', undo: { run: x } }
          - { id: j, exec: [echo, '{{ steps.s.outputs.o }}'] }
  - id: two
    steps:
      - id: each
        foreach: [a, { b: '{{ params.a }}' }]
        max_parallel: 1
        at_least: 1
        run: echo {{ item }} {{ steps.s.outputs.o }}
        outputs: { x: result.stdout }
        verify: [ { run: 'echo {{ steps.each.outputs.x }}' } ]
      - id: t
        http: { post: 'http://localhost', json: { a: [1, '{{ steps.g.choice }}', '{{ steps.each.items[0].outcome }}'] } }
        verify: [ { run: x, within: 1s } ]
";

/// Every place of a JSON value, as paths.
fn places(value: &Value, at: String, found: &mut Vec<String>) {
    found.push(at.clone());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, v)| places(v, format!("{at}/{i}"), found))
        }
        Value::Object(map) => {
            map.iter().for_each(|(k, v)| {
                places(v, format!("{at}/{}", k.replace('~', "~0").replace('/', "~1")), found)
            });
        }
        _ => {}
    }
}

fn use_everything(plan: &Plan) {
    plan.waves();
    plan.raw_uses();
    for ix in 0..plan.steps.len() {
        plan.ancestors(ix);
        plan.undone_on_failure(ix);
    }
}

#[test]
fn a_forged_plan_never_panics() {
    let plan = compiled(RICH);
    let value: Value = serde_json::from_slice(&plan.to_json()).expect("json");
    let mut found = Vec::new();
    places(&value, String::new(), &mut found);
    let forgeries = [
        Value::Null,
        Value::from(0),
        Value::from(1),
        Value::from(2),
        Value::from(u64::MAX),
        Value::from(-1),
        Value::from("x"),
        Value::Array(Vec::new()),
        Value::Array(vec![Value::from(0), Value::from(0)]),
        Value::Array(vec![Value::from(1)]),
    ];
    let mut accepted = 0;
    for place in &found {
        for forgery in &forgeries {
            let mut forged = value.clone();
            *forged.pointer_mut(place).expect("a place") = forgery.clone();
            if let Ok(plan) = Plan::from_json(&serde_json::to_vec(&forged).expect("json")) {
                use_everything(&plan);
                accepted += 1;
            }
        }
    }
    assert!(accepted > 0, "some changes are harmless");
}

#[test]
fn a_damaged_plan_never_panics() {
    let json = compiled(RICH).to_json();
    for at in 0..json.len() {
        for byte in [b'0', b'9', b'"', b'}', 0, 0xff] {
            let mut damaged = json.clone();
            damaged[at] = byte;
            if let Ok(plan) = Plan::from_json(&damaged) {
                use_everything(&plan);
            }
        }
    }
    assert!(Plan::from_json(&json[..json.len() / 2]).is_err());
}

#[test]
fn another_format_is_named_and_not_read() {
    let json = String::from_utf8(compiled(RICH).to_json()).expect("text");
    let newer = json.replacen("\"format\":1", "\"format\":2,\"strange\":true", 1);
    let error = Plan::from_json(newer.as_bytes()).expect_err("a newer format");
    assert!(matches!(error, PlanError::Format(2)));
    assert_eq!(error.to_string(), "it has format 2, and this program reads format 1");
    let cycle = json.replacen("\"phase\":0,", "\"phase\":0,\"needs\":[1],", 1);
    assert!(matches!(Plan::from_json(cycle.as_bytes()), Err(PlanError::Inconsistent(_))));
}
