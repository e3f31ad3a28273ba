//! Translates actions, checks, undos and retries into commands.
//!
//! A check, an undo or a remedy inherits `env`, `on`, `workdir`, `shell` and `grace` from its step, as they describe where
//! the step works; `timeout` and `stdin` belong to one command alone.

use super::build::Builder;
use super::text::{ResultKind, Site};
use crate::model::{Millis, Want, shows_password};
use crate::plan::template::{Dialect, Place};
use crate::plan::{
    Action, Auth, Check, Command, Http, HttpBody, JsonTemplate, Retry, Shell, Sql, Template, Undo,
};
use crate::playbook::ast::{self, ActionKind, NodeKind, Options};
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::source::{Span, Text};

pub(super) const DEFAULT_TIMEOUT: Millis = Millis::secs(600);
const DEFAULT_GRACE: Millis = Millis::secs(10);
const DEFAULT_EVERY: Millis = Millis::secs(2);
const DEFAULT_DELAY: Millis = Millis::secs(1);
/// A JSON body deeper than this could not be read back from the stored plan.
const MAX_JSON_DEPTH: usize = 32;

/// What stands around a command.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// The options of the step it belongs to, if it is not the step's own action.
    pub step: Option<&'a Options>,
    pub site: Site,
    pub timeout: Option<Millis>,
}

