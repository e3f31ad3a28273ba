//! From the plan's templates to what is carried out, with what is known at this moment.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::model::{
    HERE, Host, HttpAuth, HttpOp, Op, Piece, ProcessOp, SecretText, SqlOp, TaskEnd, TaskOutput, nearest,
    shows_password,
};
use crate::plan::params::ParamKind;
use crate::plan::template::{self, Ctx, Dialect, ItemView, RunVerdict, RunView, StepView, TemplateError};
use crate::plan::{Action, Auth, Command, Expr, Http, HttpBody, Plan, Shell, Sql, StepIx, Template, Use};

use super::core::{Engine, RunFacts};
use super::state::State;

/// A command ready to be recorded and started.
pub(super) struct Rendered {
    pub op: Op,
    /// The values behind a script's variables.
    pub values: Vec<(String, String)>,
    pub workdir: Option<String>,
    /// None: this machine.
    pub host: Option<String>,
}

/// A value in the journal is for people to read; beyond this length it is cut, and says so.
const LONGEST_VALUE: usize = 4096;

impl Engine {
    /// Calls `f` with the names that step `ix` sees.
    pub(super) fn with_ctx<T>(
        &self,
        ix: StepIx,
        uses: &[Use],
        result: Option<(&TaskEnd, &TaskOutput)>,
        f: impl FnOnce(&Ctx<'_>) -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        let step = &self.plan.steps[ix];
        with_names(self.known(), (step.scope, step.item.as_ref()), uses, (result, None), f)
    }

    /// Calls `f` with the names of a scope.
    pub(super) fn with_scope_ctx<T>(
        &self,
        scope: usize,
        uses: &[Use],
        f: impl FnOnce(&Ctx<'_>) -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        with_names(self.known(), (scope, None), uses, (None, None), f)
    }

    /// Whether a drill's assertion holds, once the run is over.
    pub fn holds(&self, expr: &Expr, verdict: RunVerdict<'_>) -> Result<bool, TemplateError> {
        let verdict = (None, Some(verdict));
        with_names(self.known(), (0, None), &expr.uses, verdict, |ctx| template::eval_bool(expr, ctx))
    }

    fn known(&self) -> Known<'_> {
        (&self.plan, &self.state, &self.facts)
    }

    /// The parameters of an included playbook that are known only now.
    pub(super) fn late_params(&self, ix: StepIx) -> Result<BTreeMap<String, Value>, String> {
        let crate::plan::Body::Playbook { scope, .. } = &self.plan.steps[ix].body else {
            return Ok(BTreeMap::new());
        };
        let mut params = BTreeMap::new();
        for late in &self.plan.scopes[*scope].late {
            let name = &late.spec.name;
            let value = self
                .with_ctx(ix, &late.value.uses, None, |ctx| template::render_value(&late.value, ctx))
                .map_err(|e| format!("parameter {name}: {e}"))?;
            let value = late.spec.check(&value).map_err(|e| format!("parameter {name}: {e}"))?;
            // As for a path that is known earlier: it counts from the folder of the playbook that gives it.
            let value = match value {
                Value::String(path) if late.spec.kind == ParamKind::Path => {
                    Value::from(self.plan.root.join(path).to_string_lossy())
                }
                other => other,
            };
            params.insert(name.clone(), value);
        }
        Ok(params)
    }

    pub(super) fn render(&self, ix: StepIx, command: &Command) -> Result<Rendered, String> {
        let mut values = Vec::new();
        let op = match &command.action {
            Action::Sql(sql) => Op::Sql(self.sql(ix, sql)?),
            Action::Http(http) => Op::Http(self.http(ix, http)?),
            Action::Script { shell, script } => {
                let rendered = self
                    .template(ix, script, "the script", |ctx| template::render_script(script, *shell, ctx))?;
                values = rendered.env.iter().map(|(k, v)| (k.clone(), shown(v))).collect();
                let mut op = self.process(ix, command, vec![shell_argv(*shell, &rendered.script)])?;
                op.script = Some(rendered.script);
                let env = rendered.env.into_iter().map(|(k, v)| (k, SecretText::plain(v)));
                op.env.extend(env);
                Op::Process(op)
            }
            Action::Exec(commands) => {
                let argv = |arg: &Template| {
                    let text = self.text(ix, arg, "an argument")?;
                    match text.contains('\0') {
                        true => Err("an argument contains a NUL byte".to_owned()),
                        false => Ok(text),
                    }
                };
                let commands = commands
                    .iter()
                    .map(|c| c.iter().map(argv).collect::<Result<Vec<_>, _>>())
                    .collect::<Result<Vec<_>, _>>()?;
                Op::Process(self.process(ix, command, commands)?)
            }
        };
        let workdir = match &op {
            Op::Process(ProcessOp { workdir, host: Some(_), .. }) if workdir.as_os_str().is_empty() => None,
            Op::Process(p) if p.workdir != self.plan.root => Some(p.workdir.to_string_lossy().into_owned()),
            _ => None,
        };
        let host = match &op {
            Op::Process(ProcessOp { host: Some(host), .. }) => Some(host.name.clone()),
            _ => None,
        };
        Ok(Rendered { op, values, workdir, host })
    }

    fn process(
        &self,
        ix: StepIx,
        command: &Command,
        commands: Vec<Vec<String>>,
    ) -> Result<ProcessOp, String> {
        let host = match &command.on {
            Some(template) => self.host(ix, template)?,
            None => None,
        };
        let workdir = match (&command.workdir, &host) {
            (Some(template), None) => self.plan.root.join(self.text(ix, template, "workdir")?),
            (None, None) => self.plan.root.clone(),
            (Some(template), Some(_)) => self.text(ix, template, "workdir")?.into(),
            (None, Some(_)) => PathBuf::new(),
        };
        let mut env = Vec::with_capacity(command.env.len());
        for (name, value) in &command.env {
            env.push((name.clone(), self.secret_text(ix, value, name)?));
        }
        let stdin = match &command.stdin {
            Some(template) => Some(self.secret_text(ix, template, "stdin")?),
            None => None,
        };
        Ok(ProcessOp { commands, script: None, env, host, workdir, stdin })
    }

    /// None: this machine.
    fn host(&self, ix: StepIx, template: &Template) -> Result<Option<Host>, String> {
        let name = self.text(ix, template, "on")?;
        if name == HERE {
            return Ok(None);
        }
        let known = || self.plan.hosts.keys().map(String::as_str);
        let host = self.plan.host(&name);
        if host.is_none() {
            let near =
                nearest(&name, known()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return Err(format!("on: there is no host `{name}`{near}"));
        }
        Ok(host)
    }

    fn sql(&self, ix: StepIx, sql: &Sql) -> Result<SqlOp, String> {
        let source = &sql.database;
        let database = match Dialect::of(&source.src) {
            Dialect::Postgres => {
                self.template(ix, source, "database", |ctx| template::render_url(source, ctx))?
            }
            Dialect::Sqlite | Dialect::Unknown => self.secret_text(ix, source, "database")?,
        };
        if shows_password(&database.to_string(), "‹secret ") {
            return Err(
                "database: the password in the URL is no secret; declare it under `secrets`, and give it as \
                        `password`"
                    .into(),
            );
        }
        let dialect = dialect_of(&database);
        let query = &sql.query;
        let (query, binds) =
            self.template(ix, query, "the query", |ctx| template::render_query(query, dialect, ctx))?;
        let password = sql.password.as_ref().map(|text| self.proof(ix, text, "password")).transpose()?;
        let ca_file = self.ca_file(ix, sql.ca_file.as_ref())?;
        Ok(SqlOp { database: self.absolute_sqlite(database), password, ca_file, query, binds })
    }

    /// A text that only the other side may see. What is no secret would be in the journal.
    fn proof(&self, ix: StepIx, template: &Template, what: &str) -> Result<SecretText, String> {
        let text = self.secret_text(ix, template, what)?;
        match text.0.iter().any(|piece| !matches!(piece, Piece::Plain(_))) {
            true => Ok(text),
            false => Err(format!("{what}: it is no secret; declare it under `secrets`")),
        }
    }

    fn ca_file(&self, ix: StepIx, template: Option<&Template>) -> Result<Option<PathBuf>, String> {
        let path = template.map(|template| self.text(ix, template, "ca_file")).transpose()?;
        Ok(path.map(|path| self.plan.root.join(path)))
    }

    /// `sqlite:PATH` counts from the playbook's folder like every other path.
    fn absolute_sqlite(&self, database: SecretText) -> SecretText {
        let mut pieces = database.0;
        if let Some(Piece::Plain(text)) = pieces.first_mut()
            && let Some(path) = text.strip_prefix("sqlite:")
            && !path.starts_with('/')
        {
            let root: PathBuf = self.plan.root.join("");
            *text = format!("sqlite:{}{path}", root.to_string_lossy());
        }
        SecretText(pieces)
    }

    fn http(&self, ix: StepIx, http: &Http) -> Result<HttpOp, String> {
        let Http { method, url, headers, body, auth, ca_file } = http;
        let url = self.template(ix, url, "the URL", |ctx| template::render_url(url, ctx))?;
        let mut rendered = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            rendered.push((name.clone(), self.secret_text(ix, value, name)?));
        }
        let body = match body {
            None => None,
            Some(HttpBody::Text(text)) => Some(self.secret_text(ix, text, "the body")?),
            Some(HttpBody::Json(json)) => {
                if !rendered.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                    let kind = SecretText::plain("application/json");
                    rendered.push(("content-type".into(), kind));
                }
                let uses = json_uses(json);
                let text = self
                    .with_ctx(ix, &uses, None, |ctx| template::render_json(json, ctx))
                    .map_err(|e| format!("the body: {e}"))?;
                Some(text)
            }
        };
        let auth = match auth {
            Some(Auth::Bearer(token)) => Some(HttpAuth::Bearer(self.proof(ix, token, "bearer")?)),
            Some(Auth::Basic { user, password }) => Some(HttpAuth::Basic {
                user: self.secret_text(ix, user, "user")?,
                password: self.secret_text(ix, password, "password")?,
            }),
            None => None,
        };
        let ca_file = self.ca_file(ix, ca_file.as_ref())?;
        Ok(HttpOp { method: method.to_owned(), url, headers: rendered, body, auth, ca_file })
    }

