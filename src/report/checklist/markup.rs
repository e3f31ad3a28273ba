//! The checklist as Markdown, and as one HTML file that prints well.

use std::fmt::{self, Write as _};

use super::{Block, Checklist};
use crate::report::incident::{code, escape, fenced, inline};

/// Black on white whatever the screen is, and no step torn apart between two sheets.
const STYLE: &str = "\
:root { color-scheme: light; }
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #000; background: #fff;
  font: 11pt/1.4 system-ui, \"DejaVu Sans\", sans-serif; }
h1 { font-size: 18pt; margin: 0 0 .5rem; } h2 { font-size: 13pt; margin: 1.5rem 0 .3rem; border-bottom: 1px solid #000; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0; } dd { margin: 0; }
dt { color: #444; } dd, p { overflow-wrap: anywhere; white-space: pre-wrap; }
.step { border: 1px solid #888; padding: .4rem .7rem; margin: .6rem 0; break-inside: avoid; }
.step h3 { font-size: 11pt; margin: 0; } .marks { border: 2px solid #000; padding: 0 .3rem; }
.times { margin: .2rem 0; } .mark { border: 3px double #000; text-align: center; font-weight: bold; margin: 1rem 0; }
pre { margin: 0; border-left: 3px solid #888; padding: .1rem .5rem; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 9.5pt/1.35 ui-monospace, \"DejaVu Sans Mono\", monospace; }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } @page { margin: 15mm; } }
";
const TIMES: &str = "started __:__ &nbsp; done __:__ &nbsp; by ____________________";

impl Checklist {
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.markdown(&mut out);
        out
    }

    fn markdown(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "# {}\n", inline(&self.title))?;
        let mut table = false;
        for block in &self.blocks {
            let fact = matches!(block, Block::Fact { .. });
            if fact && !table {
                writeln!(out, "| | |\n|---|---|")?;
            } else if table && !fact {
                writeln!(out)?;
            }
            table = fact;
            match block {
                Block::Heading(text) => writeln!(out, "\n## {}\n", inline(text))?,
                Block::Text(text) => writeln!(out, "{}\n", inline(text))?,
                Block::Item(text) => writeln!(out, "- {}", inline(text))?,
                Block::Fact { label, text } => writeln!(out, "| {} | {} |", inline(label), inline(text))?,
                Block::Mark(text) => writeln!(out, "\n---\n\n**{}**\n\n---\n", inline(text))?,
                Block::Step { number, id, title, marks, .. } => {
                    writeln!(out, "\n### ☐ {number} {}: {}\n", inline(id), inline(title))?;
                    if !marks.is_empty() {
                        writeln!(out, "**{}**\n", inline(marks))?;
                    }
                }
                Block::Times { .. } => writeln!(out, "{}\n", TIMES.replace('_', "\\_"))?,
                Block::Line { label, text, .. } => writeln!(out, "- {}{}", labelled(label), inline(text))?,
                Block::Box(text) => writeln!(out, "- [ ] {}", inline(text))?,
                Block::Tick { label, text, .. } => {
                    writeln!(out, "- [ ] {}{}", labelled(label), inline(text))?
                }
                Block::Code { label, text, .. } if text.contains('\n') => {
                    writeln!(out, "- {}\n", labelled(label))?;
                    fenced(out, "sh", text)?;
                }
                Block::Code { label, text, .. } => writeln!(out, "- {}{}", labelled(label), code(text))?,
            }
        }
        Ok(())
    }

    pub fn to_html(&self) -> String {
        let mut out = String::with_capacity(32 * 1024);
        // Writing to a String cannot fail.
        let _ = self.html(&mut out);
        out
    }

    fn html(&self, out: &mut String) -> fmt::Result {
        let title = escape(&self.title);
        writeln!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
        // The texts come from playbooks: should an escape ever fail, nothing may load or run.
        writeln!(
            out,
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        )?;
        writeln!(out, "<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>")?;
        let (mut list, mut step) = (false, false);
        for block in &self.blocks {
            if step && matches!(block, Block::Heading(_) | Block::Mark(_) | Block::Step { .. }) {
                writeln!(out, "{}</div>", if std::mem::take(&mut list) { "</dl>" } else { "" })?;
                step = false;
            }
            let row = !matches!(
                block,
                Block::Heading(_)
                    | Block::Mark(_)
                    | Block::Step { .. }
                    | Block::Times { .. }
                    | Block::Text(_)
            );
            match (list, row) {
                (false, true) => writeln!(out, "<dl>")?,
                (true, false) => writeln!(out, "</dl>")?,
                _ => {}
            }
            list = row;
            step |= matches!(block, Block::Step { .. });
            html_block(block, out)?;
        }
        writeln!(
            out,
            "{}{}</body>\n</html>",
            if list { "</dl>" } else { "" },
            if step { "</div>" } else { "" }
        )
    }
}

fn html_block(block: &Block, out: &mut String) -> fmt::Result {
    let row = |out: &mut String, label: &str, value: String| {
        writeln!(out, "<dt>{}</dt><dd>{value}</dd>", escape(label))
    };
    match block {
        Block::Heading(text) => writeln!(out, "<h2>{}</h2>", escape(text)),
        Block::Text(text) => writeln!(out, "<p>{}</p>", escape(text)),
        Block::Item(text) => row(out, "", format!("&ndash; {}", escape(text))),
        Block::Fact { label, text } => row(out, label, escape(text)),
        Block::Mark(text) => writeln!(out, "<div class=\"mark\">{}</div>", escape(text)),
        Block::Step { depth, number, id, title, marks } => {
            let marks = match marks.as_str() {
                "" => String::new(),
                marks => format!(" <span class=\"marks\">{}</span>", escape(marks)),
            };
            writeln!(
                out,
                "<div class=\"step\" style=\"margin-left:{}rem\"><h3>&#9744; {number} {}: {}{marks}</h3>",
                depth * 2,
                escape(id),
                escape(title)
            )
        }
        Block::Times { .. } => writeln!(out, "<p class=\"times\">{TIMES}</p>"),
        Block::Line { label, text, .. } => row(out, label, escape(text)),
        Block::Box(text) => row(out, "\u{2610}", escape(text)),
        Block::Tick { label, text, .. } => row(out, label, format!("&#9744; {}", escape(text))),
        Block::Code { label, text, .. } => row(out, label, format!("<pre>{}</pre>", escape(text))),
    }
}

fn labelled(label: &str) -> String {
    if label.is_empty() { String::new() } else { format!("**{label}** ") }
}
