//! Reads every template and expression: are its names known, and surely there when it is rendered?

use std::rc::Rc;

use super::build::Builder;
use super::order::Standing;
use super::suggest;
use crate::model::Want;
use crate::plan::template::{Analysis, Place, Reference, TemplateError, analyse};
use crate::plan::{Expr, StepIx, Template, Use};
use crate::playbook::ast::{self, ActionKind};
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::source::{Span, Text};

/// Which steps a text may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Rendered before the first step.
    Start,
    /// Rendered for this step; `own`: its own outputs are known by then.
    Step { ix: StepIx, own: bool },
    /// Rendered when all steps of the scope are over.
    End,
}

/// What kind of result `result` is; it decides the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResultKind {
    Process,
    Http,
    Sql,
}

impl ResultKind {
    pub fn of(action: &ActionKind) -> Option<Self> {
        match action {
            ActionKind::Run(_) | ActionKind::Exec(_) => Some(Self::Process),
            ActionKind::Http(_) => Some(Self::Http),
            ActionKind::Sql(_) => Some(Self::Sql),
            ActionKind::Wait(_)
            | ActionKind::Choose(_)
            | ActionKind::Manual(_)
            | ActionKind::Notify(_)
            | ActionKind::AnyOf(_)
            | ActionKind::Playbook { .. } => None,
        }
    }

    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Process => &["exit", "signal", "stdout", "stderr", "lines", "json", "duration"],
            Self::Http => &["status", "headers", "body", "json", "duration"],
            Self::Sql => &["rows", "columns", "affected", "notices", "duration"],
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Process => "a command",
            Self::Http => "an http request",
            Self::Sql => "a query",
        }
    }
}

/// Where a text stands and what it may read there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site {
    pub scope: usize,
    pub when: When,
    pub result: Option<ResultKind>,
    /// `run.outcome`, `run.rto`, `run.rpo`: in a drill's assertions.
    pub verdict: bool,
    /// In what is done for each item of a `foreach`.
    pub item: bool,
}

impl Site {
    pub fn start(scope: usize) -> Self {
        Self { scope, when: When::Start, result: None, verdict: false, item: false }
    }

    pub fn end(scope: usize) -> Self {
        Self { when: When::End, ..Self::start(scope) }
    }

    pub fn step(scope: usize, ix: StepIx) -> Self {
        Self { when: When::Step { ix, own: false }, ..Self::start(scope) }
    }

    /// After the action: its own outputs are known.
    pub fn own(self) -> Self {
        match self.when {
            When::Step { ix, .. } => Self { when: When::Step { ix, own: true }, ..self },
            _ => self,
        }
    }

    /// For each item, if there are any.
    pub fn each(self, step: &ast::Step) -> Self {
        Self { item: step.foreach.is_some(), ..self }
    }

    pub fn result(self, result: Option<ResultKind>) -> Self {
        Self { result, ..self }
    }
}

/// What the names of one text came to.
#[derive(Default)]
struct Found {
    uses: Vec<Use>,
    want: Want,
    /// Parameters it reads by name.
    params: Vec<String>,
    /// It reads something that is not known before the first step.
    late: bool,
}

/// A template, and what decides whether it can be rendered before the first step.
pub(super) struct Read {
    pub template: Template,
    pub params: Vec<String>,
    pub late: bool,
}

