//! The builder: everything known while a playbook becomes a plan, and the way from one to the other.
//!
//! It goes in passes over flat vectors, so that a chain of 10,000 steps needs no recursion:
//! 1. `expand` lists every step, those inside groups and included playbooks too, and gives each its id;
//! 2. `needs` turns names into edges and finds cycles;
//! 3. `step` and `command` translate what each step does, `text` reading every template and expression;
//! 4. `book` checks what stands outside the steps.
//!
//! Every mistake becomes a diagnostic and the pass goes on, so that one call reports them all. Nothing here needs the
//! values of parameters: `resolve` puts them in afterwards, when a plan is wanted and not only a lint.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use super::base::Base;
use super::each::EachDraft;
use super::hosts::HostDraft;
use super::order::Order;
use super::requires;
use super::text::Read;
use crate::model::{Channel, SecretName, StepId, Want};
use crate::plan::template::Analysis;
use crate::plan::{Level, Objectives, OnFailure, SecretSource, Step, StepIx, Template, Updates};
use crate::playbook::ast;
use crate::playbook::diagnostic::{Diagnostic, Severity};
use crate::playbook::load::{Book, Loaded};
use crate::playbook::source::Span;

/// Steps in one plan, those inside groups included.
pub(super) const MAX_STEPS: usize = 100_000;
/// Groups inside groups.
pub(super) const MAX_DEPTH: usize = 16;
/// Edges in one plan; more means two wide phases of an included playbook, each step of one waiting for each of the other.
pub(super) const MAX_EDGES: usize = 1_000_000;

/// What is compiled: a playbook's phases, or one section of its drill.
#[derive(Clone)]
pub(super) struct Unit<'a> {
    pub phases: Vec<PhaseSource<'a>>,
    /// `drill.dir` may be read.
    pub drill: bool,
    /// `drill.run` may be read, too.
    pub proof: bool,
    /// Of a step that does not say.
    pub on_failure: OnFailure,
}

#[derive(Clone)]
pub(super) struct PhaseSource<'a> {
    pub id: &'a str,
    pub title: Option<&'a str>,
    pub deadline: Option<crate::model::Millis>,
    pub status: Option<crate::model::IncidentStatus>,
    pub steps: &'a [ast::Step],
}

impl<'a> Unit<'a> {
    pub fn playbook(book: &'a ast::Playbook) -> Self {
        let phases = book.phases.iter().map(|phase| PhaseSource {
            id: &phase.id.value,
            title: phase.title.as_ref().map(|t| t.value.as_str()),
            deadline: phase.deadline.as_ref().map(|d| d.value),
            status: phase.status.as_ref().map(|status| status.value),
            steps: &phase.steps,
        });
        Self { phases: phases.collect(), drill: false, proof: false, on_failure: OnFailure::Stop }
    }

    pub fn section(name: &'a str, steps: &'a [ast::Step], on_failure: OnFailure) -> Self {
        let phase = PhaseSource { id: name, title: None, deadline: None, status: None, steps };
        Self { phases: vec![phase], drill: true, proof: name == super::drill::PROOF, on_failure }
    }
}

/// A step with its place in the whole, not translated yet.
pub(super) struct Draft<'a> {
    pub ast: &'a ast::Step,
    pub id: StepId,
    pub scope: usize,
    /// Of the plan; a step of an included playbook is in the phase of its group.
    pub phase: usize,
    pub parent: Option<StepIx>,
    pub list: usize,
    /// The place in its list.
    pub position: usize,
    /// The lists inside, of a group.
    pub inside: Vec<usize>,
    /// The scope inside, of a `playbook:` step.
    pub inner_scope: Option<usize>,
    pub needs: Vec<StepIx>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListKind {
    /// A phase, number so-and-so of its scope.
    Phase(usize),
    /// Alternatives, tried in order.
    AnyOf,
}

/// Steps that may need one another.
pub(super) struct List {
    pub kind: ListKind,
    pub scope: usize,
    pub parent: Option<StepIx>,
    pub steps: Vec<StepIx>,
    pub name: String,
}

/// A parameter given to an included playbook.
pub(super) struct Given<'a> {
    pub param: &'a ast::Param,
    pub value: GivenValue,
}