impl Builder<'_> {
    pub(super) fn default_timeout(&self, scope: usize) -> Option<Millis> {
        self.playbook(scope).defaults.timeout.as_ref().map_or(Some(DEFAULT_TIMEOUT), |t| t.value)
    }

    /// None if the action is no command; that is already reported.
    pub(super) fn command(
        &mut self,
        action: &ast::Action,
        options: &Options,
        around: Around<'_>,
    ) -> Option<Command> {
        let site = around.site;
        let translated = match &action.kind {
            ActionKind::Run(script) => {
                let shell = self.shell(options, around);
                Action::Script { shell, script: self.template(script, Place::Script(shell), site) }
            }
            ActionKind::Exec(commands) => self.exec(commands, site),
            ActionKind::Sql(sql) => self.sql(sql, site),
            ActionKind::Http(http) => self.http(http, site),
            ActionKind::Wait(_)
            | ActionKind::Choose(_)
            | ActionKind::Manual(_)
            | ActionKind::Notify(_)
            | ActionKind::AnyOf(_)
            | ActionKind::Playbook { .. } => {
                self.push(
                    Diagnostic::error("not-a-command", action.span, "only a command can stand here")
                        .help("use `run`, `exec`, `sql` or `http`"),
                );
                return None;
            }
        };
        let process = matches!(translated, Action::Script { .. } | Action::Exec(_));
        self.refuse_idle_workdir(process, options);
        let on = if process { self.on(options, around) } else { None };
        let defaults = &self.playbook(site.scope).defaults;
        let grace =
            [options.grace.as_ref(), around.step.and_then(|s| s.grace.as_ref()), defaults.grace.as_ref()];
        Some(Command {
            env: if process { self.env(options, around) } else { Vec::new() },
            workdir: if process { self.workdir(options, around, on.is_some()) } else { None },
            on,
            stdin: options.stdin.as_ref().map(|t| self.template(t, Place::SecretText, site)),
            timeout: options.timeout.as_ref().map_or(around.timeout, |t| t.value),
            grace: grace.into_iter().flatten().next().map_or(DEFAULT_GRACE, |g| g.value),
            action: translated,
            want: Want::default(),
        })
    }

    /// The parser refuses the other options that an action cannot heed.
    fn refuse_idle_workdir(&mut self, process: bool, options: &Options) {
        if let Some(workdir) = options.workdir.as_ref().filter(|_| !process) {
            self.push(
                Diagnostic::error("no-effect", workdir.span, "`workdir` has no effect here")
                    .label("only `run` and `exec` work in a folder"),
            );
        }
    }

    fn shell(&self, options: &Options, around: Around<'_>) -> Shell {
        let defaults = &self.playbook(around.site.scope).defaults;
        let typed =
            [options.shell.as_ref(), around.step.and_then(|s| s.shell.as_ref()), defaults.shell.as_ref()];
        match typed.into_iter().flatten().next().map(|s| s.value) {
            Some(ast::Shell::Sh) => Shell::Sh,
            Some(ast::Shell::Bash) | None => Shell::Bash,
        }
    }

    fn exec(&mut self, commands: &[Vec<Text>], site: Site) -> Action {
        let argv =
            |command: &Vec<Text>| command.iter().map(|arg| self.template(arg, Place::Text, site)).collect();
        Action::Exec(commands.iter().map(argv).collect())
    }

    fn sql(&mut self, sql: &ast::Sql, site: Site) -> Action {
        let dialect = Dialect::of(&sql.database.value);
        let place = if dialect == Dialect::Postgres { Place::Url } else { Place::SecretText };
        let database = self.template(&sql.database, place, site);
        let database = self.rooted(database, sql.database.span, site.scope, "sqlite:");
        if dialect == Dialect::Postgres && shows_password(&sql.database.value, "{{") {
            self.push(
                Diagnostic::error("typed-secret", sql.database.span, "a password is typed in the URL").help(
                    "declare it under `secrets`, and write `password: \"{{ secrets.NAME }}\"` beside it",
                ),
            );
        }
        if dialect == Dialect::Sqlite {
            for (key, text) in [("password", &sql.password), ("ca_file", &sql.ca_file)] {
                if let Some(text) = text {
                    let message = format!("`{key}` has no effect here");
                    self.push(
                        Diagnostic::error("no-effect", text.span, message).label("a SQLite file has none"),
                    );
                }
            }
        }
        let password = sql.password.as_ref().map(|text| self.secret(text, site));
        let ca_file = sql.ca_file.as_ref().map(|path| self.path(path, site));
        let query = self.template(&sql.query, Place::Query(dialect), site);
        Action::Sql(Box::new(Sql { database, password, ca_file, query }))
    }

    /// What has to be kept to oneself.
    fn secret(&mut self, text: &Text, site: Site) -> Template {
        if !text.value.contains("secrets.") {
            self.push(
                Diagnostic::error("typed-secret", text.span, "this is no secret")
                    .label("it would stand in the plan for everybody to read")
                    .help("declare it under `secrets` and write \"{{ secrets.NAME }}\""),
            );
        }
        self.template(text, Place::SecretText, site)
    }

    fn path(&mut self, path: &Text, site: Site) -> Template {
        let template = self.template(path, Place::Text, site);
        self.rooted(template, path.span, site.scope, "")
    }

    fn auth(&mut self, http: &ast::Http, site: Site) -> Option<Auth> {
        let typed = http.headers.iter().find(|(name, _)| name.value.eq_ignore_ascii_case("authorization"));
        if let (Some((name, _)), true) = (typed, http.auth.is_some()) {
            let message = "the header `Authorization` is given twice";
            self.push(Diagnostic::error("bad-header", name.span, message).label("`auth` makes it"));
        }
        Some(match http.auth.as_ref()? {
            ast::Auth::Bearer(token) => Auth::Bearer(self.secret(token, site)),
            // Some servers take a token for the user.
            ast::Auth::Basic { user, password } if user.value.contains("secrets.") => Auth::Basic {
                user: self.secret(user, site),
                password: self.template(password, Place::SecretText, site),
            },
            ast::Auth::Basic { user, password } => Auth::Basic {
                user: self.template(user, Place::SecretText, site),
                password: self.secret(password, site),
            },
        })
    }

    fn http(&mut self, http: &ast::Http, site: Site) -> Action {
        let url = self.template(&http.url, Place::Url, site);
        let mut headers: Vec<(String, Template)> = Vec::with_capacity(http.headers.len());
        for (name, value) in &http.headers {
            if headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name.value)) {
                let message = format!("the header `{}` is given twice", name.value);
                self.push(Diagnostic::error("bad-header", name.span, message));
            }
            headers.push((name.value.clone(), self.template(value, Place::SecretText, site)));
        }
        let body = match (&http.body, &http.json) {
            (Some(text), _) => Some(HttpBody::Text(self.template(text, Place::SecretText, site))),
            (None, Some(json)) => Some(HttpBody::Json(self.json(json, site, 0))),
            (None, None) => None,
        };
        let ca_file = http.ca_file.as_ref().map(|path| self.path(path, site));
        let auth = self.auth(http, site);
        let method = http.method.value.to_owned();
        Action::Http(Box::new(Http { method, url, headers, body, auth, ca_file }))
    }

    fn json(&mut self, node: &ast::Node, site: Site, depth: usize) -> JsonTemplate {
        if depth > MAX_JSON_DEPTH {
            self.push(
                Diagnostic::error("too-deep", node.span, "the value is nested too deep")
                    .label(format!("more than {MAX_JSON_DEPTH} levels")),
            );
            return JsonTemplate::Value(serde_json::Value::Null);
        }
        match &node.kind {
            NodeKind::Text(text) => JsonTemplate::Text(self.template(text, Place::SecretText, site)),
            NodeKind::List(items) => {
                JsonTemplate::List(items.iter().map(|item| self.json(item, site, depth + 1)).collect())
            }
            NodeKind::Map(entries) => JsonTemplate::Map(
                entries
                    .iter()
                    .map(|(key, value)| (key.value.clone(), self.json(value, site, depth + 1)))
                    .collect(),
            ),
            _ => JsonTemplate::Value(self.value(node)),
        }
    }

    /// From the general to the particular: `defaults`, the step, the command; the later wins.
    fn env(&mut self, options: &Options, around: Around<'_>) -> Vec<(String, Template)> {
        let site = around.site;
        let book = self.scopes[site.scope].book;
        let defaults = &self.loaded.books[book].playbook.defaults.env;
        let around_env = around.step.map_or(&[][..], |s| &s.env);
        let mut env: Vec<(String, Template)> = Vec::new();
        for (name, value) in defaults.iter().chain(around_env).chain(&options.env) {
            self.check_env_name(name);
            let value = self.template(value, Place::SecretText, site);
            match env.iter_mut().find(|(known, _)| *known == name.value) {
                Some(entry) => entry.1 = value,
                None => env.push((name.value.clone(), value)),
            }
        }
        env
    }

    fn check_env_name(&mut self, name: &Text) {
        let text = name.value.as_str();
        if text.starts_with("RUNBOOK_") || text.starts_with("RB_V") {
            self.push(
                Diagnostic::error("bad-env-name", name.span, format!("`{text}` is set by runbook itself"))
                    .help("choose a name that starts with neither `RUNBOOK_` nor `RB_V`"),
            );
        }
    }

    fn workdir(&mut self, options: &Options, around: Around<'_>, elsewhere: bool) -> Option<Template> {
        let scope = around.site.scope;
        match options.workdir.as_ref().or(around.step.and_then(|s| s.workdir.as_ref())) {
            Some(text) => {
                let template = self.template(text, Place::Text, around.site);
                // A path of another host has nothing to do with the folders here.
                let rooted = |b: &mut Self, t| if elsewhere { t } else { b.rooted(t, text.span, scope, "") };
                Some(rooted(self, template))
            }
            None if elsewhere => None,
            None => self.foreign_root(scope).map(|root| Template { src: root, uses: Vec::new() }),
        }
    }

    /// The root of an included playbook whose relative paths do not count from the plan's root.
    fn foreign_root(&self, scope: usize) -> Option<String> {
        let book = self.scopes[scope].book;
        if book == 0 {
            return None;
        }
        let root = self.base.root_of(self.book(book));
        (root != self.base.root_of(self.book(0))).then(|| root.to_string_lossy().into_owned())
    }

    /// A path in an included playbook counts from that playbook's root.
    fn rooted(&mut self, mut template: Template, span: Span, scope: usize, scheme: &str) -> Template {
        let Some(root) = self.foreign_root(scope) else { return template };
        let Some(path) = template.src.strip_prefix(scheme) else { return template };
        // A value at the start is a path parameter, which is absolute, or the author's own business.
        if path.starts_with('/') || path.starts_with("{{") || path.starts_with(':') {
            return template;
        }
        if root.contains("{{") || root.contains("{%") || root.contains("{#") {
            let message = "the folder of this playbook looks like a template";
            self.push(Diagnostic::error("bad-folder", span, message).label(root));
            return template;
        }
        template.src = format!("{scheme}{root}/{path}");
        template
    }

    /// `verify`, `unless`, `check`, `symptom`.
    pub(super) fn check(&mut self, check: &ast::Check, step: &Options, site: Site) -> Option<Check> {
        let default = self.default_timeout(site.scope).unwrap_or(DEFAULT_TIMEOUT);
        // One poll that hangs must not outlast the time there is for all of them.
        let timeout = match check.within.as_ref() {
            Some(within) => default.min(within.value.max(Millis::secs(1))),
            None => default,
        };
        let around = Around { step: Some(step), site, timeout: Some(timeout) };
        let mut command = self.command(&check.action, &check.options, around)?;
        if matches!(check.action.kind, ActionKind::Sql(_)) && check.expect.is_empty() {
            self.push(
                Diagnostic::error(
                    "no-expect",
                    check.action.span,
                    "this check passes whatever the database answers",
                )
                .help("say what must hold: `expect: [ \"result.rows == [[1]]\" ]`"),
            );
        }
        let (expect, want) =
            self.exprs_wanting(&check.expect, site.result(ResultKind::of(&check.action.kind)));
        command.want = want;
        let title = match &check.title {
            Some(title) => self.plain(title),
            None => describe(&check.action),
        };
        Some(Check {
            title,
            command,
            expect,
            within: check.within.as_ref().map(|w| w.value),
            every: check.every.as_ref().map_or(DEFAULT_EVERY, |e| e.value),
            required: check.required,
        })
    }

    pub(super) fn undo(&mut self, undo: &ast::Undo, step: &Options, site: Site) -> Option<Undo> {
        let around = Around { step: Some(step), site, timeout: self.default_timeout(site.scope) };
        let mut command = self.command(&undo.action, &undo.options, around)?;
        let site = site.result(ResultKind::of(&undo.action.kind));
        let (expect, want) = self.exprs_wanting(&undo.expect, site);
        let (retry, more) = match &undo.retry {
            Some(retry) => self.retry(retry, step, site),
            None => (Retry::never(), Want::default()),
        };
        command.want = super::text::both(want, more);
        let approval = undo.approval.as_ref().map(|ask| Box::new(self.ask(ask, around.site)));
        Some(Undo { approval, command, expect, retry })
    }

    /// `site` knows the result of the command that is tried again.
    pub(super) fn retry(&mut self, retry: &ast::Retry, step: &Options, site: Site) -> (Retry, Want) {
        let attempts = retry
            .attempts
            .as_ref()
            .map_or_else(|| 1 + u32::try_from(retry.remedies.len()).unwrap_or(u32::MAX - 1), |a| a.value);
        self.check_retry(retry);
        let (when, want) = match &retry.when {
            Some(text) => {
                let (expr, want) = self.expr_wanting(text, site);
                (Some(expr), want)
            }
            None => (None, Want::default()),
        };
        let mut remedies = Vec::with_capacity(retry.remedies.len());
        for remedy in &retry.remedies {
            let site = site.result(None);
            let around = Around { step: Some(step), site, timeout: self.default_timeout(site.scope) };
            let title = match &remedy.title {
                Some(title) => self.plain(title),
                None => describe(&remedy.action),
            };
            if let Some(command) = self.command(&remedy.action, &remedy.options, around) {
                remedies.push((title, command));
            }
        }
        let retry = Retry {
            attempts: attempts.max(1),
            delay: retry.delay.as_ref().map_or(DEFAULT_DELAY, |d| d.value),
            backoff: retry.backoff.as_ref().map_or(1.0, |b| b.value),
            max_delay: retry.max_delay.as_ref().map(|d| d.value),
            jitter: retry.jitter.as_ref().map_or(0.0, |j| j.value),
            when,
            remedies,
        };
        (retry, want)
    }

    fn check_retry(&mut self, retry: &ast::Retry) {
        if retry.attempts.is_none() && retry.remedies.is_empty() {
            self.push(
                Diagnostic::error("bad-retry", retry.span, "`retry` does not say how often")
                    .help("add `attempts`: how often in all, the first one counted"),
            );
        }
    }
}

