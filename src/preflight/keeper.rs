//! Keepers that live: the processes that watch over the commands of runs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::model::RunId;

/// The keepers of the runs in this folder, by run. Found by what the kernel says of every process: to try the lock that a
/// keeper holds could make one fail that is just starting.
pub(super) fn living(runs: &Path) -> BTreeMap<RunId, u32> {
    let mut found = BTreeMap::new();
    let Ok(runs) = runs.canonicalize() else { return found };
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(line) = std::fs::read(process.path().join("cmdline")) else { continue };
        let mut words = line.split(|byte| *byte == 0).skip(1);
        let (Some(b"__keeper"), Some(dir)) = (words.next(), words.next()) else { continue };
        let dir = Path::new(OsStr::from_bytes(dir));
        let Some(run) = dir.file_name().and_then(OsStr::to_str).and_then(|n| RunId::parse(n).ok()) else {
            continue;
        };
        if dir.parent().and_then(|parent| parent.canonicalize().ok()).is_some_and(|parent| parent == runs) {
            found.insert(run, pid);
        }
    }
    found
}
