//! What a playbook needs on this machine, checked without starting anything.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::model::format_bytes;
use crate::plan::Requires;

/// One line for each requirement that is not met.
pub fn unmet(requires: &Requires) -> Vec<String> {
    let mut problems = Vec::new();
    for command in &requires.commands {
        if find_command(command).is_none() {
            problems.push(format!("the command {command} is not in PATH"));
        }
    }
    for file in &requires.files {
        if let Err(error) = std::fs::metadata(file) {
            problems.push(format!("{}: {}", file.display(), plain(&error)));
        }
    }
    if let Some((path, at_least)) = &requires.free_space {
        match free_space(path) {
            Ok(free) if free >= *at_least => {}
            Ok(free) => problems.push(format!(
                "{}: {} are free, {} are needed",
                path.display(),
                format_bytes(free),
                format_bytes(*at_least)
            )),
            Err(error) => problems.push(format!("{}: {}", path.display(), plain(&error))),
        }
    }
    problems
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or folder".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

/// Where a shell would find the command.
fn find_command(command: &str) -> Option<PathBuf> {
    if command.contains('/') {
        let path = PathBuf::from(command);
        return is_executable(&path).then_some(path);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(command)).find(|p| is_executable(p))
}

fn is_executable(path: &Path) -> bool {
    let Ok(name) = CString::new(path.as_os_str().as_bytes()) else { return false };
    path.is_file() && nix::unistd::access(name.as_c_str(), nix::unistd::AccessFlags::X_OK).is_ok()
}

/// Bytes that this user may still write where `path` is, or will be.
fn free_space(path: &Path) -> std::io::Result<u64> {
    let existing = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let stat = nix::sys::statvfs::statvfs(existing)?;
    Ok(stat.blocks_available() * stat.fragment_size())
}
