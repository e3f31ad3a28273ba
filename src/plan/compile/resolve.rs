//! Puts the values of parameters in: from a builder without mistakes to a plan.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::base::join;
use super::build::{Builder, GivenValue};
use super::each::{self, ListDraft};
use super::hosts;
use super::people::Roles;
use super::values::spec_of;
use super::{CompileError, ParamProblem, Request, suggest};
use crate::model::{Channel, IncidentStatus, Reach};
use crate::plan::params::ParamKind;
use crate::plan::template::{Ctx, RunView, TemplateError, eval, render_text, render_value};
use crate::plan::{DrillPlace, StepIndex};
use crate::plan::{
    Environment, LateParam, Meta, Objectives, PLAN_FORMAT, Phase, Plan, Scope, StepIx, Template,
};
use crate::playbook::ast;
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::source::Span;

pub(super) type Params = BTreeMap<String, Value>;

/// One plan of a drill.
pub(super) struct DrillPart<'a> {
    pub place: &'a DrillPlace,
    /// None: the playbook itself.
    pub section: Option<&'a str>,
    pub params: Params,
    /// Instead of the playbook's own.
    pub channels: Vec<Channel>,
}

const MAX_PARALLEL: usize = 8;

pub(super) fn plan(
    builder: Builder<'_>,
    request: &Request<'_>,
    drill: Option<DrillPart<'_>>,
) -> Result<Plan, CompileError> {
    Ok(plan_with_numbers(builder, request, drill)?.0)
}

/// The plan, and for each step of the builder its number in it.
pub(super) fn plan_with_numbers(
    builder: Builder<'_>,
    request: &Request<'_>,
    drill: Option<DrillPart<'_>>,
) -> Result<(Plan, Vec<StepIx>), CompileError> {
    let main = builder.playbook(0);
    let environment = find_environment(main, request)?;
    let params = match &drill {
        Some(part) => part.params.clone(),
        None => main_params(&builder, request, &Params::new())?,
    };
    let place = drill.as_ref().map(|part| part.place);
    let section = drill.as_ref().and_then(|part| part.section);
    let mut resolver =
        Resolver { builder: &builder, request, drill: place, scopes: Vec::new(), problems: Vec::new() };
    resolver.scopes.push(Scope { group: None, params, late: Vec::new() });
    for scope in 1..builder.scopes.len() {
        resolver.open(scope);
    }
    let hosts = resolver.hosts();
    let connect_timeouts = hosts
        .keys()
        .filter_map(|name| Some((name.clone(), builder.hosts.get(name)?.connect_timeout?)))
        .collect();
    let groups = builder.groups_used();
    let requires = resolver.requires()?;
    let lock = match (section, place) {
        (section, Some(place)) => format!("drill {} {}", place.dir.display(), section.unwrap_or("playbook")),
        (_, None) => resolver.lock(main, environment.as_ref()),
    };
    if !resolver.problems.is_empty() {
        return Err(CompileError::Params(resolver.problems));
    }
    let items = resolver.items().map_err(|wrong| CompileError::Diagnostics(vec![*wrong]))?;
    let scopes = resolver.scopes;
    let root = builder.base.root_of(builder.book(0));
    for path in [Some(&root), place.map(|p| &p.dir)].into_iter().flatten() {
        if path.to_str().is_none() {
            return Err(CompileError::NotUtf8(path.clone()));
        }
    }
    let text = |t: &crate::playbook::source::Text| t.value.clone();
    let title = main.title.as_ref().map_or_else(|| main.name.value.clone(), text);
    let objectives = builder.objectives.clone();
    let phases = phases(&builder);
    let (secrets, mut channel_secrets) = builder.split_secrets();
    let main_roles = Roles::of(request.roles, &main.roles);
    let mut escalation = builder.escalation;
    for level in &mut escalation {
        level.to = main_roles.resolve(level.to.iter().map(String::as_str));
    }
    let (mut channels, mut updates) = (builder.channels, builder.updates);
    if let Some(part) = drill {
        // A drill is no incident: whoever it does not name hears nothing of it, and no secret of theirs is read.
        channels = part.channels;
        channel_secrets.clear();
        let told = |name: &String| channels.iter().any(|channel| channel.name == *name);
        escalation.iter_mut().for_each(|level| level.notify.retain(told));
        escalation.retain(|level| !level.notify.is_empty());
        updates = updates.and_then(|mut updates| {
            updates.channels.retain(told);
            updates.status_file = None;
            (!updates.channels.is_empty()).then_some(updates)
        });
    }
    let mut steps = builder.steps;
    for step in &mut steps {
        // A playbook's own roles are for its own steps.
        let book = builder.scopes[step.scope].book;
        Roles::of(request.roles, &builder.loaded.books[book].playbook.roles).settle(step);
    }
    let mut plan = Plan {
        format: PLAN_FORMAT,
        playbook: Meta {
            name: main.name.value.clone(),
            title: section.map_or(title.clone(), |section| format!("{title}: {section}")),
            description: main.description.as_ref().map(text),
            severity: main.severity.as_ref().map(|s| severity(s.value).to_owned()),
            owner: main.owner.as_ref().map(text),
            symptoms: main.symptoms.iter().map(text).collect(),
        },
        environment,
        objectives: if section.is_some() { Objectives::default() } else { objectives },
        roles: Roles::of(request.roles, &main.roles).into_map(),
        secrets,
        channels,
        channel_secrets,
        escalation,
        updates,
        hosts,
        connect_timeouts,
        groups,
        requires,
        max_parallel: main
            .max_parallel
            .as_ref()
            .map_or(MAX_PARALLEL, |m| usize::try_from(m.value).unwrap_or(usize::MAX)),
        lock,
        root,
        scopes,
        phases,
        steps,
        drill: place.cloned(),
        index: StepIndex::default(),
    };
    let numbers = each::open(&mut plan, &builder.each, items);
    let numbers = numbers.map_err(|wrong| CompileError::Diagnostics(vec![*wrong]))?;
    Ok((plan, numbers))
}

