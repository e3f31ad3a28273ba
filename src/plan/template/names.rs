//! The names a text may read, as MiniJinja values. Every map is strict: what it does not hold is an error that says
//! what it does hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Serde, Value};
use minijinja::{Error, ErrorKind};
use serde_json::Value as Json;

use super::{Ctx, ItemView, RunView, StepView, TemplateError};
use crate::model::{TaskEnd, TaskEndKind, TaskOutput};
use crate::plan::DrillPlace;

/// Text that the author splices with `| raw`.
#[derive(Debug)]
pub(super) struct RawText(pub String);

impl Object for RawText {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A secret by name. Its value is never in a template's reach.
#[derive(Debug)]
pub(super) struct SecretMark(pub String);

impl Object for SecretMark {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<secret {}>", self.0)
    }
}

#[derive(Debug)]
struct Secrets;

impl Object for Secrets {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        key.as_str().map(|name| Value::from_object(SecretMark(name.to_owned())))
    }
}

/// A map that answers a missing key with an error.
#[derive(Debug)]
struct Fields {
    /// As written in a text: `steps.pick.outputs`.
    path: String,
    /// What a key is called: `output`.
    kind: &'static str,
    map: BTreeMap<String, Value>,
    /// Keys that exist but cannot be read now, and why.
    missing: BTreeMap<&'static str, String>,
}

impl Object for Fields {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        if let Some(value) = self.map.get(name) {
            return Some(value.clone());
        }
        Some(refuse(match self.missing.get(name) {
            Some(why) => why.clone(),
            None => self.unknown(name),
        }))
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.map.keys().map(Value::from).collect())
    }
}

impl Fields {
    fn new(path: impl Into<String>, kind: &'static str, map: BTreeMap<String, Value>) -> Self {
        Self { path: path.into(), kind, map, missing: BTreeMap::new() }
    }

    fn unknown(&self, name: &str) -> String {
        let Self { path, kind, map, .. } = self;
        if map.is_empty() {
            return format!("`{path}.{name}` does not exist: `{path}` has no {kind}s");
        }
        let known = map.keys().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
        format!("`{path}.{name}` does not exist: the {kind}s of `{path}` are {known}")
    }

    fn value(self) -> Value {
        Value::from_object(self)
    }
}

/// Marks messages of this module within MiniJinja's errors, so that they are shown as they are.
const OWN: char = '\u{10fffc}';

fn refuse(message: String) -> Value {
    Value::from(Error::new(ErrorKind::UndefinedError, format!("{OWN}{message}")))
}

/// An error of a filter, shown as it is.
pub(super) fn own_error(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{OWN}{message}"))
}

pub(super) fn is_own(detail: &str) -> bool {
    detail.starts_with(OWN)
}

pub(super) fn own_message(detail: &str) -> &str {
    detail.strip_prefix(OWN).unwrap_or(detail)
}

/// The root of a render. Only what `src` names is built: a render costs some microseconds.
pub(super) fn root(src: &str, ctx: &Ctx<'_>) -> Value {
    let mut root: BTreeMap<&'static str, Value> = BTreeMap::new();
    if src.contains("params") {
        let map = ctx.params.iter().map(|(k, v)| (k.clone(), Value::from(Serde(v)))).collect();
        root.insert("params", Fields::new("params", "parameter", map).value());
    }
    if src.contains("steps") {
        let map =
            ctx.steps.iter().map(|(name, step)| ((*name).to_owned(), step_value(src, name, step))).collect();
        root.insert("steps", Fields::new("steps", "step", map).value());
    }
    if let Some(item) = ctx.item.filter(|_| src.contains("item")) {
        root.insert("item", Value::from(Serde(item)));
    }
    if src.contains("run") {
        root.insert("run", run_value(ctx.run));
    }
    if src.contains("secrets") {
        root.insert("secrets", Value::from_object(Secrets));
    }
    if src.contains("groups") {
        let list = |members: &Vec<String>| members.iter().map(String::as_str).map(Value::from).collect();
        let map = ctx.groups.iter().map(|(name, members)| (name.clone(), list(members))).collect();
        root.insert("groups", Fields::new("groups", "group", map).value());
    }
    if src.contains("drill") {
        let fields = |place: &DrillPlace| {
            let dir = Value::from(place.dir.to_string_lossy());
            let mut map =
                BTreeMap::from([("dir".to_owned(), dir), ("port".to_owned(), Value::from(place.port))]);
            let run = place.run.as_ref().map(|run| ("run".to_owned(), Value::from(run.to_string_lossy())));
            map.extend(run);
            map
        };
        let map = ctx.drill.map(fields).unwrap_or_default();
        let mut drill = Fields::new("drill", "field", map);
        if ctx.drill.is_none() {
            drill.missing.insert("dir", "`drill.dir` exists only in a drill".into());
            drill.missing.insert("port", "`drill.port` exists only in a drill".into());
        }
        if ctx.drill.is_none_or(|place| place.run.is_none()) {
            drill.missing.insert("run", "`drill.run` exists only in the `proof` of a drill".into());
        }
        root.insert("drill", drill.value());
    }
    if let Some((end, output)) = ctx.result.filter(|_| src.contains("result")) {
        root.insert("result", live_result(src, end, output));
    } else if src.contains("result") {
        root.insert(
            "result",
            refuse("`result` is known only after an action, in `expect`, `outputs` and `retry.when`".into()),
        );
    }
    Value::from(root)
}