impl Builder<'_> {
    pub(super) fn template(&mut self, text: &Text, place: Place, site: Site) -> Template {
        self.read(text, place, site).template
    }

    pub(super) fn read(&mut self, text: &Text, place: Place, site: Site) -> Read {
        // What is surely a constant needs no reading; the usual case, and the reason why 10,000 steps are quick.
        let constant = text.value.bytes().all(|b| b.is_ascii() && b != b'{' && b != 0);
        if constant {
            let template = Template { src: text.value.clone(), uses: Vec::new() };
            return Read { template, params: Vec::new(), late: false };
        }
        match analyse(&text.value, place) {
            Ok(analysis) => {
                let found = self.check_names(text, &analysis, site);
                for (range, what) in &analysis.reparsed {
                    let span = text.locate(&self.loaded.sources, range.clone());
                    self.push(
                        Diagnostic::warning(
                            "parsed-twice",
                            span,
                            "a value here is parsed as code a second time",
                        )
                        .label(what.clone())
                        .help("give the value as an argument or in the environment of the inner command"),
                    );
                }
                let template = Template { src: analysis.normalised, uses: found.uses };
                Read { template, params: found.params, late: found.late }
            }
            Err(errors) => {
                self.report(text, errors);
                Read {
                    template: Template { src: text.value.clone(), uses: Vec::new() },
                    params: Vec::new(),
                    late: true,
                }
            }
        }
    }

    pub(super) fn expr(&mut self, text: &Text, site: Site) -> Expr {
        self.expr_wanting(text, site).0
    }

    /// The expression, and what it reads of `result`.
    pub(super) fn expr_wanting(&mut self, text: &Text, site: Site) -> (Expr, Want) {
        let (expr, found) = self.expr_found(text, site);
        (expr, found.want)
    }

    /// The expression, the parameters that it reads by name, and whether it reads what is not known before the first step.
    pub(super) fn expr_reading(&mut self, text: &Text, site: Site) -> (Expr, Vec<String>, bool) {
        let (expr, found) = self.expr_found(text, site);
        (expr, found.params, found.late)
    }

    fn expr_found(&mut self, text: &Text, site: Site) -> (Expr, Found) {
        let analysis = match self.expressions.get(&text.value) {
            Some(known) => Rc::clone(known),
            None => match analyse(&text.value, Place::Expression) {
                Ok(analysis) => {
                    let analysis = Rc::new(analysis);
                    self.expressions.insert(text.value.clone(), Rc::clone(&analysis));
                    analysis
                }
                Err(errors) => {
                    self.report(text, errors);
                    return (Expr { src: text.value.clone(), uses: Vec::new() }, Found::default());
                }
            },
        };
        let mut found = self.check_names(text, &analysis, site);
        (Expr { src: analysis.normalised.clone(), uses: std::mem::take(&mut found.uses) }, found)
    }

    pub(super) fn exprs_wanting(&mut self, texts: &[Text], site: Site) -> (Vec<Expr>, Want) {
        let mut want = Want::default();
        let mut exprs = Vec::with_capacity(texts.len());
        for text in texts {
            let (expr, more) = self.expr_wanting(text, site);
            exprs.push(expr);
            want = both(want, more);
        }
        (exprs, want)
    }

    /// A text that is shown as it is: a template in it would not be rendered.
    pub(super) fn plain(&mut self, text: &Text) -> String {
        if text.value.contains("{{") || text.value.contains("{%") {
            self.push(
                Diagnostic::error("not-a-template", text.span, "this text cannot hold a template")
                    .label("shown as typed")
                    .help("templates work in actions, `env`, `workdir`, `stdin`, `lock` and `requires`"),
            );
        }
        text.value.clone()
    }

    fn report(&mut self, text: &Text, errors: Vec<TemplateError>) {
        for error in errors {
            let span = match error.range {
                Some(range) => text.locate(&self.loaded.sources, range),
                None => text.span,
            };
            let mut diagnostic = Diagnostic::error("template", span, error.message);
            diagnostic.help = error.help;
            self.push(diagnostic);
        }
    }

    fn check_names(&mut self, text: &Text, analysis: &Analysis, site: Site) -> Found {
        let mut found = Found::default();
        for reference in &analysis.references {
            if let Err(diagnostic) = self.check_name(text, reference, site, &mut found) {
                self.push(*diagnostic);
            }
        }
        found
    }

    fn check_name(&mut self, text: &Text, reference: &Reference, site: Site, found: &mut Found) -> Checked {
        let span = text.locate(&self.loaded.sources, reference.range.clone());
        let path: Vec<&str> = reference.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["params", rest @ ..] => self.check_param(rest, span, site, found),
            ["secrets", rest @ ..] => {
                found.late = true;
                self.check_secret(rest, span, site)
            }
            ["steps", rest @ ..] => {
                found.late = true;
                self.check_step(rest, span, site, found)
            }
            ["run", rest @ ..] => {
                found.late = true;
                self.check_run(rest, span, site)
            }
            ["result", rest @ ..] => check_result(rest, span, site.result, found),
            ["groups", rest @ ..] => self.check_group(rest, span, site),
            ["drill", rest @ ..] => self.check_drill(rest, span),
            ["item", ..] if site.item => {
                found.late = true;
                Ok(())
            }
            ["item", ..] => Err(self.no_item(span, site)),
            [name, ..] => {
                let known = ["params", "secrets", "steps", "run", "groups"].into_iter();
                let known =
                    known.chain(site.result.map(|_| "result")).chain(self.unit.drill.then_some("drill"));
                Err(unknown(span, "unknown-name", format!("`{name}` is not defined"), name, known, ""))
            }
            [] => Ok(()),
        }
    }

    /// Why there is no item here.
    fn no_item(&self, span: Span, site: Site) -> Box<Diagnostic> {
        let error = Diagnostic::error("unknown-name", span, "`item` is not defined here");
        let each = match site.when {
            When::Step { ix, .. } => self.drafts[ix].ast.foreach.is_some(),
            _ => false,
        };
        Box::new(if each {
            error
                .label("asked once for the whole step")
                .help("`unless` is asked for each item; the list itself can leave items out")
        } else {
            error.help("only a step with `foreach` has an `item`")
        })
    }

    fn check_param(&mut self, rest: &[&str], span: Span, site: Site, found: &mut Found) -> Checked {
        let book = self.scopes[site.scope].book;
        let params = &self.book(book).playbook.params;
        let Some(name) = rest.first() else {
            // `params` as a whole: every parameter is used.
            found.late |= self.scopes[site.scope].group.is_some();
            self.used.extend(params.iter().map(|p| (book, p.name.value.clone())));
            return Ok(());
        };
        let Some(param) = params.iter().find(|p| p.name.value == *name) else {
            let known = params.iter().map(|p| p.name.value.as_str());
            let message = format!("there is no parameter `{name}`");
            let none = "declare it under `params`";
            return Err(unknown(span, "unknown-param", message, name, known, none));
        };
        self.used.insert((book, (*name).to_owned()));
        found.params.push((*name).to_owned());
        match rest.get(1) {
            Some(field) if param.kind.value != ast::ParamType::List => Err(Box::new(
                Diagnostic::error("unknown-field", span, format!("`params.{name}` has no `{field}`"))
                    .label(format!("it is a single value, of type {}", param_type(param.kind.value))),
            )),
            _ => Ok(()),
        }
    }

    fn check_secret(&mut self, rest: &[&str], span: Span, site: Site) -> Checked {
        let book = self.scopes[site.scope].book;
        let secrets = &self.book(book).playbook.secrets;
        let known = secrets.iter().map(|s| s.name.value.as_str());
        let Some(name) = rest.first() else {
            let message = "a secret is read by its name, such as `secrets.db_password`";
            return Err(Box::new(Diagnostic::error("unknown-secret", span, message)));
        };
        if !known.clone().any(|k| k == *name) {
            let message = format!("there is no secret `{name}`");
            return Err(unknown(span, "unknown-secret", message, name, known, "declare it under `secrets`"));
        }
        self.used.insert((book, format!("secrets.{name}")));
        Ok(())
    }

    fn check_group(&mut self, rest: &[&str], span: Span, site: Site) -> Checked {
        let known = self.groups.keys().map(String::as_str);
        let Some(name) = rest.first() else {
            let message = "a group is read by its name, such as `groups.web`";
            return Err(Box::new(Diagnostic::error("unknown-group", span, message)));
        };
        if !self.groups.contains_key(*name) {
            let message = format!("there is no group `{name}`");
            return Err(unknown(span, "unknown-group", message, name, known, "declare it under `groups`"));
        }
        let book = self.scopes[site.scope].book;
        self.used.insert((book, format!("groups.{name}")));
        Ok(())
    }

    fn check_run(&self, rest: &[&str], span: Span, site: Site) -> Checked {
        const ALWAYS: [&str; 5] = ["id", "dir", "started_at", "operator", "environment"];
        const VERDICT: [&str; 4] = ["outcome", "rto", "rpo", "phases"];
        match rest.first() {
            None => Err(Box::new(
                Diagnostic::error("unknown-field", span, "`run` is no value")
                    .help("write `run.id`, `run.dir`, ..."),
            )),
            Some(&"phases") if site.verdict => self.check_phase(rest, span),
            Some(field) if ALWAYS.contains(field) || site.verdict && VERDICT.contains(field) => Ok(()),
            Some(field) if VERDICT.contains(field) => Err(Box::new(
                Diagnostic::error(
                    "unknown-field",
                    span,
                    format!("`run.{field}` is not known during the run"),
                )
                .label("only a drill's `assert` can read it"),
            )),
            Some(field) => {
                let known = ALWAYS.into_iter().chain(VERDICT.into_iter().filter(|_| site.verdict));
                Err(unknown(span, "unknown-field", format!("`run` has no `{field}`"), field, known, ""))
            }
        }
    }

    fn check_phase(&self, rest: &[&str], span: Span) -> Checked {
        let known = || self.unit.phases.iter().map(|phase| phase.id);
        match rest.get(1) {
            Some(name) if !known().any(|id| id == *name) => {
                let message = format!("there is no phase `{name}`");
                Err(unknown(span, "unknown-phase", message, name, known(), "the playbook has no phases"))
            }
            // What is wrong without a name the reader of the text has said.
            _ => Ok(()),
        }
    }

    fn check_drill(&self, rest: &[&str], span: Span) -> Checked {
        if !self.unit.drill {
            let message = "`drill` is defined only in the drill section";
            return Err(Box::new(
                Diagnostic::error("unknown-name", span, message)
                    .help("make it a parameter and set it in `drill.params`"),
            ));
        }
        match rest.first() {
            Some(&("dir" | "port")) => Ok(()),
            Some(&"run") if self.unit.proof => Ok(()),
            Some(&"run") => Err(Box::new(
                Diagnostic::error("unknown-field", span, "`drill.run` is known when the run is over")
                    .label("only the checks of `proof` can read it"),
            )),
            Some(field) => Err(unknown(
                span,
                "unknown-field",
                format!("`drill` has no `{field}`"),
                field,
                ["dir", "port"],
                "",
            )),
            None => {
                Err(Box::new(Diagnostic::error("unknown-field", span, "write `drill.dir` or `drill.port`")))
            }
        }
    }

    fn check_step(&mut self, rest: &[&str], span: Span, site: Site, found: &mut Found) -> Checked {
        let Some(name) = rest.first() else {
            let message = "a step is read by its id, such as `steps.pick.outputs.path`";
            return Err(Box::new(Diagnostic::error("unknown-step", span, message)));
        };
        if site.when == When::Start {
            let message = format!("`steps.{name}` is not known before the first step");
            return Err(Box::new(
                Diagnostic::error("not-over", span, message).label("only `params` can be read here"),
            ));
        }
        let names = &self.scopes[site.scope].names;
        let Some(&read) = names.get(name) else {
            let message = format!("there is no step `{name}`");
            let none = "this playbook has no step of that name";
            return Err(unknown(span, "unknown-step", message, name, names.keys().copied(), none));
        };
        self.check_over(name, read, rest, span, site)?;
        let own = matches!(site.when, When::Step { ix, .. } if ix == read);
        match &self.drafts[read].ast.foreach {
            Some(_) if !own => check_items_field(name, &rest[1..], span)?,
            _ => self.check_step_field(name, read, &rest[1..], span)?,
        }
        if !found.uses.iter().any(|u| u.name == *name) {
            found.uses.push(Use { name: (*name).to_owned(), step: read });
        }
        Ok(())
    }

    fn check_over(&self, name: &str, read: StepIx, rest: &[&str], span: Span, site: Site) -> Checked {
        let top = |ix: StepIx| self.drafts[ix].parent == self.scopes[site.scope].group;
        let standing = match site.when {
            When::Step { ix, .. } => self.order.standing(&self.drafts, &self.lists, ix, read),
            _ if top(read) => Standing::Over,
            _ => Standing::Hidden(self.drafts[read].parent.unwrap_or(read)),
        };
        let error = |message: String| Diagnostic::error("not-over", span, message);
        let here = (self.drafts[read].ast.id.span, format!("`{name}` is here"));
        let diagnostic = match standing {
            Standing::Over => return Ok(()),
            Standing::Own => {
                if matches!(site.when, When::Step { own: true, .. }) && rest.get(1) == Some(&"outputs") {
                    return Ok(());
                }
                error(format!("step `{name}` reads itself"))
                    .label("it is not over yet")
                    .help("its own outputs can be read in its `verify` and `undo`; `expect` and `outputs` read `result`")
            }
            Standing::Encloses => error(format!("`{name}` is not over yet"))
                .label("this step is inside it")
                .related(here.0, here.1),
            Standing::Hidden(group) => {
                let group = self.drafts[group].ast.id.value.as_str();
                error(format!("`{name}` cannot be read from here"))
                    .label(format!("it is inside `{group}`, and may never have been tried"))
                    .related(here.0, here.1)
                    .help(format!("read `steps.{group}.choice` or `steps.{group}.outcome`"))
            }
            Standing::NotOver => {
                let after = error(format!("`{name}` is not surely over here")).related(here.0, here.1);
                let later = match site.when {
                    When::Step { ix, .. } => {
                        self.order.standing(&self.drafts, &self.lists, read, ix) == Standing::Over
                    }
                    _ => false,
                };
                if later {
                    after.label("it runs only after this step")
                } else {
                    after
                        .label("nothing makes this step wait for it")
                        .help(format!("add `{name}` to `needs`"))
                }
            }
        };
        Err(Box::new(diagnostic))
    }

    fn check_step_field(&mut self, name: &str, read: StepIx, fields: &[&str], span: Span) -> Checked {
        let step = self.drafts[read].ast;
        let action = step.action.as_ref().map(|a| &a.kind);
        match fields {
            ["outcome", ..] => Ok(()),
            ["choice", ..] if matches!(action, Some(ActionKind::AnyOf(_) | ActionKind::Choose(_))) => Ok(()),
            ["choice", ..] => Err(Box::new(
                Diagnostic::error("unknown-field", span, format!("step `{name}` makes no choice"))
                    .label("only `any_of` and `choose` have a `choice`"),
            )),
            ["outputs"] => Ok(()),
            ["outputs", output, ..] => {
                let known = step.outputs.iter().map(|(n, _)| n.value.as_str());
                if known.clone().any(|n| n == *output) || publishes(step) {
                    return Ok(());
                }
                let message = format!("step `{name}` has no output `{output}`");
                let none = match action.and_then(ResultKind::of) {
                    Some(ResultKind::Process) => {
                        "declare it under `outputs` of that step; if its script writes it to $RUNBOOK_OUTPUT, \
                         name RUNBOOK_OUTPUT in the script"
                    }
                    _ if matches!(action, Some(ActionKind::AnyOf(_))) => "an `any_of` step has no outputs",
                    _ => "declare it under `outputs` of that step",
                };
                Err(unknown(span, "unknown-output", message, output, known, none))
            }
            ["result", rest @ ..] => {
                let Some(kind) = action.and_then(ResultKind::of) else {
                    let message = format!("step `{name}` has no result");
                    return Err(Box::new(
                        Diagnostic::error("unknown-field", span, message).label("it runs no command itself"),
                    ));
                };
                if step.sensitive {
                    let message = format!("the result of `{name}` is not kept");
                    return Err(Box::new(
                        Diagnostic::error("sensitive-result", span, message)
                            .label("the step is `sensitive`")
                            .help("give what is not secret in it as an output of that step"),
                    ));
                }
                let mut found = Found::default();
                check_result(rest, span, Some(kind), &mut found)?;
                let kept = self.kept.entry(read).or_default();
                *kept = both(*kept, found.want);
                Ok(())
            }
            [] => {
                let message = format!("`steps.{name}` is no value");
                Err(Box::new(
                    Diagnostic::error("unknown-field", span, message)
                        .help("read its `outcome`, `outputs`, `choice` or `result`"),
                ))
            }
            [field, ..] => {
                let known = ["outcome", "outputs", "choice", "result"];
                Err(unknown(span, "unknown-field", format!("a step has no `{field}`"), field, known, ""))
            }
        }
    }
}

