//! Templates and expressions: any source gets an answer, the same each time, within bounds; a mistake has a place in the
//! source; and data stays data in each place where a value can stand.
//!
//! Input: a byte that chooses the place, then the source.

use std::collections::BTreeMap;

use runbook::model::{Millis, Piece, SecretText, StepOutcome, TaskEnd, TaskEndKind, TaskOutput};
use runbook::plan::template::{
    Ctx, Dialect, ItemView, Place, RunVerdict, RunView, StepView, TemplateError, analyse, eval, eval_bool,
    render_json, render_query, render_script, render_secret_text, render_text, render_url, render_value,
};
use runbook::plan::{DrillPlace, Expr, JsonTemplate, Shell, Template};
use serde_json::{Value, json};

use super::input::Input;

const PLACES: [Place; 7] = [
    Place::Text,
    Place::Script(Shell::Bash),
    Place::Script(Shell::Sh),
    Place::Query(Dialect::Sqlite),
    Place::Url,
    Place::SecretText,
    Place::Expression,
];
/// Ten times what a render may write: a value may be written longer than it is, in JSON or percent-encoded.
const LONGEST: usize = 10 << 20;

pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let place = input.pick(&PLACES);
    let source = String::from_utf8_lossy(input.rest());
    if source.contains(MARK) {
        // A fuzzer finds it by itself, and then it is not a value that got out.
        return;
    }
    let analysis = match analyse(&source, place) {
        Ok(analysis) => analysis,
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in &errors {
                assert!(!error.message.is_empty());
                assert!(
                    error.range.clone().is_none_or(|range| source.get(range).is_some()),
                    "{source:?}: {error:?}"
                );
            }
            assert_eq!(analyse(&source, place), Err(errors));
            return;
        }
    };
    let ranges = analysis.references.iter().map(|r| &r.range).chain(&analysis.raw);
    for range in ranges.chain(analysis.reparsed.iter().map(|(range, _)| range)) {
        assert!(source.get(range.clone()).is_some(), "{range:?} of {source:?}");
    }
    let again = analyse(&analysis.normalised, place).expect("what a plan holds can be read again");
    assert_eq!(again.normalised, analysis.normalised);
    assert_eq!(analyse(&source, place).as_ref(), Ok(&analysis));
    WORLD.with(|world| rendered(world, &source, place, analysis.normalised));
}

fn rendered(world: &World, source: &str, place: Place, src: String) {
    let constant = !src.contains("{{") && !src.contains("{%");
    let template = Template { src, uses: Vec::new() };
    let template = &template;
    match place {
        Place::Text => {
            let text = world.twice(|ctx| render_text(template, ctx));
            bounded(text.as_deref().map(str::len));
            if constant {
                assert_eq!(text.as_deref(), Ok(source), "a text without braces is what it is");
            }
            let value = world.twice(|ctx| render_value(template, ctx));
            if let (Ok(Value::String(value)), Ok(text)) = (value, text) {
                assert_eq!(value, text);
            }
        }
        Place::Script(shell) => script(world, template, shell),
        // What a server's SQL says of the same text is its own affair: it is asked too.
        Place::Query(_) => {
            for (dialect, mark) in [(Dialect::Sqlite, '?'), (Dialect::Postgres, '$'), (Dialect::Unknown, '$')]
            {
                let _ = analyse(source, Place::Query(dialect));
                let query = world.twice(|ctx| render_query(template, dialect, ctx));
                bounded(query.as_ref().map(|(text, _)| text.len()));
                if let Ok((text, binds)) = query {
                    assert!(!text.contains(MARK), "a value is in the query: {text:?}");
                    let last = format!("{mark}{}", binds.len());
                    assert!(binds.is_empty() || text.contains(&last), "{text:?} with {} values", binds.len());
                }
            }
        }
        Place::Url => bounded(world.twice(|ctx| render_url(template, ctx)).as_ref().map(size)),
        Place::SecretText => {
            bounded(world.twice(|ctx| render_secret_text(template, ctx)).as_ref().map(size));
            let body = JsonTemplate::Map(vec![("k".to_owned(), JsonTemplate::Text(template.clone()))]);
            let json = world.twice(|ctx| render_json(&body, ctx));
            bounded(json.as_ref().map(size));
            if let Ok(json) = json {
                let text: String =
                    json.0.iter().map(|piece| if let Piece::Plain(p) = piece { p } else { "s" }).collect();
                let map: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
                assert_eq!(map.as_object().map(|map| map.len()), Some(1), "a value broke out: {text}");
            }
        }
        Place::Expression => {
            let expr = Expr { src: template.src.clone(), uses: Vec::new() };
            let value = world.twice(|ctx| eval(&expr, ctx));
            let truth = world.twice(|ctx| eval_bool(&expr, ctx));
            assert_eq!(truth.ok(), value.ok().as_ref().and_then(Value::as_bool), "only true is true");
        }
    }
}

