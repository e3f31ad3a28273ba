//! Lists every step of the plan, opening groups and included playbooks, and gives each its id.

use std::collections::HashMap;

use super::build::{Builder, Draft, List, ListKind, MAX_DEPTH, MAX_STEPS, PhaseSource, ScopeDraft, Unit};
use super::{requires, suggest};
use crate::model::{StepId, check_name};
use crate::plan::StepIx;
use crate::playbook::ast::{self, ActionKind};
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::source::Text;

/// Where the steps being listed stand.
#[derive(Clone, Copy)]
struct Place {
    scope: usize,
    parent: Option<StepIx>,
    /// The plan's phase; none where the lists become the phases themselves.
    phase: Option<usize>,
    depth: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn expand(&mut self) {
        self.open_scope(0, None);
        let phases = std::mem::take(&mut self.unit.phases);
        self.expand_phases(&phases, Place { scope: 0, parent: None, phase: None, depth: 0 });
        self.unit.phases = phases;
    }

    fn open_scope(&mut self, book: usize, group: Option<StepIx>) -> usize {
        self.scopes.push(ScopeDraft {
            book,
            group,
            names: HashMap::new(),
            given: Vec::new(),
            requires: requires::Draft::default(),
        });
        self.scopes.len() - 1
    }

    fn expand_phases(&mut self, phases: &[PhaseSource<'a>], place: Place) -> Vec<usize> {
        let mut lists = Vec::new();
        for (number, phase) in phases.iter().enumerate() {
            let phase_ix = place.phase.unwrap_or(number);
            let list = self.expand_list(phase.steps, ListKind::Phase(number), phase.id, phase_ix, place);
            lists.push(list);
        }
        if place.parent.is_none() {
            self.phases.clone_from(&lists);
        }
        lists
    }

    fn expand_list(
        &mut self,
        steps: &'a [ast::Step],
        kind: ListKind,
        name: &str,
        phase: usize,
        place: Place,
    ) -> usize {
        let list = self.lists.len();
        self.lists.push(List {
            kind,
            scope: place.scope,
            parent: place.parent,
            steps: Vec::with_capacity(steps.len()),
            name: name.to_owned(),
        });
        for step in steps {
            if self.drafts.len() >= MAX_STEPS {
                if !self.too_many {
                    self.too_many = true;
                    self.push(
                        Diagnostic::error("too-many-steps", step.id.span, "the plan has too many steps")
                            .label(format!("this would be step {}", MAX_STEPS + 1))
                            .help(format!("at most {MAX_STEPS} steps, those of included playbooks counted")),
                    );
                }
                break;
            }
            self.expand_step(step, list, phase, place);
        }
        list
    }

    fn expand_step(&mut self, step: &'a ast::Step, list: usize, phase: usize, place: Place) {
        let Some(id) = self.step_id(step, place.parent) else { return };
        if let Some(&first) = self.scopes[place.scope].names.get(step.id.value.as_str()) {
            let first = self.drafts[first].ast.id.span;
            self.push(
                Diagnostic::error(
                    "duplicate-id",
                    step.id.span,
                    format!("two steps have the id `{}`", step.id.value),
                )
                .label("the same id again")
                .related(first, "the first is here")
                .help("an id is unique in its playbook, inside `any_of` too"),
            );
            return;
        }
        let ix = self.drafts.len();
        self.scopes[place.scope].names.insert(&step.id.value, ix);
        self.drafts.push(Draft {
            ast: step,
            id,
            scope: place.scope,
            phase,
            parent: place.parent,
            list,
            position: self.lists[list].steps.len(),
            inside: Vec::new(),
            inner_scope: None,
            needs: Vec::new(),
        });
        self.lists[list].steps.push(ix);
        let inner =
            Place { scope: place.scope, parent: Some(ix), phase: Some(phase), depth: place.depth + 1 };
        match step.action.as_ref().map(|a| &a.kind) {
            Some(ActionKind::AnyOf(alternatives)) if self.room_inside(step, inner.depth) => {
                let list = self.expand_list(alternatives, ListKind::AnyOf, &step.id.value, phase, inner);
                self.drafts[ix].inside.push(list);
            }
            Some(ActionKind::Playbook { name, .. }) if self.room_inside(step, inner.depth) => {
                self.expand_playbook(ix, name, inner);
            }
            _ => {}
        }
    }

    fn step_id(&mut self, step: &ast::Step, parent: Option<StepIx>) -> Option<StepId> {
        let name = &step.id.value;
        let id = check_name(name).and_then(|()| match parent {
            Some(parent) => self.drafts[parent].id.child(name),
            None => StepId::parse(name),
        });
        match id {
            Ok(id) => Some(id),
            Err(error) => {
                self.push(
                    Diagnostic::error("bad-id", step.id.span, format!("`{name}` is not a step's id"))
                        .label(error.to_string())
                        .help("an id is made of a-z, 0-9 and -, such as `stop-app`"),
                );
                None
            }
        }
    }

    fn room_inside(&mut self, step: &ast::Step, depth: usize) -> bool {
        if depth > MAX_DEPTH {
            self.push(
                Diagnostic::error("too-deep", step.id.span, "groups and playbooks are nested too deep")
                    .label(format!("more than {MAX_DEPTH} levels")),
            );
        }
        depth <= MAX_DEPTH
    }

    fn expand_playbook(&mut self, ix: StepIx, name: &Text, inner: Place) {
        let Some(&book) = self.by_name.get(name.value.as_str()) else {
            let help =
                suggest::help(&name.value, self.by_name.keys().copied(), "no other playbook was found");
            self.push(
                Diagnostic::error(
                    "unknown-playbook",
                    name.span,
                    format!("there is no playbook `{}`", name.value),
                )
                .label("not found")
                .help(help),
            );
            return;
        };
        let mut enclosing = vec![self.scopes[self.drafts[ix].scope].book];
        let mut at = self.scopes[self.drafts[ix].scope].group;
        while let Some(group) = at {
            let scope = self.drafts[group].scope;
            enclosing.push(self.scopes[scope].book);
            at = self.scopes[scope].group;
        }
        if let Some(back) = enclosing.iter().position(|b| *b == book) {
            let mut names: Vec<&str> =
                enclosing[..=back].iter().rev().map(|b| self.book(*b).playbook.name.value.as_str()).collect();
            names.push(&name.value);
            self.push(
                Diagnostic::error(
                    "include-cycle",
                    name.span,
                    format!("playbook `{}` includes itself", name.value),
                )
                .label(names.join(" -> ")),
            );
            return;
        }
        let scope = self.open_scope(book, Some(ix));
        self.drafts[ix].inner_scope = Some(scope);
        let unit = Unit::playbook(&self.book(book).playbook);
        let lists = self.expand_phases(&unit.phases, Place { scope, ..inner });
        self.drafts[ix].inside = lists;
    }
}
