//! `runbook plan`: what would run, in which order, with which commands, and what could be taken back.

use std::io::{self, Write};

use serde::Serialize;

use super::look::{self, Look, Tone};
use super::plan_asks::{self, AskView};
use super::rendered::{self, Shown};
use super::waves::{run_order, shown_inside, waves};
use super::{neutral, words};
use crate::model::{Millis, StepId};
use crate::plan::{Action, Body, Check, Command, OnFailure, OnItemFailure, Plan, Retry, Shell, Step, StepIx};

/// A rollback over more steps names only the last of them.
const MAX_UNDOES: usize = 8;
/// Items of a `foreach` that are listed as text.
const MAX_ITEMS: usize = 20;

/// The plan as data. Version 1; fields are only added. All texts are neutral.
#[derive(Debug, Clone, Serialize)]
pub struct PlanView {
    pub version: u32,
    pub playbook: String,
    pub title: String,
    pub hash: String,
    pub environment: Option<String>,
    /// The environment's name must be typed to start.
    pub guarded: bool,
    pub rto: Option<Millis>,
    pub rpo: Option<Millis>,
    pub max_parallel: usize,
    pub lock: String,
    pub params: Vec<(String, String)>,
    pub secrets: Vec<String>,
    /// Each as its name, kind and target.
    pub channels: Vec<String>,
    pub requires: Vec<String>,
    pub phases: Vec<PhaseView>,
    /// From this step on there is no way back.
    pub point_of_no_return: Option<StepId>,
}

#[derive(Debug, Clone, Serialize)]
pub struct PhaseView {
    pub id: String,
    pub title: String,
    pub deadline: Option<Millis>,
    pub waves: Vec<Vec<StepView>>,
}

