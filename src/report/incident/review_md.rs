//! The parts of the report that people finish, as Markdown.

use std::fmt::Write as _;

use super::markdown::{TO_BE_WRITTEN, inline};
use super::{Incident, MAX_STEPS, review};

/// Says that a list was made by the program.
const FROM_THE_LOG: &str = "From the log:";

impl Incident {
    pub(super) fn impact_md(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "\n## Impact\n\n{TO_BE_WRITTEN} Who was affected, how, and for how long?\n\n| | |\n|---|---|"
        )?;
        for (name, text) in self.impact() {
            writeln!(out, "| {name} | {} |", text.map_or_else(|| TO_BE_WRITTEN.to_owned(), |t| inline(&t)))?;
        }
        writeln!(out)
    }

    pub(super) fn questions_md(&self, out: &mut String) -> std::fmt::Result {
        if self.questions.is_empty() {
            return Ok(());
        }
        let time = self.time;
        writeln!(
            out,
            "## Questions to people\n\nPeople were waited for {} of {}; everything else took {}.\n",
            time.waiting_for_people, self.duration, time.machine
        )?;
        writeln!(
            out,
            "| step | question | asked | waited | who answered, after how long |\n|---|---|---|---|---|"
        )?;
        for question in self.questions.iter().take(MAX_STEPS) {
            let closed = review::closed_by(question);
            writeln!(
                out,
                "| {} | {} | +{} | {} | {} |",
                inline(question.step.as_str()),
                inline(&question.prompt),
                question.asked_t,
                question.waited,
                inline(&closed),
            )?;
        }
        writeln!(out)
    }

    pub(super) fn recovery_md(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Recovery report\n")?;
        for part in self.recovery() {
            writeln!(out, "### {}\n", part.name)?;
            for (name, text) in &part.rows {
                writeln!(out, "- {}: {}", inline(name), inline(text))?;
            }
            match part.question {
                Some(question) => writeln!(out, "{TO_BE_WRITTEN} {question}\n")?,
                None => writeln!(out)?,
            }
        }
        Ok(())
    }

    pub(super) fn review_md(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "## Root cause\n\n### Primary cause\n\n{TO_BE_WRITTEN} What made it happen, and why was it not prevented?\n"
        )?;
        list("### Contributing factors", &self.review.factors, out)?;
        list("## What went well", &self.review.went_well, out)?;
        list("## What could be improved", &self.review.could_improve, out)?;
        writeln!(out, "## Action items\n\n| action | owner | due | priority |\n|---|---|---|---|")?;
        for item in &self.review.actions {
            let owner = item.owner.as_ref().map_or_else(|| "*to be named*".to_owned(), |o| inline(o));
            writeln!(out, "| {} | {owner} | *to be set* | {} |", inline(&item.action), item.priority)?;
        }
        writeln!(out, "| {TO_BE_WRITTEN} | | | |\n")?;
        writeln!(out, "## Lessons\n\n{TO_BE_WRITTEN} What did we learn that others should know?\n")?;
        writeln!(out, "## When the post-mortem is due\n")?;
        for (what, when) in self.due() {
            writeln!(out, "- {what}: {}", inline(&when))?;
        }
        writeln!(out)
    }
}

fn list(heading: &str, drafts: &[String], out: &mut String) -> std::fmt::Result {
    writeln!(out, "{heading}\n\n{TO_BE_WRITTEN}\n")?;
    if drafts.is_empty() {
        return Ok(());
    }
    writeln!(out, "{FROM_THE_LOG}\n")?;
    for draft in drafts {
        writeln!(out, "- {}", inline(draft))?;
    }
    writeln!(out)
}
