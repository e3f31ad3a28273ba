//! What a login limits, made fit for a run. A file that reaches a limit of size (`ulimit -f`) is an error that can be
//! told, not a silent end of the process; descriptors there may be as many as the system allows.

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Once for each process that drives a run; again does no harm.
pub(super) fn prepare() -> std::io::Result<()> {
    crate::exec::raise_descriptor_limit();
    survive_file_limit()
}

/// From now on a write beyond the limit fails with EFBIG. The signal gets a handler and is not ignored, because only
/// that is undone for the programs this one starts.
fn survive_file_limit() -> std::io::Result<()> {
    let deaf = SigAction::new(SigHandler::Handler(ignore), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGXFSZ, &deaf) }?;
    Ok(())
}

extern "C" fn ignore(_: libc::c_int) {}
