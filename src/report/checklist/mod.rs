//! `runbook print`: the playbook as a checklist on paper, for when the machine with the tool is gone as well. Everything
//! that can be known before the start is filled in; what cannot stands as it was typed, and secrets stand by name.
//!
//! [`Checklist::of`] makes a list of blocks; `text` and `markup` lay them out.

mod markup;
mod step;
mod text;

use std::collections::BTreeMap;

use super::waves::waves;
use super::{neutral, words};
use crate::model::Millis;
use crate::plan::{Plan, StepIx};

/// What the sheet says beyond the plan itself.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Of `plan.json`.
    pub hash: String,
    /// When it was printed.
    pub date: String,
    /// When somebody last read the playbook, and when it is due again.
    pub reviewed: Option<String>,
    pub review_due: Option<String>,
    /// What each role is there for.
    pub responsibilities: Vec<(String, Vec<String>)>,
    pub contacts: Vec<(String, String)>,
}

/// A sheet of paper. All texts are neutral.
#[derive(Debug, Clone)]
pub struct Checklist {
    title: String,
    blocks: Vec<Block>,
}

/// A part of the sheet. `depth` counts the groups around a step.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Block {
    Heading(String),
    Text(String),
    Item(String),
    Fact {
        label: String,
        text: String,
    },
    /// A line across the sheet.
    Mark(String),
    Step {
        depth: usize,
        number: String,
        id: String,
        title: String,
        marks: String,
    },
    /// Where people write when it began and ended, and who did it.
    Times {
        depth: usize,
    },
    Line {
        depth: usize,
        label: &'static str,
        text: String,
    },
    /// To be typed as it stands.
    Code {
        depth: usize,
        label: &'static str,
        text: String,
    },
    /// Something to tick that belongs to no step.
    Box(String),
    /// Something to tick.
    Tick {
        depth: usize,
        label: &'static str,
        text: String,
    },
}

impl Checklist {
    pub fn of(plan: &Plan, about: &About) -> Self {
        let mut sheet = Self { title: neutral::line(&plan.playbook.title), blocks: Vec::new() };
        sheet.head(plan, about);
        sheet.people(plan, about);
        sheet.channels(plan);
        let mut steps = Self { title: String::new(), blocks: Vec::new() };
        steps.phases(plan);
        sheet.values(plan, &steps.blocks);
        sheet.blocks.extend(steps.blocks);
        sheet.end();
        sheet
    }

    fn phases(&mut self, plan: &Plan) {
        let no_return = super::waves::run_order(plan).into_iter().find(|ix| plan.steps[*ix].irreversible);
        let no_return = no_return.map(|ix| plan.foreach_around(ix).unwrap_or(ix));
        for (n, phase) in plan.phases.iter().enumerate() {
            let within =
                phase.deadline.map_or_else(String::new, |d| format!(", within {}", words::target_text(d)));
            let title = if plan.phases.len() > 1 {
                format!("Phase {}: {}{within}", n + 1, neutral::line(&phase.title))
            } else {
                format!("Steps{within}")
            };
            self.blocks.push(Block::Heading(title));
            self.blocks.push(Block::Times { depth: 0 });
            self.steps(plan, &waves(plan, &phase.steps), &(n + 1).to_string(), 0, no_return);
        }
    }

    fn fact(&mut self, label: &str, text: impl AsRef<[u8]>) {
        self.blocks.push(Block::Fact { label: label.to_owned(), text: neutral::line(text) });
    }

    fn head(&mut self, plan: &Plan, about: &About) {
        let meta = &plan.playbook;
        self.fact("playbook", &meta.name);
        for (label, text) in [("severity", &meta.severity), ("owner", &meta.owner)] {
            if let Some(text) = text {
                self.fact(label, text);
            }
        }
        if let Some(environment) = &plan.environment {
            let guard = if environment.confirm { " (GUARDED: make sure that this is meant)" } else { "" };
            self.fact("environment", format!("{}{guard}", environment.name));
        }
        for (label, target) in [("RTO", plan.objectives.rto), ("RPO", plan.objectives.rpo)] {
            if let Some(target) = target {
                self.fact(label, words::target_text(target));
            }
        }
        self.fact("folder", format!("{} (commands start there)", plan.root.display()));
        self.fact("printed", &about.date);
        let reviewed = about.reviewed.as_deref().unwrap_or("never, as far as the playbook says");
        let due = about.review_due.as_ref().map(|due| format!(", due again {due}")).unwrap_or_default();
        self.fact("reviewed", format!("{reviewed}{due}"));
        self.fact("plan", &about.hash);
        self.fact("incident", "began ____-__-__ __:__   led by ____________________");
        if let Some(description) = &meta.description {
            self.blocks.push(Block::Text(neutral::block(description.trim())));
        }
        self.blocks.push(Block::Text(
            "A name in ‹ › or in {{ }} stands for a value that was not known when this was printed: fill it in. \
             {{ steps.NAME... }} is what step NAME gave. {{ secrets.NAME }} is a secret: it is not printed."
                .to_owned(),
        ));
        if !meta.symptoms.is_empty() {
            self.blocks.push(Block::Heading("Symptoms".to_owned()));
            let ticks = meta.symptoms.iter();
            self.blocks.extend(ticks.map(|s| Block::Box(neutral::line(s))));
        }
    }

