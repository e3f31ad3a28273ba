//! Hosts and their groups: those of every book, then those of `runbook.yaml`; of two with one name the first is meant.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::base::join;
use super::build::Builder;
use super::command::Around;
use super::suggest;
use super::text::Site;
use crate::model::{HERE, Millis, Reach, Ssh};
use crate::plan::Template;
use crate::plan::template::Place;
use crate::playbook::ast::{self, HostDecl, HostKind, Options};
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::load::Loaded;
use crate::playbook::source::Text;

/// A host whose texts are not rendered yet.
pub(super) struct HostDraft {
    pub reach: Reach,
    /// The scope whose parameters its texts read; none: there are no templates in them.
    pub scope: Option<usize>,
    /// Where its relative paths count from.
    pub root: PathBuf,
    pub connect_timeout: Option<Millis>,
}

impl<'a> Builder<'a> {
    pub(super) fn merge_hosts(&mut self) {
        let loaded = self.loaded;
        let mut seen = Vec::new();
        for scope in 0..self.scopes.len() {
            let book = self.scopes[scope].book;
            if seen.contains(&book) {
                continue;
            }
            seen.push(book);
            let root = self.base.root_of(self.book(book));
            for typed in &self.book(book).playbook.hosts {
                if typed.name.value == HERE {
                    self.push(
                        Diagnostic::error("bad-name", typed.name.span, "no host can be called `local`")
                            .label("this name means this machine"),
                    );
                }
                let reach =
                    reach(typed, &mut |text| self.template(text, Place::Text, Site::start(scope)).src);
                self.add_host(typed, draft(typed, reach, Some(scope), &root));
            }
        }
        for typed in &loaded.shared.hosts {
            let reach = reach(typed, &mut |text| text.value.clone());
            self.add_host(typed, draft(typed, reach, None, &loaded.shared.folder));
        }
        for book in seen {
            for (name, members) in &self.book(book).playbook.groups {
                self.add_group(name, members, true);
            }
        }
        for (name, members) in &loaded.shared.groups {
            self.add_group(name, members, false);
        }
    }

    fn add_host(&mut self, typed: &HostDecl, draft: HostDraft) {
        self.hosts.entry(typed.name.value.clone()).or_insert(draft);
    }

    /// The places of a group of `runbook.yaml` are in a file that is not among the sources.
    fn add_group(&mut self, name: &Text, members: &[Text], own: bool) {
        for member in members.iter().filter(|_| own) {
            self.check_host(member, "is in this group");
        }
        let members = members.iter().map(|member| member.value.clone()).collect();
        self.groups.entry(name.value.clone()).or_insert(members);
    }

    pub(super) fn check_required_hosts(&mut self, requires: &ast::Requires) {
        for text in &requires.hosts {
            if self.groups.contains_key(&text.value) {
                continue;
            }
            if text.value == HERE {
                let error = Diagnostic::error("unknown-host", text.span, "`local` is this machine");
                self.push(error.help("it is here: remove it"));
            } else {
                self.check_host(text, "is required here");
            }
        }
    }

    /// The hosts that the requirement means: itself, or those of the group.
    pub(super) fn required_hosts(&self, name: &str) -> Vec<String> {
        match self.groups.get(name).filter(|_| !self.hosts.contains_key(name)) {
            Some(members) => members.iter().filter(|member| *member != HERE).cloned().collect(),
            None => vec![name.to_owned()],
        }
    }

    fn check_host(&mut self, text: &Text, what: &str) {
        let name = text.value.as_str();
        if self.hosts.contains_key(name) || name == HERE {
            return;
        }
        let diagnostic = Diagnostic::error("unknown-host", text.span, format!("there is no host `{name}`"));
        let diagnostic = match self.groups.contains_key(name) {
            true => diagnostic.label("this is a group of hosts").help(format!(
                "one task runs on one host: `foreach: groups.{name}` with `on: \"{{{{ item }}}}\"`"
            )),
            false => {
                let none = "declare it under `hosts`, here or in runbook.yaml";
                let help = suggest::help(name, self.hosts.keys().map(String::as_str), none);
                diagnostic.label(format!("it {what}, and is not known")).help(help)
            }
        };
        self.push(diagnostic);
    }

    /// Where the command runs; none: here.
    pub(super) fn on(&mut self, options: &Options, around: Around<'_>) -> Option<Template> {
        let text = options.on.as_ref().or(around.step.and_then(|s| s.on.as_ref()))?;
        let template = self.template(text, Place::Text, around.site);
        if is_constant(&template) {
            // An inherited one is reported at its step.
            if options.on.is_some() {
                self.check_host(text, "is named here");
            }
            if text.value == HERE {
                return None;
            }
        }
        Some(template)
    }

