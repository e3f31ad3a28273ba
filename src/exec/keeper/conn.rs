//! The keeper's end of the connection to the runner. Never blocks: what the runner does not read is queued up to a
//! bound, beyond which output for the screen is dropped (the files are whole), and the screen is told how much.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{MsgFlags, send};

use crate::exec::Stream;
use crate::exec::protocol::{self, FromKeeper, Inbox, ToKeeper};
use crate::model::TaskId;

/// Bytes of queued messages beyond which output is dropped.
const SCREEN_BOUND: usize = 256 << 10;

pub(super) struct Conn {
    socket: UnixStream,
    inbox: Inbox,
    queue: Vec<u8>,
    sent: usize,
    /// Output that was dropped and has not been told of yet, in bytes.
    dropped: Vec<(TaskId, Stream, u64)>,
    /// The runner is gone, or not to be understood.
    pub closed: bool,
}

impl Conn {
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            inbox: Inbox::default(),
            queue: Vec::new(),
            sent: 0,
            dropped: Vec::new(),
            closed: false,
        })
    }

    /// Everything that can be read now. After the runner's death that is all it ever sent.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Vec<ToKeeper> {
        let mut orders = Vec::new();
        while !self.closed {
            match self.socket.read(buffer) {
                Ok(0) => self.closed = true,
                Ok(count) => {
                    self.inbox.push(&buffer[..count]);
                    while let Some(order) = self.inbox.next_order() {
                        match order {
                            Ok(order) => orders.push(order),
                            Err(_) => self.closed = true,
                        }
                    }
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.closed = true,
            }
        }
        orders
    }

    pub fn send(&mut self, message: &FromKeeper) {
        if !self.closed {
            if let FromKeeper::Ended(ended) = message {
                for stream in [Stream::Stdout, Stream::Stderr] {
                    self.tell_dropped(&ended.task, stream);
                }
            }
            protocol::encode(message, &mut self.queue);
            self.flush();
        }
    }

    pub fn send_output(&mut self, task: &TaskId, stream: Stream, bytes: &[u8]) {
        if self.closed {
            return;
        }
        if self.queue.len() - self.sent <= SCREEN_BOUND {
            self.tell_dropped(task, stream);
            protocol::encode_output(task, stream, bytes, &mut self.queue);
            self.flush();
            return;
        }
        let count = bytes.len() as u64;
        match self.dropped.iter_mut().find(|(t, s, _)| t == task && *s == stream) {
            Some((_, _, dropped)) => *dropped += count,
            None => self.dropped.push((task.clone(), stream, count)),
        }
    }

    /// Says in place of what was dropped how much it was: a gap on the screen must not look like none.
    fn tell_dropped(&mut self, task: &TaskId, stream: Stream) {
        let Some(at) = self.dropped.iter().position(|(t, s, _)| t == task && *s == stream) else { return };
        let (_, _, count) = self.dropped.swap_remove(at);
        let words = format!("\n[runbook: {count} bytes are not shown here; the output's file has them]\n");
        protocol::encode_output(task, stream, words.as_bytes(), &mut self.queue);
    }

    pub fn flush(&mut self) {
        use std::os::fd::AsRawFd;
        while self.sent < self.queue.len() {
            match send(self.socket.as_raw_fd(), &self.queue[self.sent..], MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(nix::Error::EINTR) => {}
                // Short of memory the kernel may refuse for a while. A lost message would be waited for without end.
                Err(nix::Error::EAGAIN | nix::Error::ENOBUFS | nix::Error::ENOMEM) => break,
                // The reading side may still hold orders: only `receive` decides that it is over.
                Err(_) => self.sent = self.queue.len(),
            }
        }
        if self.sent == self.queue.len() {
            self.queue.clear();
            self.queue.shrink_to(64 << 10);
            self.sent = 0;
        } else if self.sent > SCREEN_BOUND {
            self.queue.drain(..self.sent);
            self.sent = 0;
        }
    }

    pub fn wants_to_send(&self) -> bool {
        !self.queue.is_empty()
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
