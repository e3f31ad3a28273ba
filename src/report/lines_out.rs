//! Lines for a reader that may go away: what is told together is written together.

use std::io::Write;

/// Falls silent when the reader has gone; the run goes on.
pub(super) struct LinesOut<W> {
    out: Option<W>,
    /// Not written yet.
    waiting: String,
}

impl<W: Write> LinesOut<W> {
    pub fn new(out: W) -> Self {
        Self { out: Some(out), waiting: String::new() }
    }

    /// Nobody reads any more.
    pub fn is_silent(&self) -> bool {
        self.out.is_none()
    }

    /// To be added to; [`LinesOut::flush`] writes it.
    pub fn text(&mut self) -> &mut String {
        &mut self.waiting
    }

    pub fn flush(&mut self) {
        if let Some(out) = &mut self.out
            && !self.waiting.is_empty()
            && out.write_all(self.waiting.as_bytes()).and_then(|()| out.flush()).is_err()
        {
            self.out = None;
        }
        self.waiting.clear();
    }
}
