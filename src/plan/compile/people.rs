//! Questions to people: approvals, choices, manual steps, and who may answer.

use std::collections::{BTreeMap, BTreeSet};

use super::build::Builder;
use super::text::Site;
use crate::model::OnTimeout;
use crate::plan::template::Place;
use crate::plan::{Ask, Body, Choose, PlannedOption, Step};
use crate::planted::{self, Bug};
use crate::playbook::ast;
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::source::Text;

impl Builder<'_> {
    /// Roles stand as typed until the plan is made: `runbook.yaml` may know them.
    pub(super) fn ask(&mut self, ask: &ast::Ask, site: Site) -> Ask {
        let approvers: Vec<String> = ask.approvers.iter().map(|name| self.plain(name)).collect();
        Ask {
            prompt: self.template(&ask.prompt, Place::Text, site),
            approvers,
            count: ask.count.as_ref().map_or(1, |count| count.value),
            exclude_operator: ask.exclude_operator,
            timeout: ask.timeout.as_ref().map(|timeout| timeout.value),
            on_timeout: match (&ask.timeout, &ask.on_timeout) {
                (None, _) => OnTimeout::Wait,
                (_, None) => OnTimeout::Fail,
                (_, Some(then)) => match then.value {
                    ast::OnTimeout::Fail => OnTimeout::Fail,
                    ast::OnTimeout::Wait => OnTimeout::Wait,
                    ast::OnTimeout::Proceed => OnTimeout::Proceed,
                    ast::OnTimeout::Suggest => OnTimeout::Suggest,
                },
            },
            evidence: ask.evidence,
        }
    }

    pub(super) fn choose(&mut self, choose: &ast::Choose, site: Site) -> Choose {
        if choose.options.is_empty() {
            self.push(
                Diagnostic::error("no-options", choose.ask.span, "there is nothing to choose from")
                    .help("write the ways to go on below `options`"),
            );
        }
        let then = choose.ask.on_timeout.as_ref();
        if let (None, Some(then)) = (&choose.suggest, then.filter(|t| t.value == ast::OnTimeout::Suggest)) {
            self.push(
                Diagnostic::error("no-suggestion", then.span, "there is no suggestion to take")
                    .help("add `suggest`: an expression that gives the name of an option"),
            );
        }
        let options = choose
            .options
            .iter()
            .map(|option| PlannedOption {
                id: option.id.value.clone(),
                title: option.title.as_ref().map_or_else(|| option.id.value.clone(), |t| self.plain(t)),
                eta: option.eta.as_ref().map(|t| self.plain(t)),
                loss: option.loss.as_ref().map(|t| self.plain(t)),
                when: option.when.as_ref().map(|when| self.expr(when, site)),
            })
            .collect();
        let suggest = choose.suggest.as_ref().map(|suggest| self.expr(suggest, site));
        Choose { ask: self.ask(&choose.ask, site), options, suggest }
    }

    /// More people than there are cannot agree.
    pub(super) fn check_count(&mut self, ask: &ast::Ask, roles: &Roles) {
        for name in &ask.approvers {
            if roles.0.get(&name.value).is_some_and(Vec::is_empty) {
                let message = format!("nobody holds the role `{}`, so nobody can answer", name.value);
                self.push(
                    Diagnostic::error("empty-role", name.span, message).help("name somebody below `roles`"),
                );
            }
        }
        let people: Vec<String> = roles.resolve(ask.approvers.iter().map(|name| name.value.as_str()));
        let Some(count) = &ask.count else { return };
        // A name that is no role here may be one of `runbook.yaml`: then nobody can count yet.
        let known = ask.approvers.iter().all(|name| roles.0.contains_key(&name.value));
        if known && !people.is_empty() && (people.len() as u64) < u64::from(count.value) {
            let message = format!("{} people have to agree, and only {} may", count.value, people.len());
            self.push(
                Diagnostic::error("too-few-approvers", count.span, message)
                    .help("name more people, or lower `count`"),
            );
        }
    }
}

/// Who holds each role.
#[derive(Debug, Default)]
pub(super) struct Roles(BTreeMap<String, Vec<String>>);

impl Roles {
    /// Those of the playbook beat those of `runbook.yaml`.
    pub fn of(shared: &[(Text, Vec<Text>)], own: &[(Text, Vec<Text>)]) -> Self {
        let role = |(name, people): &(Text, Vec<Text>)| {
            (name.value.clone(), people.iter().map(|p| p.value.clone()).collect())
        };
        Self(shared.iter().chain(own).map(role).collect())
    }

    pub fn into_map(self) -> BTreeMap<String, Vec<String>> {
        self.0
    }

    /// Accounts for accounts and roles, each once. A role that nobody holds stays: without it the list could be empty, and
    /// that means anybody.
    pub fn resolve<'n>(&self, names: impl Iterator<Item = &'n str>) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let people = names.flat_map(|name| match self.0.get(name) {
            Some(people) if !people.is_empty() || planted::is(Bug::EmptyRole) => people.clone(),
            _ => vec![name.to_owned()],
        });
        people.filter(|person| seen.insert(person.clone())).collect()
    }

    /// Puts accounts in the place of roles, in every question of the step.
    pub fn settle(&self, step: &mut Step) {
        let mut asks: Vec<&mut Ask> = step.approval.as_deref_mut().into_iter().collect();
        asks.extend(step.undo.as_mut().and_then(|undo| undo.approval.as_deref_mut()));
        match &mut step.body {
            Body::Choose(choose) => asks.push(&mut choose.ask),
            Body::Manual(ask) => asks.push(ask),
            _ => {}
        }
        for ask in asks {
            ask.approvers = self.resolve(ask.approvers.iter().map(String::as_str));
        }
    }
}