fn step_value(src: &str, name: &str, step: &StepView<'_>) -> Value {
    let path = format!("steps.{name}");
    let mut map = BTreeMap::new();
    let mut missing = BTreeMap::new();
    match step.outcome {
        Some(outcome) => drop(map.insert("outcome".into(), Value::from(outcome.as_str()))),
        None => drop(missing.insert("outcome", format!("`{path}` is not over yet, so it has no outcome"))),
    }
    let outputs = step.outputs.iter().map(|(k, v)| (k.clone(), Value::from(Serde(v)))).collect();
    let ended = match step.outcome {
        Some(outcome) => format!("`{path}` ({outcome})"),
        None => format!("`{path}` (not over yet)"),
    };
    map.insert("outputs".into(), Fields::new(format!("{path}.outputs"), "output", outputs).value());
    match step.choice {
        Some(choice) => drop(map.insert("choice".into(), Value::from(choice))),
        None => drop(missing.insert("choice", format!("{ended} has no choice"))),
    }
    match step.result {
        Some(result) => drop(map.insert("result".into(), kept_result(&path, result))),
        None => drop(missing.insert("result", format!("{ended} has no result"))),
    }
    match step.items {
        Some(items) if src.contains("items") => {
            let items = items.iter().enumerate().map(|(at, item)| item_value(&path, at, item));
            map.insert("items".into(), items.collect());
        }
        Some(_) => {}
        None => drop(missing.insert("items", format!("`{path}` has no items: it has no `foreach`"))),
    }
    Fields { path, kind: "field", map, missing }.value()
}

fn item_value(step: &str, at: usize, item: &ItemView<'_>) -> Value {
    let path = format!("{step}.items[{at}]");
    let outputs = item.outputs.iter().map(|(k, v)| (k.clone(), Value::from(Serde(v)))).collect();
    let outputs = Fields::new(format!("{path}.outputs"), "output", outputs).value();
    let mut map =
        BTreeMap::from([("item".to_owned(), Value::from(Serde(item.item))), ("outputs".to_owned(), outputs)]);
    let mut missing = BTreeMap::new();
    match item.outcome {
        Some(outcome) => drop(map.insert("outcome".into(), Value::from(outcome.as_str()))),
        None => drop(missing.insert("outcome", format!("`{path}` was not begun, so it has no outcome"))),
    }
    Fields { path, kind: "field", map, missing }.value()
}

fn run_value(run: &RunView<'_>) -> Value {
    let mut map = BTreeMap::from([
        ("id".to_owned(), Value::from(run.id)),
        ("dir".to_owned(), Value::from(run.dir)),
        ("started_at".to_owned(), Value::from(run.started_at)),
        ("operator".to_owned(), Value::from(run.operator)),
        ("environment".to_owned(), run.environment.map_or(Value::from(()), Value::from)),
    ]);
    let mut missing = BTreeMap::new();
    if let Some(verdict) = run.verdict {
        map.insert("outcome".into(), Value::from(verdict.outcome));
        for (name, measured) in [("rto", verdict.rto), ("rpo", verdict.rpo)] {
            match measured {
                Some(ms) => drop(map.insert(name.into(), Value::from(ms))),
                None => drop(missing.insert(name, format!("`run.{name}` was not measured"))),
            }
        }
        let phases = verdict.phases.iter().map(|(id, took)| ((*id).to_owned(), phase_value(id, *took)));
        map.insert("phases".into(), Fields::new("run.phases", "phase", phases.collect()).value());
    } else {
        for name in ["outcome", "rto", "rpo", "phases"] {
            missing.insert(name, format!("`run.{name}` is known only in the `assert` of a drill"));
        }
    }
    Fields { path: "run".into(), kind: "field", map, missing }.value()
}

fn phase_value(id: &str, took: Option<u64>) -> Value {
    let path = format!("run.phases.{id}");
    let (mut map, mut missing) = (BTreeMap::new(), BTreeMap::new());
    match took {
        Some(ms) => drop(map.insert("took".to_owned(), Value::from(ms))),
        None => drop(missing.insert("took", format!("phase `{id}` did not come to its end"))),
    }
    Fields { path, kind: "field", map, missing }.value()
}

