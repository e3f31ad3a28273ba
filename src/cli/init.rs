//! `runbook init`: a commented playbook and a `runbook.yaml` to start from.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::args::Init;
use super::context::{Context, print};
use super::error::CliError;

const PLAYBOOK: &str = include_str!("init/first.yaml");
const CONFIG: &str = include_str!("init/runbook.yaml");

pub fn init(context: &Context, args: &Init) -> Result<u8, CliError> {
    let folder = match &args.folder {
        Some(folder) => context.cwd.join(folder),
        None => context.cwd.clone(),
    };
    let playbooks = folder.join("playbooks");
    std::fs::create_dir_all(&playbooks).map_err(|e| CliError::io(playbooks.display(), &e))?;
    let files = [(folder.join("runbook.yaml"), CONFIG), (playbooks.join("first.yaml"), PLAYBOOK)];
    for (path, _) in &files {
        if std::fs::symlink_metadata(path).is_ok() {
            return Err(CliError::refused(format!("{} is there already", path.display()))
                .hint("nothing was written; give another folder"));
        }
    }
    for (path, text) in &files {
        write_new(path, text)?;
        print(&format!("wrote {}\n", path.display()))?;
    }
    print("next: runbook lint first, runbook plan first, runbook run first\n")?;
    Ok(0)
}

/// Never over a file that is there.
fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut f| f.write_all(text.as_bytes())).map_err(|e| CliError::io(path.display(), &e))
}
