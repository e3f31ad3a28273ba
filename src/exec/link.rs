//! The runner's end of the connection to the keeper: starting one, joining one, talking to it.

use std::fs::DirBuilder;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, send};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::keeper::{self, SOCKET};
use super::notes::{self, Note, Writer};
use super::procfs;
use super::protocol::{self, FromKeeper, Inbox, ToKeeper};
use crate::planted::{self, Bug};

/// How long the kernel may have no memory for a message before the keeper is given up, and how often it is asked.
const SHORTAGE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(20);

const BUFFER: usize = 16 << 10;

pub(super) struct Link {
    /// Watched for reading only: the kernel would else wake this process each time the keeper takes a message.
    stream: AsyncFd<UnixStream>,
    inbox: Inbox,
    /// What is read into; kept, so that it need not be cleared each time.
    buffer: Vec<u8>,
    queue: Vec<u8>,
    /// Since when the kernel has no memory for what is to be sent.
    short_since: Option<Instant>,
    /// The keeper, if this process started it: it is to be reaped.
    child: Option<Child>,
}

/// What joining a keeper has found.
pub(super) enum Joined {
    Alive(Link),
    /// No keeper lives, and so none is adding notes.
    Dead,
}

impl Link {
    /// Starts a keeper for the run. Its notes' first line is on disk before it exists.
    pub fn start(binary: &Path, run_dir: &Path) -> io::Result<Self> {
        let mut fresh = false;
        for name in ["keeper", "output"] {
            match DirBuilder::new().mode(0o700).create(run_dir.join(name)) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made?;
                    fresh = true;
                }
            }
        }
        let file = notes::open_for_append(run_dir)?;
        file.try_lock()
            .map_err(|e| io::Error::other(format!("another keeper holds the run's notes: {e}")))?;
        let mut writer = Writer::new(file);
        writer.add(&Note::Keeper { boot_id: procfs::boot_id() })?;
        if !planted::is(Bug::UnsyncedNotes) {
            writer.sync()?;
        }
        std::fs::File::open(run_dir.join("keeper"))?.sync_all()?;
        if fresh {
            std::fs::File::open(run_dir)?.sync_all()?;
        }
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(binary);
        command
            .arg("__keeper")
            .arg(run_dir)
            .current_dir(run_dir)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(writer.into_file()))
            .stderr(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| crate::model::changes_a_shell(name)) {
            command.env_remove(name);
        }
        // SAFETY: setsid is async-signal-safe and touches no memory. It must happen before the exec: a Ctrl-C in
        // between would else reach the keeper through the terminal's process group.
        unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from)) };
        super::give_limit_back(&mut command);
        let child = command.spawn()?;
        Self::new(ours, Some(child))
    }

    /// Joins the run's keeper if one lives; waits for one that is just starting or just ending.
    pub async fn join(run_dir: &Path) -> io::Result<Joined> {
        const STEP: Duration = Duration::from_millis(20);
        const STEPS: u32 = 500;
        for _ in 0..STEPS {
            if !keeper_lives(run_dir)? {
                return Ok(Joined::Dead);
            }
            if let Ok(socket) = connect(run_dir) {
                return Ok(Joined::Alive(Self::new(socket, None)?));
            }
            tokio::time::sleep(STEP).await;
        }
        Err(io::Error::other(
            "the run's keeper lives but does not answer; end the process that holds keeper/notes.jsonl",
        ))
    }

    fn new(socket: UnixStream, child: Option<Child>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // SAFETY: the socket owns its descriptor and is dropped with its registration.
        let stream = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        let buffer = vec![0; BUFFER];
        Ok(Self { stream, inbox: Inbox::default(), buffer, queue: Vec::new(), short_since: None, child })
    }

    /// Sends at once what the socket takes; [`Link::turn`] sends the rest.
    pub fn send(&mut self, message: &ToKeeper) {
        protocol::encode(message, &mut self.queue);
        // An error shows again in `turn`, which everybody waits on.
        let _ = self.flush();
    }

    fn flush(&mut self) -> io::Result<()> {
        let fd = self.stream.as_raw_fd();
        let mut sent = 0;
        let result = loop {
            if sent == self.queue.len() {
                break Ok(());
            }
            match send(fd, &self.queue[sent..], MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT) {
                Ok(count) => sent += count,
                Err(nix::Error::EINTR) => {}
                Err(e) => break Err(e),
            }
        };
        // Secrets may be among it.
        self.queue[..sent].fill(0);
        self.queue.drain(..sent);
        match result {
            // It passes, as a rule; the keeper is as alive as before.
            Err(nix::Error::ENOBUFS | nix::Error::ENOMEM) => {
                self.short_since.get_or_insert_with(Instant::now);
                Ok(())
            }
            // The socket is full: `turn` waits for room.
            Ok(()) | Err(nix::Error::EAGAIN) => {
                self.short_since = None;
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Nothing more is said. A keeper that has nothing to do leaves.
    pub fn hang_up(&mut self) {
        // An error means that the other side has gone before.
        let _ = self.stream.get_ref().shutdown(std::net::Shutdown::Both);
    }

    /// Collects a keeper that is dead, or just about to be.
    pub fn reap(&mut self) {
        for _ in 0..50 {
            match self.child.as_mut().map(Child::try_wait) {
                Some(Ok(None)) => std::thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
        }
    }

    /// The next messages; at least one. An error means that the keeper is lost. May be dropped at any await.
    pub async fn turn(&mut self) -> io::Result<Vec<FromKeeper>> {
        loop {
            if self.queue.is_empty() {
                self.receive().await?;
            } else if let Some(since) = self.short_since {
                if since.elapsed() > SHORTAGE {
                    return Err(nix::Error::ENOBUFS.into());
                }
                tokio::select! {
                    received = self.receive() => received?,
                    () = tokio::time::sleep(AGAIN) => {
                        self.flush()?;
                        continue;
                    }
                }
            } else {
                // The socket was full. Only for this moment its other side is watched: see `stream`.
                let again = self.stream.get_ref().try_clone()?;
                // SAFETY: the socket owns its descriptor and is dropped with its registration.
                let writable = unsafe { AsyncFd::register_with_interest(again, Interest::WRITABLE) }?;
                tokio::select! {
                    received = self.receive() => received?,
                    ready = writable.writable() => {
                        drop(ready?);
                        self.flush()?;
                        continue;
                    }
                }
            }
            let mut messages = Vec::new();
            while let Some(message) = self.inbox.next_report() {
                messages.push(message.map_err(io::Error::other)?);
            }
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
    }

    async fn receive(&mut self) -> io::Result<()> {
        let Self { stream, buffer, inbox, .. } = self;
        let mut ready = stream.readable().await?;
        match ready.try_io(|stream| stream.get_ref().read(buffer)) {
            Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(count)) => {
                if count < buffer.len() {
                    // All there was: no need to ask again. What comes now wakes this anew.
                    ready.clear_ready();
                }
                inbox.push(&buffer[..count]);
                Ok(())
            }
            Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Ok(Err(e)) => Err(e),
            // It was not readable after all.
            Err(_) => Ok(()),
        }
    }
}

/// Waits a moment for a dying keeper's lock to go. False: nobody adds notes any more.
pub(super) fn keeper_lingers(run_dir: &Path) -> bool {
    for _ in 0..100 {
        match keeper_lives(run_dir) {
            Ok(false) => return false,
            Ok(true) | Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    true
}

/// The living keeper alone holds the lock on its notes.
fn keeper_lives(run_dir: &Path) -> io::Result<bool> {
    let file = match std::fs::File::open(notes::path(run_dir)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(std::fs::TryLockError::WouldBlock) => Ok(true),
        Err(std::fs::TryLockError::Error(e)) => Err(e),
    }
}

/// A socket's path may have 107 bytes; a longer one is reached through a descriptor of the folder.
fn connect(run_dir: &Path) -> io::Result<UnixStream> {
    const LONGEST: usize = 107;
    let path = run_dir.join(SOCKET);
    let (_folder, path) = if path.as_os_str().as_bytes().len() <= LONGEST {
        (None, path)
    } else {
        let folder = std::fs::File::open(run_dir)?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(SOCKET);
        (Some(folder), short)
    };
    let socket = UnixStream::connect(path)?;
    keeper::check_peer(&socket)?;
    Ok(socket)
}
