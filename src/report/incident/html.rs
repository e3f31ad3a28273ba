//! The incident report as one HTML file: no script, nothing loaded from anywhere, light and dark, printable.

use std::fmt::{self, Write as _};

use super::markdown::{remarks, took};
use super::{Incident, MAX_STEPS, StepReport, TakenReport, TaskReport, gantt};
use crate::model::{Objective, ObjectiveVerdict, RunOutcome};
use crate::report::look::Tone;
use crate::report::words;

/// Commands of a step listed in its row.
const MAX_TASKS: usize = 20;

impl Incident {
    pub fn to_html(&self) -> String {
        let mut out = String::with_capacity(64 * 1024);
        // Writing to a String cannot fail.
        let _ = self.html(&mut out);
        out
    }

    fn html(&self, out: &mut String) -> fmt::Result {
        let title = escape(&self.title);
        writeln!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
        writeln!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")?;
        // The texts come from commands: should an escape ever fail, nothing may load or run.
        writeln!(
            out,
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        )?;
        writeln!(
            out,
            "<title>Incident report: {title}</title>\n<style>\n{}</style>",
            include_str!("style.css")
        )?;
        writeln!(out, "</head>\n<body>\n<main>")?;
        self.header(out)?;
        self.cards(out)?;
        self.impact_html(out)?;
        self.failures_html(out)?;
        self.rollback_html(out)?;
        writeln!(out, "<h2>Course of the run</h2>")?;
        gantt::write(self, out)?;
        self.deviations_html(out)?;
        self.questions_html(out)?;
        self.told_html(out)?;
        self.steps_html(out)?;
        self.timeline_html(out)?;
        self.recovery_html(out)?;
        self.review_html(out)?;
        self.appendix_html(out)?;
        writeln!(out, "</main>\n</body>\n</html>")
    }

    fn header(&self, out: &mut String) -> fmt::Result {
        let (class, word) = outcome_badge(self.outcome);
        let mut crumbs: Vec<String> = vec![escape(&self.playbook)];
        crumbs.extend(self.environment.as_deref().map(escape));
        crumbs.extend(self.run.as_ref().map(|r| escape(r.as_str())));
        writeln!(out, "<header>\n<div class=\"crumbs\">{}</div>", crumbs.join(" &middot; "))?;
        writeln!(out, "<h1>{}</h1>", escape(&self.title))?;
        write!(out, "<p><span class=\"badge {class}\">{word}</span>")?;
        if self.drill {
            write!(out, " <span class=\"badge calm\">drill</span>")?;
        }
        writeln!(out, "</p>\n<p class=\"lead\">{}.</p>", escape(&self.summary))?;
        if let Some(why) = &self.why {
            writeln!(out, "<p>{}</p>", escape(why))?;
        }
        writeln!(out, "</header>")
    }