/// The list of a `foreach` is none.
fn no_list(value: &Value, span: Span) -> Diagnostic {
    let what = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) | Value::Object(_) => "a map",
    };
    Diagnostic::error("bad-items", span, "`foreach` needs a list")
        .label(format!("this is {what}"))
        .help("give a list, or an expression that comes to one, such as a parameter of type list")
}

fn phases(builder: &Builder<'_>) -> Vec<Phase> {
    let lists = builder.phases.iter().enumerate();
    lists
        .zip(&builder.unit.phases)
        .map(|((ix, list), phase)| Phase {
            status: phase.status.unwrap_or_else(|| IncidentStatus::usual(ix, builder.phases.len())),
            id: phase.id.to_owned(),
            title: phase.title.unwrap_or(phase.id).to_owned(),
            deadline: phase.deadline,
            steps: builder.lists[*list].steps.clone(),
        })
        .collect()
}

fn severity(severity: ast::Severity) -> &'static str {
    match severity {
        ast::Severity::Critical => "critical",
        ast::Severity::High => "high",
        ast::Severity::Medium => "medium",
        ast::Severity::Low => "low",
    }
}

/// The environment asked for. It is known if the playbook or `runbook.yaml` knows it, and guarded if either says so.
pub(super) fn find_environment(
    main: &ast::Playbook,
    request: &Request<'_>,
) -> Result<Option<Environment>, CompileError> {
    let Some(name) = request.environment else { return Ok(None) };
    let all = || main.environments.iter().chain(request.shared);
    let mut found = all().filter(|e| e.name.value == name).peekable();
    if found.peek().is_none() {
        let known: std::collections::BTreeSet<String> = all().map(|e| e.name.value.clone()).collect();
        return Err(CompileError::UnknownEnvironment {
            name: name.to_owned(),
            known: known.into_iter().collect(),
        });
    }
    Ok(Some(Environment { name: name.to_owned(), confirm: found.any(|e| e.confirm) }))
}

