//! `runbook report`: the incident report, from the journal alone.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::model::TaskId;
use crate::report::Incident;

use super::args::{Report, ReportFormat};
use super::context::{Context, print};
use super::error::CliError;

/// As much of the end of an output as a report may look at.
const LONGEST_TAIL: u64 = 64 << 10;

pub fn report(context: &Context, args: &Report) -> Result<u8, CliError> {
    let loaded = context.load_run(&args.run)?;
    let tail = tail_of(loaded.dir.path());
    let incident = Incident::build(&loaded.plan, &loaded.records, &loaded.head, &tail);
    let text = match args.format {
        ReportFormat::Md => incident.to_markdown(),
        ReportFormat::Html => incident.to_html(),
        ReportFormat::Json => {
            let mut text = incident.to_json().map_err(|e| CliError::io("the report", &e.into()))?;
            text.push('\n');
            text
        }
    };
    match &args.output {
        None => print(&text)?,
        Some(path) => {
            std::fs::write(path, text).map_err(|e| CliError::io(path.display(), &e))?;
            print(&format!("written to {}\n", path.display()))?;
        }
    }
    Ok(0)
}

/// Reads the end of a task's output.
pub fn tail_of(run_dir: &Path) -> impl Fn(&TaskId, bool) -> Option<Vec<u8>> {
    let output = run_dir.join("output");
    move |task, stderr| {
        let name = format!("{}.{}", task.file_stem(), if stderr { "err" } else { "out" });
        let mut options = std::fs::OpenOptions::new();
        let options = options.read(true).custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits());
        let mut file = options.open(output.join(name)).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_TAIL))).ok()?;
        let mut bytes = Vec::new();
        file.take(LONGEST_TAIL).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}
