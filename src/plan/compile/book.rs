//! What stands outside the steps: parameters, secrets, environments, requirements, objectives, and what is never used.

use std::collections::HashSet;

use chrono::NaiveDate;

use super::build::{Builder, EarlyText, GivenValue};
use super::channels::source;
use super::text::Site;
use crate::model::{Millis, SecretName};
use crate::plan::OnFailure;
use crate::plan::template::Place;
use crate::playbook::ast::{self, SecretSource};
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::source::{Span, Text};

/// Without `review_every`, a playbook that nobody has read for so long is worth a warning.
const REVIEW_DAYS: i64 = 365;

impl Builder<'_> {
    /// Each book once, and the requirements of each scope.
    pub(super) fn check_scopes(&mut self) {
        let mut seen = Vec::new();
        for scope in 0..self.scopes.len() {
            let book = self.scopes[scope].book;
            if !seen.contains(&book) {
                seen.push(book);
                self.check_book(book, scope);
                self.check_requires(&self.loaded.books[book].playbook.requires);
            }
            self.scopes[scope].requires = self.requires(scope);
        }
        self.merge_hosts();
        for book in &seen {
            self.check_required_hosts(&self.loaded.books[*book].playbook.requires);
        }
        self.merge_secrets(&seen);
        self.merge_channels(&seen);
        self.merge_tell();
    }

    /// One list for the plan. The same name in two playbooks must mean the same secret.
    fn merge_secrets(&mut self, books: &[usize]) {
        let mut places: Vec<Span> = Vec::new();
        for book in books {
            let book = &self.loaded.books[*book];
            let root = self.base.root_of(book);
            for secret in &book.playbook.secrets {
                let source = source(&secret.source, &root);
                let name = SecretName(secret.name.value.clone());
                match self.secrets.iter().position(|(known, _)| *known == name) {
                    Some(known) if self.secrets[known].1 != source => {
                        let message =
                            format!("two playbooks of this plan mean different secrets by `{}`", name.0);
                        self.push(
                            Diagnostic::error("secret-conflict", secret.name.span, message)
                                .related(places[known], "the other one")
                                .help("give one of the two another name"),
                        );
                    }
                    Some(_) => {}
                    None => {
                        self.secrets.push((name, source));
                        places.push(secret.name.span);
                    }
                }
            }
        }
    }

    /// A requirement of an included playbook that cannot be asked for at the start.
    pub(super) fn check_late_requirements(&mut self) {
        let mut late: Vec<HashSet<&str>> = Vec::with_capacity(self.scopes.len());
        let mut found = Vec::new();
        for scope in &self.scopes {
            let outer = scope.group.map(|group| self.drafts[group].scope);
            let mut names = HashSet::new();
            for given in &scope.given {
                if let GivenValue::Template { early, params, .. } = &given.value
                    && (!early || outer.is_some_and(|o| params.iter().any(|p| late[o].contains(p.as_str()))))
                {
                    names.insert(given.param.name.value.as_str());
                }
            }
            for text in scope.requires.texts() {
                if let Some(param) = text.read.params.iter().find(|p| names.contains(p.as_str())) {
                    found.push(
                        Diagnostic::warning(
                            "late-requirement",
                            text.span,
                            "this is not checked before the first step",
                        )
                        .label(format!("`params.{param}` is known only when the playbook's step starts")),
                    );
                }
            }
            late.push(names);
        }
        found.extend(self.check_late_items(&late));
        self.diagnostics.extend(found);
    }

    fn check_book(&mut self, book: usize, scope: usize) {
        let playbook = &self.loaded.books[book].playbook;
        for param in &playbook.params {
            self.check_word(&param.name, "a parameter");
            self.check_declaration(param);
        }
        for secret in &playbook.secrets {
            self.check_secret_declaration(secret);
        }
        for environment in &playbook.environments {
            self.check_environment(environment, playbook);
        }
        for text in
            [&playbook.title, &playbook.description, &playbook.owner, &playbook.workdir].into_iter().flatten()
        {
            self.plain(text);
        }
        for text in &playbook.symptoms {
            self.plain(text);
        }
        for phase in &playbook.phases {
            if let Some(title) = &phase.title {
                self.plain(title);
            }
            if let (Some(deadline), true) = (&phase.deadline, scope > 0) {
                self.push(
                    Diagnostic::warning("idle-deadline", deadline.span, "this deadline is not watched")
                        .label("the playbook is included by another one, whose phases count")
                        .help("put a deadline on the phase that includes it"),
                );
            }
        }
        if scope > 0 {
            self.check_idle_tell(playbook);
        }
        if scope == 0 {
            self.objectives.rto = playbook.objectives.rto.as_ref().map(|o| o.value);
            self.objectives.rpo = playbook.objectives.rpo.as_ref().map(|o| o.value);
        }
        if let Some(lock) = &playbook.lock {
            let early = self.early(lock, scope, "lock");
            if scope == 0 {
                self.lock = Some(early.read.template);
            }
        }
        if let Some(data_as_of) = &playbook.objectives.data_as_of {
            // In a section of the drill the playbook's steps do not exist.
            if !self.unit.drill {
                let expr = self.expr(data_as_of, Site::end(scope));
                if scope == 0 {
                    self.objectives.data_as_of = Some(expr);
                }
            }
            if playbook.objectives.rpo.is_none() {
                self.push(
                    Diagnostic::warning(
                        "idle-data-as-of",
                        data_as_of.span,
                        "`data_as_of` measures the RPO, and there is none",
                    )
                    .help("add `rpo` to `objectives`"),
                );
            }
        } else if let Some(rpo) = &playbook.objectives.rpo {
            self.push(
                Diagnostic::warning("unmeasured-rpo", rpo.span, "nothing measures this RPO")
                    .help("add `data_as_of`: an expression that gives the time the data went back to"),
            );
        }
    }

    /// A text rendered before the run exists: it reads parameters and nothing else.
    pub(super) fn early(&mut self, text: &Text, scope: usize, what: &str) -> EarlyText {
        let before = self.diagnostics.len();
        let read = self.read(text, Place::Text, Site::start(scope));
        if read.late && self.diagnostics.len() == before {
            self.push(
                Diagnostic::error(
                    "not-known-yet",
                    text.span,
                    format!("`{what}` is read before the run starts"),
                )
                .label("only `params` can be read here"),
            );
        }
        EarlyText { read, span: text.span }
    }

    fn check_secret_declaration(&mut self, secret: &ast::SecretDecl) {
        self.check_word(&secret.name, "a secret");
        match &secret.source {
            SecretSource::Env(name) => {
                if name.value.is_empty() || name.value.contains(['=', '\0']) {
                    let message = format!("`{}` is not a variable's name", name.value);
                    self.push(Diagnostic::error("bad-env-name", name.span, message));
                }
            }
            SecretSource::File(path) => {
                self.plain(path);
                if path.value.is_empty() {
                    self.push(Diagnostic::error("bad-value", path.span, "a path cannot be empty"));
                }
            }
            SecretSource::Command(argv) => {
                for arg in argv {
                    self.plain(arg);
                }
            }
        }
    }

    fn check_environment(&mut self, environment: &ast::Environment, playbook: &ast::Playbook) {
        for (name, node) in &environment.params {
            // The parser reports the unknown ones.
            if let Some(param) = playbook.params.iter().find(|p| p.name.value == name.value) {
                let value = self.value(node);
                self.check_param_value(param, &value, node.span);
            }
        }
    }

    /// A rollback that meets a step it cannot take back.
    pub(super) fn check_rollbacks(&mut self) {
        if !self.steps.iter().any(|s| s.irreversible) {
            return;
        }
        // For each step one irreversible step that is over before it, or itself; found in one pass from first to last.
        let mut behind: Vec<Option<usize>> = vec![None; self.steps.len()];
        let mut of_phases: Option<usize> = None;
        let phases = self.phases.clone();
        for list in phases {
            let before = of_phases;
            for &ix in self.order.in_order(list) {
                let draft = &self.drafts[ix];
                let needed = draft.needs.iter().find_map(|n| behind[*n]);
                let inside = || self.irreversible_inside(ix);
                behind[ix] = needed.or(before).or_else(inside);
                of_phases = of_phases.or(behind[ix]);
            }
        }
        for ix in 0..self.steps.len() {
            if self.steps[ix].on_failure != OnFailure::Rollback {
                continue;
            }
            let mut top = ix;
            while let Some(parent) = self.drafts[top].parent {
                top = parent;
            }
            let Some(past) = behind[top] else { continue };
            let span =
                self.drafts[ix].ast.on_failure.as_ref().map_or(self.drafts[ix].ast.id.span, |f| f.span);
            let other =
                self.drafts[past].ast.irreversible.as_ref().map_or(self.drafts[past].ast.id.span, |b| b.span);
            self.push(
                Diagnostic::warning(
                    "rollback-past-irreversible",
                    span,
                    "a rollback from here cannot take everything back",
                )
                .label(format!("`{}` is irreversible", self.drafts[past].id))
                .related(other, "declared here"),
            );
        }
    }

    /// The step itself or one inside it that is irreversible.
    fn irreversible_inside(&self, ix: usize) -> Option<usize> {
        // What is inside a group follows it directly.
        let inside = |other: usize| {
            let mut at = Some(other);
            while let Some(step) = at {
                if step == ix {
                    return true;
                }
                at = self.drafts[step].parent;
            }
            false
        };
        (ix..self.steps.len())
            .take_while(|other| inside(*other))
            .find(|other| self.steps[*other].irreversible)
    }

    /// What is declared and never read. Meaningless while something is wrong, as the wrong text may be the reader.
    pub(super) fn unused(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for book in 0..self.loaded.books.len() {
            if !self.scopes.iter().any(|s| s.book == book) {
                continue;
            }
            let playbook = &self.loaded.books[book].playbook;
            for param in &playbook.params {
                if !self.used.contains(&(book, param.name.value.clone())) {
                    let message = format!("parameter `{}` is never read", param.name.value);
                    found.push(Diagnostic::warning("unused-param", param.name.span, message));
                }
            }
            for secret in &playbook.secrets {
                let key = (book, format!("secrets.{}", secret.name.value));
                // A channel that is shared may mean this one.
                let shared =
                    || self.channels.iter().any(|c| c.secrets().iter().any(|s| s.0 == secret.name.value));
                if !self.used.contains(&key) && !self.told.contains(&key) && !shared() {
                    let message = format!("secret `{}` is never read", secret.name.value);
                    found.push(Diagnostic::warning("unused-secret", secret.name.span, message));
                }
            }
        }
        found
    }
}

/// Whether somebody has read the playbook lately.
pub(super) fn review(playbook: &ast::Playbook, today: NaiveDate) -> Option<Diagnostic> {
    let Some(reviewed) = &playbook.reviewed else {
        let every = playbook.review_every.as_ref()?;
        return Some(
            Diagnostic::warning(
                "never-reviewed",
                every.span,
                "the playbook says how often it is reviewed, but not when it was",
            )
            .help("add `reviewed: YYYY-MM-DD`"),
        );
    };
    let age = (today - reviewed.value).num_days();
    if age < 0 {
        let message = "`reviewed` lies in the future";
        return Some(
            Diagnostic::warning("review-overdue", reviewed.span, message).label(format!("today is {today}")),
        );
    }
    let limit = playbook.review_every.as_ref().map_or(REVIEW_DAYS, |every| days(every.value));
    (age > limit).then(|| {
        Diagnostic::warning("review-overdue", reviewed.span, "the review of this playbook is overdue")
            .label(format!("{age} days ago, the limit is {limit}"))
            .help("read it, drill it, and set `reviewed` to today")
    })
}

fn days(length: Millis) -> i64 {
    i64::try_from(length.0 / 86_400_000).unwrap_or(i64::MAX)
}