#[derive(Debug, Clone, Serialize)]
pub struct StepView {
    pub id: StepId,
    pub title: String,
    /// `run`, `exec`, `sql`, `http`, `wait`, `any_of`, `playbook` or `verify`.
    pub kind: &'static str,
    pub needs: Vec<StepId>,
    pub command: Option<CommandView>,
    pub wait: Option<Millis>,
    pub when: Option<String>,
    /// What people are asked before the action, or instead of one.
    pub asks: Vec<AskView>,
    pub unless: Option<Box<CheckView>>,
    pub expect: Vec<String>,
    pub retry: Option<Box<RetryView>>,
    pub verify: Vec<CheckView>,
    pub undo: Option<Box<CommandView>>,
    /// What people are asked before the step is taken back.
    pub undo_asks: Option<Box<AskView>>,
    pub check: Option<Box<CheckView>>,
    pub irreversible: bool,
    pub idempotent: bool,
    pub destructive: bool,
    pub sensitive: bool,
    /// It splices text into a script with `raw`.
    pub raw: bool,
    /// `stop`, `continue` or `rollback`.
    pub on_failure: &'static str,
    /// What a rollback would do if this step failed, the first undone first.
    pub rollback: RollbackView,
    /// The items of a `foreach`. What is done, checked and undone is then told of the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreach: Option<Box<ForEachView>>,
    /// Inside a group: alternatives of `any_of` one after another, steps of `playbook` in waves.
    pub inside: Vec<Vec<StepView>>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ForEachView {
    /// How the items go together, in words.
    pub rule: String,
    /// The step of each item, and the item.
    pub items: Vec<(StepId, String)>,
    pub max_parallel: Option<usize>,
    /// `stop` or `continue`.
    pub on_item_failure: &'static str,
    pub at_least: Option<usize>,
}

#[derive(Debug, Clone, Serialize)]
pub struct CommandView {
    /// The host it runs on; none: this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    pub text: String,
    pub values: Vec<(String, String)>,
    /// False: it holds what a step will give, so `text` is the source.
    pub known: bool,
    pub timeout: Option<Millis>,
}

#[derive(Debug, Clone, Serialize)]
pub struct CheckView {
    pub title: String,
    pub command: CommandView,
    pub expect: Vec<String>,
    pub within: Option<Millis>,
    pub every: Millis,
    pub required: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct RetryView {
    pub attempts: u32,
    pub delay: Millis,
    pub backoff: f64,
    pub max_delay: Option<Millis>,
    pub remedies: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct RollbackView {
    /// Steps with an undo that would have acted before; at most 8, `undoes` counts them all.
    pub steps: Vec<StepId>,
    pub undoes: usize,
    /// Steps that would have acted before and cannot be taken back.
    pub keeps: usize,
}

impl PlanView {
    /// `hash` is that of `plan.json`.
    pub fn of(plan: &Plan, hash: &str) -> Self {
        let order = run_order(plan);
        let rollbacks = rollbacks(plan, &order);
        let view = |ix: StepIx| step_view(plan, ix, &rollbacks);
        let environment = plan.environment.as_ref();
        let needed = plan.requires.lines();
        Self {
            version: 1,
            playbook: neutral::line(&plan.playbook.name),
            title: neutral::line(&plan.playbook.title),
            hash: neutral::line(hash),
            environment: environment.map(|e| neutral::line(&e.name)),
            guarded: environment.is_some_and(|e| e.confirm),
            rto: plan.objectives.rto,
            rpo: plan.objectives.rpo,
            max_parallel: plan.max_parallel,
            lock: neutral::line(&plan.lock),
            params: params(plan),
            secrets: plan
                .secrets
                .iter()
                .chain(&plan.channel_secrets)
                .map(|(name, _)| neutral::line(&name.0))
                .collect(),
            channels: plan
                .channels
                .iter()
                .map(|c| neutral::line(format!("{} ({}, {})", c.name, c.kind_name(), c.target())))
                .collect(),
            requires: needed.iter().map(neutral::line).collect(),
            phases: plan
                .phases
                .iter()
                .map(|phase| PhaseView {
                    id: neutral::line(&phase.id),
                    title: neutral::line(&phase.title),
                    deadline: phase.deadline,
                    waves: waves(plan, &phase.steps)
                        .into_iter()
                        .map(|wave| wave.into_iter().map(view).collect())
                        .collect(),
                })
                .collect(),
            point_of_no_return: order
                .iter()
                .find(|ix| plan.steps[**ix].irreversible)
                .map(|ix| plan.steps[plan.foreach_around(*ix).unwrap_or(*ix)].id.clone()),
        }
    }

    /// # Errors
    /// Those of the writer.
    pub fn write(&self, w: &mut dyn Write, look: Look) -> io::Result<()> {
        let mut text = Text { look, out: String::new(), no_return: self.point_of_no_return.clone() };
        text.head(self);
        let named = self.phases.len() > 1;
        let mut number = 0;
        for (n, phase) in self.phases.iter().enumerate() {
            if named {
                let deadline = phase
                    .deadline
                    .map_or_else(String::new, |d| format!("  deadline {}", words::target_text(d)));
                let dash = look.sign(look::Sign::Dash);
                let title = look.fit(phase.title.clone());
                text.raw_line(
                    Tone::Bold,
                    &format!("\nphase {} {dash} {}: {title}{deadline}", n + 1, phase.id),
                );
            }
            for wave in &phase.waves {
                number += 1;
                let together =
                    if wave.len() > 1 { format!("  ({} together)", wave.len()) } else { String::new() };
                text.raw_line(Tone::Dim, &format!("\nwave {number}{together}"));
                for step in wave {
                    text.step(step, 1);
                }
            }
        }
        w.write_all(text.out.as_bytes())
    }
}

fn params(plan: &Plan) -> Vec<(String, String)> {
    let known = plan.scopes.first().map(|s| &s.params);
    known.into_iter().flatten().map(|(name, value)| (neutral::line(name), words::value(value))).collect()
}

/// For each step, what a rollback would go through if it failed: what stands before it in the order, last first.
fn rollbacks(plan: &Plan, order: &[StepIx]) -> Vec<RollbackView> {
    let mut out = vec![RollbackView::default(); plan.steps.len()];
    let mut undoable: Vec<StepIx> = Vec::new();
    let mut kept = 0;
    for ix in order {
        let step = &plan.steps[*ix];
        if matches!(step.body, Body::Command(_)) {
            // The failed step itself is undone too: it may have done half of its work.
            match step.undo {
                Some(_) => undoable.push(*ix),
                None => kept += 1,
            }
        }
        out[*ix] = RollbackView {
            steps: undoable.iter().rev().take(MAX_UNDOES).map(|u| plan.steps[*u].id.clone()).collect(),
            undoes: undoable.len(),
            keeps: kept,
        };
    }
    out
}

fn step_view(plan: &Plan, ix: StepIx, rollbacks: &[RollbackView]) -> StepView {
    let group = &plan.steps[ix];
    // What is done for each item is told once.
    let step = words::each_does(plan, ix);
    let check = |c: &Check| check_view(plan, step, c);
    let command = match &step.body {
        Body::Command(command) => Some(command),
        _ => None,
    };
    let inside = match &step.body {
        Body::AnyOf(steps) => steps.iter().map(|ix| vec![*ix]).collect(),
        _ => waves(plan, shown_inside(step)),
    };
    let foreach = foreach_view(plan, ix).map(Box::new);
    StepView {
        id: group.id.clone(),
        title: neutral::line(&group.title),
        kind: kind(step),
        needs: group.needs.iter().filter_map(|n| plan.steps.get(*n)).map(|s| s.id.clone()).collect(),
        command: command.map(|c| command_view(plan, step, c)),
        wait: if let Body::Wait(length) = step.body { Some(length) } else { None },
        when: group.when.as_ref().map(|e| rendered::expression(&e.src)),
        asks: plan_asks::of_step(plan, step),
        unless: step.unless.as_deref().map(check).map(Box::new),
        expect: step.expect.iter().map(|e| rendered::expression(&e.src)).collect(),
        retry: Some(&step.retry).filter(|r| r.attempts > 1).map(retry_view).map(Box::new),
        verify: step.verify.iter().map(check).collect(),
        undo: step.undo.as_ref().map(|u| Box::new(command_view(plan, step, &u.command))),
        undo_asks: plan_asks::of_undo(plan, step).map(Box::new),
        check: step.check.as_deref().map(check).map(Box::new),
        irreversible: step.irreversible,
        idempotent: step.idempotent,
        destructive: step.destructive,
        sensitive: step.sensitive,
        raw: command.is_some_and(rendered::splices_raw)
            || step.undo.as_ref().is_some_and(|u| rendered::splices_raw(&u.command)),
        on_failure: match group.on_failure {
            OnFailure::Stop => "stop",
            OnFailure::Continue => "continue",
            OnFailure::Rollback => "rollback",
            OnFailure::Ask => "ask",
        },
        // A step that is done for each item fails once the last of them has been tried.
        rollback: rollbacks[plan.inside(ix).last().copied().filter(|_| foreach.is_some()).unwrap_or(ix)]
            .clone(),
        foreach,
        inside: inside
            .into_iter()
            .map(|wave| wave.into_iter().map(|ix| step_view(plan, ix, rollbacks)).collect())
            .collect(),
    }
}

fn foreach_view(plan: &Plan, ix: StepIx) -> Option<ForEachView> {
    let each = plan.foreach(ix)?;
    let item = |ix: &StepIx| {
        let step = &plan.steps[*ix];
        (step.id.clone(), step.item.as_ref().map(words::value).unwrap_or_default())
    };
    Some(ForEachView {
        rule: words::items_rule(each),
        items: each.steps.iter().map(item).collect(),
        max_parallel: each.max_parallel,
        on_item_failure: match each.on_item_failure {
            OnItemFailure::Stop => "stop",
            OnItemFailure::Continue => "continue",
        },
        at_least: each.at_least,
    })
}

fn kind(step: &Step) -> &'static str {
    match &step.body {
        Body::Command(command) => match &command.action {
            Action::Script { shell: Shell::Bash | Shell::Sh, .. } => "run",
            Action::Exec(_) => "exec",
            Action::Sql(_) => "sql",
            Action::Http(_) => "http",
        },
        Body::Wait(_) => "wait",
        Body::Choose(_) => "choose",
        Body::Manual(_) => "manual",
        Body::Notify(_) => "notify",
        Body::AnyOf(_) => "any_of",
        Body::Playbook { .. } => "playbook",
        Body::ForEach(_) => "foreach",
        Body::Nothing => "verify",
    }
}

fn command_view(plan: &Plan, step: &Step, command: &Command) -> CommandView {
    let Shown { text, values, known } = rendered::command(plan, step.scope, command);
    let on = rendered::on(plan, step, command);
    CommandView { on, text, values, known, timeout: command.timeout }
}

fn check_view(plan: &Plan, step: &Step, check: &Check) -> CheckView {
    CheckView {
        title: neutral::line(&check.title),
        command: command_view(plan, step, &check.command),
        expect: check.expect.iter().map(|e| rendered::expression(&e.src)).collect(),
        within: check.within,
        every: check.every,
        required: check.required,
    }
}

fn retry_view(retry: &Retry) -> RetryView {
    RetryView {
        attempts: retry.attempts,
        delay: retry.delay,
        backoff: retry.backoff,
        max_delay: retry.max_delay,
        remedies: retry.remedies.iter().map(|(title, _)| neutral::line(title)).collect(),
    }
}

struct Text {
    look: Look,
    out: String,
    no_return: Option<StepId>,
}

impl Text {
    fn raw_line(&mut self, tone: Tone, text: &str) {
        self.out.push_str(&self.look.paint(tone, text));
        self.out.push('\n');
    }

