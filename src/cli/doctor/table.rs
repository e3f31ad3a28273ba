//! The findings as a table: a group for each kind, one line for each check, and below what is not well how to mend it.

use std::fmt::Write;

use crate::preflight::{Finding, Kind, Verdict};
use crate::report::look::{Look, Sign, Tone, pad, width, wrap};

use super::Examination;

/// Columns for names; a longer name stands in a line of its own.
const NAMES: usize = 24;

pub fn text(examination: &Examination, look: Look) -> String {
    let mut out = String::new();
    if let Some(playbook) = &examination.playbook {
        let environment =
            examination.environment.as_ref().map(|e| format!(", environment {e}")).unwrap_or_default();
        line(&mut out, &look.paint(Tone::Bold, &look.fit(format!("{playbook}{environment}"))));
    }
    let checks = &examination.checks;
    let names = checks.iter().map(|f| width(&f.name)).filter(|w| *w <= NAMES).max().unwrap_or(0);
    let columns = Columns { look, names, signs: if look.unicode { 1 } else { 4 } };
    let mut last: Option<Kind> = None;
    for finding in checks {
        if last.replace(finding.kind) != Some(finding.kind) {
            line(&mut out, &look.paint(Tone::Dim, finding.kind.heading()));
        }
        columns.finding(&mut out, finding);
    }
    out.push('\n');
    line(&mut out, &verdict(examination, look));
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

struct Columns {
    look: Look,
    names: usize,
    signs: usize,
}

impl Columns {
    fn finding(&self, out: &mut String, finding: &Finding) {
        let look = self.look;
        let (sign, tone) = match finding.verdict {
            Verdict::Ok => (Sign::Good, Tone::Good),
            Verdict::Skipped => (Sign::Skipped, Tone::Dim),
            Verdict::Warn => (Sign::Warn, Tone::Warn),
            Verdict::Missing => (Sign::Bad, Tone::Bad),
        };
        let sign = look.paint(tone, &pad(look.sign(sign), self.signs));
        let name = look.fit(finding.name.clone());
        let blank = " ".repeat(2 + self.signs + 1 + self.names + 2);
        let mut found = self.wrapped(&finding.found, blank.len()).into_iter();
        if width(&name) <= self.names {
            let first = found.next().unwrap_or_default();
            line(out, &format!("  {sign} {}  {first}", pad(&name, self.names)));
        } else {
            line(out, &format!("  {sign} {name}"));
        }
        found.for_each(|more| line(out, &format!("{blank}{more}")));
        if let Some(mend) = &finding.mend {
            let arrow = look.sign(Sign::Arrow);
            let inside = width(arrow) + 1;
            for (n, part) in self.wrapped(mend, blank.len() + inside).into_iter().enumerate() {
                let lead = if n == 0 { format!("{arrow} ") } else { " ".repeat(inside) };
                line(out, &format!("{blank}{}{part}", look.paint(Tone::Accent, &lead)));
            }
        }
    }

    /// To the width there is; whole, where there is none: a file is searched by lines.
    fn wrapped(&self, text: &str, before: usize) -> Vec<String> {
        let text = self.look.fit(text.to_owned());
        match self.look.width {
            Some(columns) => wrap(&text, columns.saturating_sub(before)),
            None => vec![text],
        }
    }
}

fn verdict(examination: &Examination, look: Look) -> String {
    let count = |verdict| examination.checks.iter().filter(|f| f.verdict == verdict).count();
    let (ok, skipped, warn, missing) =
        (count(Verdict::Ok), count(Verdict::Skipped), count(Verdict::Warn), count(Verdict::Missing));
    let mut parts = Vec::new();
    let mut part = |n: usize, text: &str| {
        if n > 0 {
            parts.push(format!("{n} {text}"));
        }
    };
    part(missing, "missing");
    part(warn, if warn == 1 { "warning" } else { "warnings" });
    part(skipped, "not looked at");
    part(ok, "ok");
    let (sign, tone, word) = match (missing, warn) {
        (0, 0) => (Sign::Good, Tone::Good, "ready"),
        (0, _) => (Sign::Warn, Tone::Warn, "ready, with warnings"),
        _ => (Sign::Bad, Tone::Bad, "not ready"),
    };
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{} {}: {}",
        look.paint(tone, look.sign(sign)),
        look.paint(tone, word),
        parts.join(", ")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: Kind, name: &str, found: &str, verdict: Verdict, mend: Option<&str>) -> Finding {
        let (name, found, mend) = (name.to_owned(), found.to_owned(), mend.map(str::to_owned));
        Finding { kind, name, wanted: String::new(), found, verdict, mend }
    }

    fn examination() -> Examination {
        let long = "of its path only /srv/very/long/path/of/a/volume is there: is a volume not mounted?";
        let checks = vec![
            finding(Kind::Command, "bash", "/usr/bin/bash", Verdict::Ok, None),
            finding(
                Kind::File,
                "/srv/very/long/path/of/a/volume/data",
                "no such file or folder",
                Verdict::Missing,
                Some(long),
            ),
            finding(Kind::File, "‹db›", "not looked at: it needs -p db=VALUE", Verdict::Skipped, None),
            finding(
                Kind::Port,
                "db.example.org:5432 open",
                "refused: nobody listens there, and more words than one line has",
                Verdict::Warn,
                Some("start it"),
            ),
        ];
        Examination {
            version: 1,
            playbook: Some("failover".into()),
            plan_hash: None,
            environment: Some("production".into()),
            missing_params: vec!["db".into()],
            ready: false,
            verdict: Verdict::Missing,
            checks,
        }
    }

    #[test]
    fn it_fits_a_terminal_of_80_columns() {
        let look = Look { width: Some(80), ..Look::PLAIN };
        let wanted = "\
failover, environment production
commands
  ✔ bash                      /usr/bin/bash
files
  ✘ /srv/very/long/path/of/a/volume/data
                              no such file or folder
                              → of its path only
                                /srv/very/long/path/of/a/volume is there: is a
                                volume not mounted?
  – ‹db›                      not looked at: it needs -p db=VALUE
ports
  ! db.example.org:5432 open  refused: nobody listens there, and more words
                              than one line has
                              → start it

✘ not ready: 1 missing, 1 warning, 1 not looked at, 1 ok
";
        let text = text(&examination(), look);
        assert_eq!(text, wanted);
        assert!(text.lines().all(|line| width(line) <= 80));
    }

    #[test]
    fn it_can_be_read_without_unicode_and_colour() {
        let look = Look { unicode: false, width: Some(80), color: false };
        let text = text(&examination(), look);
        assert!(text.is_ascii(), "{text}");
        for line in [
            "  ok   bash ",
            "  FAIL /srv/very",
            "  -    <db> ",
            "  !    db.example.org:5432 open  ",
            "FAIL not ready: ",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }
}
