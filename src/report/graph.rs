//! `runbook graph`: the plan as a picture, in Mermaid, Graphviz dot, or indented text.
//!
//! Titles are a person's text and may hold anything: each format has its own escaping, and node names are numbers.

use std::fmt::Write as _;

use super::look::{Look, Sign};
use super::show::nested;
use super::waves::shown_inside;
use super::{neutral, rendered, words};
use crate::plan::{Body, Plan, StepIx};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphFormat {
    Mermaid,
    Dot,
    Text,
}

/// The graph with its final newline.
pub fn graph(plan: &Plan, format: GraphFormat, look: Look) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = match format {
        GraphFormat::Mermaid => mermaid(plan, &mut out),
        GraphFormat::Dot => dot(plan, &mut out),
        GraphFormat::Text => text(plan, look, &mut out),
    };
    out
}

/// Opens and closes of clusters and the nodes between them, so that both picture formats walk the plan alike.
enum Part {
    Open(StepIx),
    Close,
    Node(StepIx),
}

fn parts(plan: &Plan, steps: &[StepIx]) -> Vec<Part> {
    let mut out = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for (ix, depth) in nested(plan, steps) {
        while open.last().is_some_and(|d| *d >= depth) {
            open.pop();
            out.push(Part::Close);
        }
        if shown_inside(&plan.steps[ix]).is_empty() {
            out.push(Part::Node(ix));
        } else {
            open.push(depth);
            out.push(Part::Open(ix));
        }
    }
    out.extend(open.iter().map(|_| Part::Close));
    out
}

/// Edges between steps, and between the alternatives of an `any_of`; the flag marks the latter.
fn edges(plan: &Plan) -> Vec<(StepIx, StepIx, bool)> {
    let mut out = Vec::new();
    for (ix, step) in plan.steps.iter().enumerate() {
        out.extend(step.needs.iter().map(|need| (*need, ix, false)));
        if let Body::AnyOf(steps) = &step.body {
            out.extend(steps.windows(2).map(|pair| (pair[0], pair[1], true)));
        }
    }
    out
}

fn mermaid(plan: &Plan, out: &mut String) -> std::fmt::Result {
    writeln!(out, "flowchart TD")?;
    let named = plan.phases.len() > 1;
    for (n, phase) in plan.phases.iter().enumerate() {
        let mut depth = 1;
        if named {
            let deadline =
                phase.deadline.map_or_else(String::new, |d| format!(" ({})", words::target_text(d)));
            writeln!(out, "  subgraph p{n}[\"{}{deadline}\"]", mermaid_text(&phase.title))?;
            depth += 1;
        }
        for part in parts(plan, &phase.steps) {
            match part {
                Part::Close => {
                    depth -= 1;
                    writeln!(out, "{}end", "  ".repeat(depth))?;
                }
                Part::Open(ix) => {
                    writeln!(out, "{}subgraph s{ix}[\"{}\"]", "  ".repeat(depth), mermaid_label(plan, ix))?;
                    depth += 1;
                }
                Part::Node(ix) => {
                    let class = mermaid_class(plan, ix);
                    writeln!(out, "{}s{ix}[\"{}\"]{class}", "  ".repeat(depth), mermaid_label(plan, ix))?;
                }
            }
        }
        if named {
            writeln!(out, "  end")?;
        }
    }
    for (from, to, alternative) in edges(plan) {
        let arrow = if alternative { "-. else .->" } else { "-->" };
        writeln!(out, "  s{from} {arrow} s{to}")?;
    }
    if named {
        for n in 1..plan.phases.len() {
            writeln!(out, "  p{} ==> p{n}", n - 1)?;
        }
    }
    writeln!(out, "  classDef destructive stroke:#c0392b,stroke-width:3px")?;
    writeln!(out, "  classDef irreversible stroke:#b7791f,stroke-dasharray:4 3,stroke-width:2px")
}

fn mermaid_label(plan: &Plan, ix: StepIx) -> String {
    let step = &plan.steps[ix];
    let each = plan.foreach(ix).map_or_else(String::new, |each| format!("<br/>{}", words::for_each(each)));
    format!("{}<br/>{}{each}", mermaid_text(step.id.as_str()), mermaid_text(&titled(plan, ix)))
}

/// The title, and where the step runs if that is not this machine.
fn titled(plan: &Plan, ix: StepIx) -> String {
    let step = &plan.steps[ix];
    let on = match &step.body {
        Body::Command(command) => rendered::on(plan, step, command),
        _ => None,
    };
    on.map_or_else(|| step.title.clone(), |on| format!("{} on {on}", step.title))
}

fn mermaid_class(plan: &Plan, ix: StepIx) -> &'static str {
    let step = words::each_does(plan, ix);
    match (step.destructive, step.irreversible) {
        (true, _) => ":::destructive",
        (_, true) => ":::irreversible",
        _ => "",
    }
}