    fn people(&mut self, plan: &Plan, about: &About) {
        let tasks: BTreeMap<&str, &Vec<String>> =
            about.responsibilities.iter().map(|(role, tasks)| (role.as_str(), tasks)).collect();
        if !plan.roles.is_empty() || !tasks.is_empty() {
            self.blocks.push(Block::Heading("People".to_owned()));
        }
        let names: std::collections::BTreeSet<&str> =
            plan.roles.keys().map(String::as_str).chain(tasks.keys().copied()).collect();
        for role in names {
            let members = match plan.roles.get(role).map(Vec::as_slice) {
                Some([primary, backups @ ..]) if !backups.is_empty() => {
                    format!("{primary}, else {}", backups.join(", "))
                }
                Some([primary]) => primary.clone(),
                _ => "____________________".to_owned(),
            };
            self.fact(role, members);
            for task in tasks.get(role).into_iter().copied().flatten() {
                self.blocks.push(Block::Item(neutral::line(task)));
            }
        }
        if !about.contacts.is_empty() {
            self.blocks.push(Block::Heading("Contacts".to_owned()));
            about.contacts.iter().for_each(|(name, how)| self.fact(name, how));
        }
    }

    /// Where word goes, who is called when, and how often people hear: to be done by hand, at the times beside it.
    fn channels(&mut self, plan: &Plan) {
        if !plan.channels.is_empty() {
            self.blocks.push(Block::Heading("Channels".to_owned()));
            for channel in &plan.channels {
                self.fact(&channel.name, format!("{}, {}", channel.kind_name(), channel.target()));
            }
        }
        if !plan.escalation.is_empty() {
            self.blocks.push(Block::Heading("Escalation, until somebody has it in hand".to_owned()));
            for level in &plan.escalation {
                let mut when = match level.after {
                    Some(Millis::ZERO) => "at the start of the incident".to_owned(),
                    Some(after) => {
                        format!("{} after the start of the incident", words::target_text(after))
                    }
                    None => "by a failure or a missed deadline".to_owned(),
                };
                if level.projected_breach.is_some() {
                    when.push_str(", or when the RTO will not be kept");
                }
                let to = if level.to.is_empty() {
                    String::new()
                } else {
                    format!(", for {}", level.to.join(", "))
                };
                let how = level.notify.join(", ");
                let text = format!("__:__  level {}, {when}: by {how}{to}", level.level);
                self.blocks.push(Block::Box(neutral::line(text)));
            }
        }
        if let Some(updates) = &plan.updates {
            self.blocks.push(Block::Heading("Updates".to_owned()));
            let piece = |cadence: &crate::plan::Cadence| {
                let every = format!("every {}", words::target_text(cadence.every));
                match cadence.length {
                    Some(length) => format!("{every} for {}", words::target_text(length)),
                    None => every,
                }
            };
            let every: Vec<String> = updates.every.iter().map(piece).collect();
            self.fact("when", format!("at the start, {}, and at the end", every.join(", then ")));
            self.fact("by", updates.channels.join(", "));
            if let Some(file) = &updates.status_file {
                self.fact("page", file.display().to_string());
            }
            self.fact(
                "say",
                "number, time, status (Investigating, Identified, Monitoring, Resolved), impact, situation, \
                actions taken, next steps, estimated resolution, when the next update comes",
            );
        }
    }

    /// What is given, and what has to be there before the first of `steps`.
    fn values(&mut self, plan: &Plan, steps: &[Block]) {
        let params = plan.scopes.first().map(|scope| &scope.params).filter(|params| !params.is_empty());
        if let Some(params) = params {
            self.blocks.push(Block::Heading("Parameters".to_owned()));
            params.iter().for_each(|(name, value)| self.fact(name, words::value(value)));
        }
        let mut needed = plan.requires.lines();
        needed.extend(plan.secrets.iter().map(|(name, _)| format!("secret {}", name.0)));
        let named = |what: &str| {
            steps.iter().any(|block| matches!(block, Block::Code { text, .. } if text.contains(what)))
        };
        if named("‹run folder›") {
            needed.push("‹run folder›, an empty folder for what is kept: ____________________".to_owned());
        }
        if named("RUNBOOK_OUTPUT") {
            needed.push("export RUNBOOK_OUTPUT=/dev/stdout (what a step gives is then seen)".to_owned());
        }
        if !needed.is_empty() {
            self.blocks.push(Block::Heading("Before the start".to_owned()));
            let ticks = needed.iter();
            self.blocks.extend(ticks.map(|n| Block::Box(neutral::line(n))));
        }
    }

    /// Steps in the order in which they could run.
    fn steps(
        &mut self,
        plan: &Plan,
        waves: &[Vec<StepIx>],
        number: &str,
        depth: usize,
        no_return: Option<StepIx>,
    ) {
        let mut n = 0;
        for wave in waves {
            for ix in wave {
                n += 1;
                if no_return == Some(*ix) {
                    self.blocks.push(Block::Mark("point of no return".to_owned()));
                }
                let number = format!("{number}.{n}");
                let together = if wave.len() > 1 { wave.len() } else { 0 };
                self.step(plan, *ix, &number, depth, together);
                let inside = step::inside(plan, *ix);
                self.steps(plan, &inside, &number, depth + 1, no_return);
            }
        }
    }

    fn end(&mut self) {
        self.blocks.push(Block::Heading("Afterwards".to_owned()));
        for what in [
            "service back at __:__   confirmed by ____________________",
            "data lost from __:__ to __:__   what: ____________________",
            "this sheet kept for the post-mortem by ____________________",
        ] {
            self.blocks.push(Block::Box(what.to_owned()));
        }
    }
}
