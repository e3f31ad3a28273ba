//! Plans to simulate: built by hand, or at random from a seed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runbook::model::{
    Channel, ChannelKind, CommandChannel, IncidentStatus, Millis, OnTimeout, PagerDutyChannel, Percentile,
    Reach, SecretText, StepId, Want,
};
use runbook::plan::{
    Action, Ask, Body, Cadence, Check, Choose, Command, Expr, ForEach, Level, Meta, Objectives, OnFailure,
    OnItemFailure, Phase, Plan, PlannedOption, Requires, Retry, Scope, Shell, Step, StepIx, Tell, Template,
    Undo, Updates,
};

use super::random::Random;

pub fn command(text: &str) -> Command {
    Command {
        action: Action::Script {
            shell: Shell::Sh,
            script: Template { src: text.to_owned(), uses: Vec::new() },
        },
        env: Vec::new(),
        on: None,
        workdir: None,
        stdin: None,
        timeout: Some(Millis::secs(60)),
        grace: Millis::secs(10),
        want: Want::default(),
    }
}

/// The name of the one other host.
const HOST: &str = "there";

/// Where a command runs that does not run here.
pub fn elsewhere() -> Option<Template> {
    Some(Template { src: HOST.to_owned(), uses: Vec::new() })
}

/// All that the step carries out so far, it carries out on the other host.
pub fn far(step: &mut Step) {
    if let Body::Command(command) = &mut step.body {
        command.on = elsewhere();
    }
    let checks = step.unless.as_deref_mut().into_iter().chain(&mut step.verify);
    let checks = checks.chain(step.check.as_deref_mut());
    checks.for_each(|check| check.command.on = elsewhere());
    step.retry.remedies.iter_mut().for_each(|(_, command)| command.on = elsewhere());
    step.undo.iter_mut().for_each(|undo| undo.command.on = elsewhere());
}

pub fn expr(src: &str) -> Expr {
    Expr { src: src.to_owned(), uses: Vec::new() }
}

pub fn check(title: &str) -> Check {
    Check {
        title: title.to_owned(),
        command: command(title),
        expect: Vec::new(),
        within: None,
        every: Millis::secs(1),
        required: true,
    }
}

pub fn undo() -> Option<Box<Undo>> {
    let (command, retry) = (command("undo"), Retry::never());
    Some(Box::new(Undo { approval: None, command, expect: Vec::new(), retry }))
}

pub fn step(id: &str, body: Body) -> Step {
    Step {
        id: StepId::parse(id).expect("a valid id"),
        title: id.to_owned(),
        scope: 0,
        phase: 0,
        parent: None,
        needs: Vec::new(),
        when: None,
        unless: None,
        approval: None,
        body,
        expect: Vec::new(),
        outputs: Vec::new(),
        retry: Retry::never(),
        verify: Vec::new(),
        undo: None,
        irreversible: false,
        check: None,
        idempotent: false,
        on_failure: OnFailure::Stop,
        escalate: None,
        destructive: false,
        sensitive: false,
        keep_result: false,
        item: None,
    }
}

pub fn run(id: &str) -> Step {
    step(id, Body::Command(command(id)))
}

/// A plan of these steps, whose `phase`, `parent`, `needs` and insides are as they are to be.
pub fn plan(phases: usize, max_parallel: usize, scopes: Vec<Scope>, steps: Vec<Step>) -> Plan {
    let phase = |n: usize| Phase {
        id: format!("p{n}"),
        title: format!("phase {n}"),
        deadline: None,
        status: IncidentStatus::default(),
        steps: (0..steps.len()).filter(|ix| steps[*ix].phase == n && steps[*ix].parent.is_none()).collect(),
    };
    let own = Scope { group: None, params: BTreeMap::new(), late: Vec::new() };
    Plan {
        format: 1,
        playbook: Meta {
            name: "simulated".into(),
            title: "Simulated".into(),
            description: None,
            severity: None,
            owner: None,
            symptoms: Vec::new(),
        },
        environment: None,
        objectives: Objectives::default(),
        roles: BTreeMap::new(),
        secrets: Vec::new(),
        channels: Vec::new(),
        channel_secrets: Vec::new(),
        escalation: Vec::new(),
        updates: None,
        hosts: [(HOST.to_owned(), Reach::Via(vec!["enter".into()]))].into(),
        connect_timeouts: Default::default(),
        groups: Default::default(),
        requires: Requires::default(),
        max_parallel,
        lock: "simulated".into(),
        root: PathBuf::from("/books"),
        scopes: std::iter::once(own).chain(scopes).collect(),
        phases: (0..phases).map(phase).collect(),
        steps,
        drill: None,
        index: runbook::plan::StepIndex::default(),
    }
}

