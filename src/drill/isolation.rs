//! A drill in namespaces of its own: processes, mounts, network, IPC, host name; for an ordinary user in a user namespace
//! as well.
//!
//! ```text
//! runbook drill            waits, and removes the world's folder
//!   runbook __threshold    makes the namespaces
//!     runbook __first      the first process in them
//!       runbook drill      drills
//! ```
//!
//! Each ends at once when its parent has ended, and when the first process of a namespace ends, the kernel kills all
//! others in it: whichever of them is killed, no process, mount, interface or port of the world is left. Nor does the
//! world reach what it must not: its network is a loopback and nothing else, and the sockets of the machine's services
//! lie hidden behind a `/run` of its own.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid};

/// Folders that begin empty in the world: the sockets of services, shared memory, control groups. What a world makes
/// there would else outlive it, or reach what runs outside.
const OWN: [(&str, &str); 3] =
    [("/run", "mode=755"), ("/dev/shm", "mode=1777"), ("/sys/fs/cgroup", "mode=755")];

/// Exit codes between the processes above; a drill has none of them.
const NOT_MADE: u8 = 120;
const KILLED: u8 = 121;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Code(u8),
    /// Nothing of its world is left but files.
    Killed,
    /// The machine gives no namespaces; the reason was told on stderr.
    NotMade,
}

/// The folder of the world's own that would hide `path` in it.
pub fn hides(path: &Path) -> Option<&'static str> {
    // It may not be there yet; what it will be in is.
    let path: PathBuf = path.ancestors().find_map(|p| p.canonicalize().ok())?;
    OWN.iter().map(|(own, _)| *own).find(|own| path.starts_with(own))
}

/// Runs this program with these arguments in namespaces of their own.
pub fn enter(program: &Path, arguments: impl IntoIterator<Item = OsString>) -> io::Result<Ended> {
    Ok(match relay(companion(program, "__threshold", arguments))? {
        Ended::Code(NOT_MADE) => Ended::NotMade,
        Ended::Code(KILLED) => Ended::Killed,
        ended => ended,
    })
}

/// Makes the namespaces, all at once, and waits for the first process in them.
pub fn threshold_main(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    let parent = arguments.next();
    let (user, group) = (geteuid(), getegid());
    let ready = leave(user.is_root()).and_then(|()| end_with(parent));
    told(ready.and_then(|()| {
        let ids = [user.as_raw(), group.as_raw()].map(|id| OsString::from(id.to_string()));
        relay(companion(&std::env::current_exe()?, "__first", ids.into_iter().chain(arguments)))
    }))
}

/// The first process in the namespaces: makes them a place to live in, and collects whoever ends without a parent.
pub fn first_process_main(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    let parent = arguments.next();
    let mut id = || arguments.next()?.to_str()?.parse::<u32>().ok();
    let (Some(user), Some(group)) = (id(), id()) else { return NOT_MADE };
    // While /proc is still the one outside: there the parent has a number.
    let ready = end_with(parent).and_then(|()| settle(user, group));
    told(ready.and_then(|()| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments);
        relay(command)
    }))
}

/// This program under one of its inner names. The first argument is who it belongs to.
fn companion(program: &Path, name: &str, arguments: impl IntoIterator<Item = OsString>) -> Command {
    let mut command = Command::new(program);
    command.arg(name).arg(std::process::id().to_string()).args(arguments);
    command
}

fn told(ended: io::Result<Ended>) -> u8 {
    match ended {
        Ok(Ended::Code(code)) => code,
        Ok(Ended::Killed) => KILLED,
        Ok(Ended::NotMade) => NOT_MADE,
        Err(error) => {
            // Nobody may be reading; the exit code says it too.
            let _ = writeln!(io::stderr(), "error: no namespaces for the drill: {error}");
            NOT_MADE
        }
    }
}

fn leave(root: bool) -> io::Result<()> {
    let mut flags = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    if !root {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(|e| because("unshare", e))?;
    // Whoever may not mount here is root there for as long as it takes to settle.
    if root { Ok(()) } else { map_ids((0, user), (0, group)) }
}

/// Ends this process when its parent ends.
fn end_with(parent: Option<OsString>) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL).map_err(|e| because("the parent's end", e))?;
    // It may have ended before this was asked for.
    let status = std::fs::read_to_string("/proc/self/status")?;
    let now = status.lines().find_map(|line| line.strip_prefix("PPid:")).map(str::trim);
    match (now, parent.as_ref().and_then(|p| p.to_str())) {
        (Some(now), Some(parent)) if now == parent => Ok(()),
        _ => Err(io::Error::other("whoever started the drill has ended")),
    }
}