    fn cards(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "<div class=\"cards\">")?;
        objective_card("Recovery time (RTO)", self.rto.as_ref(), out)?;
        objective_card("Data loss (RPO)", self.rpo.as_ref(), out)?;
        let when = match (self.started, self.last) {
            (Some(a), Some(b)) => format!("{} to {} UTC", a.human(), b.clock()),
            _ => "no start is recorded".to_owned(),
        };
        card("Duration", &self.duration.to_string(), &when, out)?;
        let counts: Vec<String> = self.counts.iter().map(|(state, n)| format!("{n} {state}")).collect();
        card("Steps", &self.steps.len().to_string(), &counts.join(", "), out)?;
        writeln!(out, "</div>")
    }

    fn failures_html(&self, out: &mut String) -> fmt::Result {
        if self.failures.is_empty() {
            return Ok(());
        }
        writeln!(out, "<h2>What failed</h2>")?;
        for failure in &self.failures {
            let class = if failure.outcome == crate::model::StepOutcome::Unknown { "warn" } else { "bad" };
            writeln!(
                out,
                "<div class=\"panel {class}\"><h3>{} <span class=\"soft\">{}</span> <span class=\"badge {class}\">{}</span></h3>",
                escape(failure.step.as_str()),
                escape(&failure.title),
                failure.outcome
            )?;
            writeln!(out, "<p>{}</p>", escape(failure.why.as_deref().unwrap_or("no reason is recorded")))?;
            if let Some(command) = &failure.command {
                writeln!(out, "<pre>{}</pre>", escape(command))?;
            }
            for (name, value) in &failure.values {
                writeln!(out, "<p><code>{}={}</code></p>", escape(name), escape(value))?;
            }
            if failure.output.is_empty() {
                writeln!(out, "<p class=\"soft\">It printed nothing that was kept.</p>")?;
            } else {
                writeln!(
                    out,
                    "<p class=\"soft\">Its last output</p><pre>{}</pre>",
                    escape(&failure.output.join("\n"))
                )?;
            }
            writeln!(out, "</div>")?;
        }
        Ok(())
    }

    fn rollback_html(&self, out: &mut String) -> fmt::Result {
        let Some(rollback) = &self.rollback else { return Ok(()) };
        writeln!(
            out,
            "<h2>What was taken back</h2>\n<p>Rolled back because: {}.</p>",
            escape(&rollback.because)
        )?;
        writeln!(
            out,
            "<div class=\"scroll\"><table><thead><tr><th>step</th><th>state</th><th>why</th><th>undo</th></tr></thead><tbody>"
        )?;
        let lists: [(&str, &str, &[TakenReport]); 3] = [
            ("undone", "calm", &rollback.undone),
            ("not undone", "bad", &rollback.not_undone),
            ("unknown", "warn", &rollback.unknown),
        ];
        for (state, class, list) in lists {
            for taken in list {
                // Without a way back there is nothing that went wrong with it.
                let class = if taken.command.is_none() { "plain" } else { class };
                let command = taken.command.as_deref().map_or_else(
                    || "<span class=\"soft\">none</span>".to_owned(),
                    |c| format!("<code>{}</code>", escape(c)),
                );
                writeln!(
                    out,
                    "<tr><td class=\"id\">{}</td><td><span class=\"badge {class}\">{state}</span></td><td>{}</td><td>{command}</td></tr>",
                    escape(taken.step.as_str()),
                    escape(taken.why.as_deref().unwrap_or_default())
                )?;
            }
        }
        writeln!(out, "</tbody></table></div>")
    }

    fn deviations_html(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "<h2>Deviations from the plan</h2>")?;
        if self.deviations.is_empty() {
            return writeln!(out, "<p class=\"soft\">{}</p>", self.no_deviations());
        }
        writeln!(out, "<div class=\"scroll\"><table><tbody>")?;
        for d in self.deviations.iter().take(MAX_STEPS) {
            writeln!(
                out,
                "<tr><td class=\"t\">+{}</td><td class=\"id\">{}</td><td>{}</td></tr>",
                d.t,
                d.kind,
                escape(&d.text)
            )?;
        }
        if self.deviations.len() > MAX_STEPS {
            writeln!(
                out,
                "<tr><td></td><td></td><td class=\"soft\">and {} more</td></tr>",
                self.deviations.len() - MAX_STEPS
            )?;
        }
        writeln!(out, "</tbody></table></div>")
    }

    fn steps_html(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "<h2>Steps</h2>")?;
        if self.steps.is_empty() {
            return writeln!(out, "<p class=\"soft\">The plan has no steps.</p>");
        }
        writeln!(
            out,
            "<div class=\"scroll\"><table><thead><tr><th>step</th><th>outcome</th><th class=\"n\">started</th>\
             <th class=\"n\">took</th><th class=\"n\">attempts</th><th></th></tr></thead><tbody>"
        )?;
        let (steps, left_out) = self.table_steps(MAX_STEPS);
        for step in steps {
            step_row(step, out)?;
        }
        writeln!(out, "</tbody></table></div>")?;
        if left_out > 0 {
            writeln!(
                out,
                "<p class=\"soft\">{left_out} steps that went as planned are left out; <code>report --format json</code> has them all.</p>"
            )?;
        }
        Ok(())
    }

    fn timeline_html(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "<details class=\"wide\" open><summary>Timeline</summary>\n<div class=\"scroll\"><table><tbody>"
        )?;
        let (head, left_out, tail) = self.table_entries();
        for (n, entry) in head.iter().chain(tail).enumerate() {
            if left_out > 0 && n == head.len() {
                writeln!(
                    out,
                    "<tr><td></td><td></td><td></td><td></td><td class=\"soft\">{left_out} entries are left out; \
                     <code>runbook log</code> has them all</td></tr>"
                )?;
            }
            let class = tone_class(entry.tone);
            let step = entry.step.as_ref().map_or("", |s| s.as_str());
            let detail = if entry.detail.is_empty() {
                String::new()
            } else {
                let lines: Vec<String> =
                    entry.detail.iter().take(40).map(|d| escape(&shorten(d, 300))).collect();
                format!("<br><span class=\"soft\">{}</span>", lines.join("<br>"))
            };
            writeln!(
                out,
                "<tr><td class=\"t\">{}</td><td class=\"t\">+{}</td><td class=\"id\">{}</td><td class=\"w {class}\">{}</td><td class=\"x\">{}{detail}</td></tr>",
                entry.at.clock(),
                entry.t,
                escape(step),
                entry.label,
                escape(&shorten(&entry.text, 600)),
            )?;
        }
        writeln!(out, "</tbody></table></div></details>")
    }

    fn appendix_html(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "<h2>Parameters</h2>")?;
        if self.params.is_empty() {
            writeln!(out, "<p class=\"soft\">None.</p>")?;
        } else {
            writeln!(out, "<div class=\"panel\"><dl>")?;
            for (name, value) in &self.params {
                writeln!(
                    out,
                    "<dt>{}</dt><dd><code>{}</code></dd>",
                    escape(name),
                    escape(&shorten(value, 2000))
                )?;
            }
            writeln!(out, "</dl></div>")?;
        }
        writeln!(out, "<h2>People</h2>\n<ul>")?;
        for person in &self.people {
            writeln!(
                out,
                "<li>{} {} <span class=\"soft\">+{}</span></li>",
                escape(&person.name),
                escape(&person.did),
                person.t
            )?;
        }
        writeln!(out, "</ul>\n<h2>Evidence</h2>\n<div class=\"panel\"><dl>")?;
        let journal = &self.journal;
        writeln!(
            out,
            "<dt>journal</dt><dd>{} records, {}</dd>",
            journal.records,
            words::count(journal.epochs as usize, "process")
        )?;
        writeln!(out, "<dt>head</dt><dd><code>{}</code></dd>", escape(&journal.head))?;
        for (name, value) in
            [("plan", &journal.plan_hash), ("host", &journal.host), ("runbook", &journal.binary)]
        {
            if let Some(value) = value {
                writeln!(out, "<dt>{name}</dt><dd><code>{}</code></dd>", escape(value))?;
            }
        }
        if let Some(verify) = &journal.verify {
            writeln!(out, "<dt>to verify</dt><dd><code>{}</code></dd>", escape(verify))?;
        }
        writeln!(out, "</dl></div>\n<footer>Times are UTC. Made from the run's journal alone.</footer>")
    }
}

