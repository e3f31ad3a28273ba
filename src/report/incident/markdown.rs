//! The incident report as Markdown, to be finished by people in a pull request or a wiki.

use std::fmt::Write as _;

use super::{Incident, MAX_STEPS, StepReport, TakenReport};
use crate::report::words;

/// Stands where a person has to write.
pub(super) const TO_BE_WRITTEN: &str = "*To be written.*";

impl Incident {
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.markdown(&mut out);
        out
    }

    fn markdown(&self, out: &mut String) -> std::fmt::Result {
        let drill = if self.drill { " (drill)" } else { "" };
        writeln!(out, "# Incident report: {}{drill}\n", inline(&self.title))?;
        writeln!(out, "{}.\n", inline(&self.summary))?;
        self.facts(out)?;
        self.impact_md(out)?;
        self.failures_md(out)?;
        self.rollback_md(out)?;
        self.deviations_md(out)?;
        self.questions_md(out)?;
        self.told_md(out)?;
        self.steps_md(out)?;
        self.timeline_md(out)?;
        self.recovery_md(out)?;
        self.review_md(out)?;
        self.appendix(out)
    }

    fn facts(&self, out: &mut String) -> std::fmt::Result {
        let stamp = |t: Option<crate::model::Timestamp>| t.map(|t| format!("{} UTC", t.human()));
        let rows: Vec<(&str, Option<String>)> = vec![
            ("outcome", Some(self.outcome.map_or_else(|| "not over".to_owned(), |o| o.to_string()))),
            ("why", self.why.clone()),
            ("RTO", self.rto.as_ref().map(words::objective)),
            ("RPO", self.rpo.as_ref().map(words::objective)),
            ("incident since", stamp(self.incident_since)),
            ("started", stamp(self.started)),
            ("last record", stamp(self.last)),
            ("took", Some(self.duration.to_string())),
            ("environment", self.environment.clone()),
            ("playbook", Some(self.playbook.clone())),
            ("run", self.run.as_ref().map(ToString::to_string)),
        ];
        writeln!(out, "| | |\n|---|---|")?;
        for (name, value) in rows {
            if let Some(value) = value {
                writeln!(out, "| {name} | {} |", inline(&value))?;
            }
        }
        Ok(())
    }

    fn failures_md(&self, out: &mut String) -> std::fmt::Result {
        if self.failures.is_empty() {
            return Ok(());
        }
        writeln!(out, "## What failed\n")?;
        for failure in &self.failures {
            writeln!(out, "### {}: {}\n", inline(failure.step.as_str()), inline(&failure.title))?;
            let why = failure.why.as_deref().unwrap_or("no reason is recorded");
            writeln!(out, "{}: {}\n", failure.outcome, inline(why))?;
            if let Some(command) = &failure.command {
                fenced(out, "sh", command)?;
            }
            for (name, value) in &failure.values {
                writeln!(out, "- {} = {}", inline(name), code(value))?;
            }
            if !failure.values.is_empty() {
                writeln!(out)?;
            }
            if failure.output.is_empty() {
                writeln!(out, "It printed nothing that was kept.\n")?;
            } else {
                writeln!(out, "Its last output:\n")?;
                fenced(out, "text", &failure.output.join("\n"))?;
            }
        }
        Ok(())
    }

    fn rollback_md(&self, out: &mut String) -> std::fmt::Result {
        let Some(rollback) = &self.rollback else { return Ok(()) };
        writeln!(out, "## What was taken back\n\nRolled back because: {}.\n", inline(&rollback.because))?;
        let lists: [(&str, &[TakenReport]); 3] = [
            ("undone", &rollback.undone),
            ("not undone", &rollback.not_undone),
            ("unknown", &rollback.unknown),
        ];
        writeln!(out, "| step | state | why | undo |\n|---|---|---|---|")?;
        for (state, list) in lists {
            for taken in list {
                let command = taken.command.as_deref().map_or_else(|| "none".to_owned(), code);
                let why = inline(taken.why.as_deref().unwrap_or_default());
                writeln!(out, "| {} | {state} | {why} | {command} |", inline(taken.step.as_str()))?;
            }
        }
        writeln!(out)
    }

    fn deviations_md(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Deviations from the plan\n")?;
        if self.deviations.is_empty() {
            writeln!(out, "{}", self.no_deviations())?;
        }
        for d in self.deviations.iter().take(MAX_STEPS) {
            writeln!(out, "- +{} {}: {}", d.t, d.kind, inline(&d.text))?;
        }
        if self.deviations.len() > MAX_STEPS {
            writeln!(out, "- and {} more", self.deviations.len() - MAX_STEPS)?;
        }
        writeln!(out)
    }

    fn steps_md(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Steps\n")?;
        if self.steps.is_empty() {
            return writeln!(out, "The plan has no steps.\n");
        }
        writeln!(
            out,
            "| step | title | outcome | started | took | attempts | remarks |\n|---|---|---|---|---|---|---|"
        )?;
        let (steps, left_out) = self.table_steps(MAX_STEPS);
        for step in steps {
            let started = step.started_t.map_or_else(String::new, |t| format!("+{t}"));
            let took = took(step).map_or_else(String::new, |d| d.to_string());
            let remarks = remarks(step);
            writeln!(
                out,
                "| {} | {} | {} | {started} | {took} | {} | {} |",
                inline(step.id.as_str()),
                inline(&step.title),
                step.state,
                step.attempts,
                inline(&remarks),
            )?;
        }
        writeln!(out)?;
        if left_out > 0 {
            writeln!(
                out,
                "{left_out} steps that went as planned are left out; `report --format json` has them all.\n"
            )?;
        }
        Ok(())
    }

    fn timeline_md(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "## Timeline\n\nTimes are UTC.\n\n| # | time | since start | step | what | |\n|---|---|---|---|---|---|"
        )?;
        let (head, left_out, tail) = self.table_entries();
        for (n, entry) in head.iter().chain(tail).enumerate() {
            if left_out > 0 && n == head.len() {
                writeln!(out, "| | | | | | {left_out} entries are left out; `runbook log` has them all |")?;
            }
            let step = entry.step.as_ref().map_or("", |s| s.as_str());
            let text = entry.text.replace('\n', " ⏎ ");
            writeln!(
                out,
                "| {} | {} | +{} | {} | {} | {} |",
                entry.seq,
                entry.at.clock(),
                entry.t,
                inline(step),
                entry.label,
                inline(&super::html::shorten(&text, 300)),
            )?;
        }
        writeln!(out)
    }

    fn appendix(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Parameters\n")?;
        if self.params.is_empty() {
            writeln!(out, "None.")?;
        }
        for (name, value) in &self.params {
            writeln!(out, "- {} = {}", inline(name), code(value))?;
        }
        writeln!(out, "\n## People\n")?;
        for person in &self.people {
            writeln!(out, "- {} {} (+{})", inline(&person.name), inline(&person.did), person.t)?;
        }
        let journal = &self.journal;
        writeln!(out, "\n## Evidence\n")?;
        writeln!(out, "- journal: {} records, head {}", journal.records, code(&journal.head))?;
        if let Some(hash) = &journal.plan_hash {
            writeln!(out, "- plan: {}", code(hash))?;
        }
        if let (Some(host), Some(binary)) = (&journal.host, &journal.binary) {
            writeln!(out, "- written on {} by runbook {}", inline(host), inline(binary))?;
        }
        if let Some(verify) = &journal.verify {
            writeln!(out, "- to verify: {}", code(verify))?;
        }
        Ok(())
    }
}

