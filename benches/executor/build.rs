//! A clean release build, into a folder of its own that is removed.

use std::path::PathBuf;
use std::process::Command;

use crate::Failure;
use crate::process;
use crate::samples::Samples;

pub fn measure(samples: &mut Samples) -> Result<(), Failure> {
    eprintln!("a clean release build");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("build-{}", std::process::id()));
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--release", "--locked", "--bin", "runbook", "--target-dir"]).arg(&folder);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let spent = process::run(&mut command, 0);
    // What is left behind is below the build's folder.
    let _ = std::fs::remove_dir_all(&folder);
    samples.add("build.seconds", spent?.seconds);
    Ok(())
}
