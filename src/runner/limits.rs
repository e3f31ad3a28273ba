//! A file that reaches a limit of size (`ulimit -f`) is an error that can be told, not a silent end of the process.

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// From now on a write beyond the limit fails with EFBIG. The signal gets a handler and is not ignored, because only
/// that is undone for the programs this one starts.
pub(super) fn survive_file_limit() -> std::io::Result<()> {
    let deaf = SigAction::new(SigHandler::Handler(ignore), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGXFSZ, &deaf) }?;
    Ok(())
}

extern "C" fn ignore(_: libc::c_int) {}