    fn head(&mut self, view: &PlanView) {
        let look = self.look;
        let dash = look.sign(look::Sign::Dash);
        let title = look.fit(view.title.clone());
        self.raw_line(Tone::Bold, &format!("{} {dash} {title}", view.playbook));
        let mut facts: Vec<(&str, String)> = vec![("plan", view.hash.clone())];
        if let Some(environment) = &view.environment {
            let guard = if view.guarded { " (guarded: its name must be typed to start)" } else { "" };
            facts.push(("environment", format!("{environment}{guard}")));
        }
        let target = |name, d: Option<Millis>| d.map(|d| format!("{name} {}", words::target_text(d)));
        let objectives: Vec<String> =
            target("RTO", view.rto).into_iter().chain(target("RPO", view.rpo)).collect();
        if !objectives.is_empty() {
            facts.push(("objectives", objectives.join(", ")));
        }
        facts.push(("parallel", format!("at most {} at once", view.max_parallel)));
        facts.push(("lock", view.lock.clone()));
        facts.extend(view.requires.iter().map(|r| ("requires", r.clone())));
        facts.extend(view.params.iter().map(|(name, value)| ("param", format!("{name} = {value}"))));
        facts.extend(view.secrets.iter().map(|name| ("secret", name.clone())));
        facts.extend(view.channels.iter().map(|channel| ("channel", channel.clone())));
        let mut last = "";
        for (name, text) in facts {
            self.field(1, if last == name { "" } else { name }, &text);
            last = name;
        }
    }