/// Steps one after another.
pub fn chain(mut steps: Vec<Step>) -> Plan {
    for ix in 1..steps.len() {
        if steps[ix].parent.is_none() && steps[ix].needs.is_empty() {
            let above = (0..ix).rev().find(|a| steps[*a].parent.is_none());
            steps[ix].needs = above.into_iter().collect();
        }
    }
    plan(1, 8, Vec::new(), steps)
}

/// `any_of` with these alternatives, which become `GROUP/NAME`, at index `at` of the plan.
pub fn any_of(at: StepIx, id: &str, alternatives: Vec<Step>) -> Vec<Step> {
    let inside = (at + 1..=at + alternatives.len()).collect();
    let mut steps = vec![step(id, Body::AnyOf(inside))];
    for mut alternative in alternatives {
        alternative.id = steps[0].id.child(alternative.id.as_str()).expect("a valid id");
        alternative.parent = Some(at);
        steps.push(alternative);
    }
    steps
}

/// `id` for each of so many items, like `item`, at index `at` of the plan.
pub fn for_each(at: StepIx, id: &str, items: usize, each: ForEach, item: &Step) -> Vec<Step> {
    let mut steps = vec![step(id, Body::ForEach(ForEach { steps: (at + 1..=at + items).collect(), ..each }))];
    for number in 1..=items {
        let id = steps[0].id.child(&number.to_string()).expect("a valid id");
        let item_value = Some(serde_json::Value::from(format!("item {number}")));
        steps.push(Step { id, parent: Some(at), item: item_value, ..item.clone() });
    }
    steps
}

/// The rules of a `foreach`; its steps are put in by [`for_each`].
pub fn each(max_parallel: Option<usize>, on_item_failure: OnItemFailure, at_least: Option<usize>) -> ForEach {
    ForEach { steps: Vec::new(), max_parallel, on_item_failure, at_least }
}

/// A question that somebody answers, or whose time is over.
pub fn ask(random: &mut Random) -> Ask {
    let names = ["alice", "bob", "carol", "dave"];
    let approvers = names.iter().take(random.index(5)).map(|n| (*n).to_owned()).collect::<Vec<_>>();
    // Alice, the first of them, starts the run. Without her there must be enough others.
    let exclude_operator = approvers.len() != 1 && random.chance(25);
    let most = match approvers.len() {
        0 => 3,
        all => all - usize::from(exclude_operator),
    };
    let count = 1 + random.index(most) as u32;
    let timeout = random.chance(40).then(|| Millis(500 + random.below(9000)));
    let on_timeout = match timeout {
        None => OnTimeout::Wait,
        Some(_) => [OnTimeout::Fail, OnTimeout::Wait, OnTimeout::Proceed][random.index(3)],
    };
    Ask {
        prompt: Template { src: "Go on?".into(), uses: Vec::new() },
        approvers,
        count,
        exclude_operator,
        timeout,
        on_timeout,
        evidence: false,
    }
}

fn choose(random: &mut Random) -> Choose {
    let option = |id: &str, when: Option<Expr>| PlannedOption {
        id: id.into(),
        title: id.into(),
        eta: None,
        loss: None,
        when,
    };
    let options = vec![option("left", None), option("right", None), option("never", Some(expr("false")))];
    let mut ask = ask(random);
    if ask.timeout.is_some() && random.chance(50) {
        ask.on_timeout = OnTimeout::Suggest;
    }
    ask.count = 1;
    Choose { ask, options, suggest: Some(expr("'right'")) }
}

/// Some of what the step carries out, it carries out on the other host.
fn somewhere_else(random: &mut Random, step: &mut Step) {
    let mut maybe = |command: &mut Command| {
        if random.chance(50) {
            command.on = elsewhere();
        }
    };
    if let Body::Command(command) = &mut step.body {
        maybe(command);
    }
    let checks = step.unless.as_deref_mut().into_iter().chain(&mut step.verify);
    let checks = checks.chain(step.check.as_deref_mut());
    checks.for_each(|check| maybe(&mut check.command));
    step.retry.remedies.iter_mut().for_each(|(_, command)| maybe(command));
    step.undo.iter_mut().for_each(|undo| maybe(&mut undo.command));
}

struct Maker<'a> {
    /// Steps may do things on the other host.
    far: bool,
    random: &'a mut Random,
    steps: Vec<Step>,
    scopes: Vec<Scope>,
}

