//! Playbooks in, diagnostics and plans out. Each `tests/cases/{lint,plan}/NAME.yaml` stands beside the expected
//! `NAME.txt`; `UPDATE_CASES=1` writes them anew, to be read before they are committed.
//!
//! A line `# --- NAME` begins another playbook that the first may include.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use runbook::plan::{Body, CompileError, DrillPlace, Plan, Request, compile, compile_drill, lint, tidy};
use runbook::playbook::diagnostic::{Diagnostic, Severity};
use runbook::playbook::load::{Book, Loaded};
use runbook::playbook::parse;
use runbook::playbook::source::{LineIndex, SourceMap, Span};
use serde_json::{Value, json};

/// The playbooks of a case, and what the parser found.
fn load(text: &str) -> (Loaded, Vec<Diagnostic>) {
    let mut sources = SourceMap::default();
    let mut books = Vec::new();
    let mut found = Vec::new();
    let mut rest = text;
    let mut number = 0;
    while !rest.is_empty() {
        let end = rest.match_indices("# --- ").map(|(at, _)| at).find(|at| *at > 0).unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        rest = tail;
        let folder =
            if number == 0 { PathBuf::from("/books") } else { PathBuf::from(format!("/books/more{number}")) };
        let path = folder.join("book.yaml");
        let file = sources.add(path.clone(), part.to_owned());
        let parsed = parse(file, part, None);
        found.extend(parsed.diagnostics);
        if let Some(playbook) = parsed.value {
            books.push(Book { playbook, path, folder, file });
        }
        number += 1;
    }
    (Loaded { sources, books, ..Loaded::default() }, found)
}

fn request<'a>(params: &'a [(String, Value)]) -> Request<'a> {
    Request {
        environment: None,
        params,
        cwd: Path::new("/home/engineer"),
        shared: &[],
        roles: &[],
        shared_folder: Path::new("/etc/runbook"),
        show_missing: false,
        root: None,
    }
}

fn place(sources: &SourceMap, span: Span) -> String {
    let text = &sources.get(span.file).expect("a span in a loaded file").text;
    let (line, column) = LineIndex::new(text).position(span.start);
    let file = if span.file.0 == 0 { String::new() } else { format!("{}:", span.file.0) };
    let slice = sources.slice(span).lines().next().unwrap_or_default();
    format!("{file}{line}:{column} `{slice}`")
}

fn show(sources: &SourceMap, diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for d in diagnostics {
        let severity = if d.severity == Severity::Error { "error" } else { "warning" };
        writeln!(out, "{severity}[{}]: {}", d.code, d.message).unwrap();
        writeln!(out, "  at {} {}", place(sources, d.span), d.label).unwrap();
        for (span, note) in &d.related {
            writeln!(out, "  and {} {note}", place(sources, *span)).unwrap();
        }
        if let Some(help) = &d.help {
            writeln!(out, "  help: {help}").unwrap();
        }
    }
    out
}

fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 21).unwrap()
}

/// Compares with the file beside the case, or writes it.
fn expect(case: &Path, got: &str) -> Option<String> {
    let file = case.with_extension("txt");
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::write(&file, got).unwrap();
        return None;
    }
    let want = std::fs::read_to_string(&file).unwrap_or_default();
    (want != got).then(|| format!("{}\n--- expected\n{want}\n--- got\n{got}", case.display()))
}

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(folder);
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

fn drill_place() -> DrillPlace {
    DrillPlace { dir: "/drills/one".into(), port: 20_001, run: None }
}

