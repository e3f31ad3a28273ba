//! How many descriptors a process may have. The soft limit that a login gives (often 1024) is made for programs that
//! know no more of them; a run of a thousand commands at once needs several thousand. So runner and keeper raise theirs to
//! the hard limit, and what they start gets the limit back that this program was given.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// The soft limit that this process was given, and the hard one. Unset if it was not raised.
static GIVEN: OnceLock<(rlim_t, rlim_t)> = OnceLock::new();

/// Raises this process's limit as far as it may go. Where that is refused, the old limit stands, and what does not fit
/// into it fails with an error of its own.
pub fn raise_descriptor_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft < hard && GIVEN.set((soft, hard)).is_ok() {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Lets the command start with the limit that this process was given. It is forked for that, which `posix_spawn` is not.
pub fn give_limit_back(command: &mut Command) {
    let Some(&(soft, hard)) = GIVEN.get() else { return };
    let lower = move || setrlimit(Resource::RLIMIT_NOFILE, soft, hard).map_err(io::Error::from);
    // SAFETY: between fork and exec one system call is made, and no memory is touched.
    unsafe { command.pre_exec(lower) };
}

/// Calls `spawn` while this process has the limit that it was given. For a process of one thread, and only if `spawn`
/// opens nothing.
pub(super) fn with_limit_given<T>(spawn: impl FnOnce() -> T) -> T {
    let Some(&(soft, hard)) = GIVEN.get() else { return spawn() };
    let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
    let result = spawn();
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    result
}