/// What a task's end and output say, field by field: a value, or why there is none.
fn facts(end: &TaskEnd, output: &TaskOutput) -> Vec<(&'static str, Result<Json, String>)> {
    let (exit, signal) = match end.kind {
        TaskEndKind::Exited { code } => (Json::from(code), Json::Null),
        TaskEndKind::Signaled { signal } => (Json::Null, Json::from(signal)),
        _ => (Json::Null, Json::Null),
    };
    let text = |name: &str, text: &Option<Result<String, String>>| match text {
        Some(Ok(text)) => Ok(Json::from(text.as_str())),
        Some(Err(why)) => Err(format!("`result.{name}` cannot be read: {why}")),
        None => Err(format!("`result.{name}` was not kept")),
    };
    let none = |name: &str, of: &str| match &end.kind {
        TaskEndKind::Errored { error } => {
            format!("`result.{name}` does not exist, there was no answer: {error}")
        }
        _ => format!("`result.{name}` is known only for `{of}`"),
    };
    let http = |name: &'static str, value: Option<Result<Json, String>>| {
        (name, value.unwrap_or_else(|| Err(none(name, "http"))))
    };
    let sql = |name: &'static str, value: Option<Json>| (name, value.ok_or_else(|| none(name, "sql")));
    let answer = output.http.as_ref();
    let rows = output.sql.as_ref();
    vec![
        ("exit", Ok(exit)),
        ("signal", Ok(signal)),
        ("duration", Ok(Json::from(end.duration.0 as f64 / 1000.0))),
        ("stdout", text("stdout", &output.stdout)),
        ("stderr", text("stderr", &output.stderr)),
        http("status", answer.map(|a| Ok(a.status.into()))),
        http(
            "headers",
            answer.map(|a| Ok(a.headers.iter().map(|(k, v)| (k.clone(), Json::from(v.as_str()))).collect())),
        ),
        http(
            "body",
            answer.map(|a| match &a.body {
                Ok(body) => Ok(Json::from(body.as_str())),
                Err(why) => Err(format!("`result.body` cannot be read: {why}")),
            }),
        ),
        sql("rows", rows.map(|r| r.rows.iter().cloned().map(Json::from).collect())),
        sql("columns", rows.map(|r| r.columns.clone().into())),
        sql("affected", rows.map(|r| r.affected.into())),
        sql("notices", rows.map(|r| r.notices.clone().into())),
    ]
}

fn live_result(src: &str, end: &TaskEnd, output: &TaskOutput) -> Value {
    let mut map = BTreeMap::new();
    let mut missing = BTreeMap::new();
    for (name, fact) in facts(end, output) {
        match fact {
            Ok(value) => drop(map.insert(name.to_owned(), value)),
            Err(why) => drop(missing.insert(name, why)),
        }
    }
    result_value("result", &map, missing, |name| src.contains(name))
}

fn kept_result(step: &str, kept: &Json) -> Value {
    let path = format!("{step}.result");
    let empty = serde_json::Map::new();
    let map: BTreeMap<String, Json> =
        kept.as_object().unwrap_or(&empty).iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    result_value(&path, &map, BTreeMap::new(), |_| true)
}

/// `result` with `lines` and `json`, which are derived from the output.
fn result_value(
    path: &str,
    facts: &BTreeMap<String, Json>,
    mut missing: BTreeMap<&'static str, String>,
    wanted: impl Fn(&str) -> bool,
) -> Value {
    let mut map: BTreeMap<String, Value> =
        facts.iter().map(|(k, v)| (k.clone(), Value::from(Serde(v)))).collect();
    let text = |name: &str| facts.get(name).and_then(Json::as_str);
    let why = |missing: &BTreeMap<&'static str, String>, name: &str| {
        missing.get(name).cloned().unwrap_or_else(|| format!("`{path}.{name}` was not kept"))
    };
    if wanted("lines") {
        match text("stdout") {
            Some(stdout) => drop(map.insert("lines".into(), stdout.lines().map(Value::from).collect())),
            None => drop(missing.insert("lines", why(&missing, "stdout"))),
        }
    }
    if wanted("json") {
        let source = if facts.contains_key("status") { "body" } else { "stdout" };
        match text(source).map(serde_json::from_str::<Json>) {
            Some(Ok(json)) => drop(map.insert("json".into(), Value::from(Serde(&json)))),
            Some(Err(e)) => drop(missing.insert("json", format!("`{path}.{source}` is not JSON: {e}"))),
            None => drop(missing.insert("json", why(&missing, source))),
        }
    }
    Fields { path: path.to_owned(), kind: "field", map, missing }.value()
}

/// The most a kept result may take in the journal.
const MAX_KEPT: usize = 256 << 10;

pub(super) fn keep_result(end: &TaskEnd, output: &TaskOutput) -> Result<Json, TemplateError> {
    let map: serde_json::Map<String, Json> = facts(end, output)
        .into_iter()
        .filter_map(|(name, fact)| fact.ok().map(|value| (name.to_owned(), value)))
        .collect();
    let kept = Json::Object(map);
    let size = serde_json::to_vec(&kept).map_or(usize::MAX, |v| v.len());
    if size > MAX_KEPT {
        return Err(TemplateError {
            message: format!(
                "the result is too large to keep for later steps: {size} bytes, at most {MAX_KEPT}"
            ),
            range: None,
            help: Some("publish what is needed as `outputs`".into()),
        });
    }
    Ok(kept)
}
