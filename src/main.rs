//! The binary: hands its arguments over and returns an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    // The companion process is started often and must be small: it never sees the command line's parser.
    if arguments.nth(1).is_some_and(|a| a == runbook::exec::KEEPER_ARGUMENT) {
        return ExitCode::from(runbook::exec::keeper_main());
    }
    ExitCode::from(runbook::cli::main(std::env::args_os()))
}
