//! What an edited playbook changes in a run that has begun: for the person who is asked whether to go on with it.

use std::io::{self, Write};

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::look::{Look, Tone};
use super::{neutral, words};
use crate::engine::{Replan, State, StepStatus};
use crate::model::{Millis, StepId, StepOutcome};
use crate::plan::{FieldChange, Plan};

/// Unchanged lines shown around a changed one.
const CONTEXT: usize = 2;

/// `old` and `state` are those of the run as it stands.
pub fn write_difference(
    w: &mut dyn Write,
    old: &Plan,
    state: &State,
    replan: &Replan,
    accepted: &[StepId],
    look: Look,
) -> io::Result<()> {
    let difference = &replan.difference;
    writeln!(w, "{}", look.paint(Tone::Bold, "The edit changes"))?;
    if !difference.whole.is_empty() {
        writeln!(w, "  {} the playbook as a whole", look.paint(Tone::Warn, "~"))?;
        write_fields(w, &difference.whole, look)?;
    }
    for id in &difference.added {
        writeln!(w, "  {} {id}  {}", look.paint(Tone::Good, "+"), look.paint(Tone::Dim, "new"))?;
    }
    for id in &difference.removed {
        let what = standing(old, state, id);
        writeln!(w, "  {} {id}  {}", look.paint(Tone::Bad, "-"), look.paint(Tone::Dim, what))?;
    }
    for change in &difference.changed {
        let what = standing(old, state, &change.step);
        writeln!(w, "  {} {}  {}", look.paint(Tone::Warn, "~"), change.step, look.paint(Tone::Dim, what))?;
        write_fields(w, &change.fields, look)?;
        if let Some((_, why)) = replan.doubtful.iter().find(|(step, _)| *step == change.step) {
            let (tone, word) = match accepted.contains(&change.step) {
                true => (Tone::Accent, "accepted"),
                false => (Tone::Bad, "in doubt"),
            };
            writeln!(w, "      {}: {}", look.paint(tone, word), neutral::line(why))?;
        }
    }
    writeln!(w)
}

/// Where a step of the run stands, and what follows from it.
fn standing(old: &Plan, state: &State, id: &StepId) -> &'static str {
    let Some(past) = old.find(id).and_then(|ix| state.steps.get(ix)) else { return "new" };
    match past.status {
        StepStatus::Pending => "has not begun",
        StepStatus::Active(_) => "has begun",
        StepStatus::Over(StepOutcome::Failed) => "failed; a resume tries it in its new form",
        StepStatus::Over(StepOutcome::Cancelled) => "was cut short; a resume starts it in its new form",
        StepStatus::Over(StepOutcome::Unknown) => "in doubt",
        StepStatus::Over(StepOutcome::Skipped) => "was skipped",
        StepStatus::Over(StepOutcome::Undone | StepOutcome::UndoFailed) => "was taken back",
        StepStatus::Over(StepOutcome::Succeeded | StepOutcome::Satisfied) => "is done and stays done",
    }
}

fn write_fields(w: &mut dyn Write, fields: &[FieldChange], look: Look) -> io::Result<()> {
    for FieldChange { field, before, after } in fields {
        writeln!(w, "      {field}")?;
        let (before, after) = (text(field, before), text(field, after));
        let diff = TextDiff::from_lines(&before, &after);
        for (number, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
            if number > 0 {
                writeln!(w, "        {}", look.paint(Tone::Dim, "..."))?;
            }
            for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
                let line = change.value().trim_end_matches('\n');
                let (sign, tone) = match change.tag() {
                    ChangeTag::Delete => ("-", Tone::Bad),
                    ChangeTag::Insert => ("+", Tone::Good),
                    ChangeTag::Equal => (" ", Tone::Dim),
                };
                writeln!(w, "        {}", look.paint(tone, &format!("{sign} {line}")))?;
            }
        }
    }
    Ok(())
}

/// A part of a definition in lines, neutral, much as an author would write it; empty where nothing is said.
fn text(field: &str, value: &Value) -> String {
    let mut out = String::new();
    write_value(field, value, 0, &mut out);
    neutral::block(out)
}

/// Lengths of time, which a plan holds in milliseconds.
const LENGTHS: &[&str] =
    &["timeout", "grace", "wait", "within", "every", "delay", "max_delay", "deadline", "rto", "rpo"];

fn is_said(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => map.values().any(is_said),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// The depth is that of a plan, which its reader bounds.
fn write_value(key: &str, value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            // A template: the steps it reads follow from its text.
            if let Some(source) = map.get("src").filter(|_| map.len() <= 2) {
                return write_value(key, source, depth, out);
            }
            for (key, value) in map.iter().filter(|(_, value)| is_said(value)) {
                if is_short(value) {
                    out.push_str(&format!("{pad}{key}: "));
                    write_value(key, value, 0, out);
                } else {
                    out.push_str(&format!("{pad}{key}:\n"));
                    write_value(key, value, depth + 1, out);
                }
            }
        }
        Value::Array(items) => {
            for item in items.iter().filter(|item| is_said(item)) {
                if is_short(item) {
                    out.push_str(&format!("{pad}- "));
                    write_value(key, item, 0, out);
                } else {
                    out.push_str(&format!("{pad}-\n"));
                    write_value(key, item, depth + 1, out);
                }
            }
        }
        Value::String(text) => {
            for line in text.lines() {
                out.push_str(&format!("{pad}{}\n", words::typed(line)));
            }
            if text.is_empty() {
                out.push_str(&format!("{pad}\"\"\n"));
            }
        }
        Value::Number(number) => {
            let length = number.as_u64().filter(|_| LENGTHS.contains(&key));
            let text = length.map_or_else(|| number.to_string(), |ms| Millis(ms).to_string());
            out.push_str(&format!("{pad}{text}\n"));
        }
        Value::Bool(yes) => out.push_str(&format!("{pad}{yes}\n")),
        Value::Null => {}
    }
}

/// One line is enough for it.
fn is_short(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.len() <= 2 && map.get("src").is_some_and(is_short),
        Value::Array(_) => false,
        Value::String(text) => text.lines().count() <= 1,
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}
