//! What a person types at the terminal of the process that drives the run, while a question is open.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::termios::{self, FlushArg, LocalFlags, SetArg, Termios};
use nix::unistd::{getpgrp, tcgetpgrp};
use tokio::io::unix::AsyncFd;

/// The longest line, in bytes.
const LONGEST: usize = 4096;

/// The terminal, read key by key and without echo while it is listened to: the view draws what is typed.
pub(super) struct Keys {
    tty: AsyncFd<OwnedFd>,
    /// As the terminal was before, while it is listened to.
    before: Option<Termios>,
    editor: Editor,
}

impl Keys {
    /// `None` if there is no terminal. Never stdin: a pipe is nobody who answers.
    pub fn open() -> Option<Self> {
        let mut options = OpenOptions::new();
        let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY | nix::libc::O_CLOEXEC;
        let tty = options.read(true).write(true).custom_flags(flags).open("/dev/tty").ok()?;
        let tty: OwnedFd = tty.into();
        // SAFETY: an owned descriptor stays the same and open for as long as it lives.
        let tty = unsafe { AsyncFd::register(tty) }.ok()?;
        Some(Self { tty, before: None, editor: Editor::default() })
    }

    /// A process in the background that reads from its terminal, or changes it, would be stopped.
    fn in_front(&self) -> bool {
        tcgetpgrp(self.tty.get_ref().as_fd()).is_ok_and(|group| group == getpgrp())
    }

    /// Begins to listen, if nobody does yet.
    pub fn listen(&mut self) {
        if self.before.is_some() || !self.in_front() {
            return;
        }
        let tty = self.tty.get_ref();
        let Ok(before) = termios::tcgetattr(tty) else { return };
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        // What was typed before the question was there answers nothing: it is thrown away.
        if termios::tcsetattr(tty, SetArg::TCSAFLUSH, &quiet).is_ok() {
            self.before = Some(before);
        }
    }

    /// Gives the terminal back as it was.
    pub fn leave(&mut self) {
        if let Some(before) = self.before.take()
            && self.in_front()
        {
            // A terminal that is gone needs nothing any more.
            let _ = termios::tcsetattr(self.tty.get_ref(), SetArg::TCSADRAIN, &before);
        }
        self.editor = Editor::default();
    }

    /// Drops what was typed so far.
    pub fn begin_anew(&mut self) {
        self.editor = Editor::default();
        if self.in_front() {
            // A terminal that is gone has nothing to drop.
            let _ = termios::tcflush(self.tty.get_ref(), FlushArg::TCIFLUSH);
        }
    }

    pub fn is_listening(&self) -> bool {
        self.before.is_some()
    }

    /// What stands on the line.
    pub fn line(&self) -> &str {
        &self.editor.line
    }

    /// Waits for keys; gives a line when it is finished with Enter. Nothing is lost if this is dropped.
    pub async fn next(&mut self) -> Option<String> {
        if self.before.is_none() {
            return std::future::pending().await;
        }
        let Ok(mut ready) = self.tty.readable().await else { return std::future::pending().await };
        let front = tcgetpgrp(ready.get_inner().as_fd()).is_ok_and(|group| group == getpgrp());
        if !front {
            // Somebody else's turn: look again when the terminal comes back.
            drop(ready);
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            return None;
        }
        let mut bytes = [0; 512];
        let read = ready.try_io(|tty| nix::unistd::read(tty.get_ref(), &mut bytes).map_err(io::Error::from));
        match read {
            Ok(Ok(0) | Err(_)) => {
                // The terminal is gone.
                self.before = None;
                None
            }
            Ok(Ok(n)) => self.editor.feed(&bytes[..n]),
            Err(_not_ready) => None,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.leave();
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.tty.get_ref().as_raw_fd())
    }
}

/// One line, edited with the few keys that everybody's fingers know.
#[derive(Debug, Default)]
struct Editor {
    line: String,
    /// Bytes of a character that has not come whole.
    part: Vec<u8>,
    escape: Escape,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// After ESC and a bracket: up to its final byte.
    Sequence,
}

impl Editor {
    fn feed(&mut self, bytes: &[u8]) -> Option<String> {
        for byte in bytes {
            match (self.escape, byte) {
                (Escape::Begun, b'[' | b'O') => self.escape = Escape::Sequence,
                (Escape::Begun, _) => self.escape = Escape::None,
                (Escape::Sequence, 0x40..=0x7e) => self.escape = Escape::None,
                (Escape::Sequence, _) => {}
                (Escape::None, 0x1b) => self.escape = Escape::Begun,
                (Escape::None, b'\r' | b'\n') => {
                    self.part.clear();
                    // What follows in the same breath belongs to no question any more.
                    return Some(std::mem::take(&mut self.line));
                }
                (Escape::None, 0x08 | 0x7f) => _ = self.line.pop(),
                (Escape::None, 0x15) => self.line.clear(),
                (Escape::None, 0x17) => self.drop_word(),
                (Escape::None, 0x00..=0x1f) => {}
                (Escape::None, byte) => self.put(*byte),
            }
        }
        None
    }

    fn put(&mut self, byte: u8) {
        self.part.push(byte);
        match std::str::from_utf8(&self.part) {
            Ok(text) => {
                if self.line.len() + text.len() <= LONGEST {
                    self.line.push_str(text);
                }
                self.part.clear();
            }
            Err(error) if error.error_len().is_some() || self.part.len() >= 4 => self.part.clear(),
            Err(_) => {}
        }
    }

    fn drop_word(&mut self) {
        let kept = self.line.trim_end();
        let end = kept.rfind(' ').map_or(0, |at| at + 1);
        self.line.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_as_fingers_expect() {
        let mut editor = Editor::default();
        assert_eq!(editor.feed(b"nox\x7f it is\x17t"), None);
        assert_eq!(editor.line, "no it t");
        assert_eq!(editor.feed("\x15ye\u{e9}\x08s\x1b[A\x1bOP\n".as_bytes()), Some("yes".into()));
        assert_eq!(editor.line, "");
    }

    #[test]
    fn characters_come_in_pieces() {
        let mut editor = Editor::default();
        for byte in "é😀".as_bytes() {
            editor.feed(&[*byte]);
        }
        assert_eq!(editor.line, "é😀");
        editor.feed(&[0xff, b'a', 0xc3, b'b']);
        assert_eq!(editor.line, "é😀a");
    }
}
