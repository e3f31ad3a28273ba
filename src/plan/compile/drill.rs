//! The sections of a drill, each as a plan of its own.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::base::{Base, join};
use super::build::{Builder, Unit};
use super::drill_channels::drill_channels;
use super::resolve::{DrillPart, Params, find_environment, main_params, plan, plan_with_numbers};
use super::text::{Site, When};
use super::{CompileError, ParamProblem, Request, sound, suggest};
use crate::model::StepId;
use crate::plan::template::{Ctx, NO_GROUPS, Place, RunView, render_value};
use crate::plan::{Body, DrillPlace, Expr, OnFailure, Plan, Step};
use crate::playbook::ast::{self, NodeKind, Options};
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::load::Loaded;

/// A drill, section by section in the order run. Each plan has one phase (the playbook's has its own).
#[derive(Debug, Clone)]
pub struct DrillPlans {
    pub world: Plan,
    pub inject: Plan,
    /// One step for each check, `symptom-1`, `symptom-2`, ...
    pub symptom: Plan,
    pub playbook: Plan,
    /// Judged when `playbook` is over; its uses point into `playbook`.
    pub assert: Vec<Expr>,
    /// The same as they were typed, for people.
    pub assert_texts: Vec<String>,
    /// One step for each check of the world afterwards, `proof-1`, `proof-2`, ...; its [`DrillPlace::run`] is to be set.
    pub proof: Plan,
    /// What people say to the playbook's questions, as typed.
    pub answers: BTreeMap<StepId, String>,
    /// A failed step does not keep the others from running.
    pub teardown: Plan,
}

/// The section names, as phases of their plans.
const WORLD: &str = "world";
const INJECT: &str = "inject";
const SYMPTOM: &str = "symptom";
pub(super) const PROOF: &str = "proof";
const TEARDOWN: &str = "teardown";

/// The plans of the first book's drill, or of one of its variants, in `place`.
pub fn compile_drill(
    loaded: &Loaded,
    request: &Request<'_>,
    place: &DrillPlace,
    variant: Option<&str>,
) -> Result<DrillPlans, CompileError> {
    let Some(first) = loaded.books.first() else { return Err(CompileError::NoDrill) };
    let Some(drill) = &first.playbook.drill else { return Err(CompileError::NoDrill) };
    let of_variant = match variant {
        Some(name) => match drill.variants.iter().find(|v| v.name.value == name) {
            Some(variant) => Some(drill.with(variant)),
            None => {
                let known = drill.variants.iter().map(|v| v.name.value.clone()).collect();
                return Err(CompileError::UnknownVariant { name: name.to_owned(), known });
            }
        },
        None => None,
    };
    let drill = of_variant.as_ref().unwrap_or(drill);
    let base = Base {
        cwd: request.cwd.to_owned(),
        root: request.root.map(Path::to_owned),
        main: first.path.clone(),
    };
    let place = DrillPlace { dir: join(request.cwd, &place.dir), port: place.port, run: None };
    if place.dir.to_str().is_none() {
        return Err(CompileError::NotUtf8(place.dir));
    }
    if let Some(environment) = find_environment(&first.playbook, request)?.filter(|e| e.confirm) {
        return Err(CompileError::GuardedDrill(environment.name));
    }
    let checks = [check_steps(SYMPTOM, &drill.symptom), check_steps(PROOF, &drill.proof)];
    let mut main = sound(Builder::build(loaded, Unit::playbook(&first.playbook), &base))?;
    let mut sections = Vec::new();
    for (name, steps, on_failure) in sections_of(drill, &checks) {
        sections.push((name, sound(Builder::build(loaded, Unit::section(name, steps, on_failure), &base))?));
    }
    let (mut assert, errors) = assertions(&mut main, drill);
    let errors = errors.into_iter().chain(drill_params(&main, drill)).chain(unknown_answers(&main, drill));
    let (channels, wrong) = drill_channels(&main, drill, &place);
    let errors: Vec<Diagnostic> = errors.chain(wrong).collect();
    if !errors.is_empty() {
        return Err(CompileError::Diagnostics(super::tidy(errors)));
    }
    let given = render_params(drill, &place)?;
    let params = main_params(&main, request, &given)?;
    let part = |section: Option<_>| {
        // What builds, breaks, proves or takes down a drill's world is nobody's news.
        let channels = if section.is_none() { channels.clone() } else { Vec::new() };
        DrillPart { place: &place, section, params: params.clone(), channels }
    };
    let mut plans = Vec::new();
    for (name, builder) in sections {
        plans.push(plan(builder, request, Some(part(Some(name))))?);
    }
    let (playbook, numbers) = plan_with_numbers(main, request, Some(part(None)))?;
    for used in assert.iter_mut().flat_map(|expr| &mut expr.uses) {
        used.step = numbers[used.step];
    }
    let [world, inject, symptom, proof, teardown] =
        <[Plan; 5]>::try_from(plans).map_err(|_| CompileError::NoDrill)?;
    let assert_texts = drill.assert.iter().map(|text| text.value.clone()).collect();
    let answers = drill.answers.iter();
    let answers =
        answers.filter_map(|(step, text)| Some((StepId::parse(&step.value).ok()?, text.value.clone())));
    let answers = answers.collect();
    Ok(DrillPlans { world, inject, symptom, playbook, assert, assert_texts, proof, answers, teardown })
}