    fn field(&mut self, depth: usize, name: &str, text: &str) {
        let mut lines = text.lines();
        self.line(depth, Some(name), lines.next().unwrap_or_default());
        for line in lines {
            self.line(depth, None, line);
        }
    }

    /// A line without blanks at its end, written where it belongs: a plan may have many thousands.
    fn line(&mut self, depth: usize, name: Option<&str>, text: &str) {
        const NAME: usize = 11;
        let start = self.out.len();
        self.indent(depth);
        match name {
            Some(name) if self.look.color => {
                self.out.push_str(&self.look.paint(Tone::Dim, &format!("{name:<NAME$}")));
            }
            name => {
                let name = name.unwrap_or_default();
                self.out.push_str(name);
                self.out.extend(std::iter::repeat_n(' ', NAME.saturating_sub(name.len())));
            }
        }
        self.out.push(' ');
        self.fit(text);
        let end = start + self.out[start..].trim_end().len();
        self.out.truncate(end);
        self.out.push('\n');
    }

    fn indent(&mut self, depth: usize) {
        (0..depth).for_each(|_| self.out.push_str("  "));
    }

    fn fit(&mut self, text: &str) {
        if self.look.unicode {
            self.out.push_str(text);
        } else {
            self.out.push_str(&self.look.fit(text.to_owned()));
        }
    }

    fn command(&mut self, depth: usize, name: &str, command: &CommandView) {
        self.field(depth, name, &command.text);
        if let Some(on) = &command.on {
            self.field(depth, "", &format!("  on {on}"));
        }
        for (name, value) in &command.values {
            self.field(depth, "", &format!("  {name} = {value}"));
        }
    }

    fn check(&mut self, depth: usize, name: &str, check: &CheckView) {
        let mut title = check.title.clone();
        if let Some(within) = check.within {
            title.push_str(&format!(
                "  (within {}, every {})",
                words::target_text(within),
                words::target_text(check.every)
            ));
        }
        if !check.required {
            title.push_str("  (advisory)");
        }
        self.field(depth, name, &title);
        let indented: Vec<String> = check.command.text.lines().map(|line| format!("  {line}")).collect();
        // A check without a title of its own is called by its command.
        let command = if check.title == check.command.text { String::new() } else { indented.join("\n") };
        if !command.is_empty() || !check.command.values.is_empty() {
            self.command(depth, "", &CommandView { text: command, ..check.command.clone() });
        }
        for expect in &check.expect {
            self.field(depth, "", &format!("  expect {expect}"));
        }
    }

