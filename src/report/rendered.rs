//! Commands of a plan as far as they are known before anything is run.

use std::path::PathBuf;
use std::sync::LazyLock;

use regex::Regex;

use super::{neutral, words};
use crate::model::{Op, ProcessOp};
use crate::plan::template::{self, Ctx, Dialect, TemplateError};
use crate::plan::{Action, Auth, Command, Http, HttpBody, JsonTemplate, Plan, Sql, Step, Template, Where};

/// A command to show. The texts are neutral.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// May have several lines.
    pub text: String,
    /// What stands behind the command's variables and binds.
    pub values: Vec<(String, String)>,
    /// False: it depends on what a step will give, so the text is the source.
    pub known: bool,
}

/// The command with the parameters of its scope; its source where a value is known only during the run.
pub fn command(plan: &Plan, scope: usize, command: &Command) -> Shown {
    match plan.before_the_start(scope, None, |ctx| render(&command.action, ctx)) {
        Some(Ok((text, values))) => {
            let values = values.into_iter().map(|(n, v)| (neutral::line(n), neutral::line(v))).collect();
            Shown { text: clean(&text), values, known: true }
        }
        _ => Shown { text: source(&command.action), values: Vec::new(), known: false },
    }
}

/// A text with the parameters of its scope, secrets by name; its source where a value is known only during the run.
pub fn text(plan: &Plan, scope: usize, template: &Template) -> String {
    match plan.before_the_start(scope, None, |ctx| secret_text(template, ctx)) {
        Some(Ok(text)) => neutral::block(text.trim_end()),
        _ => clean(&template.src),
    }
}

/// The host that a command of the step runs on, and how it is reached; none for this machine. Of an item of a `foreach`
/// those of all items, where each has its own.
pub fn on(plan: &Plan, step: &Step, command: &Command) -> Option<String> {
    /// Of items with a host each, so many are named.
    const NAMED: usize = 6;
    let template = command.on.as_ref()?;
    let items = step.parent.and_then(|group| plan.foreach(group)).map_or(&[][..], |each| &each.steps);
    let others = items.iter().filter_map(|ix| plan.steps.get(*ix));
    let mut places = vec![plan.where_of(step, command)];
    for place in others.map(|item| plan.where_of(item, command)) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let name = |place: &Where| match place {
        Where::Here => "this machine".to_owned(),
        Where::On(name) => neutral::line(name),
        Where::Late => text(plan, step.scope, template),
    };
    match places.as_slice() {
        [Where::Here] => None,
        [Where::On(host)] => {
            let way = plan.hosts.get(host).map(|reach| format!(" ({})", neutral::line(reach.describe())));
            Some(neutral::line(host) + &way.unwrap_or_default())
        }
        [Where::Late] => Some(name(&Where::Late)),
        several => {
            let mut text: Vec<String> = several.iter().take(NAMED).map(name).collect();
            if let more @ 1.. = several.len().saturating_sub(NAMED) {
                text.push(format!("{more} more"));
            }
            Some(text.join(", "))
        }
    }
}

/// The parameters that a source names, with their values.
pub fn params_in(plan: &Plan, scope: usize, source: &str) -> Vec<(String, String)> {
    let Some(scope) = plan.scopes.get(scope) else { return Vec::new() };
    let is_part = |c: char| c == '_' || c.is_alphanumeric();
    let is_named = |name: &str| {
        let mut after = source.split("params.").skip(1);
        after.any(|rest| rest.strip_prefix(name).is_some_and(|rest| !rest.starts_with(is_part)))
    };
    let named = scope.params.iter().filter(|(name, _)| is_named(name));
    named.map(|(name, value)| (neutral::line(name), words::value(value))).collect()
}

type Rendered = Result<(String, Vec<(String, String)>), TemplateError>;