/// What can be read of a step that is done for each item of a list.
fn check_items_field(name: &str, fields: &[&str], span: Span) -> Checked {
    match fields {
        ["outcome" | "items", ..] => Ok(()),
        ["outputs" | "result", ..] => Err(Box::new(
            Diagnostic::error("unknown-field", span, format!("step `{name}` is done for each of a list"))
                .label("each item has its own")
                .help(format!("read `steps.{name}.items`: each has its `item`, `outcome` and `outputs`")),
        )),
        [] => Err(Box::new(
            Diagnostic::error("unknown-field", span, format!("`steps.{name}` is no value"))
                .help("read its `outcome` or `items`"),
        )),
        [field, ..] => {
            let message = format!("a step with `foreach` has no `{field}`");
            Err(unknown(span, "unknown-field", message, field, ["outcome", "items"], ""))
        }
    }
}

/// The diagnostic is boxed: it is large and rare.
type Checked = Result<(), Box<Diagnostic>>;

fn unknown<'k>(
    span: Span,
    code: &'static str,
    message: String,
    typed: &str,
    known: impl IntoIterator<Item = &'k str>,
    none: &str,
) -> Box<Diagnostic> {
    Box::new(
        Diagnostic::error(code, span, message).label("not known").help(suggest::help(typed, known, none)),
    )
}

