//! Lines out of the streams of running commands, in bounded memory.

use std::collections::VecDeque;

use super::neutral;

/// A longer line is shown in pieces.
const PIECE: usize = 8 * 1024;
/// What is kept of one line for the live view; no terminal is wider.
const TAIL_LINE: usize = 1024;

/// Cuts a stream into lines and gives each out in its safe form.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&str)) {
        while let Some(at) = bytes.iter().position(|b| *b == b'\n') {
            self.partial.extend_from_slice(&bytes[..at]);
            self.flush(&mut each);
            bytes = &bytes[at + 1..];
        }
        self.partial.extend_from_slice(bytes);
        while self.partial.len() > PIECE {
            // A character must not be cut in two: step back to where one begins.
            let mut at = PIECE;
            while at > PIECE - 4 && self.partial[at] & 0xc0 == 0x80 {
                at -= 1;
            }
            let rest = self.partial.split_off(at);
            self.flush(&mut each);
            self.partial = rest;
        }
    }

    /// The stream is over: its last line may have no newline.
    pub fn finish(&mut self, mut each: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            self.flush(&mut each);
        }
    }

    fn flush(&mut self, each: &mut impl FnMut(&str)) {
        // A progress display is shown as it ended; every state that it went through is in the output's file.
        each(&neutral::block(neutral::last_segment(&self.partial)));
        self.partial.clear();
    }
}

/// The last lines of a running command, as a terminal would show them.
#[derive(Debug, Default)]
pub struct Tail {
    lines: VecDeque<Vec<u8>>,
    partial: Vec<u8>,
}

impl Tail {
    pub const LINES: usize = 3;

    pub fn push(&mut self, bytes: &[u8]) {
        let mut segments = bytes.split(|b| *b == b'\n');
        // `split` gives at least one segment: the one that goes on with the partial line.
        self.grow(segments.next().unwrap_or_default());
        for segment in segments {
            let line = std::mem::take(&mut self.partial);
            if !neutral::last_segment(&line).is_empty() {
                self.lines.push_back(line);
                if self.lines.len() > Self::LINES {
                    self.lines.pop_front();
                }
            }
            self.grow(segment);
        }
    }

    fn grow(&mut self, bytes: &[u8]) {
        let keep = &bytes[bytes.len().saturating_sub(TAIL_LINE)..];
        self.partial.extend_from_slice(keep);
        // Of a line that is rewritten over and over only the end is shown.
        if self.partial.len() > 2 * TAIL_LINE {
            self.partial.drain(..self.partial.len() - TAIL_LINE);
        }
    }

    /// At most `n` lines, the newest last, each safe and on one line.
    pub fn last(&self, n: usize) -> Vec<String> {
        let partial = Some(&self.partial).filter(|p| !neutral::last_segment(p).is_empty());
        let all: Vec<&Vec<u8>> = self.lines.iter().chain(partial).collect();
        all[all.len().saturating_sub(n)..].iter().map(|l| neutral::line(neutral::last_segment(l))).collect()
    }
}

/// The last `lines` lines of a kept output, safe, each cut to `columns` characters.
pub fn last_lines(bytes: &[u8], lines: usize, columns: usize) -> Vec<String> {
    let end = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if end.is_empty() {
        return Vec::new();
    }
    let mut out: Vec<String> = end
        .rsplit(|b| *b == b'\n')
        .take(lines)
        .map(|line| {
            // Four bytes are the longest character; the escapes of one byte are no longer.
            let line = neutral::last_segment(line);
            let head = &line[..line.len().min(columns * 4)];
            let safe = neutral::block(head);
            match safe.char_indices().nth(columns) {
                Some((at, _)) => format!("{}…", &safe[..at]),
                None if head.len() < line.len() => format!("{safe}…"),
                None => safe,
            }
        })
        .collect();
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_whatever_the_pieces() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in [&b"on"[..], b"e\r\ntw", b"o\n\nth\xc3", b"\xa9"] {
            lines.push(piece, |l| seen.push(l.to_owned()));
        }
        lines.finish(|l| seen.push(l.to_owned()));
        assert_eq!(seen, ["one", "two", "", "thé"]);
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut lines = Lines::default();
        let mut tail = Tail::default();
        let mut bytes = 0;
        for _ in 0..1000 {
            lines.push(&[b'x'; 4096], |l| bytes += l.len());
            tail.push(&[b'x'; 4096]);
        }
        assert!(lines.partial.len() <= PIECE && tail.partial.len() <= 2 * TAIL_LINE);
        lines.finish(|l| bytes += l.len());
        assert_eq!(bytes, 4096 * 1000);
    }

    #[test]
    fn the_tail_shows_what_a_terminal_shows() {
        let mut tail = Tail::default();
        tail.push(b"one\ntwo\nthree\nfour\n 10%\r 20%\r");
        assert_eq!(tail.last(3), ["three", "four", " 20%"]);
        assert_eq!(tail.last(1), [" 20%"]);
        tail.push(b" 30%\n\x1b[2J\n");
        assert_eq!(tail.last(2), [" 30%", "\\x1b[2J"]);
    }

    #[test]
    fn last_lines_are_bounded() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2, 10), ["b", "c"]);
        assert_eq!(last_lines(b"", 2, 10), Vec::<String>::new());
        assert_eq!(last_lines(b"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 2, 2), ["€€…"]);
        assert_eq!(last_lines(&[b'x'; 100_000], 5, 4), ["xxxx…"]);
    }
}