    /// The hosts that a run may need: all of them if some are named only by then.
    pub(super) fn hosts_used(&self) -> Vec<&String> {
        let mut named = Vec::new();
        if !self.unit.drill {
            let required = (0..self.scopes.len()).flat_map(|scope| &self.playbook(scope).requires.hosts);
            named.extend(required.flat_map(|text| self.required_hosts(&text.value)));
        }
        let mut all = false;
        for step in &self.steps {
            step.for_each_command(&mut |command| {
                let Some(on) = &command.on else { return };
                all |= !is_constant(on);
                named.push(on.src.clone());
            });
        }
        self.hosts.keys().filter(|name| all || named.contains(name)).collect()
    }

    pub(super) fn groups_used(&self) -> BTreeMap<String, Vec<String>> {
        let read = |name: &str| self.used.iter().any(|(_, key)| key == &format!("groups.{name}"));
        self.groups.iter().filter(|(name, _)| read(name)).map(|(n, m)| (n.clone(), m.clone())).collect()
    }
}

fn draft(typed: &HostDecl, reach: Reach, scope: Option<usize>, root: &Path) -> HostDraft {
    let connect_timeout = typed.connect_timeout.as_ref().map(|limit| limit.value);
    HostDraft { reach, scope, root: root.to_owned(), connect_timeout }
}

/// The hosts that playbooks share.
pub fn shared_hosts(loaded: &Loaded) -> BTreeMap<String, Reach> {
    let mut hosts = BTreeMap::new();
    for typed in &loaded.shared.hosts {
        let plain = reach(typed, &mut |text| text.value.clone());
        let reach = settle(&plain, &loaded.shared.folder, &mut str::to_owned);
        hosts.entry(typed.name.value.clone()).or_insert(reach);
    }
    hosts
}

pub(super) fn is_constant(template: &Template) -> bool {
    !template.src.contains("{{") && !template.src.contains("{%")
}

/// `read` gives each text as it is kept.
fn reach(typed: &HostDecl, read: &mut dyn FnMut(&Text) -> String) -> Reach {
    match &typed.kind {
        HostKind::Ssh { to, port, user, config, identity, options } => Reach::Ssh(Ssh {
            to: read(to),
            port: port.as_ref().map(&mut *read),
            user: user.as_ref().map(&mut *read),
            config: config.as_ref().map(|text| read(text).into()),
            identity: identity.as_ref().map(|text| read(text).into()),
            options: options.iter().map(|(name, value)| (name.value.clone(), read(value))).collect(),
        }),
        HostKind::Container { name, engine, user } => Reach::Container {
            engine: engine.as_ref().map_or_else(|| "docker".to_owned(), |text| text.value.clone()),
            name: read(name),
            user: user.as_ref().map(read),
        },
        HostKind::Kubectl { target, container, namespace, context } => Reach::Kubectl {
            target: read(target),
            container: container.as_ref().map(&mut *read),
            namespace: namespace.as_ref().map(&mut *read),
            context: context.as_ref().map(&mut *read),
        },
        HostKind::Via(argv) => Reach::Via(argv.iter().map(read).collect()),
    }
}

/// The same with every text rendered and every path absolute.
pub(super) fn settle(reach: &Reach, root: &Path, render: &mut dyn FnMut(&str) -> String) -> Reach {
    let path = |path: &PathBuf, render: &mut dyn FnMut(&str) -> String| {
        join(root, Path::new(&render(&path.to_string_lossy())))
    };
    match reach {
        Reach::Ssh(ssh) => Reach::Ssh(Ssh {
            to: render(&ssh.to),
            port: ssh.port.as_deref().map(&mut *render),
            user: ssh.user.as_deref().map(&mut *render),
            config: ssh.config.as_ref().map(|p| path(p, render)),
            identity: ssh.identity.as_ref().map(|p| path(p, render)),
            options: ssh.options.iter().map(|(name, value)| (name.clone(), render(value))).collect(),
        }),
        Reach::Container { engine, name, user } => {
            Reach::Container { engine: engine.clone(), name: render(name), user: user.as_deref().map(render) }
        }
        Reach::Kubectl { target, container, namespace, context } => Reach::Kubectl {
            target: render(target),
            container: container.as_deref().map(&mut *render),
            namespace: namespace.as_deref().map(&mut *render),
            context: context.as_deref().map(&mut *render),
        },
        Reach::Via(argv) => Reach::Via(argv.iter().map(|word| render(word)).collect()),
    }
}