fn check_result(rest: &[&str], span: Span, kind: Option<ResultKind>, found: &mut Found) -> Checked {
    let Some(kind) = kind else {
        return Err(Box::new(
            Diagnostic::error("unknown-name", span, "`result` is not defined here")
                .label("there is no result yet")
                .help("`expect`, `outputs` and `retry.when` read `result`; later steps read `steps.<id>.result`"),
        ));
    };
    match rest.first() {
        None => found.want = Want { stdout: true, stderr: true },
        Some(&("stdout" | "lines" | "json")) if kind == ResultKind::Process => found.want.stdout = true,
        Some(&"stderr") if kind == ResultKind::Process => found.want.stderr = true,
        Some(field) if kind.fields().contains(field) => {}
        Some(field) => {
            let message = format!("the result of {} has no `{field}`", kind.describe());
            return Err(unknown(span, "unknown-field", message, field, kind.fields().iter().copied(), ""));
        }
    }
    Ok(())
}

pub(super) fn both(a: Want, b: Want) -> Want {
    Want { stdout: a.stdout || b.stdout, stderr: a.stderr || b.stderr }
}

/// Whether the step may write outputs that are not declared: its command speaks of `$RUNBOOK_OUTPUT`.
fn publishes(step: &ast::Step) -> bool {
    let speaks = |text: &Text| text.value.contains("RUNBOOK_OUTPUT");
    match step.action.as_ref().map(|a| &a.kind) {
        Some(ActionKind::Run(script)) => speaks(script),
        Some(ActionKind::Exec(commands)) => commands.iter().flatten().any(speaks),
        _ => false,
    }
}

pub(super) fn param_type(kind: ast::ParamType) -> &'static str {
    match kind {
        ast::ParamType::String => "string",
        ast::ParamType::Path => "path",
        ast::ParamType::Integer => "integer",
        ast::ParamType::Number => "number",
        ast::ParamType::Boolean => "boolean",
        ast::ParamType::Duration => "duration",
        ast::ParamType::Size => "size",
        ast::ParamType::List => "list",
    }
}
