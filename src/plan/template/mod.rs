//! Templates and expressions: MiniJinja, strict, with data never becoming code.
//!
//! A text is first normalised (`steps.stop-app` becomes `steps["stop-app"]`) and analysed: syntax, names, filters,
//! secrets, and the place of every value are checked before anything runs. When it is rendered, the values are kept
//! apart from the text, and each place joins them in its own way: a script gets variables, a query bound parameters, a
//! URL percent-encoding, JSON escapes.
//!
//! What a text may read: `params.x`, `item` in a `foreach`, `steps.<id>.{outcome, outputs, choice, result, items}`, `run.{id, dir, started_at,
//! operator, environment}` (in a drill's `assert` also `outcome`, `rto`, `rpo`), `drill.dir`, `secrets.x` where a
//! secret is allowed, and `result` after an action: `exit`, `signal`, `duration` (seconds), `stdout`, `stderr`,
//! `lines`, `json`, `status`, `headers`, `body`, `rows`, `columns`, `affected`, `notices`. A duration is compared with a text:
//! `run.rto <= '2m'`, `result.duration < '500ms'`. Whatever does not exist is an error that names what does.

mod analysis;
mod bounded;
mod compare;
mod environment;
mod filters;
mod flatten;
mod limits;
mod names;
mod normalise;
mod shell;
mod sql;
#[cfg(test)]
mod tests;
mod text;
mod url;

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use super::{DrillPlace, Expr, JsonTemplate, Shell, Template};
use crate::model::{SecretText, StepOutcome, TaskEnd, TaskOutput};

/// What a text may read, at the moment it is rendered.
#[derive(Debug, Clone, Copy)]
pub struct Ctx<'a> {
    pub params: &'a BTreeMap<String, Value>,
    /// By name as written in the text. Only the steps that the text uses need be here.
    pub steps: &'a [(&'a str, StepView<'a>)],
    pub run: &'a RunView<'a>,
    /// In a step of a `foreach`.
    pub item: Option<&'a Value>,
    /// In `expect`, `outputs` and `retry.when`.
    pub result: Option<(&'a TaskEnd, &'a TaskOutput)>,
    /// Hosts by group.
    pub groups: &'a BTreeMap<String, Vec<String>>,
    /// In a drill.
    pub drill: Option<&'a DrillPlace>,
}

/// For a text that can read none.
pub static NO_GROUPS: BTreeMap<String, Vec<String>> = BTreeMap::new();

#[derive(Debug, Clone, Copy)]
pub struct StepView<'a> {
    pub outcome: Option<StepOutcome>,
    pub outputs: &'a BTreeMap<String, Value>,
    pub choice: Option<&'a str>,
    pub result: Option<&'a Value>,
    /// Of a `foreach`.
    pub items: Option<&'a [ItemView<'a>]>,
}

/// One item of a `foreach`.
#[derive(Debug, Clone, Copy)]
pub struct ItemView<'a> {
    pub item: &'a Value,
    pub outcome: Option<StepOutcome>,
    pub outputs: &'a BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Copy)]
pub struct RunView<'a> {
    pub id: &'a str,
    pub dir: &'a str,
    /// RFC 3339.
    pub started_at: &'a str,
    pub operator: &'a str,
    pub environment: Option<&'a str>,
    /// Only in a drill's assertions: `run.outcome`, and `run.rto`, `run.rpo`, `run.phases` in milliseconds.
    pub verdict: Option<RunVerdict<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub struct RunVerdict<'a> {
    pub outcome: &'a str,
    pub rto: Option<u64>,
    pub rpo: Option<u64>,
    /// How long each phase took in milliseconds, if it came to its end.
    pub phases: &'a [(&'a str, Option<u64>)],
}

/// What went wrong in a text, and where in it (bytes of the source as typed, before normalising).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    pub message: String,
    pub range: Option<Range<usize>>,
    pub help: Option<String>,
}

impl TemplateError {
    fn new(message: impl Into<String>, range: Option<Range<usize>>) -> Self {
        Self { message: message.into(), range, help: None }
    }
}

/// Where a text stands; it decides which names it may read and how values enter it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Plain text: titles, paths, arguments of `exec`, lock keys.
    Text,
    /// A script: values become variables.
    Script(Shell),
    /// A query: values become bound parameters.
    Query(Dialect),
    /// A URL: a value at its beginning is its base, any other is percent-encoded. Secrets allowed.
    Url,
    /// `env`, `stdin`, headers, bodies, the database of `sql`: secrets allowed.
    SecretText,
    /// An expression without braces.
    Expression,
}

