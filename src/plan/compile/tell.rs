//! Who is told, and when: steps that notify, the escalation, the updates.

use std::path::Path;

use super::base::join;
use super::build::Builder;
use super::text::Site;
use crate::plan::template::Place;
use crate::plan::{Cadence, Level, Tell, Updates};
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::source::Text;
use crate::playbook::{ast, tell};

impl Builder<'_> {
    pub(super) fn tell(&mut self, typed: &ast::Tell, site: Site) -> Tell {
        self.check_channels(&typed.channels);
        Tell { channels: names(&typed.channels), message: self.template(&typed.message, Place::Text, site) }
    }

    /// The playbook's own escalation and updates, or those that playbooks share. An included playbook's are for its own
    /// runs: there is one incident, and one clock.
    pub(super) fn merge_tell(&mut self) {
        let Some(main) = self.loaded.books.first() else { return };
        let shared = &self.loaded.shared;
        let (levels, updates) = (&main.playbook.escalation, &main.playbook.updates);
        let has_rto = main.playbook.objectives.rto.is_some();
        for level in levels {
            self.check_channels(&level.notify);
            // One that playbooks share is for those that have an objective.
            if let Some(breach) = level.projected_breach.as_ref().filter(|_| !has_rto) {
                let message = "there is no RTO that could be missed";
                let help = "add `objectives: { rto: 1h }`, or give the level a time with `after`";
                self.push(Diagnostic::error("no-rto", breach.span, message).help(help));
            }
        }
        if let Some(updates) = updates {
            self.check_channels(&updates.channels);
        }
        let levels = if levels.is_empty() { &shared.escalation } else { levels };
        self.escalation = levels.iter().map(level).collect();
        self.updates = match (updates, &shared.updates) {
            (Some(own), _) => Some(self::updates(own, &self.base.root_of(main))),
            (None, Some(theirs)) => Some(self::updates(theirs, &shared.folder)),
            (None, None) => None,
        };
    }

    /// Whom an included playbook would tell in a run of its own, nobody tells in this one.
    pub(super) fn check_idle_tell(&mut self, included: &ast::Playbook) {
        let idle = |key: &'static str, code, span, verb: &str| {
            let name = &included.name.value;
            Diagnostic::warning(code, span, format!("`{key}` of `{name}` {verb} not used here"))
                .label("the playbook is included by another one, whose own counts")
                .help(format!("write `{key}` in the playbook that includes it, or in runbook.yaml"))
        };
        let first = included.escalation.first();
        let levels = first.map(|level| idle("escalation", "idle-escalation", level.level.span, "is"));
        let updates = included.updates.as_ref();
        let updates = updates.map(|updates| idle("updates", "idle-updates", updates.span, "are"));
        levels.into_iter().chain(updates).for_each(|diagnostic| self.push(diagnostic));
    }

    /// `escalate` of a step. What an included playbook means may be a level that only its own runs have.
    pub(super) fn check_level(&mut self, step: &ast::Step, scope: usize) {
        let Some(level) = &step.escalate else { return };
        if self.escalation.iter().any(|known| known.level == level.value) {
            return;
        }
        let message = format!("there is no level {} to escalate to", level.value);
        let diagnostic = if self.scopes[scope].book == 0 {
            Diagnostic::error("unknown-level", level.span, message)
        } else {
            Diagnostic::warning("unknown-level", level.span, message)
        };
        let known: Vec<String> = self.escalation.iter().map(|known| known.level.to_string()).collect();
        self.push(diagnostic.help(match known.is_empty() {
            true => "declare it below `escalation`, in the playbook or in runbook.yaml".to_owned(),
            false => format!("the levels are {}", known.join(", ")),
        }));
    }

    fn check_channels(&mut self, named: &[Text]) {
        let known = self.channels.iter().map(|channel| channel.name.as_str());
        let unknown = tell::unknown_channels(named, known, "in the playbook or in runbook.yaml");
        unknown.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }
}

fn level(typed: &ast::Level) -> Level {
    Level {
        level: typed.level.value,
        after: typed.after.as_ref().map(|after| after.value),
        projected_breach: typed.projected_breach.as_ref().map(|of| of.value),
        notify: names(&typed.notify),
        to: typed.to.iter().map(|to| to.value.clone()).collect(),
    }
}

fn updates(typed: &ast::Updates, root: &Path) -> Updates {
    let cadence = |typed: &ast::Cadence| Cadence {
        length: typed.length.as_ref().map(|length| length.value),
        every: typed.every.value,
    };
    Updates {
        channels: names(&typed.channels),
        every: typed.every.iter().map(cadence).collect(),
        status_file: typed.status_file.as_ref().map(|file| join(root, Path::new(&file.value))),
    }
}

/// Each once.
fn names(typed: &[Text]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(typed.len());
    for name in typed {
        if !names.contains(&name.value) {
            names.push(name.value.clone());
        }
    }
    names
}
