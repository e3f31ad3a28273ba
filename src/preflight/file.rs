//! Files that must be there, and room on a file system.

use std::path::Path;

use super::{Checks, Finding, Kind, not_given, plain};
use crate::model::format_bytes;

pub(super) fn exists(checks: &mut Checks, path: &Path) {
    let shown = path.display().to_string();
    if let Some(param) = not_given(&shown) {
        checks.add_found(needs_param(Finding::new(Kind::File, unrooted(&shown), ""), param));
        return;
    }
    let about = Finding::new(Kind::File, &shown, "something is there");
    let path = path.to_owned();
    checks.add(about, move |about| match std::fs::metadata(&path) {
        Ok(meta) if meta.is_file() => about.ok(format!("a file, {}", format_bytes(meta.len()))),
        Ok(meta) if meta.is_dir() => about.ok("a folder"),
        Ok(_) => about.ok("there, neither a file nor a folder"),
        Err(error) => about.missing(plain(&error), mend(&path)),
    });
}

/// The nearest folder that is there says where the path goes wrong.
fn mend(path: &Path) -> String {
    let there = path.ancestors().skip(1).find(|p| p.exists());
    match there {
        Some(folder) if Some(folder) != path.parent() => {
            format!("of its path only {} is there: is a volume not mounted?", folder.display())
        }
        _ => "put it there, or name another with its parameter".to_owned(),
    }
}

pub(super) fn free_space(checks: &mut Checks, path: &Path, at_least: u64) {
    let shown = path.display().to_string();
    let wanted = format!("{} free", format_bytes(at_least));
    if let Some(param) = not_given(&shown) {
        checks.add_found(needs_param(Finding::new(Kind::Space, unrooted(&shown), wanted), param));
        return;
    }
    let about = Finding::new(Kind::Space, &shown, wanted);
    let path = path.to_owned();
    checks.add(about, move |about| match room(&path) {
        Ok((free, _)) if free >= at_least => {
            about.ok(format!("{} free, {} needed", format_bytes(free), format_bytes(at_least)))
        }
        Ok((free, _)) => about.missing(
            format!("{} are free, {} are needed", format_bytes(free), format_bytes(at_least)),
            format!("make room: {} more", format_bytes(at_least - free)),
        ),
        Err(error) => {
            about.missing(plain(&error), "see whether it is mounted, and whether you may look there")
        }
    });
}

/// Bytes and files that this user may still write where `path` is, or will be.
pub(super) fn room(path: &Path) -> std::io::Result<(u64, Option<u64>)> {
    let existing = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let stat = nix::sys::statvfs::statvfs(existing)?;
    // Some file systems make inodes as they need them and count none.
    let inodes = (stat.files() > 0).then(|| stat.files_available());
    Ok((stat.blocks_available() * stat.fragment_size(), inodes))
}

/// The folder that a parameter's path seems to be in is none: the path may be absolute once it is given.
fn unrooted(shown: &str) -> &str {
    shown.find('‹').map_or(shown, |at| &shown[at..])
}

pub(super) fn needs_param(about: Finding, param: &str) -> Finding {
    about.skipped(format!("not looked at: it needs -p {param}=VALUE"))
}
