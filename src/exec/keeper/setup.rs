//! Turns a fresh process into a keeper: descriptors, signals, the place of its orphans.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{dup2_stdin, dup2_stdout, geteuid};

/// Where the keeper listens, from the run's folder: a path from the root may be longer than a socket's can be.
pub(in crate::exec) const SOCKET: &str = "keeper/sock";

/// What the runner hands over: the socket as stdin, the locked notes as stdout.
pub(super) struct Inherited {
    pub runner: UnixStream,
    pub notes: File,
}

pub(super) fn take_over() -> io::Result<Inherited> {
    close_others();
    let runner = io::stdin().as_fd().try_clone_to_owned()?;
    let notes = io::stdout().as_fd().try_clone_to_owned()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    let runner = UnixStream::from(runner);
    check_peer(&runner)?;
    Ok(Inherited { runner, notes: File::from(notes) })
}

/// A descriptor that leaked into the runner (a pipe of the caller, say) would be held open by the keeper and by every
/// command.
fn close_others() {
    // SAFETY: nothing is open yet that this program knows of beyond the three standard descriptors.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if closed == 0 {
        return;
    }
    let fds: Vec<RawFd> = fs::read_dir("/proc/self/fd")
        .map(|entries| entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect())
        .unwrap_or_default();
    for fd in fds.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: as above; the descriptor of the listing itself is closed already and fails harmlessly.
        unsafe { libc::close(fd) };
    }
}

/// Only the same user may give orders.
pub(in crate::exec) fn check_peer(socket: &UnixStream) -> io::Result<()> {
    let peer = getsockopt(socket, PeerCredentials)?;
    if peer.uid() == geteuid().as_raw() { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// The listening socket. A stale one is of a dead keeper: the lock on the notes says that this is the only one.
pub(super) fn listen() -> io::Result<UnixListener> {
    match fs::remove_file(SOCKET) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(SOCKET)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Makes the keeper deaf to what is meant for others, and tells it of ended children through the returned descriptor.
///
/// Signals get an empty handler and are not ignored: an ignored signal stays ignored in the children, a handler does
/// not. SIGCHLD is blocked, which whatever starts a child takes back for it.
pub(super) fn signals() -> io::Result<SignalFd> {
    let deaf = SigAction::new(SigHandler::Handler(ignore), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
        Signal::SIGXFSZ,
    ] {
        // SAFETY: the handler does nothing.
        unsafe { sigaction(signal, &deaf) }?;
    }
    // One that was ignored here would not be told of.
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: there is no handler.
    unsafe { sigaction(Signal::SIGCHLD, &default) }?;
    let child = SigSet::from(Signal::SIGCHLD);
    child.thread_set_mask()?;
    Ok(SignalFd::with_flags(&child, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

extern "C" fn ignore(_: libc::c_int) {}
