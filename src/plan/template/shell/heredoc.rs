//! Here-documents.

use super::lexer::{Lexer, Stop, stop};
use super::word::Word;
use crate::plan::template::environment::placeholder_index;

/// A here-document whose text is still to come.
pub(super) struct HereDoc {
    delimiter: String,
    /// The delimiter was quoted: nothing in the text is expanded.
    quoted: bool,
    /// `<<-`: leading tabs are removed.
    tabs: bool,
}

impl Lexer {
    /// `<<` and its delimiter.
    pub fn here_document_start(&mut self) -> Result<(), Stop> {
        if self.in_backticks {
            return stop("a here-document inside backticks cannot be followed", "write $( ) instead");
        }
        self.copy(2);
        let tabs = self.peek() == Some('-');
        if tabs {
            self.copy(1);
        }
        self.gap(false)?;
        let mut document = HereDoc { delimiter: String::new(), quoted: false, tabs };
        let mut open: Option<char> = None;
        while let Some(c) = self.peek() {
            match (open, c) {
                (None, ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')') => break,
                (None, '\'' | '"') => {
                    open = Some(c);
                    document.quoted = true;
                }
                (Some(quote), c) if c == quote => open = None,
                (_, '\\') => {
                    if open == Some('"') {
                        return stop(
                            "the end of a here-document cannot be read",
                            "use a plain word such as EOF",
                        );
                    }
                    document.quoted = true;
                    if open.is_none() {
                        self.copy(1);
                    }
                    document.delimiter.extend(self.peek());
                }
                (None | Some('"'), '$' | '`') | (_, '\n') => {
                    return stop("the end of a here-document cannot be read", "use a plain word such as EOF");
                }
                _ => document.delimiter.push(c),
            }
            if let Some(index) = placeholder_index(c) {
                self.refuse(
                    index,
                    "a value cannot be the end of a here-document",
                    "use a plain word such as EOF",
                );
            }
            self.copy(1);
        }
        if open.is_some() || document.delimiter.is_empty() {
            return stop("the end of a here-document cannot be read", "use a plain word such as EOF");
        }
        self.pending.push(document);
        Ok(())
    }

    /// The text of a here-document, and the line that ends it.
    pub fn here_document(&mut self, document: &HereDoc) -> Result<(), Stop> {
        let Some(body_end) = self.body_end(document)? else {
            let message = format!("a here-document has no end: there is no line `{}`", document.delimiter);
            return stop(&message, "write that line, without spaces before or after it");
        };
        if document.quoted {
            for index in self.values_until(body_end) {
                self.refuse(
                    index,
                    "a value inside a quoted here-document would not be replaced",
                    &format!("write <<{0} without quotes, and \\$ for each dollar sign", document.delimiter),
                );
            }
            self.copy(body_end - self.pos);
        } else {
            let end = std::mem::replace(&mut self.end, body_end);
            let mut word = Word::default();
            while self.pos < body_end {
                self.double_quoted(&mut word)?;
            }
            self.end = end;
        }
        while let Some(c) = self.peek().filter(|c| *c != '\n') {
            // The delimiter itself: no value can stand in it.
            debug_assert!(placeholder_index(c).is_none());
            self.copy(1);
        }
        if self.peek().is_some() {
            self.copy(1);
        }
        Ok(())
    }

    fn values_until(&self, end: usize) -> Vec<usize> {
        self.chars_between(self.pos, end).iter().filter_map(|c| placeholder_index(*c)).collect()
    }

    /// Where the line begins that ends the document.
    fn body_end(&self, document: &HereDoc) -> Result<Option<usize>, Stop> {
        let mut start = self.pos;
        let mut continued = false;
        loop {
            let rest = self.chars_between(start, self.end);
            if rest.is_empty() {
                return Ok(None);
            }
            let length = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
            let mut line = &rest[..length];
            if document.tabs {
                let tabs = line.iter().take_while(|c| **c == '\t').count();
                line = &line[tabs..];
            }
            if line.iter().copied().eq(document.delimiter.chars()) {
                if continued {
                    return stop(
                        "the line before the end of a here-document ends in a backslash",
                        "remove the backslash",
                    );
                }
                return Ok(Some(start));
            }
            let backslashes = line.iter().rev().take_while(|c| **c == '\\').count();
            continued = !document.quoted && backslashes % 2 == 1;
            start += length + 1;
        }
    }
}
