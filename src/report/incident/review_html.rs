//! The parts of the report that people finish, as HTML.

use std::fmt::{self, Write as _};

use super::html::{escape, to_be_written};
use super::{Incident, MAX_STEPS, review};

impl Incident {
    pub(super) fn impact_html(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "<h2>Impact</h2>")?;
        to_be_written("Who was affected, how, and for how long?", out)?;
        let rows = self.impact().into_iter();
        let rows =
            rows.map(|(name, text)| (name.to_owned(), text.unwrap_or_else(|| "to be written".to_owned())));
        facts(&rows.collect::<Vec<_>>(), out)
    }

    pub(super) fn questions_html(&self, out: &mut String) -> fmt::Result {
        if self.questions.is_empty() {
            return Ok(());
        }
        let time = self.time;
        writeln!(
            out,
            "<h2>Questions to people</h2>\n<p>People were waited for {} of {}; everything else took {}.</p>",
            time.waiting_for_people, self.duration, time.machine
        )?;
        writeln!(
            out,
            "<div class=\"scroll\"><table><thead><tr><th>step</th><th>question</th><th class=\"n\">asked</th>\
             <th class=\"n\">waited</th><th>who answered, after how long</th></tr></thead><tbody>"
        )?;
        for question in self.questions.iter().take(MAX_STEPS) {
            writeln!(
                out,
                "<tr><td class=\"id\">{}</td><td>{}</td><td class=\"n\">+{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
                escape(question.step.as_str()),
                escape(&question.prompt),
                question.asked_t,
                question.waited,
                escape(&review::closed_by(question)),
            )?;
        }
        writeln!(out, "</tbody></table></div>")
    }

    pub(super) fn recovery_html(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "<h2>Recovery report</h2>")?;
        for part in self.recovery() {
            writeln!(out, "<h3>{}</h3>", part.name)?;
            if !part.rows.is_empty() {
                facts(&part.rows, out)?;
            }
            if let Some(question) = part.question {
                to_be_written(question, out)?;
            }
        }
        Ok(())
    }

    pub(super) fn review_html(&self, out: &mut String) -> fmt::Result {
        let review = &self.review;
        writeln!(out, "<h2>Root cause</h2>\n<h3>Primary cause</h3>")?;
        to_be_written("What made it happen, and why was it not prevented?", out)?;
        for (heading, question, drafts) in [
            ("<h3>Contributing factors</h3>", "What made it worse, or longer?", &review.factors),
            ("<h2>What went well</h2>", "What helped?", &review.went_well),
            ("<h2>What could be improved</h2>", "What cost time, or was luck?", &review.could_improve),
        ] {
            writeln!(out, "{heading}")?;
            to_be_written(question, out)?;
            if !drafts.is_empty() {
                writeln!(out, "<p class=\"soft\">From the log</p>\n<ul>")?;
                for draft in drafts {
                    writeln!(out, "<li>{}</li>", escape(draft))?;
                }
                writeln!(out, "</ul>")?;
            }
        }
        writeln!(out, "<h2>Action items</h2>")?;
        to_be_written("What will be done, by whom, until when?", out)?;
        if !review.actions.is_empty() {
            writeln!(
                out,
                "<div class=\"scroll\"><table><thead><tr><th>action</th><th>owner</th><th>due</th><th>priority</th></tr></thead><tbody>"
            )?;
            for item in &review.actions {
                let owner =
                    item.owner.as_ref().map_or_else(|| "to be named".to_owned(), |owner| escape(owner));
                writeln!(
                    out,
                    "<tr><td>{}</td><td>{owner}</td><td class=\"soft\">to be set</td><td>{}</td></tr>",
                    escape(&item.action),
                    item.priority
                )?;
            }
            writeln!(out, "</tbody></table></div>")?;
        }
        writeln!(out, "<h2>Lessons</h2>")?;
        to_be_written("What did we learn that others should know?", out)?;
        writeln!(out, "<h2>When the post-mortem is due</h2>")?;
        let due: Vec<(String, String)> = self.due().into_iter().map(|(n, w)| (n.to_owned(), w)).collect();
        facts(&due, out)
    }
}

fn facts(rows: &[(String, String)], out: &mut String) -> fmt::Result {
    writeln!(out, "<div class=\"panel\"><dl>")?;
    for (name, text) in rows {
        writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(text))?;
    }
    writeln!(out, "</dl></div>")
}