/// The parameters of the first book. What is given on the command line wins over `drill`, that over the environment
/// (the playbook's own over the shared one), that over the default; an optional one without any is null.
pub(super) fn main_params(
    builder: &Builder<'_>,
    request: &Request<'_>,
    drill: &Params,
) -> Result<Params, CompileError> {
    let main = builder.playbook(0);
    let mut problems = Vec::new();
    for (name, _) in request.params {
        if !main.params.iter().any(|p| p.name.value == *name) {
            let known = main.params.iter().map(|p| p.name.value.as_str());
            problems.push(ParamProblem {
                name: name.clone(),
                message: format!("playbook `{}` has no such parameter", main.name.value),
                help: Some(suggest::help(name, known, "it has no parameters")),
            });
        }
    }
    let root = builder.base.root_of(builder.book(0));
    let mut params = Params::new();
    for param in &main.params {
        let name = &param.name.value;
        let typed =
            request.params.iter().rev().find(|(n, _)| n == name).map(|(_, v)| (v.clone(), request.cwd));
        let drilled = || drill.get(name).map(|v| (v.clone(), root.as_path()));
        let own =
            || in_environment(&main.environments, request.environment, name).map(|v| (v, root.as_path()));
        let shared =
            || in_environment(request.shared, request.environment, name).map(|v| (v, request.shared_folder));
        let default =
            || param.default.as_ref().filter(|_| !param.required).map(|d| (d.to_value(), root.as_path()));
        let given = typed.or_else(drilled).or_else(own).or_else(shared).or_else(default);
        match checked(param, given, request) {
            Ok(value) => {
                params.insert(name.clone(), value);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(params) } else { Err(CompileError::Params(problems)) }
}

fn in_environment(environments: &[ast::Environment], chosen: Option<&str>, name: &str) -> Option<Value> {
    let environment = environments.iter().find(|e| Some(e.name.value.as_str()) == chosen)?;
    environment.params.iter().find(|(n, _)| n.value == name).map(|(_, node)| node.to_value())
}

/// A given value in the parameter's type, a path made absolute from its folder.
fn checked(
    param: &ast::Param,
    given: Option<(Value, &Path)>,
    request: &Request<'_>,
) -> Result<Value, ParamProblem> {
    let name = &param.name.value;
    let problem = |message: String, help: Option<String>| ParamProblem { name: name.clone(), message, help };
    let spec = spec_of(param);
    let Some((value, folder)) = given else {
        if request.show_missing {
            return Ok(Value::from(format!("‹{name}›")));
        }
        if param.required {
            let about = param.description.as_ref().map(|d| format!(": {}", d.value)).unwrap_or_default();
            let help = format!("-p {name}=VALUE, {}{about}", spec.kind.describe());
            return Err(problem("it is required and was not given".into(), Some(help)));
        }
        return Ok(Value::Null);
    };
    let value = spec.check(&value).map_err(|wrong| problem(wrong, None))?;
    match (spec.kind, &value) {
        (ParamKind::Path, Value::String(path)) => absolute(&join(request.cwd, folder), path)
            .map(Value::String)
            .ok_or_else(|| problem("the path is not valid UTF-8".into(), None)),
        _ => Ok(value),
    }
}

fn absolute(folder: &Path, path: &str) -> Option<String> {
    join(folder, Path::new(path)).into_os_string().into_string().ok()
}

pub(super) struct Resolver<'b, 'a> {
    pub(super) builder: &'b Builder<'a>,
    pub(super) request: &'b Request<'b>,
    drill: Option<&'b DrillPlace>,
    pub(super) scopes: Vec<Scope>,
    pub(super) problems: Vec<ParamProblem>,
}

impl Resolver<'_, '_> {
    /// The parameters of an included playbook; its scope's group and all scopes around it come before it.
    fn open(&mut self, scope: usize) {
        let draft = &self.builder.scopes[scope];
        let Some(group) = draft.group else { return };
        let outer = self.builder.drafts[group].scope;
        let playbook = self.builder.playbook(scope);
        let book = self.builder.book(draft.book);
        let root = self.builder.base.root_of(book);
        let outer_root = self.builder.base.root_of(self.builder.book(self.builder.scopes[outer].book));
        let mut opened = Scope { group: Some(group), params: Params::new(), late: Vec::new() };
        for param in &playbook.params {
            let name = &param.name.value;
            let given = draft.given.iter().find(|g| g.param.name.value == *name);
            let value = match given.map(|g| &g.value) {
                Some(GivenValue::Constant(value)) => Some((value.clone(), outer_root.as_path())),
                Some(GivenValue::Template { template, early, params }) => {
                    let known = *early && params.iter().all(|p| self.scopes[outer].params.contains_key(p));
                    if !known {
                        opened.late.push(LateParam { spec: spec_of(param), value: template.clone() });
                        continue;
                    }
                    match self.render(template, outer, render_value) {
                        Ok(value) => Some((value, outer_root.as_path())),
                        Err(problem) => {
                            self.problem(group, name, problem.message);
                            continue;
                        }
                    }
                }
                None => in_environment(&playbook.environments, self.request.environment, name)
                    .or_else(|| param.default.as_ref().map(|d| d.to_value()))
                    .map(|value| (value, root.as_path())),
            };
            match checked(param, value, self.request) {
                Ok(value) => {
                    opened.params.insert(name.clone(), value);
                }
                Err(problem) => self.problem(group, name, problem.message),
            }
        }
        self.scopes.push(opened);
    }

    /// The items of every `foreach`.
    fn items(&self) -> Result<BTreeMap<StepIx, Vec<Value>>, Box<Diagnostic>> {
        let mut all = BTreeMap::new();
        for (ix, each) in &self.builder.each {
            let scope = self.builder.drafts[*ix].scope;
            let failed = |error: TemplateError, span| {
                let mut wrong = Diagnostic::error("bad-items", span, error.message);
                wrong.help = error.help;
                Box::new(wrong)
            };
            let items = match &each.list {
                ListDraft::Items(items) => items
                    .iter()
                    .map(|(item, span)| {
                        item.value(&mut |text| self.render(text, scope, render_value))
                            .map_err(|error| failed(error, *span))
                    })
                    .collect::<Result<Vec<Value>, _>>()?,
                ListDraft::Expr(expr) => match self.with_ctx(scope, |ctx| eval(expr, ctx)) {
                    Ok(Value::Array(items)) => items,
                    // A parameter that is not given stands for one item.
                    Ok(other) if self.request.show_missing => vec![other],
                    Ok(other) => return Err(Box::new(no_list(&other, each.span))),
                    Err(_) if self.request.show_missing => vec![Value::from(format!("‹{}›", expr.src))],
                    Err(error) => return Err(failed(error, each.span)),
                },
            };
            let items = match each.check(items.clone()) {
                Err(_) if self.request.show_missing => items,
                checked => checked?,
            };
            all.insert(*ix, items);
        }
        Ok(all)
    }

    fn problem(&mut self, group: usize, name: &str, message: String) {
        let name = format!("{}.{name}", self.builder.drafts[group].id);
        self.problems.push(ParamProblem { name, message, help: None });
    }

    fn render<T>(
        &self,
        template: &Template,
        scope: usize,
        how: impl Fn(&Template, &Ctx<'_>) -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        self.with_ctx(scope, |ctx| how(template, ctx))
    }

    fn with_ctx<T>(&self, scope: usize, how: impl FnOnce(&Ctx<'_>) -> T) -> T {
        let run = RunView { id: "", dir: "", started_at: "", operator: "", environment: None, verdict: None };
        how(&Ctx {
            params: &self.scopes[scope].params,
            steps: &[],
            run: &run,
            item: None,
            result: None,
            groups: &self.builder.groups,
            drill: self.drill,
        })
    }

    pub(super) fn text(&mut self, template: &Template, scope: usize, what: &str) -> String {
        match self.render(template, scope, render_text) {
            Ok(text) => text,
            Err(error) => {
                self.problems.push(ParamProblem {
                    name: what.to_owned(),
                    message: error.message,
                    help: error.help,
                });
                String::new()
            }
        }
    }

    /// Those that the plan may need, with the values of parameters.
    fn hosts(&mut self) -> BTreeMap<String, Reach> {
        let builder = self.builder;
        let mut hosts = BTreeMap::new();
        for name in builder.hosts_used() {
            let draft = &builder.hosts[name];
            let reach = hosts::settle(&draft.reach, &draft.root, &mut |src| match draft.scope {
                Some(scope) => {
                    let template = Template { src: src.to_owned(), uses: Vec::new() };
                    self.text(&template, scope, &format!("hosts.{name}"))
                }
                None => src.to_owned(),
            });
            if let Some(message) = reach.problem().filter(|_| !self.request.show_missing) {
                self.problems.push(ParamProblem { name: format!("hosts.{name}"), message, help: None });
            }
            hosts.insert(name.clone(), reach);
        }
        hosts
    }

    fn lock(&mut self, main: &ast::Playbook, environment: Option<&Environment>) -> String {
        if let Some(lock) = &self.builder.lock {
            return self.text(lock, 0, "lock");
        }
        match environment {
            Some(environment) => format!("{}@{}", main.name.value, environment.name),
            None => main.name.value.clone(),
        }
    }
}