    fn step(&mut self, step: &StepView, depth: usize) {
        if self.no_return.as_ref() == Some(&step.id) {
            let line = if self.look.unicode {
                "── point of no return ──"
            } else {
                "-- point of no return --"
            };
            self.raw_line(Tone::Warn, &format!("{}{line}", "  ".repeat(depth)));
        }
        let marks: Vec<&str> = [
            (step.destructive, "DESTRUCTIVE"),
            (step.irreversible, "irreversible"),
            (step.idempotent, "idempotent"),
            (step.sensitive, "sensitive"),
            (step.raw, "raw text in the command"),
        ]
        .into_iter()
        .filter_map(|(on, mark)| on.then_some(mark))
        .collect();
        let tone = if step.destructive { Tone::Bad } else { Tone::Warn };
        self.indent(depth);
        self.out.push_str(&self.look.paint(Tone::Bold, step.id.as_str()));
        self.out.push_str("  ");
        self.fit(&step.title);
        if !marks.is_empty() {
            self.out.push_str(&self.look.paint(tone, &format!("  [{}]", marks.join(", "))));
        }
        self.out.push('\n');
        self.body(step, depth + 1);
        for (n, wave) in step.inside.iter().enumerate() {
            if step.kind == "any_of" {
                self.field(depth + 1, if n == 0 { "first" } else { "else" }, "");
            }
            wave.iter().for_each(|inner| self.step(inner, depth + 2));
        }
    }

    fn body(&mut self, step: &StepView, depth: usize) {
        if let Some(when) = &step.when {
            self.field(depth, "when", when);
        }
        if let Some(foreach) = &step.foreach {
            self.field(depth, "foreach", &foreach.rule);
            for (id, item) in foreach.items.iter().take(MAX_ITEMS) {
                self.field(depth, "", &format!("{id}  {item}"));
            }
            if let more @ 1.. = foreach.items.len().saturating_sub(MAX_ITEMS) {
                self.field(depth, "", &format!("and {more} more"));
            }
        }
        if let Some(unless) = &step.unless {
            self.check(depth, "unless", unless);
        }
        step.asks.iter().for_each(|ask| self.ask(depth, ask.kind, ask));
        if let Some(command) = &step.command {
            self.command(depth, step.kind, command);
            let limit = command.timeout.map_or_else(|| "none".to_owned(), words::target_text);
            self.field(depth, "timeout", &limit);
        }
        if let Some(length) = step.wait {
            self.field(depth, "wait", &words::target_text(length));
        }
        for (n, expect) in step.expect.iter().enumerate() {
            self.field(depth, if n == 0 { "expect" } else { "" }, expect);
        }
        if let Some(retry) = &step.retry {
            let mut text = format!("{} attempts, {} apart", retry.attempts, words::target_text(retry.delay));
            if retry.backoff > 1.0 {
                text.push_str(&format!(", growing by {}", retry.backoff));
            }
            if let Some(most) = retry.max_delay {
                text.push_str(&format!(" to at most {}", words::target_text(most)));
            }
            self.field(depth, "retry", &text);
            retry.remedies.iter().for_each(|remedy| self.field(depth, "", &format!("remedy: {remedy}")));
        }
        for check in &step.verify {
            self.check(depth, "verify", check);
        }
        if let Some(check) = &step.check {
            self.check(depth, "check", check);
        }
        if let Some(undo) = &step.undo {
            self.command(depth, "undo", undo);
        }
        if let Some(ask) = &step.undo_asks {
            self.ask(depth, "undo asks", ask);
        }
        self.field(depth, "on failure", &on_failure(step));
    }

    fn ask(&mut self, depth: usize, label: &str, ask: &AskView) {
        for (n, line) in ask.prompt.trim_end().lines().enumerate() {
            self.field(depth, if n == 0 { label } else { "" }, line);
        }
        ask.facts.iter().for_each(|fact| self.field(depth, "", &format!("  {fact}")));
    }
}

fn on_failure(step: &StepView) -> String {
    let rollback = &step.rollback;
    match step.on_failure {
        "continue" => "go on; nothing is undone".to_owned(),
        "stop" => "stop; nothing is undone".to_owned(),
        _ if rollback.undoes == 0 => "roll back; there is nothing that can be undone".to_owned(),
        _ => {
            let ids: Vec<&str> = rollback.steps.iter().map(StepId::as_str).collect();
            let mut text = format!("roll back: undo {}", ids.join(", "));
            if rollback.undoes > ids.len() {
                text.push_str(&format!(" and {} more", rollback.undoes - ids.len()));
            }
            if rollback.keeps > 0 {
                let have = if rollback.keeps == 1 { "has" } else { "have" };
                text.push_str(&format!("; {} {have} no undo", words::count(rollback.keeps, "step")));
            }
            text
        }
    }
}
