//! Puts the values of parameters in: from a builder without mistakes to a plan.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::base::join;
use super::build::{Builder, GivenValue};
use super::hosts;
use super::people::Roles;
use super::values::spec_of;
use super::{CompileError, ParamProblem, Request, suggest};
use crate::model::{IncidentStatus, Reach};
use crate::plan::params::ParamKind;
use crate::plan::template::{Ctx, RunView, TemplateError, render_text, render_value};
use crate::plan::{DrillPlace, StepIndex};
use crate::plan::{
    Environment, LateParam, Meta, Objectives, PLAN_FORMAT, Phase, Plan, Requires, Scope, Template,
};
use crate::playbook::ast;
use crate::playbook::diagnostic::Diagnostic;

pub(super) type Params = BTreeMap<String, Value>;

/// One plan of a drill.
pub(super) struct DrillPart<'a> {
    pub place: &'a DrillPlace,
    /// None: the playbook itself.
    pub section: Option<&'a str>,
    pub params: Params,
}

const MAX_PARALLEL: usize = 8;

pub(super) fn plan(
    builder: Builder<'_>,
    request: &Request<'_>,
    drill: Option<DrillPart<'_>>,
) -> Result<Plan, CompileError> {
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
    let groups = builder.groups_used();
    let requires = resolver.requires()?;
    let lock = match (section, place) {
        (section, Some(place)) => format!("drill {} {}", place.dir.display(), section.unwrap_or("playbook")),
        (_, None) => resolver.lock(main, environment.as_ref()),
    };
    if !resolver.problems.is_empty() {
        return Err(CompileError::Params(resolver.problems));
    }
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
    let (secrets, channel_secrets) = builder.split_secrets();
    let main_roles = Roles::of(request.roles, &main.roles);
    let mut escalation = builder.escalation;
    for level in &mut escalation {
        level.to = main_roles.resolve(level.to.iter().map(String::as_str));
    }
    let mut steps = builder.steps;
    for step in &mut steps {
        // A playbook's own roles are for its own steps.
        let book = builder.scopes[step.scope].book;
        Roles::of(request.roles, &builder.loaded.books[book].playbook.roles).settle(step);
    }
    Ok(Plan {
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
        // What builds, breaks or takes down a drill's world is nobody's news.
        channels: if section.is_some() { Vec::new() } else { builder.channels },
        channel_secrets,
        // A drill is no incident.
        escalation: if place.is_some() { Vec::new() } else { escalation },
        updates: if place.is_some() { None } else { builder.updates },
        hosts,
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
    })
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

struct Resolver<'b, 'a> {
    builder: &'b Builder<'a>,
    request: &'b Request<'b>,
    drill: Option<&'b DrillPlace>,
    scopes: Vec<Scope>,
    problems: Vec<ParamProblem>,
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
        let run = RunView { id: "", dir: "", started_at: "", operator: "", environment: None, verdict: None };
        how(
            template,
            &Ctx {
                params: &self.scopes[scope].params,
                steps: &[],
                run: &run,
                result: None,
                groups: &self.builder.groups,
                drill: self.drill,
            },
        )
    }

    fn text(&mut self, template: &Template, scope: usize, what: &str) -> String {
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

    fn requires(&mut self) -> Result<Requires, CompileError> {
        let mut merged = Requires::default();
        let mut space_at: Option<crate::playbook::source::Span> = None;
        for scope in 0..self.scopes.len() {
            let draft = &self.builder.scopes[scope];
            let root = self.builder.base.root_of(self.builder.book(draft.book));
            if self.builder.unit.drill {
                continue;
            }
            for command in &self.builder.playbook(scope).requires.commands {
                if !merged.commands.contains(&command.value) {
                    merged.commands.push(command.value.clone());
                }
            }
            // What depends on a late parameter cannot be asked for at the start; lint says so.
            let late: HashSet<&str> = self.scopes[scope].late.iter().map(|l| l.spec.name.as_str()).collect();
            let known = |params: &[String]| params.iter().all(|p| !late.contains(p.as_str()));
            let files: Vec<_> = draft.requires.files.iter().filter(|f| known(&f.read.params)).collect();
            let space = draft.requires.free_space.as_ref().filter(|s| known(&s.0.read.params));
            for file in files {
                let path = join(&root, Path::new(&self.text(&file.read.template, scope, "requires.files")));
                if !merged.files.contains(&path) {
                    merged.files.push(path);
                }
            }
            let Some((early, bytes)) = space else { continue };
            let path = self.text(&early.read.template, scope, "requires.free_space");
            let path: PathBuf = join(&root, Path::new(&path));
            merged.free_space = match merged.free_space.take() {
                Some((other, least)) if other == path => Some((path, least.max(*bytes))),
                None => {
                    space_at = Some(early.span);
                    Some((path, *bytes))
                }
                Some(_) => {
                    let message = "two playbooks of this plan require free space in different folders";
                    let mut diagnostic = Diagnostic::error("requires-conflict", early.span, message);
                    diagnostic.related.extend(space_at.map(|span| (span, "the other one".to_owned())));
                    return Err(CompileError::Diagnostics(vec![diagnostic]));
                }
            };
        }
        Ok(merged)
    }
}