pub(super) fn took(step: &StepReport) -> Option<crate::model::Millis> {
    Some(step.ended_t?.saturating_sub(step.started_t?)).filter(|_| step.state != "skipped")
}

/// What the table says of a step besides its outcome.
pub(super) fn remarks(step: &StepReport) -> String {
    let mut parts: Vec<String> = step.why.clone().into_iter().collect();
    parts.extend(step.items.clone());
    parts.extend(step.choice.as_ref().map(|c| format!("served by {c}")));
    parts.extend(
        step.outputs.iter().map(|(name, value)| format!("{name} = {}", super::html::shorten(value, 120))),
    );
    parts.extend(step.advisories.iter().map(|a| format!("advisory: {a}")));
    parts.extend(
        step.checks
            .iter()
            .filter(|c| c.polls > 1 || c.verdict != "passed")
            .map(|c| format!("{}: {} after {}", c.title, c.verdict, words::count(c.polls as usize, "poll"))),
    );
    parts.join("; ")
}

/// Text inside a paragraph or a table's cell: what Markdown or HTML would read as markup is escaped.
pub(in crate::report) fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => {
                out.push('\\');
                out.push(c);
            }
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A bare address would become a link.
            ':' if out.ends_with("http") || out.ends_with("https") => out.push_str("&#58;"),
            '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A code span that also works in a table's cell; the fence is longer than any run of backticks inside.
pub(in crate::report) fn code(text: &str) -> String {
    let text = text.replace('\n', " ⏎ ").replace('|', "\\|");
    let fence = "`".repeat(longest_run(&text) + 1);
    let blank = if text.starts_with('`') || text.ends_with('`') || text.is_empty() { " " } else { "" };
    format!("{fence}{blank}{text}{blank}{fence}")
}

pub(in crate::report) fn fenced(out: &mut String, language: &str, text: &str) -> std::fmt::Result {
    let fence = "`".repeat((longest_run(text) + 1).max(3));
    writeln!(out, "{fence}{language}\n{text}\n{fence}\n")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_texts_stays_text() {
        assert_eq!(inline("a|b <script> *x* [y](z)"), r"a\|b &lt;script&gt; \*x\* \[y\](z)");
        assert_eq!(inline("see https://x"), "see https&#58;//x");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("`"), "`` ` ``");
        let mut out = String::new();
        fenced(&mut out, "text", "```\nescape").unwrap();
        assert_eq!(out, "````text\n```\nescape\n````\n\n");
    }
}