#[test]
fn every_mistake_is_found_at_its_place() {
    let mut wrong = Vec::new();
    for case in cases("lint") {
        let (loaded, mut found) = load(&std::fs::read_to_string(&case).unwrap());
        found.extend(lint(&loaded, today()));
        wrong.extend(expect(&case, &show(&loaded.sources, &tidy(found))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn outline(plan: &Plan) -> String {
    let mut out = String::new();
    writeln!(out, "lock: {}\nroot: {}", plan.lock, plan.root.display()).unwrap();
    for (number, scope) in plan.scopes.iter().enumerate() {
        let late: Vec<&str> = scope.late.iter().map(|l| l.spec.name.as_str()).collect();
        writeln!(out, "scope {number}: {} late {late:?}", json!(scope.params)).unwrap();
    }
    writeln!(out, "requires: {}", json!(plan.requires)).unwrap();
    for channel in &plan.channels {
        writeln!(out, "channel: {}", json!(channel)).unwrap();
    }
    for (what, secrets) in [("secret", &plan.secrets), ("secret of channels", &plan.channel_secrets)] {
        for (name, source) in secrets {
            writeln!(out, "{what}: {} {}", name.0, json!(source)).unwrap();
        }
    }
    let ids =
        |list: &[usize]| list.iter().map(|ix| plan.steps[*ix].id.to_string()).collect::<Vec<_>>().join(" ");
    for step in &plan.steps {
        let uses: Vec<String> = match &step.body {
            Body::Command(command) => {
                let mut uses = vec![format!("want {}", json!(command.want))];
                command.for_each_template(&mut |t, _| {
                    uses.extend(t.uses.iter().map(|u| format!("{}={}", u.name, plan.steps[u.step].id)));
                });
                uses
            }
            _ => Vec::new(),
        };
        let each = match &step.body {
            Body::ForEach(each) => format!("foreach {}", json!(each)),
            _ => step.item.as_ref().map(|item| format!(" item {item}")).unwrap_or_default(),
        };
        let kept = if step.keep_result { " kept" } else { "" };
        writeln!(out, "{}: needs [{}] {}{each}{kept}", step.id, ids(&step.needs), uses.join(" ")).unwrap();
    }
    for wave in plan.waves() {
        writeln!(out, "wave: {}", ids(&wave)).unwrap();
    }
    for ix in 0..plan.steps.len() {
        let undone = plan.undone_on_failure(ix);
        if !undone.is_empty() {
            writeln!(out, "a rollback from {} undoes: {}", plan.steps[ix].id, ids(&undone)).unwrap();
        }
    }
    writeln!(out, "no return: {}", ids(&plan.points_of_no_return())).unwrap();
    for (ix, raw) in plan.raw_uses() {
        writeln!(out, "raw: {} {raw}", plan.steps[ix].id).unwrap();
    }
    out
}

#[test]
fn sound_playbooks_become_plans() {
    let mut wrong = Vec::new();
    for case in cases("plan") {
        let (loaded, found) = load(&std::fs::read_to_string(&case).unwrap());
        let found = tidy(found.into_iter().chain(lint(&loaded, today())).collect());
        let mut got = show(&loaded.sources, &found);
        match compile(&loaded, &request(&[])) {
            Ok(plan) => {
                let json = plan.to_json();
                assert_eq!(Plan::from_json(&json).expect("a plan reads back"), plan);
                got.push_str(&outline(&plan));
            }
            Err(error) => writeln!(got, "{error}").unwrap(),
        }
        wrong.extend(expect(&case, &got));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const PARAMS: &str = "\
apiVersion: runbook/v1
name: book
params:
  database: { type: path, description: The file to recover, required: true }
  backups: { type: path, default: ./backups }
  count: { type: integer, default: 3, max: 9 }
  note: { type: string }
environments:
  staging: { params: { database: data/tasks.db, count: 4 } }
  production: { params: { database: /srv/tasks.db }, confirm: name }
steps:
  - id: a
    run: cp -- {{ params.database }} {{ params.backups }} {{ params.count }} {{ params.note }}
";

fn given(params: &[(&str, Value)]) -> Vec<(String, Value)> {
    params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

#[test]
fn parameters_come_from_the_nearest_source() {
    let (loaded, found) = load(PARAMS);
    assert_eq!(show(&loaded.sources, &found), "");
    let typed = given(&[("database", json!("t.db")), ("count", json!("7")), ("count", json!("8"))]);
    let plan = compile(&loaded, &request(&typed)).unwrap();
    assert_eq!(
        json!(plan.scopes[0].params),
        json!({ "backups": "/books/backups", "count": 8, "database": "/home/engineer/t.db", "note": null })
    );
    assert_eq!(plan.lock, "book");
    let staging = Request { environment: Some("staging"), ..request(&[]) };
    let plan = compile(&loaded, &staging).unwrap();
    assert_eq!(plan.scopes[0].params["database"], json!("/books/data/tasks.db"));
    assert_eq!(plan.scopes[0].params["count"], json!(4));
    assert_eq!(plan.lock, "book@staging");
    assert!(!plan.environment.unwrap().confirm);
    let production = Request { environment: Some("production"), ..request(&[]) };
    assert!(compile(&loaded, &production).unwrap().environment.unwrap().confirm);
    let moved = Request { root: Some(Path::new("elsewhere")), ..staging };
    let plan = compile(&loaded, &moved).unwrap();
    assert_eq!(plan.root, Path::new("/home/engineer/elsewhere"));
    assert_eq!(plan.scopes[0].params["database"], json!("/home/engineer/elsewhere/data/tasks.db"));
}

#[test]
fn every_wrong_parameter_is_told_at_once() {
    let (loaded, _) = load(PARAMS);
    let typed = given(&[("cuont", json!("1")), ("count", json!("10"))]);
    let Err(CompileError::Params(problems)) = compile(&loaded, &request(&typed)) else {
        panic!("no problems")
    };
    let shown: Vec<String> = problems
        .iter()
        .map(|p| format!("{}: {} | {}", p.name, p.message, p.help.as_deref().unwrap_or("")))
        .collect();
    assert_eq!(
        shown,
        [
            "cuont: playbook `book` has no such parameter | did you mean `count`?",
            "database: it is required and was not given | -p database=VALUE, a path: The file to recover",
            "count: 10 is more than the maximum 9 | ",
        ]
    );
    let nowhere = Request { environment: Some("prod"), ..request(&[]) };
    match compile(&loaded, &nowhere) {
        Err(CompileError::UnknownEnvironment { name, known }) => {
            assert_eq!((name.as_str(), known), ("prod", vec!["production".to_owned(), "staging".to_owned()]));
        }
        other => panic!("{other:?}"),
    }
}

const DRILL: &str = "\
apiVersion: runbook/v1
name: book
params:
  database: { type: path, required: true }
environments:
  production: { params: { database: /srv/tasks.db }, confirm: name }
steps:
  - id: restore
    run: cp -- good {{ params.database }}
    outputs: { size: result.stdout | trim }
drill:
  world:
    - run: touch {{ drill.dir }}/tasks.db
    - id: seed
      run: echo > {{ params.database }}
  params: { database: \"{{ drill.dir }}/tasks.db\" }
  inject:
    - run: rm -- {{ params.database }}
  symptom:
    - run: test ! -e {{ params.database }}
  assert:
    - run.outcome == 'recovered'
    - steps.restore.outputs.size == '1'
    - steps.restore.result.stderr == ''
  proof:
    - run: test -e {{ params.database }} && test -e {{ drill.run }}/journal.jsonl
  teardown:
    - run: rm -rf -- {{ drill.dir }}
";

#[test]
fn each_section_of_a_drill_is_a_plan() {
    let (loaded, found) = load(DRILL);
    let found = tidy(found.into_iter().chain(lint(&loaded, today())).collect());
    assert_eq!(show(&loaded.sources, &found), "");
    let drill = compile_drill(&loaded, &request(&[]), &drill_place(), None).unwrap();
    let ids = |plan: &Plan| plan.steps.iter().map(|s| s.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(&drill.world), ["world-1", "seed"]);
    assert_eq!(ids(&drill.inject), ["inject-1"]);
    assert_eq!(ids(&drill.symptom), ["symptom-1"]);
    assert_eq!(ids(&drill.teardown), ["teardown-1"]);
    assert_eq!(drill.symptom.steps[0].body, Body::Nothing);
    assert_eq!(drill.symptom.steps[0].verify.len(), 1);
    assert_eq!(drill.teardown.steps[0].on_failure, runbook::plan::OnFailure::Continue);
    assert_eq!(ids(&drill.proof), ["proof-1"]);
    for plan in [&drill.world, &drill.inject, &drill.symptom, &drill.playbook, &drill.proof, &drill.teardown]
    {
        assert_eq!(plan.drill, Some(drill_place()));
        assert_eq!(plan.scopes[0].params["database"], json!("/drills/one/tasks.db"));
        assert_eq!(&Plan::from_json(&plan.to_json()).unwrap(), plan);
    }
    assert_eq!(drill.assert.len(), 3);
    assert_eq!(drill.assert[1].uses[0].step, 0);
    assert!(drill.playbook.steps[0].keep_result);
    let guarded = Request { environment: Some("production"), ..request(&[]) };
    assert!(matches!(
        compile_drill(&loaded, &guarded, &drill_place(), None),
        Err(CompileError::GuardedDrill(name)) if name == "production"
    ));
}

/// Every number of the plan moves when items are put in; a drill's assertions, which count in it, move with it.
#[test]
fn what_a_drill_asserts_of_a_later_step_is_read_of_that_step() {
    let text = DRILL.replace(
        "steps:\n  - id: restore",
        "steps:\n  - id: each\n    foreach: [a, b]\n    run: echo {{ item }}\n  - id: restore",
    );
    let text = text.replace("  assert:\n", "  assert:\n    - steps.each.items[1].outcome == 'succeeded'\n");
    let (loaded, found) = load(&text);
    let found = tidy(found.into_iter().chain(lint(&loaded, today())).collect());
    assert_eq!(show(&loaded.sources, &found), "");
    let drill = compile_drill(&loaded, &request(&[]), &drill_place(), None).unwrap();
    let read = |n: usize| drill.playbook.steps[drill.assert[n].uses[0].step].id.to_string();
    assert_eq!((read(0), read(2)), ("each".to_owned(), "restore".to_owned()));
}

#[test]
fn a_list_that_a_parameter_gives_is_judged_when_it_is_known() {
    const EACH: &str = "\
apiVersion: runbook/v1
name: book
params: { hosts: { type: list, required: true }, least: { type: string, default: x } }
steps:
  - id: each
    foreach: params.hosts
    at_least: 2
    run: echo {{ item }} {{ params.least }}
";
    let (loaded, found) = load(EACH);
    assert_eq!(show(&loaded.sources, &found), "");
    let told = |hosts: Value| {
        let typed = given(&[("hosts", hosts)]);
        match compile(&loaded, &request(&typed)) {
            Err(CompileError::Diagnostics(found)) => show(&loaded.sources, &found),
            Err(other) => panic!("{other}"),
            Ok(plan) => plan.steps.iter().map(|s| format!("{} {}\n", s.id, s.title)).collect(),
        }
    };
    assert_eq!(told(json!(["a", "b"])), "each each\neach/1 each: a\neach/2 each: b\n");
    let list: Vec<u32> = (0..10_001).collect();
    let wrong = [told(json!([])), told(json!(["a", "b", "a"])), told(json!(["a"])), told(json!(list))];
    let first = |text: &String| text.lines().next().unwrap_or_default().to_owned();
    assert_eq!(
        wrong.iter().map(first).collect::<Vec<_>>(),
        [
            "error[bad-items]: `at_least: 2` can never be reached",
            "error[bad-items]: item 3 of `foreach` is the same as item 1",
            "error[bad-items]: `at_least: 2` can never be reached",
            "error[bad-items]: `foreach` has 10001 items",
        ]
    );
    // Looked at without its parameters, it is there all the same.
    let looking = Request { show_missing: true, ..request(&[]) };
    let plan = compile(&loaded, &looking).unwrap();
    assert_eq!(plan.steps[1].item, Some(json!("‹hosts›")));
}

#[test]
fn a_chain_of_ten_thousand_steps_compiles() {
    let mut text = String::from("apiVersion: runbook/v1\nname: book\nsteps:\n");
    for n in 0..10_000 {
        let read = if n == 0 { "x".to_owned() } else { "{{ steps.s0.outputs.a }}".to_owned() };
        write!(text, "  - id: s{n}\n    run: echo {read}\n    outputs: {{ a: result.stdout }}\n").unwrap();
    }
    let (loaded, found) = load(&text);
    assert_eq!(show(&loaded.sources, &found), "");
    let plan = compile(&loaded, &request(&[])).unwrap();
    assert_eq!(plan.waves().len(), 10_000);
    assert_eq!(plan.ancestors(9_999).len(), 9_999);
    let json = plan.to_json();
    assert_eq!(Plan::from_json(&json).unwrap(), plan);
    assert_eq!(Plan::hash(&json).len(), 64);
}

/// As it was written when all that a step does not have was written, too.
#[test]
fn a_plan_that_names_what_is_not_there_means_the_same() {
    let text = "apiVersion: runbook/v1\nname: book\nsteps:\n  - { id: a, run: echo }\n\
                \x20 - { id: b, exec: [b], needs: [a], undo: { run: c }, check: { run: d }, idempotent: true }\n";
    let (loaded, _) = load(text);
    let plan = compile(&loaded, &request(&[])).unwrap();
    let mut value: Value = serde_json::from_slice(&plan.to_json()).unwrap();
    let never = json!({
        "attempts": 1, "delay": 0, "backoff": 1.0, "max_delay": null, "jitter": 0.0, "when": null, "remedies": []
    });
    let step = json!({
        "parent": null, "needs": [], "when": null, "unless": null, "approval": null, "expect": [], "outputs": [],
        "retry": never, "verify": [], "undo": null, "irreversible": false, "check": null, "idempotent": false,
        "destructive": false, "sensitive": false, "keep_result": false
    });
    let command = json!({
        "env": [], "workdir": null, "stdin": null, "timeout": null, "want": { "stdout": false, "stderr": false }
    });
    let fill = |place: &mut Value, all: &Value| {
        for (name, nothing) in all.as_object().unwrap() {
            place.as_object_mut().unwrap().entry(name).or_insert_with(|| nothing.clone());
        }
    };
    let short = value.clone();
    for at in value["steps"].as_array_mut().unwrap() {
        fill(at, &step);
        fill(&mut at["body"]["command"], &command);
        for inside in ["undo", "check"] {
            if !at[inside].is_null() {
                fill(&mut at[inside]["command"], &command);
                fill(&mut at[inside], &json!({ "expect": [] }));
            }
        }
    }
    assert_ne!(value, short);
    assert_eq!(Plan::from_json(&serde_json::to_vec(&value).unwrap()).unwrap(), plan);
}