/// A random plan. `size` bounds the steps of one list.
pub fn random_plan(random: &mut Random, size: usize) -> Plan {
    let phases = 1 + random.index(3);
    let max_parallel = 1 + random.index(4);
    let far = random.clone().chance(40);
    let mut maker = Maker { far, random, steps: Vec::new(), scopes: Vec::new() };
    for phase in 0..phases {
        maker.list(None, phase, 0, size);
    }
    let Maker { steps, scopes, .. } = maker;
    let mut plan = plan(phases, max_parallel, scopes, steps);
    for phase in &mut plan.phases {
        phase.deadline = random.chance(30).then(|| Millis(random.below(20_000)));
    }
    if random.chance(40) {
        tell(random, &mut plan);
    }
    let read = Plan::from_json(&plan.to_json()).expect("the generator makes legal plans");
    assert_eq!(read, plan);
    plan
}

/// A channel of each sort that matters: one that keeps alerts, and one that does not.
pub fn channels() -> Vec<Channel> {
    let channel = |name: &str, kind| Channel {
        name: name.into(),
        kind,
        timeout: Channel::DEFAULT_TIMEOUT,
        retry_for: Channel::DEFAULT_RETRY_FOR,
        ca_file: None,
    };
    let (url, routing_key) = (SecretText::plain("http://localhost"), SecretText::plain("key"));
    let command = CommandChannel { argv: vec!["call".into()], env: Vec::new(), workdir: "/books".into() };
    vec![
        channel("pager", ChannelKind::Pagerduty(PagerDutyChannel { url, routing_key })),
        channel("team", ChannelKind::Command(command)),
    ]
}

/// People who are called, and told how things stand.
fn tell(random: &mut Random, plan: &mut Plan) {
    plan.channels = channels();
    plan.objectives.rto = random.chance(70).then(|| Millis(random.below(60_000)));
    let names = |random: &mut Random| {
        let all = plan.channels.iter().map(|channel| channel.name.clone());
        all.filter(|_| random.chance(70)).collect::<Vec<_>>()
    };
    let mut after = 0;
    for level in 1..=random.below(5) as u32 {
        after += random.below(8000);
        let after = random.chance(80).then_some(Millis(after));
        let projected_breach =
            random.chance(40).then(|| if random.chance(50) { Percentile::P50 } else { Percentile::P90 });
        plan.escalation.push(Level { level, after, projected_breach, notify: names(random), to: Vec::new() });
    }
    if random.chance(60) {
        let cadence =
            |length: Option<u64>, every| Cadence { length: length.map(Millis), every: Millis(every) };
        let mut every = vec![cadence(Some(1000 + random.below(9000)), 1000 + random.below(3000))];
        every.push(cadence(random.chance(20).then_some(5000), 2000 + random.below(6000)));
        let status_file = random.chance(30).then(|| "/books/status.txt".into());
        plan.updates = Some(Updates { channels: names(random), every, status_file });
    }
    for step in &mut plan.steps {
        step.escalate = random.chance(25).then(|| 1 + random.below(5) as u32);
    }
}

