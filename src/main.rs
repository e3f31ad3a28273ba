//! The binary: hands over to the library.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Before anything else: the keeper must start fast and stay small.
    if args.next().is_some_and(|arg| arg == "__keeper") {
        return match args.next() {
            Some(run_dir) => ExitCode::from(runbook::exec::keeper_main(Path::new(&run_dir))),
            None => ExitCode::from(2),
        };
    }
    ExitCode::SUCCESS
}