pub(super) enum GivenValue {
    Constant(serde_json::Value),
    /// `early`: it reads nothing but parameters.
    Template {
        template: Template,
        early: bool,
        params: Vec<String>,
    },
}

pub(super) struct ScopeDraft<'a> {
    pub book: usize,
    pub group: Option<StepIx>,
    /// Steps typed in this playbook, by id; those inside `any_of` too.
    pub names: HashMap<&'a str, StepIx>,
    pub given: Vec<Given<'a>>,
    pub requires: requires::Draft,
}

/// A text that is rendered before the run exists.
pub(super) struct EarlyText {
    pub read: Read,
    pub span: Span,
}

pub(super) struct Builder<'a> {
    pub loaded: &'a Loaded,
    pub by_name: HashMap<&'a str, usize>,
    pub unit: Unit<'a>,
    pub base: &'a Base,
    pub diagnostics: Vec<Diagnostic>,
    pub drafts: Vec<Draft<'a>>,
    pub lists: Vec<List>,
    pub scopes: Vec<ScopeDraft<'a>>,
    /// The plan's phases: the lists of scope 0.
    pub phases: Vec<usize>,
    pub order: Order,
    pub steps: Vec<Step>,
    /// Expressions repeat (`result.exit == 0`), so what was found in them is kept.
    pub expressions: HashMap<String, Rc<Analysis>>,
    /// The steps that are done for each item of a list.
    pub each: BTreeMap<StepIx, EachDraft>,
    /// What later texts read of a step's `result`.
    pub kept: HashMap<StepIx, Want>,
    /// Names of parameters, secrets and groups that some text reads, by book.
    pub used: HashSet<(usize, String)>,
    pub edges: usize,
    pub too_many: bool,
    pub lock: Option<Template>,
    pub objectives: Objectives,
    /// Those of every book in the plan.
    pub secrets: Vec<(SecretName, SecretSource)>,
    pub channels: Vec<Channel>,
    pub escalation: Vec<Level>,
    pub updates: Option<Updates>,
    pub hosts: BTreeMap<String, HostDraft>,
    /// Of hosts, by name.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Like `used`: the secrets that some channel reads.
    pub told: HashSet<(usize, String)>,
}

impl<'a> Builder<'a> {
    /// Runs the passes over `unit` of the first book.
    pub fn build(loaded: &'a Loaded, unit: Unit<'a>, base: &'a Base) -> Self {
        let mut builder = Self {
            loaded,
            by_name: loaded
                .books
                .iter()
                .enumerate()
                .rev()
                .map(|(ix, book)| (book.playbook.name.value.as_str(), ix))
                .collect(),
            unit,
            base,
            diagnostics: Vec::new(),
            drafts: Vec::new(),
            lists: Vec::new(),
            scopes: Vec::new(),
            phases: Vec::new(),
            order: Order::default(),
            steps: Vec::new(),
            expressions: HashMap::new(),
            each: BTreeMap::new(),
            kept: HashMap::new(),
            used: HashSet::new(),
            edges: 0,
            too_many: false,
            lock: None,
            objectives: Objectives::default(),
            secrets: Vec::new(),
            channels: Vec::new(),
            escalation: Vec::new(),
            updates: None,
            hosts: BTreeMap::new(),
            groups: BTreeMap::new(),
            told: HashSet::new(),
        };
        if loaded.books.is_empty() {
            return builder;
        }
        builder.expand();
        builder.resolve_needs();
        builder.order = Order::of(&builder.drafts, &builder.lists);
        builder.check_scopes();
        builder.translate_steps();
        builder.check_late_requirements();
        builder.check_rollbacks();
        builder
    }

    pub fn book(&self, ix: usize) -> &'a Book {
        &self.loaded.books[ix]
    }

    pub fn playbook(&self, scope: usize) -> &'a ast::Playbook {
        &self.book(self.scopes[scope].book).playbook
    }

    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// The books that the plan is made of.
    pub fn books_used(&self) -> std::collections::BTreeSet<usize> {
        self.scopes.iter().map(|scope| scope.book).collect()
    }

    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }
}
