//! `runbook show`: what a playbook is for and what it will ask, on one screen.

use std::io::{self, Write};

use super::look::{self, Look, Sign, Tone};
use super::waves::shown_inside;
use super::{neutral, words};
use crate::plan::{Body, Plan, StepIx};

/// A parameter as declared. The plan itself holds only values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamRow {
    pub name: String,
    pub kind: String,
    pub required: bool,
    pub default: Option<String>,
    pub description: Option<String>,
}

/// Writes the overview. `params` are the declared ones, in the order typed.
///
/// # Errors
/// Those of the writer.
pub fn write_show(w: &mut dyn Write, plan: &Plan, params: &[ParamRow], look: Look) -> io::Result<()> {
    let mut out = String::new();
    let mut line = |tone: Tone, text: &str| {
        out.push_str(look.paint(tone, look.fit(text.to_owned()).trim_end()).as_str());
        out.push('\n');
    };
    let meta = &plan.playbook;
    line(
        Tone::Bold,
        &format!("{} {} {}", neutral::line(&meta.name), look.sign(Sign::Dash), neutral::line(&meta.title)),
    );
    let mut facts = Vec::new();
    facts.extend(meta.severity.as_ref().map(|s| format!("severity {}", neutral::line(s))));
    facts.extend(meta.owner.as_ref().map(|o| format!("owner {}", neutral::line(o))));
    facts.extend(plan.objectives.rto.map(|d| format!("RTO {}", words::target_text(d))));
    facts.extend(plan.objectives.rpo.map(|d| format!("RPO {}", words::target_text(d))));
    line(Tone::Dim, &facts.join(" · "));
    if let Some(description) = &meta.description {
        let text = neutral::block(description.trim_end());
        line(Tone::Plain, "");
        for l in text.lines().flat_map(|l| look::wrap(l, look.width.unwrap_or(usize::MAX))) {
            line(Tone::Plain, &l);
        }
    }
    if !meta.symptoms.is_empty() {
        line(Tone::Bold, "\nsymptoms");
        meta.symptoms.iter().for_each(|s| line(Tone::Plain, &format!("  - {}", neutral::line(s))));
    }
    if !params.is_empty() {
        line(Tone::Bold, "\nparams");
        let names = params.iter().map(|p| look::width(&p.name)).max().unwrap_or(0);
        let kinds = params.iter().map(|p| look::width(&p.kind)).max().unwrap_or(0);
        for param in params {
            let value = match &param.default {
                Some(default) => format!("default {}", neutral::line(default)),
                None if param.required => "required".to_owned(),
                None => "optional".to_owned(),
            };
            let about =
                param.description.as_ref().map_or_else(String::new, |d| format!("  {}", neutral::line(d)));
            let (name, kind) = (look::pad(&neutral::line(&param.name), names), look::pad(&param.kind, kinds));
            line(Tone::Plain, &format!("  {name}  {kind}  {value}{about}"));
        }
    }
    line(Tone::Bold, "\nsteps");
    for (n, phase) in plan.phases.iter().enumerate() {
        let named = plan.phases.len() > 1;
        if named {
            let deadline =
                phase.deadline.map_or_else(String::new, |d| format!("  (within {})", words::target_text(d)));
            line(Tone::Bold, &format!("  {}. {}{deadline}", n + 1, neutral::line(&phase.title)));
        }
        for (ix, depth) in nested(plan, &phase.steps) {
            let step = &plan.steps[ix];
            let mut marks = Vec::new();
            match &step.body {
                Body::AnyOf(_) => marks.push("the first that serves".to_owned()),
                Body::Playbook { .. } => marks.push("a playbook".to_owned()),
                Body::ForEach(each) => marks.push(words::for_each(each)),
                _ => {}
            }
            let does = words::each_does(plan, ix);
            marks.extend(does.destructive.then(|| "destructive".to_owned()));
            marks.extend(does.irreversible.then(|| "irreversible".to_owned()));
            let marks = if marks.is_empty() { String::new() } else { format!("  [{}]", marks.join(", ")) };
            let blank = "  ".repeat(depth + 1 + usize::from(named));
            line(Tone::Plain, &format!("{blank}{}  {}{marks}", step.id, neutral::line(&step.title)));
        }
    }
    w.write_all(out.as_bytes())
}

/// The steps as typed, with those inside groups after their group, and how deep they lie. A `foreach` is one step.
pub fn nested(plan: &Plan, steps: &[StepIx]) -> Vec<(StepIx, usize)> {
    let mut out = Vec::new();
    let mut stack: Vec<(StepIx, usize)> = steps.iter().rev().map(|ix| (*ix, 0)).collect();
    while let Some((ix, depth)) = stack.pop() {
        out.push((ix, depth));
        stack.extend(shown_inside(&plan.steps[ix]).iter().rev().map(|inner| (*inner, depth + 1)));
    }
    out
}
