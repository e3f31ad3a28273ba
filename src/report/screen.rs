//! The bottom of a terminal: lines that stay, and below them a frame that is drawn anew in its place.
//!
//! A draw is one write, so that nothing flickers and no half frame is ever seen. No line is filled with blanks and every
//! line ends in a newline, so that what is copied from the scrollback is what was said. The cursor rests below the frame
//! in the first column: a `^C` that the terminal echoes there is wiped by the next draw.

use std::fmt::Write as _;
use std::io::Write;

use super::frame::Size;
use super::look;

/// Wipes from the cursor to the end of its line.
const WIPE: &str = "\x1b[K";

/// Draws to a terminal, for as long as there is one.
pub struct Screen {
    out: Option<Box<dyn Write + Send>>,
    /// The columns that each line of the frame took.
    drawn: Vec<usize>,
}

impl Screen {
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out: Some(out), drawn: Vec::new() }
    }

    /// Puts `permanent` where the frame was and the new frame below it. `size` is the terminal's now, which may not be
    /// what it was: most terminals wrap older lines anew when they become narrower, and what a lower one has no room for
    /// is out of reach.
    pub fn draw(&mut self, permanent: &[String], frame: &[String], size: Size) {
        let Some(out) = &mut self.out else { return };
        let columns = size.columns.max(1);
        let old: usize = self.drawn.iter().map(|wide| wide.div_ceil(columns).max(1)).sum();
        let old = old.min(size.rows.saturating_sub(1).max(1));
        let mut text = String::from("\r");
        up(&mut text, old);
        for line in permanent.iter().chain(frame) {
            text.push_str(line);
            text.push_str(WIPE);
            text.push('\n');
        }
        // Line by line: a terminal that is asked to wipe all below its first line keeps what was there as history.
        let left = old.saturating_sub(permanent.len() + frame.len());
        for _ in 0..left {
            text.push_str(WIPE);
            text.push('\n');
        }
        up(&mut text, left);
        // The cursor's own line may hold an echoed `^C`.
        text.push_str(WIPE);
        self.drawn = frame.iter().map(|line| look::width(&console::strip_ansi_codes(line))).collect();
        // A terminal that is gone is no reason to stop the run: from now on nobody is told.
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            self.out = None;
        }
    }

    /// What is on the terminal is not ours any more: the next frame is drawn where the cursor is.
    pub fn forget(&mut self) {
        self.drawn.clear();
    }
}

fn up(text: &mut String, lines: usize) {
    if lines > 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, "\x1b[{lines}A");
    }
}
