//! The report's section on who was told what, in its readable forms.

use std::fmt::{self, Write as _};

use super::markdown::inline;
use super::{Incident, MAX_STEPS};
use crate::report::look::Tone;
use crate::report::told::{DeliveryRow, NoticeRow};

/// A notice and one of its deliveries; none if nobody is told.
type Row<'a> = (&'a NoticeRow, Option<&'a DeliveryRow>);

impl Incident {
    /// As many as the readable forms have room for, and how many are left out.
    fn told_rows(&self) -> (Vec<Row<'_>>, usize) {
        let rows = self.notices.0.iter().flat_map(|notice| {
            let nobody = notice.deliveries.is_empty().then_some((notice, None));
            nobody.into_iter().chain(notice.deliveries.iter().map(move |delivery| (notice, Some(delivery))))
        });
        let mut rows: Vec<Row<'_>> = rows.collect();
        let left_out = rows.len().saturating_sub(MAX_STEPS);
        rows.truncate(MAX_STEPS);
        (rows, left_out)
    }

    pub(super) fn told_md(&self, out: &mut String) -> fmt::Result {
        if self.notices.0.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Who was told\n")?;
        if let Some(tally) = self.notices.tally().text() {
            writeln!(out, "{tally}.\n")?;
        }
        writeln!(out, "| time | what | for | by | delivery |\n|---|---|---|---|---|")?;
        let (rows, left_out) = self.told_rows();
        for (notice, delivery) in rows {
            let (by, became) = delivery.map_or(("nobody", String::new()), |d| (&d.channel, d.text()));
            writeln!(
                out,
                "| {} | {} | {} | {} | {} |",
                notice.at.clock(),
                inline(&what(notice)),
                inline(&notice.to.join(", ")),
                inline(by),
                inline(&became),
            )?;
        }
        writeln!(out)?;
        if left_out > 0 {
            writeln!(out, "And {left_out} more; `report --format json` has them all.\n")?;
        }
        Ok(())
    }

    pub(super) fn told_html(&self, out: &mut String) -> fmt::Result {
        use super::html::escape;
        if self.notices.0.is_empty() {
            return Ok(());
        }
        writeln!(out, "<h2>Who was told</h2>")?;
        if let Some(tally) = self.notices.tally().text() {
            writeln!(out, "<p>{}.</p>", escape(&tally))?;
        }
        writeln!(
            out,
            "<div class=\"scroll\"><table><thead><tr><th>time</th><th>what</th><th>for</th><th>by</th>\
             <th>delivery</th></tr></thead><tbody>"
        )?;
        let (rows, left_out) = self.told_rows();
        for (notice, delivery) in rows {
            let (by, became) = match delivery {
                None => ("nobody", String::new()),
                Some(delivery) => {
                    let class = match delivery.state.tone() {
                        Tone::Good => "good",
                        Tone::Bad => "bad",
                        Tone::Warn => "warn",
                        _ => "calm",
                    };
                    let text = escape(&delivery.text());
                    let (word, rest) = text.split_at(delivery.state.word().len());
                    let badge = format!("<span class=\"badge {class}\">{word}</span>{rest}");
                    (delivery.channel.as_str(), badge)
                }
            };
            writeln!(
                out,
                "<tr><td class=\"t\">{}</td><td>{}</td><td>{}</td><td class=\"id\">{}</td><td>{became}</td></tr>",
                notice.at.clock(),
                escape(&what(notice)),
                escape(&notice.to.join(", ")),
                escape(by),
            )?;
        }
        writeln!(out, "</tbody></table></div>")?;
        if left_out > 0 {
            writeln!(
                out,
                "<p class=\"soft\">And {left_out} more; <code>report --format json</code> has them all.</p>"
            )?;
        }
        Ok(())
    }
}

fn what(notice: &NoticeRow) -> String {
    if notice.about.is_empty() { notice.what.clone() } else { format!("{}: {}", notice.what, notice.about) }
}