    fn text(&self, ix: StepIx, template: &Template, what: &str) -> Result<String, String> {
        self.template(ix, template, what, |ctx| template::render_text(template, ctx))
    }

    fn secret_text(&self, ix: StepIx, template: &Template, what: &str) -> Result<SecretText, String> {
        self.template(ix, template, what, |ctx| template::render_secret_text(template, ctx))
    }

    fn template<T>(
        &self,
        ix: StepIx,
        template: &Template,
        what: &str,
        f: impl FnOnce(&Ctx<'_>) -> Result<T, TemplateError>,
    ) -> Result<T, String> {
        self.with_ctx(ix, &template.uses, None, f).map_err(|error| format!("{what}: {error}"))
    }
}

/// As far as a text tells whose first piece may be a secret.
fn dialect_of(database: &SecretText) -> Dialect {
    match database.0.first() {
        Some(Piece::Plain(text)) => Dialect::of(text),
        _ => Dialect::Unknown,
    }
}

/// All that names are looked up in.
pub(super) type Known<'a> = (&'a Plan, &'a State, &'a RunFacts);

/// Calls `f` with the names of a scope of the plan.
pub(super) fn with_names<T>(
    (plan, state, facts): Known<'_>,
    (scope, item): (usize, Option<&Value>),
    uses: &[Use],
    (result, verdict): (Option<(&TaskEnd, &TaskOutput)>, Option<RunVerdict<'_>>),
    f: impl FnOnce(&Ctx<'_>) -> Result<T, TemplateError>,
) -> Result<T, TemplateError> {
    let items = items_of_all(plan, state, uses);
    let steps = views(state, uses, &items);
    let params = params_of(plan, state, scope);
    let run = RunView {
        id: &facts.id,
        dir: &facts.dir,
        started_at: &facts.started_at,
        operator: &facts.operator,
        environment: facts.environment.as_deref(),
        verdict,
    };
    let (groups, drill) = (&plan.groups, plan.drill.as_ref());
    f(&Ctx { params: &params, steps: &steps, run: &run, item, result, groups, drill })
}

// Apart from `with_names`, which the program has once for every `f`.

fn items_of_all<'a>(plan: &'a Plan, state: &'a State, uses: &[Use]) -> Vec<Option<Vec<ItemView<'a>>>> {
    uses.iter().map(|used| items_of(plan, state, used.step)).collect()
}

fn views<'a>(
    state: &'a State,
    uses: &'a [Use],
    items: &'a [Option<Vec<ItemView<'a>>>],
) -> Vec<(&'a str, StepView<'a>)> {
    let view = |(used, items): (&'a Use, &'a Option<Vec<ItemView<'a>>>)| {
        let state = &state.steps[used.step];
        let view = StepView {
            outcome: state.outcome(),
            outputs: &state.outputs,
            choice: state.choice.as_deref(),
            result: state.result.as_ref(),
            items: items.as_deref(),
        };
        (used.name.as_str(), view)
    };
    uses.iter().zip(items).map(view).collect()
}

