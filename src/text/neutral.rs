//! Makes text from commands safe to show: what could move a cursor, hide or reorder text becomes a visible escape.
//!
//! The bytes in a run's files stay as they came. Everything that is shown to a person, on a terminal or in a report,
//! passes through here first.

use std::fmt::Write as _;

pub use crate::model::is_hidden;

/// Neutralises a stream piece by piece. A character cut in two by the border between two pieces is put together.
///
/// The text that comes out holds no control character other than `\n` and `\t`, and no invisible or reordering
/// format character.
#[derive(Debug, Default)]
pub struct Neutral {
    /// The beginning of a UTF-8 sequence that may go on in the next piece: at most 3 bytes.
    partial: Vec<u8>,
    /// The last byte was `\r`: with `\n` after it, it is a line's end.
    carriage: bool,
}

impl Neutral {
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the safe form of `bytes` to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut String) {
        if self.partial.is_empty() {
            self.feed(bytes, out);
        } else {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(bytes);
            self.feed(&joined, out);
        }
    }

    /// The stream is over: what was held back comes out.
    pub fn finish(&mut self, out: &mut String) {
        if std::mem::take(&mut self.carriage) {
            out.push_str("\\r");
        }
        for byte in std::mem::take(&mut self.partial) {
            escape_byte(byte, out);
        }
    }

    fn feed(&mut self, mut bytes: &[u8], out: &mut String) {
        loop {
            match std::str::from_utf8(bytes) {
                Ok(text) => return self.text(text, out),
                Err(error) => {
                    let (good, rest) = bytes.split_at(error.valid_up_to());
                    // The prefix is valid by the definition of `valid_up_to`; lossy costs nothing then.
                    self.text(&String::from_utf8_lossy(good), out);
                    let Some(bad) = error.error_len() else {
                        self.partial = rest.to_vec();
                        return;
                    };
                    let (bad, rest) = rest.split_at(bad);
                    self.end_carriage(out);
                    bad.iter().for_each(|byte| escape_byte(*byte, out));
                    bytes = rest;
                }
            }
        }
    }

    fn text(&mut self, mut text: &str, out: &mut String) {
        loop {
            // Nearly all text is plain ASCII: it is taken in one piece.
            let plain = text.bytes().position(|b| !(b' '..=b'~').contains(&b)).unwrap_or(text.len());
            let (head, rest) = text.split_at(plain);
            if !head.is_empty() {
                self.end_carriage(out);
                out.push_str(head);
            }
            let Some(c) = rest.chars().next() else { return };
            text = &rest[c.len_utf8()..];
            if c == '\n' {
                self.carriage = false;
                out.push('\n');
                continue;
            }
            self.end_carriage(out);
            match c {
                '\r' => self.carriage = true,
                '\t' => out.push('\t'),
                c => push_char(c, out),
            }
        }
    }

    fn end_carriage(&mut self, out: &mut String) {
        if std::mem::take(&mut self.carriage) {
            out.push_str("\\r");
        }
    }
}

/// The safe form of a whole text; lines stay lines.
pub fn block(bytes: impl AsRef<[u8]>) -> String {
    let mut neutral = Neutral::new();
    let mut out = String::with_capacity(bytes.as_ref().len());
    neutral.push(bytes.as_ref(), &mut out);
    neutral.finish(&mut out);
    out
}

/// The safe form of a text that must stay on one line: newlines are shown as `\n`, tabs as a blank.
pub fn line(text: impl AsRef<[u8]>) -> String {
    let safe = block(text);
    if safe.contains(['\n', '\t']) { safe.replace('\n', "\\n").replace('\t', " ") } else { safe }
}

/// What a terminal would show of a line that a progress display rewrites with `\r`: its last segment that says
/// something.
pub fn last_segment(line: &[u8]) -> &[u8] {
    let mut end = line.len();
    loop {
        let start = line[..end].iter().rposition(|b| *b == b'\r').map_or(0, |at| at + 1);
        if start < end || start == 0 {
            return &line[start..end];
        }
        end = start - 1;
    }
}

fn push_char(c: char, out: &mut String) {
    if !is_hidden(c) {
        out.push(c);
    } else if c.is_ascii() {
        escape_byte(c as u8, out);
    } else {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
    }
}

fn escape_byte(byte: u8, out: &mut String) {
    let _ = write!(out, "\\x{byte:02x}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(block("\x1b[2Jgone\x07"), "\\x1b[2Jgone\\x07");
        assert_eq!(block("a\r\nb\rc\r"), "a\nb\\rc\\r");
        assert_eq!(block("safe\u{202e}gpj.exe"), "safe\\u{202e}gpj.exe");
        assert_eq!(block(b"caf\xc3\xa9 \xff \xe2\x82"), "café \\xff \\xe2\\x82");
        assert_eq!(block("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(line("a\nb\tc"), "a\\nb c");
    }

    #[test]
    fn a_rewritten_line_shows_its_last_state() {
        assert_eq!(last_segment(b"10%\r20%\r30%"), b"30%");
        assert_eq!(last_segment(b"10%\r20%\r"), b"20%");
        assert_eq!(last_segment(b"\r\r"), b"");
        assert_eq!(last_segment(b"plain"), b"plain");
    }

    proptest! {
        #[test]
        fn nothing_hidden_comes_out_and_borders_do_not_matter(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(0x1b), Just(b'\r'), Just(b'\n'), Just(0xe2), Just(0x80), Just(0xae)],
                0..200),
            cut in 0usize..200,
        ) {
            let whole = block(&bytes);
            prop_assert!(whole.chars().all(|c| c == '\n' || c == '\t' || !is_hidden(c)), "{whole:?}");
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            let mut neutral = Neutral::new();
            let mut pieces = String::new();
            neutral.push(a, &mut pieces);
            neutral.push(b, &mut pieces);
            neutral.finish(&mut pieces);
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn any_text_is_neutral(text in "\\PC*|[\\p{Cc}\\p{Cf}]*") {
            let safe = block(&text);
            prop_assert!(safe.chars().all(|c| c == '\n' || c == '\t' || !is_hidden(c)), "{safe:?}");
            prop_assert!(!line(&text).contains(['\n', '\t']));
        }
    }
}
