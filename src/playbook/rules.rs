//! What the description of the format cannot say: rules over several places of a playbook.

use std::collections::HashMap;

use super::ast::{ActionKind, Config, Node, NodeKind, Param, ParamType, Playbook, Retry, Step};
use super::diagnostic::Diagnostic;
use super::source::{Span, Text};
use super::{channels, tell};
use crate::model::{check_name, parse_bytes, parse_duration};

/// Everything that is wrong with a playbook whose parts are each in order. `stem` is its file's name without ending.
pub fn check(playbook: &Playbook, stem: Option<&str>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if let Some(stem) = stem
        && stem != playbook.name.value
        && check_name(&playbook.name.value).is_ok()
    {
        found.push(
            Diagnostic::error("name-differs", playbook.name.span, "the name is not the file's name")
                .label(format!("the file is called {stem:?}"))
                .help(format!("write `name: {stem}`, or rename the file to {}.yaml", playbook.name.value)),
        );
    }
    unique("phases", playbook.phases.iter().map(|phase| &phase.id), &mut found);
    let mut ids = Vec::new();
    for phase in &playbook.phases {
        steps(&phase.steps, &mut ids, &mut found);
    }
    unique("steps", ids.into_iter(), &mut found);
    if let Some(drill) = &playbook.drill {
        let mut ids = Vec::new();
        for list in [&drill.world, &drill.inject, &drill.teardown] {
            steps(list, &mut ids, &mut found);
        }
        unique("steps of the drill", ids.iter().copied(), &mut found);
        for variant in &drill.variants {
            let adds = &variant.adds;
            let mut ids = ids.clone();
            for list in [&adds.world, &adds.inject, &adds.teardown] {
                steps(list, &mut ids, &mut found);
            }
            unique("steps of the drill", ids.into_iter(), &mut found);
        }
    }
    if let Some(of) = &playbook.defaults.retry {
        retry(of, &mut found);
    }
    for param in &playbook.params {
        self::param(param, &mut found);
    }
    environments(playbook, &mut found);
    for channel in &playbook.channels {
        found.extend(channels::read(channel).diagnostics);
    }
    found.extend(tell::check(&playbook.escalation, playbook.updates.as_ref()));
    found
}

/// The same for `runbook.yaml`. Its channels can only use its own secrets: it has to be good for every playbook.
pub fn check_config(config: &Config) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let known = || config.secrets.iter().map(|secret| secret.name.value.as_str());
    let mut used = Vec::new();
    for channel in &config.channels {
        let read = channels::read(channel);
        found.extend(read.diagnostics);
        for (name, span) in read.secrets {
            if !known().any(|k| k == name) {
                found.push(unknown_secret(&name, span, known(), "declare it below `secrets` in this file"));
            }
            used.push(name);
        }
    }
    found.extend(tell::check(&config.escalation, config.updates.as_ref()));
    let named = config.escalation.iter().map(|level| &level.notify);
    for named in named.chain(config.updates.iter().map(|updates| &updates.channels)) {
        let known = config.channels.iter().map(|channel| channel.name.value.as_str());
        found.extend(tell::unknown_channels(named, known, "in this file"));
    }
    for secret in config.secrets.iter().filter(|secret| !used.contains(&secret.name.value)) {
        let message = format!("secret `{}` is used by no channel", secret.name.value);
        found.push(Diagnostic::warning("unused-secret", secret.name.span, message));
    }
    found
}

/// A channel names a secret that is nowhere declared.
pub fn unknown_secret<'k>(
    name: &str,
    span: Span,
    known: impl IntoIterator<Item = &'k str>,
    otherwise: &str,
) -> Diagnostic {
    let help = match crate::model::nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => otherwise.to_owned(),
    };
    Diagnostic::error("unknown-secret", span, format!("there is no secret `{name}`"))
        .label("not known")
        .help(help)
}

fn unique<'p>(what: &str, ids: impl Iterator<Item = &'p Text>, found: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for id in ids {
        if let Some(first) = seen.get(id.value.as_str()) {
            let diagnostic =
                Diagnostic::error("duplicate-id", id.span, format!("two {what} have the id `{}`", id.value));
            found.push(if *first == id.span {
                diagnostic.label("an alias repeats this").help("write the second one out, with its own id")
            } else {
                diagnostic.label("again here").related(*first, "first here").help("give each its own id")
            });
        } else {
            seen.insert(&id.value, id.span);
        }
    }
}

/// Collects the ids, those inside of `any_of` included, and checks what each step holds.
fn steps<'p>(list: &'p [Step], ids: &mut Vec<&'p Text>, found: &mut Vec<Diagnostic>) {
    for step in list {
        ids.push(&step.id);
        for of in [step.retry.as_deref(), step.undo.as_ref().and_then(|undo| undo.retry.as_ref())]
            .into_iter()
            .flatten()
        {
            retry(of, found);
        }
        for check in &step.verify {
            polling(check, found);
        }
        if let Some(needs) = &step.needs {
            unique_needs(step, needs, found);
        }
        if let Some(super::ast::Action { kind: ActionKind::AnyOf(inner), .. }) = &step.action {
            steps(inner, ids, found);
        }
    }
}