impl Maker<'_> {
    fn list(&mut self, parent: Option<StepIx>, phase: usize, scope: usize, size: usize) -> Vec<StepIx> {
        let count = 1 + self.random.index(size);
        let mut list: Vec<StepIx> = Vec::new();
        for n in 0..count {
            let needs = match self.random.below(10) {
                0..6 => list.last().copied().into_iter().collect(),
                6..8 => list.iter().copied().filter(|_| self.random.chance(40)).collect(),
                _ => Vec::new(),
            };
            let ix = self.one(&format!("s{phase}-{n}"), parent, phase, scope, size);
            self.steps[ix].needs = needs;
            list.push(ix);
        }
        list
    }

    fn one(&mut self, name: &str, parent: Option<StepIx>, phase: usize, scope: usize, size: usize) -> StepIx {
        let ix = self.steps.len();
        let mut new = step("x", Body::Nothing);
        new.id = match parent {
            Some(parent) => self.steps[parent].id.child(name).expect("a valid id"),
            None => StepId::parse(name).expect("a valid id"),
        };
        (new.phase, new.parent, new.scope) = (phase, parent, scope);
        self.steps.push(new);
        let depth = std::iter::successors(parent, |p| self.steps[*p].parent).count();
        let kind = if depth < 2 { self.random.below(23) } else { self.random.below(16) };
        if kind >= 20 {
            self.items(ix, name);
            return ix;
        }
        let body = match kind {
            0..14 => Body::Command(command(name)),
            14 => Body::Wait(Millis(self.random.below(5000))),
            15 => match self.random.below(4) {
                0 => Body::Choose(Box::new(choose(self.random))),
                1 => Body::Manual(Box::new(ask(self.random))),
                2 => Body::Notify(Box::new(Tell {
                    channels: vec!["team".into()],
                    message: Template { src: "It goes on.".into(), uses: Vec::new() },
                })),
                _ => Body::Nothing,
            },
            16..18 => {
                let count = 2 + self.random.index(2);
                let inside =
                    (0..count).map(|n| self.one(&format!("a{n}"), Some(ix), phase, scope, size)).collect();
                Body::AnyOf(inside)
            }
            _ => {
                self.scopes.push(Scope { group: Some(ix), params: BTreeMap::new(), late: Vec::new() });
                let inner = self.scopes.len();
                let steps = self.list(Some(ix), phase, inner, size.div_ceil(2));
                Body::Playbook { scope: inner, steps }
            }
        };
        self.steps[ix].body = body;
        self.decorate(ix);
        ix
    }

    /// Makes step `ix`, the last one so far, one that is done for each item of a list.
    fn items(&mut self, ix: StepIx, name: &str) {
        let count = self.random.index(5);
        let rule = each(
            self.random.chance(50).then(|| 1 + self.random.index(2)),
            [OnItemFailure::Stop, OnItemFailure::Continue][self.random.index(2)],
            (count > 0 && self.random.chance(60)).then(|| 1 + self.random.index(count)),
        );
        self.decorate(ix);
        // What a group of items has is asked once; the rest is each item's own.
        let group = &mut self.steps[ix];
        (group.unless, group.undo, group.irreversible) = (None, None, false);
        group.verify.clear();
        group.retry = Retry::never();
        let mut item = Step { body: Body::Command(command(name)), ..self.steps[ix].clone() };
        self.steps.push(item);
        self.decorate(ix + 1);
        item = self.steps.pop().expect("the item");
        (item.when, item.approval, item.on_failure) = (None, None, OnFailure::Stop);
        item.needs.clear();
        let made = for_each(ix, "x", count, rule, &item);
        for (number, mut made) in made.into_iter().enumerate() {
            if number == 0 {
                self.steps[ix].body = made.body;
            } else {
                let own = number.to_string();
                made.id = self.steps[ix].id.child(&own).expect("a valid id");
                self.steps.push(made);
            }
        }
    }

    fn decorate(&mut self, ix: StepIx) {
        let random = &mut *self.random;
        let step = &mut self.steps[ix];
        let action = matches!(step.body, Body::Command(_));
        if random.chance(8) {
            step.when = Some(expr(["false", "true", "nobody"][random.index(3)]));
        }
        if random.chance(8) {
            step.unless = Some(check("unless").into());
        }
        if action || matches!(step.body, Body::Nothing) {
            step.retry = retry(random, 3);
        }
        let least = usize::from(matches!(step.body, Body::Nothing));
        let checks = if random.chance(30) { 1 + random.index(2) } else { least };
        for n in 0..checks {
            let mut one = check(&format!("verify {n}"));
            one.within = random.chance(60).then(|| Millis(random.below(6000)));
            one.every = Millis(200 + random.below(2000));
            one.required = random.chance(70);
            step.verify.push(one);
        }
        if action {
            step.check = random.chance(25).then(|| check("check").into());
            step.idempotent = random.chance(20);
            step.destructive = random.chance(20);
        }
        if random.chance(if action { 55 } else { 10 }) {
            step.undo = undo();
            if let Some(undo) = &mut step.undo {
                undo.retry = retry(random, 2);
                undo.retry.remedies.clear();
                // Aside, so that all else of the plan stays what its seed gave.
                let mut aside = random.clone();
                undo.approval = aside.chance(12).then(|| Box::new(ask(&mut aside)));
            }
        } else if action {
            step.irreversible = random.chance(10);
        }
        if random.chance(12) && !matches!(step.body, Body::Choose(_)) {
            step.approval = Some(Box::new(ask(random)));
        }
        if self.far {
            // Aside, as above.
            somewhere_else(&mut random.clone(), step);
        }
        step.on_failure = match random.below(20) {
            0..10 => OnFailure::Stop,
            10..12 => OnFailure::Ask,
            12..15 => OnFailure::Continue,
            _ => OnFailure::Rollback,
        };
    }
}

fn retry(random: &mut Random, most: u64) -> Retry {
    let mut retry = Retry::never();
    retry.attempts = 1 + u32::try_from(random.below(most)).expect("small");
    retry.delay = Millis(random.below(2000));
    retry.backoff = 2.0;
    retry.max_delay = random.chance(50).then(|| Millis(retry.delay.0 + random.below(2000)));
    retry.jitter = 0.1;
    let remedies = random.below(u64::from(retry.attempts));
    retry.remedies = (0..remedies).map(|n| (format!("remedy {n}"), command("remedy"))).collect();
    retry
}