fn step_row(step: &StepReport, out: &mut String) -> fmt::Result {
    let class = state_class(&step.state);
    let started = step.started_t.map_or_else(String::new, |t| format!("+{t}"));
    let took = took(step).map_or_else(String::new, |d| d.to_string());
    let attempts = if step.attempts > 0 { step.attempts.to_string() } else { String::new() };
    write!(
        out,
        "<tr><td><b>{}</b><br><span class=\"soft\">{}</span></td><td><span class=\"badge {class}\">{}</span></td>\
         <td class=\"n\">{started}</td><td class=\"n\">{took}</td><td class=\"n\">{attempts}</td><td>{}",
        escape(step.id.as_str()),
        escape(&step.title),
        step.state,
        escape(&remarks(step)),
    )?;
    let commands = step.tasks.len() + step.checks.len();
    if commands > 0 {
        write!(out, "<details><summary>{}</summary>", words::count(commands, "command"))?;
        for task in step.tasks.iter().take(MAX_TASKS) {
            task_block(task, out)?;
        }
        for check in step.checks.iter().take(MAX_TASKS) {
            let end = check.end.as_deref().unwrap_or("no end is recorded");
            let polls = words::count(check.polls as usize, "poll");
            write!(
                out,
                "<p>{} <span class=\"soft\">{polls}; {}</span></p>",
                escape(&check.title),
                escape(end)
            )?;
            write!(out, "<pre>{}</pre>", escape(&check.command))?;
        }
        if step.tasks.len() > MAX_TASKS || step.checks.len() > MAX_TASKS {
            write!(out, "<p class=\"soft\">and more; <code>runbook log</code> has them all</p>")?;
        }
        write!(out, "</details>")?;
    }
    writeln!(out, "</td></tr>")
}