fn unique_needs(step: &Step, needs: &[Text], found: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for need in needs {
        if let Some(first) = seen.insert(&need.value, need.span) {
            found.push(
                Diagnostic::error(
                    "duplicate-need",
                    need.span,
                    format!("`{}` needs `{}` twice", step.id.value, need.value),
                )
                .related(first, "first here")
                .help("remove one of them"),
            );
        }
    }
}

fn polling(check: &super::ast::Check, found: &mut Vec<Diagnostic>) {
    if let (Some(within), Some(every)) = (&check.within, &check.every) {
        if every.value.0 == 0 {
            found.push(
                Diagnostic::error("out-of-range", every.span, "`every` must be longer than 0")
                    .help("write 1s, for example"),
            );
        } else if every.value > within.value {
            found.push(
                Diagnostic::error("out-of-range", every.span, "`every` is longer than `within`")
                    .label("it would be tried only once")
                    .related(within.span, "the time in all"),
            );
        }
    }
}

fn retry(retry: &Retry, found: &mut Vec<Diagnostic>) {
    if let (Some(delay), Some(max)) = (&retry.delay, &retry.max_delay)
        && delay.value > max.value
    {
        found.push(
            Diagnostic::error("out-of-range", delay.span, "`delay` is longer than `max_delay`")
                .related(max.span, "the longest pause"),
        );
    }
    if let (Some(attempts), Some(extra)) = (
        &retry.attempts,
        retry.attempts.as_ref().and_then(|n| retry.remedies.get(n.value.saturating_sub(1) as usize)),
    ) {
        found.push(
            Diagnostic::error("unused-remedy", extra.span, "this remedy would never run")
                .label("remedy k runs after failed attempt k, if another attempt follows")
                .related(attempts.span, "the attempts in all")
                .help(format!("write `attempts: {}`, or remove the remedy", retry.remedies.len() + 1)),
        );
    }
}

fn param(param: &Param, found: &mut Vec<Diagnostic>) {
    let kind = param.kind.value;
    let ordered =
        matches!(kind, ParamType::Integer | ParamType::Number | ParamType::Duration | ParamType::Size);
    let name = &param.name.value;
    for (key, limit) in [("min", &param.min), ("max", &param.max)] {
        let Some(limit) = limit else { continue };
        if !ordered {
            found.push(
                Diagnostic::error(
                    "keys-conflict",
                    limit.span,
                    format!("`{key}` does not go together with this type"),
                )
                .label(format!("`{name}` has no order"))
                .related(param.kind.span, "the type")
                .help("only integer, number, duration and size have limits"),
            );
        } else if measure(kind, limit).is_none() {
            found.push(
                Diagnostic::error(
                    "wrong-type",
                    limit.span,
                    format!("`params.{name}.{key}` is not of the parameter's type"),
                )
                .related(param.kind.span, "the type"),
            );
        }
    }
    if ordered
        && let (Some(min), Some(max)) = (&param.min, &param.max)
        && let (Some(low), Some(high)) = (measure(kind, min), measure(kind, max))
        && low > high
    {
        found.push(
            Diagnostic::error(
                "min-above-max",
                min.span,
                format!("`min` of `{name}` is greater than its `max`"),
            )
            .label("the least value")
            .related(max.span, "the greatest value")
            .help("no value can be between them: swap the two"),
        );
    }
    if let Some(pattern) = &param.pattern
        && !matches!(kind, ParamType::String | ParamType::Path)
    {
        found.push(
            Diagnostic::error("keys-conflict", pattern.span, "`pattern` does not go together with this type")
                .related(param.kind.span, "the type")
                .help("only string and path have a pattern"),
        );
    }
    if let Some(default) = &param.default
        && param.required
    {
        found.push(
            Diagnostic::error(
                "keys-conflict",
                default.span,
                format!("`{name}` is required and has a default"),
            )
            .label("this would never be used")
            .help("remove `required: true` or the default"),
        );
    }
}

/// A limit as a number, if it is of the type.
fn measure(kind: ParamType, node: &Node) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "only compared with another limit")]
    match (kind, &node.kind) {
        (ParamType::Integer | ParamType::Number | ParamType::Size, NodeKind::Int(n)) => Some(*n as f64),
        (ParamType::Number, NodeKind::Float(n)) => Some(*n),
        (ParamType::Duration, NodeKind::Text(text)) => parse_duration(&text.value).ok().map(|ms| ms.0 as f64),
        (ParamType::Size, NodeKind::Text(text)) => parse_bytes(&text.value).ok().map(|n| n as f64),
        _ => None,
    }
}

/// An environment, or the drill, may only set parameters that exist.
fn environments(playbook: &Playbook, found: &mut Vec<Diagnostic>) {
    let drills = playbook.drill.iter();
    let drills = drills.flat_map(|d| std::iter::once(d).chain(d.variants.iter().map(|v| &v.adds)));
    let sets = playbook.environments.iter().map(|e| &e.params).chain(drills.map(|d| &d.params));
    for (name, _) in sets.flatten() {
        if playbook.params.iter().any(|param| param.name.value == name.value) {
            continue;
        }
        let known = playbook.params.iter().map(|param| param.name.value.as_str());
        let help = match crate::model::nearest(&name.value, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "declare it below `params`, or remove it".to_owned(),
        };
        found.push(
            Diagnostic::error("unknown-param", name.span, format!("there is no parameter `{}`", name.value))
                .label("not declared below `params`")
                .help(help),
        );
    }
}
