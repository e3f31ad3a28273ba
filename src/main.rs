//! The binary: hands its arguments over and returns an exit code.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // The companion processes must start fast and stay small: they never see the command line's parser.
    match arguments.next().as_ref().and_then(|first| first.to_str()) {
        Some("__keeper") => {
            if let Some(run_dir) = arguments.next() {
                return ExitCode::from(runbook::exec::keeper_main(Path::new(&run_dir)));
            }
        }
        Some("__threshold") => return ExitCode::from(runbook::drill::threshold_main(arguments)),
        Some("__first") => return ExitCode::from(runbook::drill::first_process_main(arguments)),
        _ => {}
    }
    ExitCode::from(runbook::cli::main(std::env::args_os()))
}
