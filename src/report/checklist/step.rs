//! One step on paper: what is asked, what is done, what is to be seen after it, and how it is taken back.

use super::{Block, Checklist};
use crate::model::OnTimeout;
use crate::plan::{Action, Ask, Body, Check, Choose, Command, OnFailure, Plan, Retry, Step, StepIx};
use crate::report::rendered::{self, Shown};
use crate::report::waves::{shown_inside, waves};
use crate::report::{neutral, words};

/// What is inside a group: alternatives one after another, the steps of a playbook in waves.
pub(super) fn inside(plan: &Plan, ix: StepIx) -> Vec<Vec<StepIx>> {
    let step = &plan.steps[ix];
    match &step.body {
        Body::AnyOf(steps) => steps.iter().map(|ix| vec![*ix]).collect(),
        _ => waves(plan, shown_inside(step)),
    }
}

impl Checklist {
    /// `together`: how many steps may be done at the same time, this one counted in; 0 if it stands alone.
    pub(super) fn step(&mut self, plan: &Plan, ix: StepIx, number: &str, depth: usize, together: usize) {
        let group = &plan.steps[ix];
        // What is done for each item stands once, after the items.
        let step = words::each_does(plan, ix);
        let marks: Vec<&str> = [
            (step.destructive, "DESTROYS"),
            (step.irreversible, "CANNOT BE TAKEN BACK"),
            (step.sensitive, "its output is secret"),
        ]
        .into_iter()
        .filter_map(|(on, mark)| on.then_some(mark))
        .collect();
        self.blocks.push(Block::Step {
            depth,
            number: number.to_owned(),
            id: group.id.to_string(),
            title: neutral::line(&group.title),
            marks: marks.join(", "),
        });
        self.blocks.push(Block::Times { depth });
        let line = |label, text: String| Block::Line { depth, label, text };
        if together > 0 {
            self.blocks.push(line("beside", format!("the {} others of these {together}", together - 1)));
        }
        if let Some(when) = &group.when {
            self.blocks.push(line("only if", rendered::expression(&when.src)));
        }
        if let Some(ask) = &group.approval {
            let prompt = rendered::text(plan, group.scope, &ask.prompt);
            self.blocks.push(line("ask first", prompt));
            self.who(depth, "approved", ask);
        }
        if let Some(each) = plan.foreach(ix) {
            self.blocks.push(line("do", words::items_rule(each)));
            let items = each.steps.iter().filter_map(|ix| plan.steps[*ix].item.as_ref());
            let ticks = items.map(|item| Block::Tick { depth, label: "item", text: words::value(item) });
            self.blocks.extend(ticks);
        }
        if let Some(unless) = &step.unless {
            self.check(plan, step, depth, "not if", unless);
        }
        self.action(plan, step, depth);
        for expect in &step.expect {
            self.blocks.push(line("expect", rendered::expression(&expect.src)));
        }
        self.retry(plan, step, depth, &step.retry);
        for check in &step.verify {
            self.check(plan, step, depth, "verify", check);
        }
        if let Some(check) = &step.check {
            self.check(plan, step, depth, "in doubt", check);
        }
        if let Some(undo) = &step.undo {
            if let Some(ask) = &undo.approval {
                let prompt = rendered::text(plan, step.scope, &ask.prompt);
                self.blocks.push(line("ask first", format!("before it is undone: {prompt}")));
                self.who(depth, "approved", ask);
            }
            self.command(plan, step, depth, "undo", &undo.command);
        }
        let fails = match group.on_failure {
            _ if group.parent.is_some_and(|p| matches!(plan.steps[p].body, Body::AnyOf(_))) => {
                "undo it and try the next way"
            }
            OnFailure::Stop => "stop here, and ask who leads",
            OnFailure::Continue => "go on",
            OnFailure::Rollback => "undo what was done, the last step first",
            OnFailure::Ask => "ask who leads: again, skip, by hand, undo all, or stop",
        };
        self.blocks.push(line("if it fails", fails.to_owned()));
    }

    fn action(&mut self, plan: &Plan, step: &Step, depth: usize) {
        let line = |label, text: String| Block::Line { depth, label, text };
        match &step.body {
            Body::Command(command) => self.command(plan, step, depth, "do", command),
            Body::Wait(length) => self.blocks.push(line("wait", words::target_text(*length))),
            Body::AnyOf(_) => {
                self.blocks
                    .push(line("do", "the first of these that serves; the rest are left out".to_owned()));
            }
            Body::Playbook { .. } => self.blocks.push(line("do", "these steps".to_owned())),
            Body::Choose(choose) => self.choose(plan, step, depth, choose),
            Body::Manual(ask) => {
                self.blocks.push(line("by hand", rendered::text(plan, step.scope, &ask.prompt)));
                self.who(depth, "done by", ask);
            }
            Body::Notify(tell) => {
                self.blocks.push(line(
                    "tell",
                    tell.channels.iter().map(neutral::line).collect::<Vec<_>>().join(", "),
                ));
                self.blocks.push(line("say", rendered::text(plan, step.scope, &tell.message)));
            }
            // One without items, which asks for nothing.
            Body::ForEach(_) | Body::Nothing => {}
        }
    }