/// Answers to steps that ask nothing.
fn unknown_answers(main: &Builder<'_>, drill: &ast::Drill) -> Vec<Diagnostic> {
    let asks = |step: &Step| {
        step.approval.is_some()
            || matches!(step.body, Body::Choose(_) | Body::Manual(_))
            || step.on_failure == OnFailure::Ask
    };
    let known: Vec<&str> = main.steps.iter().filter(|s| asks(s)).map(|s| s.id.as_str()).collect();
    let unknown = drill.answers.iter().filter(|(step, _)| !known.contains(&step.value.as_str()));
    let told = |(step, _): &(crate::playbook::source::Text, _)| {
        let help = suggest::help(&step.value, known.iter().copied(), "no step asks anything");
        Diagnostic::error("unknown-step", step.span, format!("no step `{}` asks anything", step.value))
            .label("nobody asks this")
            .help(help)
    };
    unknown.map(told).collect()
}

fn sections_of<'a>(
    drill: &'a ast::Drill,
    [symptom, proof]: &'a [Vec<ast::Step>; 2],
) -> [(&'static str, &'a [ast::Step], OnFailure); 5] {
    [
        (WORLD, &drill.world, OnFailure::Stop),
        (INJECT, &drill.inject, OnFailure::Stop),
        (SYMPTOM, symptom, OnFailure::Stop),
        // All that is not as it should be is told.
        (PROOF, proof, OnFailure::Continue),
        (TEARDOWN, &drill.teardown, OnFailure::Continue),
    ]
}

/// A step for each check, so that the engine that runs steps runs them.
fn check_steps(section: &str, checks: &[ast::Check]) -> Vec<ast::Step> {
    let step = |(number, check): (usize, &ast::Check)| ast::Step {
        span: check.span,
        id: crate::playbook::source::Text {
            value: format!("{section}-{}", number + 1),
            span: check.span,
            style: crate::playbook::source::Style::Plain,
        },
        title: check.title.clone(),
        action: None,
        options: Options::default(),
        foreach: None,
        needs: None,
        when: None,
        unless: None,
        approval: None,
        retry: None,
        expect: Vec::new(),
        outputs: Vec::new(),
        verify: vec![check.clone()],
        undo: None,
        irreversible: None,
        check: None,
        idempotent: None,
        on_failure: None,
        escalate: None,
        destructive: false,
        sensitive: false,
    };
    checks.iter().enumerate().map(step).collect()
}

/// The assertions, and what is wrong with them.
fn assertions(main: &mut Builder<'_>, drill: &ast::Drill) -> (Vec<Expr>, Vec<Diagnostic>) {
    let before = main.diagnostics.len();
    let site = Site { verdict: true, when: When::End, ..Site::start(0) };
    let exprs = drill.assert.iter().map(|text| main.expr(text, site)).collect();
    main.keep_results();
    (exprs, main.diagnostics.split_off(before))
}

