//! The checklist as plain text of 80 columns, as any printer takes it.

use super::{Block, Checklist};
use crate::report::look::{self, Look};

const COLUMNS: usize = 80;
/// Before what belongs to a step.
const INDENT: usize = 4;
const LABEL: usize = 12;

impl Checklist {
    pub fn to_text(&self, look: Look) -> String {
        let mut out = Paper { look, out: String::new() };
        out.line(&self.title.to_uppercase());
        out.line(&"=".repeat(COLUMNS));
        self.blocks.iter().for_each(|block| out.block(block));
        out.line("");
        out.line("A line that begins with > goes on from the line above it, without a blank.");
        out.out
    }
}

struct Paper {
    look: Look,
    out: String,
}

impl Paper {
    fn line(&mut self, text: &str) {
        self.out.push_str(self.look.fit(text.to_owned()).trim_end());
        self.out.push('\n');
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Heading(text) => {
                self.line("");
                self.wrapped("", 0, text);
                self.line(&"-".repeat(COLUMNS));
            }
            Block::Text(text) => {
                self.line("");
                text.lines().for_each(|line| self.wrapped("", 0, line));
            }
            Block::Item(text) => self.wrapped(&format!("{}- ", " ".repeat(LABEL + 1)), LABEL + 3, text),
            Block::Fact { label, text } => {
                let head = format!("{} ", look::pad(label, LABEL));
                self.wrapped(&head, LABEL + 1, text);
            }
            Block::Mark(text) => {
                let dashes = "=".repeat((COLUMNS.saturating_sub(text.len() + 2)) / 2);
                self.line("");
                self.line(&format!("{dashes} {} {dashes}", text.to_uppercase()));
            }
            Block::Step { depth, number, id, title, marks } => {
                self.line("");
                let blank = " ".repeat(depth * 2);
                let marks = if marks.is_empty() { String::new() } else { format!("  *** {marks} ***") };
                self.wrapped(
                    &format!("{blank}[ ] "),
                    depth * 2 + INDENT,
                    &format!("{number}  {id}  {title}{marks}"),
                );
            }
            Block::Times { depth } => {
                let blank = " ".repeat(depth * 2 + INDENT);
                self.line(&format!("{blank}started __:__   done __:__   by ____________________"));
            }
            Block::Line { depth, label, text } => {
                for (n, line) in text.lines().enumerate() {
                    let (head, indent) = head(*depth, if n == 0 { label } else { "" });
                    self.wrapped(&head, indent, line);
                }
            }
            Block::Box(text) => self.wrapped("[ ] ", 4, text),
            Block::Tick { depth, label, text } => {
                let (head, indent) = head(*depth, label);
                self.wrapped(&format!("{head}[ ] "), indent + 4, text);
            }
            Block::Code { depth, label, text } => {
                for (n, line) in text.lines().enumerate() {
                    let (head, indent) = head(*depth, if n == 0 { label } else { "" });
                    self.typed(&head, indent, line);
                }
            }
        }
    }

    fn wrapped(&mut self, head: &str, indent: usize, text: &str) {
        let indent = indent.max(look::width(head));
        let pieces = look::wrap(text, COLUMNS.saturating_sub(indent).max(20));
        for (n, piece) in pieces.iter().enumerate() {
            let blank = " ".repeat(indent);
            self.line(&format!("{}{}", if n == 0 { head } else { &blank }, piece.trim_end()));
        }
    }

    /// A line that is to be typed: where it is broken can be told from where it ends.
    fn typed(&mut self, head: &str, indent: usize, text: &str) {
        let room = COLUMNS.saturating_sub(indent).max(20);
        let (mut line, mut used, mut first) = (String::new(), 0, true);
        let mut flush = |paper: &mut Self, line: &str| {
            let blank = format!("{}> ", " ".repeat(indent.saturating_sub(2)));
            paper.line(&format!("{}{line}", if std::mem::take(&mut first) { head } else { &blank }));
        };
        for c in self.look.fit(text.to_owned()).chars() {
            let width = look::width(c.encode_utf8(&mut [0; 4]));
            if used + width > room {
                flush(self, &line);
                (line, used) = (String::new(), 0);
            }
            line.push(c);
            used += width;
        }
        flush(self, &line);
    }
}

/// The label of what belongs to a step, and where its text begins.
fn head(depth: usize, label: &str) -> (String, usize) {
    let head = format!("{}{} ", " ".repeat(depth * 2 + INDENT), look::pad(label, LABEL - 1));
    let width = look::width(&head);
    (head, width)
}