/// Whose SQL it is; it decides where a value may stand and what takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
    /// Known only when the database's own text is rendered, or never, where that is a secret.
    Unknown,
}

/// One name that a text reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `["steps", "pick", "outputs", "path"]`; as far as the path is constant.
    pub path: Vec<String>,
    pub range: Range<usize>,
}

/// What a text was found to be before anything is run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Analysis {
    /// The source to keep in the plan: `steps.stop-app` as `steps["stop-app"]`.
    pub normalised: String,
    pub references: Vec<Reference>,
    /// Each use of `raw`.
    pub raw: Vec<Range<usize>>,
    /// Each place where a script is parsed a second time around a value: `bash -c`, `eval`, `ssh host "..."`.
    pub reparsed: Vec<(Range<usize>, String)>,
}

/// Reads a text without rendering it: syntax, names, filters, and for a script the quoting around each value.
pub fn analyse(source: &str, place: Place) -> Result<Analysis, Vec<TemplateError>> {
    analysis::analyse(source, place)
}

/// A script whose text is constant; the values are in `env`, as `RB_V1`, `RB_V2`, ...
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub script: String,
    pub env: Vec<(String, String)>,
}

/// A script in which every value has become a variable. Values are strings, numbers or booleans without NUL.
pub fn render_script(template: &Template, shell: Shell, ctx: &Ctx<'_>) -> Result<Script, TemplateError> {
    shell::render_script(&template.src, shell, ctx)
}

/// Plain text. A list or map is written as JSON; null is an error.
pub fn render_text(template: &Template, ctx: &Ctx<'_>) -> Result<String, TemplateError> {
    text::render_text(&template.src, ctx)
}

/// Text that may name secrets.
pub fn render_secret_text(template: &Template, ctx: &Ctx<'_>) -> Result<SecretText, TemplateError> {
    text::render_secret_text(&template.src, ctx)
}

/// A URL, see [`Place::Url`].
pub fn render_url(template: &Template, ctx: &Ctx<'_>) -> Result<SecretText, TemplateError> {
    url::render_url(&template.src, ctx)
}

/// A query with `?1`, `?2`, ... and the values to bind.
pub fn render_query(
    template: &Template,
    dialect: Dialect,
    ctx: &Ctx<'_>,
) -> Result<(String, Vec<Value>), TemplateError> {
    sql::render_query(&template.src, dialect, ctx)
}

/// A JSON body as text that may name secrets; values are JSON-escaped.
pub fn render_json(template: &JsonTemplate, ctx: &Ctx<'_>) -> Result<SecretText, TemplateError> {
    text::render_json(template, ctx)
}

/// A text that may be a single `{{ }}`, which then keeps the value's type (for parameters of an included playbook).
pub fn render_value(template: &Template, ctx: &Ctx<'_>) -> Result<Value, TemplateError> {
    text::render_value(&template.src, ctx)
}

/// An expression's value; undefined is an error.
pub fn eval(expr: &Expr, ctx: &Ctx<'_>) -> Result<Value, TemplateError> {
    text::json(&environment::eval(&expr.src, ctx)?)
}

/// An expression that must be a boolean: text, numbers and null are errors, not truths.
pub fn eval_bool(expr: &Expr, ctx: &Ctx<'_>) -> Result<bool, TemplateError> {
    let (what, help) = match eval(expr, ctx)? {
        Value::Bool(truth) => return Ok(truth),
        Value::Null => ("null", "compare it: x is not none"),
        Value::Number(_) => ("a number", "compare it: x > 0"),
        Value::String(_) => ("a text", "compare it: x == 'yes'"),
        Value::Array(_) => ("a list", "compare its length: x | length > 0"),
        Value::Object(_) => ("a map", "compare one of its fields"),
    };
    Err(TemplateError {
        message: format!("`{}` is {what}, not true or false", expr.src.trim()),
        range: None,
        help: Some(help.into()),
    })
}

/// `result` as a JSON value, to be kept for later steps; an error if it is too large to keep.
pub fn result_value(end: &TaskEnd, output: &TaskOutput) -> Result<Value, TemplateError> {
    names::keep_result(end, output)
}