fn settle(user: u32, group: u32) -> io::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|e| because("mounts of its own", e))?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("proc"), "/proc", Some("proc"), quiet | MsFlags::MS_NOEXEC, none)
        .map_err(|e| because("mounting /proc", e))?;
    for (folder, options) in OWN {
        if Path::new(folder).is_dir() {
            mount(Some("tmpfs"), folder, Some("tmpfs"), quiet, Some(options))
                .map_err(|e| because(&format!("mounting {folder}"), e))?;
        }
    }
    loopback_up()?;
    if user != 0 {
        // Back to who it was: the drill has no more rights than whoever started it.
        unshare(CloneFlags::CLONE_NEWUSER).map_err(|e| because("unshare", e))?;
        map_ids((user, 0), (group, 0))?;
        // Forgotten with the rights.
        set_pdeathsig(Signal::SIGKILL).map_err(|e| because("the parent's end", e))?;
    }
    Ok(())
}

/// Each pair: the number in here, and what it is outside.
fn map_ids(user: (u32, u32), group: (u32, u32)) -> io::Result<()> {
    let write = |file: &str, text: String| {
        std::fs::write(format!("/proc/self/{file}"), text)
            .map_err(|e| io::Error::new(e.kind(), format!("{file}: {e}")))
    };
    write("uid_map", format!("{} {} 1", user.0, user.1))?;
    write("setgroups", "deny".to_owned())?;
    write("gid_map", format!("{} {} 1", group.0, group.1))
}

/// A new network has a loopback that is down. Asked for as `ip link set lo up` does, which may not be installed.
fn loopback_up() -> io::Result<()> {
    let what = |e| because("the loopback", e);
    let link =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .map_err(what)?;
    let up = libc::IFF_UP as u32;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    // nlmsghdr: length, type, flags, sequence, sender. ifinfomsg: family and padding, type, index, flags, mask.
    let order = [
        &32_u32.to_ne_bytes()[..],
        &libc::RTM_NEWLINK.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &1_u32.to_ne_bytes(),
        &0_u32.to_ne_bytes(),
        &[0; 4],
        // The loopback is the first interface of every network.
        &1_i32.to_ne_bytes(),
        &up.to_ne_bytes(),
        &up.to_ne_bytes(),
    ]
    .concat();
    send(link.as_raw_fd(), &order, MsgFlags::empty()).map_err(what)?;
    let mut answer = [0; 256];
    let length = recv(link.as_raw_fd(), &mut answer, MsgFlags::empty()).map_err(what)?;
    // Behind the header: 0, or an errno with a minus.
    let code = answer.get(16..20).filter(|_| length >= 20).and_then(|b| b.try_into().ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(what(nix::errno::Errno::from_raw(-code))),
        None => Err(io::Error::other("the loopback: no answer")),
    }
}

fn because(what: &str, errno: nix::errno::Errno) -> io::Error {
    io::Error::new(io::Error::from(errno).kind(), format!("{what}: {}", errno.desc()))
}

/// Starts the command and waits for its end. A signal that somebody sent to this process alone is handed on; one from
/// the terminal comes to the command as well, and to both of them only once.
fn relay(mut command: Command) -> io::Result<Ended> {
    let child = command.spawn()?;
    let child = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD] {
        signals.add(signal);
    }
    // Not before the start: the command would inherit it.
    signals.thread_block()?;
    let arrived = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
    loop {
        if let Some(ended) = collect(child)? {
            return Ok(ended);
        }
        let Some(info) = arrived.read_signal()? else { continue };
        let signal = i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok());
        if let Some(signal) = signal
            && signal != Signal::SIGCHLD
            && info.ssi_code <= 0
        {
            // It may have ended in between.
            let _ = kill(child, signal);
        }
    }
}

/// Takes note of every process that has ended; how `child` did.
fn collect(child: Pid) -> io::Result<Option<Ended>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                return Ok(Some(Ended::Code(u8::try_from(code).unwrap_or(1))));
            }
            Ok(WaitStatus::Signaled(pid, ..)) if pid == child => return Ok(Some(Ended::Killed)),
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
