//! The binary: hands its arguments over and returns an exit code.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // The companion process must start fast and stay small: it never sees the command line's parser.
    if arguments.next().is_some_and(|first| first == "__keeper")
        && let Some(run_dir) = arguments.next()
    {
        return ExitCode::from(runbook::exec::keeper_main(Path::new(&run_dir)));
    }
    ExitCode::from(runbook::cli::main(std::env::args_os()))
}