    fn choose(&mut self, plan: &Plan, step: &Step, depth: usize, choose: &Choose) {
        let prompt = rendered::text(plan, step.scope, &choose.ask.prompt);
        self.blocks.push(Block::Line { depth, label: "choose", text: prompt });
        for option in &choose.options {
            let mut facts = vec![neutral::line(&option.title)];
            facts.extend(option.eta.as_ref().map(|eta| format!("takes {}", neutral::line(eta))));
            facts.extend(option.loss.as_ref().map(|loss| format!("loses {}", neutral::line(loss))));
            facts.extend(
                option.when.as_ref().map(|when| format!("only if {}", rendered::expression(&when.src))),
            );
            let text = format!("{}: {}", neutral::line(&option.id), facts.join("; "));
            self.blocks.push(Block::Tick { depth, label: "", text });
        }
        if let Some(suggest) = &choose.suggest {
            let text = rendered::expression(&suggest.src);
            self.blocks.push(Block::Line { depth, label: "suggested", text });
        }
        self.who(depth, "chosen by", &choose.ask);
    }

    /// Who has to agree, to be ticked.
    fn who(&mut self, depth: usize, label: &'static str, ask: &Ask) {
        let names = ask.approvers.iter().map(|name| format!("[ ] {} __:__", neutral::line(name)));
        let mut text = names.collect::<Vec<_>>().join("   ");
        if text.is_empty() {
            text = "[ ] ____________________ __:__".to_owned();
        }
        self.blocks.push(Block::Line { depth, label, text });
        let mut rules = Vec::new();
        if ask.count > 1 {
            rules.push(format!("{} different people", ask.count));
        }
        if ask.exclude_operator {
            rules.push("not whoever carries out the steps".to_owned());
        }
        if ask.evidence {
            rules.push("with evidence kept".to_owned());
        }
        if let Some(timeout) = ask.timeout {
            let then = match ask.on_timeout {
                OnTimeout::Wait => "go on waiting",
                other => words::on_timeout(other),
            };
            rules.push(format!("within {}, else {then}", words::target_text(timeout)));
        }
        if !rules.is_empty() {
            self.blocks.push(Block::Line { depth, label: "", text: rules.join("; ") });
        }
    }

    fn retry(&mut self, plan: &Plan, step: &Step, depth: usize, retry: &Retry) {
        if retry.attempts > 1 {
            let text = format!("at most {} times, {} apart", retry.attempts, words::target_text(retry.delay));
            self.blocks.push(Block::Line { depth, label: "again", text });
        }
        for (title, command) in &retry.remedies {
            let text = format!("before the next try: {}", neutral::line(title));
            self.blocks.push(Block::Line { depth, label: "remedy", text });
            self.command(plan, step, depth, "", command);
        }
    }

    fn check(&mut self, plan: &Plan, step: &Step, depth: usize, label: &'static str, check: &Check) {
        let mut title = neutral::line(&check.title);
        if let Some(within) = check.within {
            let every = words::target_text(check.every);
            title.push_str(&format!(" (within {}, look every {every})", words::target_text(within)));
        }
        if !check.required {
            title.push_str(" (good to have)");
        }
        self.blocks.push(Block::Tick { depth, label, text: title });
        // A check without a title of its own is called by its command.
        let Shown { text, .. } = rendered::command(plan, step.scope, &check.command);
        if text != neutral::block(&check.title) {
            self.command(plan, step, depth, "", &check.command);
        }
        for expect in &check.expect {
            let text = format!("expect {}", rendered::expression(&expect.src));
            self.blocks.push(Block::Line { depth, label: "", text });
        }
    }

    /// What has to be typed, with everything that belongs to it.
    fn command(&mut self, plan: &Plan, step: &Step, depth: usize, label: &'static str, command: &Command) {
        let scope = step.scope;
        let Shown { text, values, known } = rendered::command(plan, scope, command);
        let given = if known { Vec::new() } else { rendered::params_in(plan, scope, &text) };
        let shell = matches!(command.action, Action::Script { .. });
        let mut label = label;
        if let Some(on) = rendered::on(plan, step, command) {
            let text = format!("on {on}");
            self.blocks.push(Block::Line { depth, label: std::mem::take(&mut label), text });
        }
        if let Some(workdir) = &command.workdir {
            let text = format!("in {}", rendered::text(plan, scope, workdir));
            self.blocks.push(Block::Line { depth, label: std::mem::take(&mut label), text });
        }
        let mut set: Vec<String> = Vec::new();
        for (name, value) in &command.env {
            let value = rendered::text(plan, scope, value);
            // A secret is filled in by hand: quoted, it would be taken for itself.
            set.push(format!("export {}={}", neutral::line(name), quoted(&value)));
        }
        if shell {
            set.extend(values.iter().map(|(name, value)| format!("{name}={}", quoted(value))));
        }
        if text.trim().is_empty() {
            let text = "nothing, with these parameters".to_owned();
            self.blocks.push(Block::Line { depth, label, text });
            return;
        }
        let code = set.into_iter().chain([text]).collect::<Vec<_>>().join("\n");
        self.blocks.push(Block::Code { depth, label, text: code });
        for (name, value) in given {
            self.blocks.push(Block::Line { depth, label: "", text: format!("params.{name} is {value}") });
        }
        if !shell {
            for (name, value) in values {
                self.blocks.push(Block::Line { depth, label: "", text: format!("with {name} = {value}") });
            }
        }
        if let Some(stdin) = &command.stdin {
            let text = format!("its input: {}", rendered::text(plan, scope, stdin));
            self.blocks.push(Block::Line { depth, label: "", text });
        }
    }
}

/// As a shell needs it typed.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    match !value.is_empty() && value.chars().all(plain) {
        true => value.to_owned(),
        false => format!("'{}'", value.replace('\'', r"'\''")),
    }
}