/// What is wrong with `drill.params`: each is a parameter of the playbook and reads nothing but `drill.dir` and `drill.port`.
fn drill_params(main: &Builder<'_>, drill: &ast::Drill) -> Vec<Diagnostic> {
    let mut builder = Builder::build(main.loaded, Unit::section(WORLD, &[], OnFailure::Stop), main.base);
    builder.diagnostics.clear();
    let declared = &builder.playbook(0).params;
    for (name, node) in &drill.params {
        // The parser reports the unknown ones.
        let Some(param) = declared.iter().find(|p| p.name.value == name.value) else { continue };
        match &node.kind {
            NodeKind::Text(text) if text.value.contains("{{") => {
                let before = builder.diagnostics.len();
                let read = builder.read(text, Place::Text, Site::start(0));
                if builder.diagnostics.len() == before && (read.late || !read.params.is_empty()) {
                    let message = "a drill's parameters are set before anything else is known";
                    builder.push(
                        Diagnostic::error("not-known-yet", text.span, message)
                            .label("only `drill.dir` and `drill.port` can be read here"),
                    );
                }
            }
            _ => {
                let value = builder.value(node);
                builder.check_param_value(param, &value, node.span);
            }
        }
    }
    builder.diagnostics
}

/// What can be read before anything of a drill has begun: its own folder and port.
pub(super) fn with_place<T>(place: &DrillPlace, read: impl FnOnce(&Ctx<'_>) -> T) -> T {
    read(&Ctx {
        params: &Params::new(),
        steps: &[],
        run: &RunView { id: "", dir: "", started_at: "", operator: "", environment: None, verdict: None },
        item: None,
        result: None,
        groups: &NO_GROUPS,
        drill: Some(place),
    })
}

/// The values of `drill.params`, once the folder is known.
fn render_params(drill: &ast::Drill, place: &DrillPlace) -> Result<Params, CompileError> {
    let mut params = Params::new();
    let mut problems = Vec::new();
    for (name, node) in &drill.params {
        let value = match &node.kind {
            NodeKind::Text(text) if text.value.contains("{{") => {
                let template = crate::plan::Template { src: text.value.clone(), uses: Vec::new() };
                match with_place(place, |ctx| render_value(&template, ctx)) {
                    Ok(value) => value,
                    Err(error) => {
                        problems.push(ParamProblem {
                            name: name.value.clone(),
                            message: error.message,
                            help: error.help,
                        });
                        Value::Null
                    }
                }
            }
            _ => node.to_value(),
        };
        params.insert(name.value.clone(), value);
    }
    if problems.is_empty() { Ok(params) } else { Err(CompileError::Params(problems)) }
}

/// Every mistake in the drill section; what it reads is noted in `main`. What all variants have in common is looked at
/// with each, for one may complete what another lacks; who gathers the diagnostics drops those that come twice.
pub(super) fn lint_drill(main: &mut Builder<'_>, drill: &ast::Drill) -> Vec<Diagnostic> {
    if drill.variants.is_empty() {
        return lint_one(main, drill);
    }
    drill.variants.iter().flat_map(|variant| lint_one(main, &drill.with(variant))).collect()
}

fn lint_one(main: &mut Builder<'_>, drill: &ast::Drill) -> Vec<Diagnostic> {
    let checks = [check_steps(SYMPTOM, &drill.symptom), check_steps(PROOF, &drill.proof)];
    let mut found = Vec::new();
    for (name, steps, on_failure) in sections_of(drill, &checks) {
        let section = Builder::build(main.loaded, Unit::section(name, steps, on_failure), main.base);
        main.used.extend(section.used);
        found.extend(section.diagnostics);
    }
    found.extend(assertions(main, drill).1);
    found.extend(drill_params(main, drill));
    found.extend(unknown_answers(main, drill));
    // What it will be is not known here; any place shows what is wrong.
    let place = DrillPlace { dir: "/drill".into(), port: 20_000, run: None };
    found.extend(drill_channels(main, drill, &place).1);
    found
}