/// A script's text does not depend on what its values are, but for `raw`, which is asked for by name.
fn script(world: &World, template: &Template, shell: Shell) {
    let script = world.twice(|ctx| render_script(template, shell, ctx));
    bounded(script.as_ref().map(|script| script.script.len()));
    let Ok(script) = script else { return };
    for (n, (name, value)) in script.env.iter().enumerate() {
        assert_eq!(*name, format!("RB_V{}", n + 1));
        assert!(!value.contains('\0'), "{value:?} is to stand in a variable");
    }
    if !template.src.contains("raw") {
        assert!(!script.script.contains(MARK), "a value is in the script: {:?}", script.script);
    }
}

fn size(text: &SecretText) -> usize {
    let piece = |piece: &Piece| if let Piece::Plain(text) = piece { text.len() } else { 0 };
    text.0.iter().map(piece).sum()
}

fn bounded<E>(length: Result<usize, E>) {
    if let Ok(length) = length {
        assert!(length <= LONGEST, "{length} bytes");
    }
}

thread_local! {
    static WORLD: World = World::new();
}

/// In every text of the world: what no source has.
const MARK: &str = "qZ7'\"`$(x)\\\n;%--";

struct World {
    params: BTreeMap<String, Value>,
    outputs: BTreeMap<String, Value>,
    none: BTreeMap<String, Value>,
    result: Value,
    end: TaskEnd,
    output: TaskOutput,
}

impl World {
    fn new() -> Self {
        let map = |value: Value| value.as_object().cloned().unwrap_or_default().into_iter().collect();
        Self {
            params: map(json!({
                "v": MARK, "n": 3, "neg": -5, "flag": true, "list": [1, "two", MARK], "nothing": null, "half": 0.5,
                "map": { "a": MARK, "b": { "c": [] } }, "url": "https://example.org:8080/a", "cmd": "ls -l", "nul": "a\0b",
            })),
            outputs: map(json!({ "path": "/b/tasks-20260101T020000Z.db", "text": MARK })),
            none: BTreeMap::new(),
            result: json!({ "exit": 0, "stdout": "a\nb\n" }),
            end: TaskEnd::new(TaskEndKind::Exited { code: 3 }, Millis(1500)),
            output: TaskOutput {
                stdout: Some(Ok(r#"{"ok": [1], "n": 12345678901234567890}"#.into())),
                stderr: Some(Err("it is not UTF-8".into())),
                ..TaskOutput::none()
            },
        }
    }

    /// What a render gives, twice the same.
    fn twice<T: PartialEq + std::fmt::Debug>(
        &self,
        render: impl Fn(&Ctx<'_>) -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        let done = StepView {
            outcome: Some(StepOutcome::Succeeded),
            outputs: &self.outputs,
            choice: None,
            result: Some(&self.result),
            items: None,
        };
        let begun = ItemView { item: &self.result, outcome: done.outcome, outputs: &self.outputs };
        let items = [begun, ItemView { outcome: None, outputs: &self.none, ..begun }];
        let waiting = StepView {
            outcome: None,
            outputs: &self.none,
            choice: Some("a"),
            result: None,
            items: Some(&items),
        };
        let run = RunView {
            id: "r-1",
            dir: "/runs/r-1",
            started_at: "2026-01-01T00:00:00.000Z",
            operator: "alice",
            environment: None,
            verdict: Some(RunVerdict { outcome: "recovered", rto: Some(1), rpo: None, phases: &[] }),
        };
        let drill = DrillPlace { dir: "/drill".into(), port: 20_001, run: None };
        let ctx = Ctx {
            params: &self.params,
            steps: &[("pick", done), ("stop-app", waiting)],
            run: &run,
            item: self.params.get("map"),
            result: Some((&self.end, &self.output)),
            groups: &runbook::plan::template::NO_GROUPS,
            drill: Some(&drill),
        };
        let first = render(&ctx);
        assert_eq!(render(&ctx), first);
        first
    }
}