/// The values of a scope's parameters, with those that became known only in the run.
fn params_of<'a>(plan: &'a Plan, state: &'a State, scope: usize) -> Cow<'a, BTreeMap<String, Value>> {
    let spec = &plan.scopes[scope];
    match spec.group.map(|g| &state.steps[g].late_params).filter(|late| !late.is_empty()) {
        None => Cow::Borrowed(&spec.params),
        Some(late) => {
            Cow::Owned(spec.params.iter().chain(late).map(|(k, v)| (k.clone(), v.clone())).collect())
        }
    }
}

/// What the items of a step gave, if it has a `foreach`.
fn items_of<'a>(plan: &'a Plan, state: &'a State, ix: StepIx) -> Option<Vec<ItemView<'a>>> {
    let view = |ix: &StepIx| {
        let item = plan.steps[*ix].item.as_ref()?;
        let state = &state.steps[*ix];
        Some(ItemView { item, outcome: state.outcome(), outputs: &state.outputs })
    };
    Some(plan.foreach(ix)?.steps.iter().filter_map(view).collect())
}

/// The argv that runs a script, strictly: a failing command or an unset variable ends it.
fn shell_argv(shell: Shell, script: &str) -> Vec<String> {
    let argv: &[&str] = match shell {
        Shell::Bash => &["bash", "-euo", "pipefail", "-c"],
        Shell::Sh => &["sh", "-eu", "-c"],
    };
    argv.iter().copied().chain([script, "runbook"]).map(str::to_owned).collect()
}

fn shown(value: &str) -> String {
    if value.len() <= LONGEST_VALUE {
        return value.to_owned();
    }
    let end = (0..=LONGEST_VALUE).rev().find(|i| value.is_char_boundary(*i)).unwrap_or(0);
    format!("{}… ({} bytes in all)", &value[..end], value.len())
}

fn json_uses(json: &crate::plan::JsonTemplate) -> Vec<Use> {
    use crate::plan::JsonTemplate;
    match json {
        JsonTemplate::Value(_) => Vec::new(),
        JsonTemplate::Text(template) => template.uses.clone(),
        JsonTemplate::List(items) => items.iter().flat_map(json_uses).collect(),
        JsonTemplate::Map(entries) => entries.iter().flat_map(|(_, v)| json_uses(v)).collect(),
    }
}
