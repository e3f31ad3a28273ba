//! Translates each step, and checks that its keys go together.

use super::build::{Builder, Given, GivenValue};
use super::command::Around;
use super::people::Roles;
use super::suggest;
use super::text::{ResultKind, Site};
use crate::model::Want;
use crate::plan::template::Place;
use crate::plan::{Body, Command, Expr, OnFailure, Retry, Step, StepIx};
use crate::playbook::ast::{self, ActionKind, NodeKind};
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::source::{Span, Text};

impl Builder<'_> {
    pub(super) fn translate_steps(&mut self) {
        for ix in 0..self.drafts.len() {
            let step = self.translate_step(ix);
            self.steps.push(step);
        }
        self.keep_results();
    }

    /// Marks the steps whose results some text reads.
    pub(super) fn keep_results(&mut self) {
        for (ix, want) in std::mem::take(&mut self.kept) {
            let step = &mut self.steps[ix];
            step.keep_result = true;
            if let Body::Command(command) = &mut step.body {
                command.want = super::text::both(command.want, want);
            }
        }
    }

    fn translate_step(&mut self, ix: StepIx) -> Step {
        let step = self.drafts[ix].ast;
        let scope = self.drafts[ix].scope;
        let once = Site::step(scope, ix);
        let site = once.each(step);
        self.check_keys(step);
        self.foreach(ix);
        self.check_level(step, scope);
        let when = step.when.as_ref().map(|text| self.expr(text, once));
        let unless = step.unless.as_ref().and_then(|check| self.check(check, &step.options, site));
        let roles = Roles::of(&[], &self.playbook(scope).roles);
        if let Some(ask) = step.undo.as_ref().and_then(|undo| undo.approval.as_ref()) {
            self.check_count(ask, &roles);
        }
        let approval = step.approval.as_ref().map(|ask| {
            self.check_count(ask, &roles);
            Box::new(self.ask(ask, once))
        });
        let result = step.action.as_ref().and_then(|a| ResultKind::of(&a.kind));
        let own_result = site.result(result);
        let mut want = Want::default();
        let (expect, outputs, retry) = if result.is_some() {
            let (expect, w) = self.exprs_wanting(&step.expect, own_result);
            want = super::text::both(want, w);
            let (outputs, w) = self.outputs(&step.outputs, own_result);
            want = super::text::both(want, w);
            let retry = step.retry.as_deref().or(self.playbook(scope).defaults.retry.as_ref());
            let retry = match retry {
                Some(retry) => {
                    let (retry, w) = self.retry(retry, &step.options, own_result);
                    want = super::text::both(want, w);
                    retry
                }
                None => Retry::never(),
            };
            (expect, outputs, retry)
        } else {
            (Vec::new(), self.group_outputs(ix), Retry::never())
        };
        let body = self.body(ix, want);
        let verify = step.verify.iter().filter_map(|c| self.check(c, &step.options, site.own())).collect();
        let undo = step.undo.as_ref().and_then(|u| self.undo(u, &step.options, site.own()));
        let check = step.check.as_ref().and_then(|c| self.check(c, &step.options, site));
        let title = match &step.title {
            Some(title) => self.plain(title),
            None => step.id.value.clone(),
        };
        let on_failure = match step.on_failure.as_ref().map(|f| f.value) {
            Some(ast::OnFailure::Stop) => OnFailure::Stop,
            Some(ast::OnFailure::Continue) => OnFailure::Continue,
            Some(ast::OnFailure::Rollback) => OnFailure::Rollback,
            Some(ast::OnFailure::Ask) => OnFailure::Ask,
            None if self.drafts[ix].parent.is_none() => self.unit.on_failure,
            None => OnFailure::Stop,
        };
        let draft = &self.drafts[ix];
        Step {
            id: draft.id.clone(),
            title,
            scope,
            phase: draft.phase,
            parent: draft.parent,
            needs: draft.needs.clone(),
            when,
            unless: unless.map(Box::new),
            approval,
            body,
            expect,
            outputs,
            retry,
            verify,
            undo: undo.map(Box::new),
            irreversible: step.irreversible.as_ref().is_some_and(|b| b.value),
            check: check.map(Box::new),
            idempotent: step.idempotent.as_ref().is_some_and(|b| b.value),
            on_failure,
            escalate: step.escalate.as_ref().map(|level| level.value),
            destructive: step.destructive,
            sensitive: step.sensitive,
            keep_result: false,
            item: None,
        }
    }

    fn body(&mut self, ix: StepIx, want: Want) -> Body {
        let step = self.drafts[ix].ast;
        let scope = self.drafts[ix].scope;
        let inside: Vec<StepIx> =
            self.drafts[ix].inside.iter().flat_map(|list| self.lists[*list].steps.iter().copied()).collect();
        let Some(action) = &step.action else { return Body::Nothing };
        match &action.kind {
            ActionKind::Wait(length) => Body::Wait(length.value),
            ActionKind::Choose(choose) => Body::Choose(Box::new(self.choose(choose, Site::step(scope, ix)))),
            ActionKind::Manual(ask) => Body::Manual(Box::new(self.ask(ask, Site::step(scope, ix)))),
            ActionKind::Notify(tell) => Body::Notify(Box::new(self.tell(tell, Site::step(scope, ix)))),
            ActionKind::AnyOf(_) => Body::AnyOf(inside),
            ActionKind::Playbook { params, .. } => match self.drafts[ix].inner_scope {
                Some(inner) => {
                    self.give_params(ix, inner, params, action.span);
                    Body::Playbook { scope: inner, steps: inside }
                }
                None => Body::Nothing,
            },
            _ => {
                let site = Site::step(scope, ix).each(step);
                let around = Around { step: None, site, timeout: self.default_timeout(scope) };
                match self.command(action, &step.options, around) {
                    Some(command) => Body::Command(Command { want, ..command }),
                    None => Body::Nothing,
                }
            }
        }
    }

    fn outputs(&mut self, outputs: &[(Text, Text)], site: Site) -> (Vec<(String, Expr)>, Want) {
        let mut want = Want::default();
        let mut translated: Vec<(String, Expr)> = Vec::with_capacity(outputs.len());
        for (name, text) in outputs {
            self.check_word(name, "an output");
            let (expr, w) = self.expr_wanting(text, site);
            want = super::text::both(want, w);
            translated.push((name.value.clone(), expr));
        }
        (translated, want)
    }

    /// The outputs of a `playbook:` step read the steps of the included playbook, when all of them are over.
    fn group_outputs(&mut self, ix: StepIx) -> Vec<(String, Expr)> {
        let step = self.drafts[ix].ast;
        match self.drafts[ix].inner_scope {
            Some(inner) => self.outputs(&step.outputs, Site::end(inner)).0,
            None => Vec::new(),
        }
    }

    /// Names of parameters, secrets and outputs, so that they can be read with a dot.
    pub(super) fn check_word(&mut self, name: &Text, what: &str) {
        let text = name.value.as_str();
        let good = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && text.len() <= 63;
        if !good {
            self.push(
                Diagnostic::error("bad-name", name.span, format!("`{text}` is not a name for {what}"))
                    .help("use a-z, 0-9 and `_`, starting with a letter, such as `taken_at`"),
            );
        }
    }

    /// What the parser, which knows keys and not what they mean together, leaves.
    fn check_keys(&mut self, step: &ast::Step) {
        let kind = step.action.as_ref().map(|a| &a.kind);
        let what = match kind {
            None => "a step without an action",
            Some(ActionKind::Wait(_)) => "a `wait` step",
            Some(_) => return self.check_destructive(step),
        };
        let idle = [
            step.irreversible.as_ref().filter(|b| b.value).map(|b| ("irreversible", b.span)),
            step.idempotent.as_ref().filter(|b| b.value).map(|b| ("idempotent", b.span)),
            step.destructive.then_some(("destructive", step.id.span)),
            step.sensitive.then_some(("sensitive", step.id.span)),
        ];
        for (key, span) in idle.into_iter().flatten() {
            self.push(Diagnostic::error("no-effect", span, format!("`{key}` has no effect on {what}")));
        }
    }

    fn check_destructive(&mut self, step: &ast::Step) {
        let repeatable = step.idempotent.as_ref().is_some_and(|b| b.value);
        if step.destructive && step.check.is_none() && !repeatable {
            let message =
                format!("destructive step `{}` has neither `check` nor `idempotent`", step.id.value);
            self.push(
                Diagnostic::warning("destructive-unchecked", step.id.span, message)
                    .label("if its outcome is ever unknown, only a person can say what happened")
                    .help("add a read-only `check`: exit 0 if the effect is there, 1 if it is not"),
            );
        }
    }

    /// What a `playbook:` step gives to the playbook it includes.
    fn give_params(&mut self, ix: StepIx, inner: usize, params: &[(Text, ast::Node)], span: Span) {
        let declared = &self.book(self.scopes[inner].book).playbook.params;
        let mut given = Vec::with_capacity(params.len());
        for (name, node) in params {
            let Some(param) = declared.iter().find(|p| p.name.value == name.value) else {
                let book = &self.playbook(inner).name.value;
                let message = format!("playbook `{book}` has no parameter `{}`", name.value);
                let help = suggest::help(
                    &name.value,
                    declared.iter().map(|p| p.name.value.as_str()),
                    "that playbook declares no parameters",
                );
                self.push(
                    Diagnostic::error("unknown-param", name.span, message).label("not known").help(help),
                );
                continue;
            };
            let value = match &node.kind {
                NodeKind::Text(text) if text.value.contains("{{") => {
                    let read = self.read(text, Place::Text, Site::step(self.drafts[ix].scope, ix));
                    GivenValue::Template { template: read.template, early: !read.late, params: read.params }
                }
                _ => GivenValue::Constant(self.value(node)),
            };
            if let GivenValue::Constant(value) = &value {
                self.check_param_value(param, value, node.span);
            }
            given.push(Given { param, value });
        }
        for param in declared.iter().filter(|p| p.required && p.default.is_none()) {
            if !params.iter().any(|(name, _)| name.value == param.name.value)
                && !self.some_environment_gives(inner, param)
            {
                let message =
                    format!("parameter `{}` of the included playbook is required", param.name.value);
                self.push(
                    Diagnostic::error("missing-param", span, message)
                        .related(param.name.span, "it is declared here")
                        .help(format!("add `params: {{ {}: ... }}`", param.name.value)),
                );
            }
        }
        self.scopes[inner].given = given;
    }

    fn some_environment_gives(&self, scope: usize, param: &ast::Param) -> bool {
        let given = |e: &ast::Environment| e.params.iter().any(|(name, _)| name.value == param.name.value);
        self.playbook(scope).environments.iter().any(given)
    }
}