fn render(action: &Action, ctx: &Ctx<'_>) -> Rendered {
    match action {
        Action::Script { script, .. } if is_literal(script) => Ok((script.src.clone(), Vec::new())),
        Action::Script { shell, script } => {
            let script = template::render_script(script, *shell, ctx)?;
            Ok((script.script, script.env))
        }
        Action::Exec(commands) => {
            let text = |t: &Template| match is_literal(t) {
                true => Ok(t.src.clone()),
                false => template::render_text(t, ctx),
            };
            let commands = commands
                .iter()
                .map(|argv| argv.iter().map(text).collect::<Result<Vec<_>, _>>())
                .collect::<Result<Vec<_>, _>>()?;
            Ok((argv_text(commands), Vec::new()))
        }
        Action::Sql(sql) => {
            let Sql { database, query, .. } = &**sql;
            let (database, dialect) = render_database(database, ctx)?;
            let (query, binds) = match is_literal(query) {
                true => (query.src.clone(), Vec::new()),
                false => template::render_query(query, dialect, ctx)?,
            };
            let mark = if dialect == Dialect::Sqlite { '?' } else { '$' };
            let named =
                |(i, value): (usize, &serde_json::Value)| (format!("{mark}{}", i + 1), words::value(value));
            let binds = binds.iter().enumerate().map(named).collect();
            Ok((format!("{database}: {query}"), binds))
        }
        Action::Http(http) => {
            let Http { method, url, headers, body, auth, .. } = &**http;
            let url = match is_literal(url) {
                true => url.src.clone(),
                false => template::render_url(url, ctx)?.to_string(),
            };
            let mut values = Vec::new();
            for (name, value) in headers {
                values.push((name.clone(), secret_text(value, ctx)?));
            }
            match auth {
                Some(Auth::Bearer(token)) => values.push(("bearer".to_owned(), secret_text(token, ctx)?)),
                Some(Auth::Basic { user, password }) => {
                    values.push(("user".to_owned(), secret_text(user, ctx)?));
                    values.push(("password".to_owned(), secret_text(password, ctx)?));
                }
                None => {}
            }
            match body {
                Some(HttpBody::Text(text)) => values.push(("body".to_owned(), secret_text(text, ctx)?)),
                Some(HttpBody::Json(json)) => {
                    values.push(("body".to_owned(), template::render_json(json, ctx)?.to_string()));
                }
                None => {}
            }
            Ok((format!("{method} {url}"), values))
        }
    }
}

/// What to show of it, and whose SQL it wants.
fn render_database(template: &Template, ctx: &Ctx<'_>) -> Result<(String, Dialect), TemplateError> {
    let text = match Dialect::of(&template.src) {
        _ if is_literal(template) => template.src.clone(),
        Dialect::Postgres => template::render_url(template, ctx)?.to_string(),
        Dialect::Sqlite | Dialect::Unknown => template::render_secret_text(template, ctx)?.to_string(),
    };
    let dialect = Dialect::of(&text);
    Ok((text, dialect))
}

fn secret_text(template: &Template, ctx: &Ctx<'_>) -> Result<String, TemplateError> {
    match is_literal(template) {
        true => Ok(template.src.clone()),
        false => Ok(template::render_secret_text(template, ctx)?.to_string()),
    }
}

/// Most texts of most playbooks: nothing to render.
fn is_literal(template: &Template) -> bool {
    !["{{", "{%", "{#"].iter().any(|mark| template.src.contains(mark))
}

fn argv_text(commands: Vec<Vec<String>>) -> String {
    let (env, workdir) = (Vec::new(), PathBuf::new());
    let op = ProcessOp { commands, script: None, env, host: None, workdir, stdin: None };
    Op::Process(op).describe()
}

/// The action as typed.
pub fn source(action: &Action) -> String {
    let text = match action {
        Action::Script { script, .. } => script.src.clone(),
        Action::Exec(commands) => {
            let one =
                |argv: &Vec<Template>| argv.iter().map(|t| t.src.as_str()).collect::<Vec<_>>().join(" ");
            commands.iter().map(one).collect::<Vec<_>>().join(" | ")
        }
        Action::Sql(sql) => format!("{}: {}", sql.database.src, sql.query.src),
        Action::Http(http) => format!("{} {}", http.method, http.url.src),
    };
    clean(&text)
}

/// An expression as typed.
pub fn expression(src: &str) -> String {
    clean(src)
}

fn clean(text: &str) -> String {
    words::typed(&neutral::block(text.trim_end()))
}

/// True if the action, or anything it carries, splices text with the `raw` filter.
pub fn splices_raw(command: &Command) -> bool {
    static RAW: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\{\{[^}]*\|\s*raw\b").ok());
    let raw = |t: &Template| t.src.contains("raw") && RAW.as_ref().is_some_and(|r| r.is_match(&t.src));
    match &command.action {
        Action::Script { script, .. } => raw(script),
        Action::Exec(commands) => commands.iter().flatten().any(raw),
        Action::Sql(sql) => raw(&sql.database) || raw(&sql.query),
        Action::Http(http) => {
            let Http { url, body, headers, .. } = &**http;
            raw(url)
                || headers.iter().any(|(_, t)| raw(t))
                || match body {
                    Some(HttpBody::Text(text)) => raw(text),
                    Some(HttpBody::Json(JsonTemplate::Text(text))) => raw(text),
                    _ => false,
                }
        }
    }
}
