//! What must be there before the first step: what can be wrong with how it is said, and what it is for this run.

use std::collections::HashSet;
use std::path::Path;

use super::base::join;
use super::build::{Builder, EarlyText};
use super::resolve::Resolver;
use super::{CompileError, ParamProblem};
use crate::plan::{Address, Requires, Version, VersionNumber};
use crate::playbook::ast;
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::source::{Span, Text};

/// The texts of one playbook's requirements that are rendered when the parameters are known.
#[derive(Default)]
pub(super) struct Draft {
    files: Vec<EarlyText>,
    free_space: Option<(EarlyText, u64)>,
    free_ports: Vec<EarlyText>,
    open_ports: Vec<EarlyText>,
}

impl Draft {
    pub fn texts(&self) -> impl Iterator<Item = &EarlyText> {
        let paths = self.files.iter().chain(self.free_space.iter().map(|(path, _)| path));
        paths.chain(&self.free_ports).chain(&self.open_ports)
    }
}

impl Builder<'_> {
    /// What holds no template.
    pub(super) fn check_requires(&mut self, requires: &ast::Requires) {
        for text in &requires.commands {
            self.plain(text);
        }
        for version in &requires.versions {
            for text in [&version.command].into_iter().chain(&version.ask) {
                self.plain(text);
            }
            if let Err(why) = version.at_least.value.parse::<VersionNumber>() {
                self.push(Diagnostic::error("bad-version", version.at_least.span, why));
            }
        }
        for address in requires.free_ports.iter().chain(&requires.open_ports) {
            if let Err(why) = address.value.parse::<Address>()
                && !address.value.contains("{{")
            {
                self.push(Diagnostic::error("bad-address", address.span, why));
            }
        }
        for name in &requires.env {
            if name.value.is_empty() || name.value.contains(['=', '\0', '{']) {
                let message = format!("`{}` is not a variable's name", name.value);
                self.push(Diagnostic::error("bad-env-name", name.span, message));
            }
        }
    }

    pub(super) fn requires(&mut self, scope: usize) -> Draft {
        // A drill's sections are not the playbook: they require nothing.
        if self.unit.drill {
            return Draft::default();
        }
        let requires = &self.loaded.books[self.scopes[scope].book].playbook.requires;
        let mut all = |texts: &[Text], what| -> Vec<EarlyText> {
            texts.iter().map(|text| self.early(text, scope, what)).collect()
        };
        Draft {
            files: all(&requires.files, "requires.files"),
            free_ports: all(&requires.free_ports, "requires.ports.free"),
            open_ports: all(&requires.open_ports, "requires.ports.open"),
            free_space: requires
                .free_space
                .as_ref()
                .map(|space| (self.early(&space.path, scope, "requires.free_space"), space.at_least.value)),
        }
    }
}

impl Resolver<'_, '_> {
    /// Those of all scopes, each once.
    pub(super) fn requires(&mut self) -> Result<Requires, CompileError> {
        let mut merged = Requires::default();
        let mut space_at: Option<Span> = None;
        let builder = self.builder;
        if builder.unit.drill {
            return Ok(merged);
        }
        for scope in 0..self.scopes.len() {
            let typed = &builder.playbook(scope).requires;
            add(&mut merged.commands, typed.commands.iter().map(|command| command.value.clone()));
            add(&mut merged.env, typed.env.iter().map(|name| name.value.clone()));
            add(&mut merged.hosts, typed.hosts.iter().flat_map(|name| builder.required_hosts(&name.value)));
            add(&mut merged.versions, typed.versions.iter().filter_map(version));
            self.places(scope, &mut merged, &mut space_at)?;
        }
        Ok(merged)
    }

    /// What depends on parameters.
    fn places(
        &mut self,
        scope: usize,
        merged: &mut Requires,
        space_at: &mut Option<Span>,
    ) -> Result<(), CompileError> {
        let builder = self.builder;
        let draft = &builder.scopes[scope].requires;
        let root = builder.base.root_of(builder.book(builder.scopes[scope].book));
        // What depends on a late parameter cannot be asked for at the start; lint says so.
        let late: HashSet<String> = self.scopes[scope].late.iter().map(|l| l.spec.name.clone()).collect();
        let known = |text: &&EarlyText| text.read.params.iter().all(|p| !late.contains(p));
        for file in draft.files.iter().filter(known) {
            let path = join(&root, Path::new(&self.text(&file.read.template, scope, "requires.files")));
            add(&mut merged.files, [path]);
        }
        for port in draft.free_ports.iter().filter(known) {
            let port = self.address(port, scope, "requires.ports.free");
            add(&mut merged.free_ports, [port]);
        }
        for port in draft.open_ports.iter().filter(known) {
            let port = self.address(port, scope, "requires.ports.open");
            add(&mut merged.open_ports, [port]);
        }
        let Some((early, bytes)) = draft.free_space.as_ref().filter(|(path, _)| known(&path)) else {
            return Ok(());
        };
        let path = join(&root, Path::new(&self.text(&early.read.template, scope, "requires.free_space")));
        merged.free_space = match merged.free_space.take() {
            Some((other, least)) if other == path => Some((path, least.max(*bytes))),
            None => {
                *space_at = Some(early.span);
                Some((path, *bytes))
            }
            Some(_) => {
                let message = "two playbooks of this plan require free space in different folders";
                let mut diagnostic = Diagnostic::error("requires-conflict", early.span, message);
                diagnostic.related.extend(space_at.map(|span| (span, "the other one".to_owned())));
                return Err(CompileError::Diagnostics(vec![diagnostic]));
            }
        };
        Ok(())
    }

    fn address(&mut self, early: &EarlyText, scope: usize, what: &str) -> String {
        let text = self.text(&early.read.template, scope, what);
        match text.parse::<Address>() {
            Ok(address) => address.to_string(),
            // In a plan for the eye a parameter that is not given stands by name.
            Err(_) if self.request.show_missing => text,
            Err(why) => {
                self.problems.push(ParamProblem { name: what.to_owned(), message: why, help: None });
                text
            }
        }
    }
}

/// `None` for what lint has refused.
fn version(typed: &ast::Version) -> Option<Version> {
    let command = typed.command.value.clone();
    let ask = match typed.ask.as_slice() {
        [] => vec![command.clone(), "--version".to_owned()],
        ask => ask.iter().map(|argument| argument.value.clone()).collect(),
    };
    Some(Version { command, at_least: typed.at_least.value.parse().ok()?, ask })
}

fn add<T: PartialEq>(list: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}