/// A title for what has none: the first line of what it does.
pub(super) fn describe(action: &ast::Action) -> String {
    const LENGTH: usize = 72;
    let text = match &action.kind {
        ActionKind::Run(script) => script.value.trim().lines().next().unwrap_or_default().to_owned(),
        ActionKind::Exec(commands) => {
            let argv = |c: &Vec<Text>| c.iter().map(|t| t.value.as_str()).collect::<Vec<_>>().join(" ");
            commands.iter().map(argv).collect::<Vec<_>>().join(" | ")
        }
        ActionKind::Sql(sql) => sql.query.value.trim().lines().next().unwrap_or_default().to_owned(),
        ActionKind::Http(http) => format!("{} {}", http.method.value, http.url.value),
        ActionKind::Wait(length) => format!("wait {}", length.value),
        ActionKind::Choose(choose) => {
            choose.ask.prompt.value.trim().lines().next().unwrap_or_default().to_owned()
        }
        ActionKind::Manual(ask) => ask.prompt.value.trim().lines().next().unwrap_or_default().to_owned(),
        ActionKind::Notify(tell) => tell.message.value.trim().lines().next().unwrap_or_default().to_owned(),
        ActionKind::AnyOf(_) => "any of".to_owned(),
        ActionKind::Playbook { name, .. } => format!("playbook {}", name.value),
    };
    if text.chars().count() <= LENGTH {
        return text;
    }
    format!("{}...", text.chars().take(LENGTH - 3).collect::<String>())
}