fn task_block(task: &TaskReport, out: &mut String) -> fmt::Result {
    let end = task.end.as_deref().unwrap_or("no end is recorded");
    write!(
        out,
        "<p>{} <span class=\"soft\">+{}; {}</span></p>",
        escape(&task.what),
        task.started_t,
        escape(end)
    )?;
    write!(out, "<pre>{}</pre>", escape(&task.command))?;
    for (name, value) in &task.values {
        write!(out, "<code>{}={}</code> ", escape(name), escape(value))?;
    }
    for remark in &task.remarks {
        write!(out, "<p class=\"warn\">{}</p>", escape(remark))?;
    }
    Ok(())
}

fn objective_card(name: &str, objective: Option<&Objective>, out: &mut String) -> fmt::Result {
    let Some(objective) = objective else { return card(name, "&ndash;", "not measured", out) };
    let value = objective.measured.map_or_else(|| "not measured".to_owned(), |m| m.to_string());
    let class = if objective.verdict == ObjectiveVerdict::Missed { "bad" } else { "good" };
    writeln!(out, "<div class=\"card\"><div class=\"name\">{name}</div><div class=\"value\">{value}</div>")?;
    if let (Some(measured), Some(target)) = (objective.measured, objective.target) {
        let share = (measured.0 as f64 / target.0.max(1) as f64 * 100.0).clamp(1.0, 100.0);
        writeln!(out, "<div class=\"meter {class}\"><i style=\"width:{share:.1}%\"></i></div>")?;
    }
    let target =
        objective.target.map_or_else(|| "no target".to_owned(), |t| format!("of {}", words::target_text(t)));
    let verdict = match objective.verdict {
        ObjectiveVerdict::Met => " <span class=\"badge good\">met</span>",
        ObjectiveVerdict::Missed => " <span class=\"badge bad\">missed</span>",
        ObjectiveVerdict::None => "",
    };
    let note = objective.note.as_deref().map_or_else(String::new, |n| format!("<br>{}", escape(n)));
    writeln!(out, "<div class=\"note\">{target}{verdict}{note}</div></div>")
}

/// `value` is markup; `note` is text.
fn card(name: &str, value: &str, note: &str, out: &mut String) -> fmt::Result {
    let note = escape(note);
    writeln!(
        out,
        "<div class=\"card\"><div class=\"name\">{name}</div><div class=\"value\">{value}</div><div class=\"note\">{note}</div></div>"
    )
}

pub(super) fn to_be_written(question: &str, out: &mut String) -> fmt::Result {
    writeln!(out, "<div class=\"panel empty\">To be written. {question}</div>")
}

fn outcome_badge(outcome: Option<RunOutcome>) -> (&'static str, &'static str) {
    match outcome {
        None => ("warn", "not over"),
        Some(outcome) => (tone_class(words::run_tone(outcome).1), outcome.as_str()),
    }
}

fn state_class(state: &str) -> &'static str {
    match state {
        "succeeded" | "satisfied" => "good",
        "failed" | "undo-failed" => "bad",
        "unknown" | "not over" | "cancelled" => "warn",
        "undone" => "calm",
        _ => "",
    }
}

fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Bad => "bad",
        Tone::Warn => "warn",
        Tone::Accent => "calm",
        Tone::Dim => "soft",
        Tone::Plain | Tone::Bold => "",
    }
}

/// Text for an element or a quoted attribute. The text is neutral already; what is hidden is escaped once more, so
/// that no path into a page depends on another module.
pub(in crate::report) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if crate::report::neutral::is_hidden(c) => {
                out.push_str(&crate::report::neutral::line(c.to_string()))
            }
            c => out.push(c),
        }
    }
    out
}

/// At most `most` characters.
pub(super) fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