/// Mermaid reads Markdown and HTML in quoted labels, and `#NUMBER;` as a character: everything that is no letter,
/// digit, blank or harmless sign is written so.
fn mermaid_text(text: &str) -> String {
    let mut out = String::new();
    for c in neutral::line(text).chars() {
        if c.is_alphanumeric() || " ,.:/+-".contains(c) {
            out.push(c);
        } else {
            let _ = write!(out, "#{};", u32::from(c));
        }
    }
    out
}

fn dot(plan: &Plan, out: &mut String) -> std::fmt::Result {
    writeln!(out, "digraph runbook {{")?;
    writeln!(
        out,
        "  graph [rankdir=TB, compound=true, fontname=\"sans-serif\", label=\"{}\"];",
        dot_text(&plan.playbook.title)
    )?;
    writeln!(out, "  node [shape=box, style=rounded, fontname=\"sans-serif\"];")?;
    let named = plan.phases.len() > 1;
    for (n, phase) in plan.phases.iter().enumerate() {
        let mut depth = 1;
        if named {
            writeln!(out, "  subgraph cluster_p{n} {{ label=\"{}\";", dot_text(&phase.title))?;
            depth += 1;
        }
        for part in parts(plan, &phase.steps) {
            let blank = "  ".repeat(depth);
            match part {
                Part::Close => {
                    depth -= 1;
                    writeln!(out, "{}}}", "  ".repeat(depth))?;
                }
                Part::Open(ix) => {
                    writeln!(
                        out,
                        "{blank}subgraph cluster_s{ix} {{ label=\"{}\"; style=dashed;",
                        dot_label(plan, ix)
                    )?;
                    // An edge needs a node: one without a body stands for the group.
                    writeln!(out, "{blank}  s{ix} [shape=point, style=invis];")?;
                    depth += 1;
                }
                Part::Node(ix) => {
                    let step = words::each_does(plan, ix);
                    let mut extra = String::new();
                    if step.destructive {
                        extra.push_str(", color=\"#c0392b\", penwidth=2");
                    }
                    if step.irreversible {
                        extra.push_str(", style=\"rounded,dashed\"");
                    }
                    writeln!(out, "{blank}s{ix} [label=\"{}\"{extra}];", dot_label(plan, ix))?;
                }
            }
        }
        if named {
            writeln!(out, "  }}")?;
        }
    }
    for (from, to, alternative) in edges(plan) {
        let mut attributes = Vec::new();
        if alternative {
            attributes.push("style=dotted, label=\"else\"".to_owned());
        }
        for (ix, end) in [(from, "ltail"), (to, "lhead")] {
            if !shown_inside(&plan.steps[ix]).is_empty() {
                attributes.push(format!("{end}=cluster_s{ix}"));
            }
        }
        let attributes =
            if attributes.is_empty() { String::new() } else { format!(" [{}]", attributes.join(", ")) };
        writeln!(out, "  s{from} -> s{to}{attributes};")?;
    }
    for (n, pair) in plan.phases.windows(2).enumerate() {
        if let (Some(from), Some(to)) = (pair[0].steps.last(), pair[1].steps.first()) {
            let next = n + 1;
            writeln!(out, "  s{from} -> s{to} [ltail=cluster_p{n}, lhead=cluster_p{next}, style=bold];")?;
        }
    }
    writeln!(out, "}}")
}

fn dot_label(plan: &Plan, ix: StepIx) -> String {
    let step = &plan.steps[ix];
    let each = plan.foreach(ix).map_or_else(String::new, |each| format!("\\n{}", words::for_each(each)));
    format!("{}\\n{}{each}", dot_text(step.id.as_str()), dot_text(&titled(plan, ix)))
}

/// Inside double quotes dot knows `\"`, and reads other backslashes as layout: each is doubled.
fn dot_text(text: &str) -> String {
    neutral::line(text).replace('\\', "\\\\").replace('"', "\\\"")
}

fn text(plan: &Plan, look: Look, out: &mut String) -> std::fmt::Result {
    let arrow = look.sign(Sign::Arrow);
    let named = plan.phases.len() > 1;
    for (n, phase) in plan.phases.iter().enumerate() {
        if named {
            writeln!(out, "{}. {}", n + 1, look.fit(neutral::line(&phase.title)))?;
        }
        for (ix, depth) in nested(plan, &phase.steps) {
            let step = &plan.steps[ix];
            let needs: Vec<&str> = step.needs.iter().map(|n| plan.steps[*n].id.as_str()).collect();
            let after =
                if needs.is_empty() { String::new() } else { format!("{} {arrow} ", needs.join(", ")) };
            let inside = match &step.body {
                Body::AnyOf(_) => "  (the first that serves)".to_owned(),
                Body::ForEach(each) => format!("  ({})", words::for_each(each)),
                _ => String::new(),
            };
            let blank = "  ".repeat(depth + usize::from(named));
            writeln!(out, "{blank}{after}{}{inside}", step.id)?;
        }
    }
    Ok(())
}
