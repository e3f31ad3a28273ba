//! The folder of the runs: whether a run could be recorded there, and whether the record would hold.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access};

use super::{Checks, Finding, Kind, file, plain, runs};
use crate::journal::StateDir;
use crate::model::{Timestamp, format_bytes};

/// Less room than this, and no run should begin: its journal sets a reserve aside, and outputs are kept.
const LEAST: u64 = 16 << 20;
/// Less than this is worth a word.
const LITTLE: u64 = 256 << 20;
const LEAST_INODES: u64 = 100;
const LITTLE_INODES: u64 = 10_000;
/// Nothing was recorded by this program before.
const EARLIEST: &str = "2026-01-01T00:00:00Z";
/// A clock is set by so much without a word.
const SLACK_MS: i64 = 60_000;

/// Where, and for what.
pub struct StatePlace {
    pub path: PathBuf,
    /// The key that the run would take.
    pub lock: Option<String>,
    pub now: Timestamp,
}

pub fn state(checks: &mut Checks, place: StatePlace) {
    let about = Finding::new(Kind::State, "folder", place.path.display().to_string());
    let path = place.path.clone();
    checks.add_all(about.clone(), move || {
        let there = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
        vec![folder(about, &path), space(there), file_system(there)]
    });
    // A run can begin whatever the records of others hold. So many runs are looked at as there is time for.
    let until = Instant::now() + checks.limit();
    let about = Finding::new(Kind::State, "runs", "none is left unfinished").advisory();
    checks.add_all(about, move || records(&place, until));
}

fn records(place: &StatePlace, until: Instant) -> Vec<Finding> {
    let state = match StateDir::open(&place.path) {
        Ok(Some(state)) => state,
        Ok(None) => {
            let about = Finding::new(Kind::State, "runs", "none is left unfinished");
            return vec![about.ok("none yet"), clock(place.now, None)];
        }
        // What is said of the folder says it.
        Err(_) => return Vec::new(),
    };
    match runs::survey(&state, until) {
        Ok(survey) => {
            let lock = place.lock.as_ref().map(|key| lock(&state, key, &survey));
            survey.findings().into_iter().chain(lock).chain([clock(place.now, survey.newest())]).collect()
        }
        Err(why) => {
            let about = Finding::new(Kind::State, "runs", "they can be listed");
            vec![about.missing(why, "see who owns the folder, and its mode")]
        }
    }
}

/// Whether it could be written to: asked, not tried.
fn folder(about: Finding, path: &Path) -> Finding {
    let writable = |path: &Path| access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
    let shown = path.display();
    match StateDir::open(path) {
        Err(error) => about.missing(error.to_string(), "or name another folder with --state"),
        Ok(_) if !path.exists() => {
            let above = path.ancestors().skip(1).find(|p| p.exists()).unwrap_or(Path::new("/"));
            match writable(above) {
                true => about.ok(format!("{shown} is made by the first run")),
                false => about.missing(
                    format!("{shown} is not there, and you may not write to {}", above.display()),
                    "make it, or name another with --state",
                ),
            }
        }
        Ok(_) if !writable(path) => {
            about.missing(format!("{shown}: you may not write there"), "name another with --state")
        }
        Ok(_) => match std::fs::metadata(path) {
            Ok(meta) if meta.permissions().mode() & 0o055 != 0 => about.warn(
                format!("{shown}: others may look into it (mode {:03o})", meta.mode() & 0o777),
                format!("chmod 700 {shown}"),
            ),
            Ok(_) => about.ok(shown.to_string()),
            Err(error) => about.missing(format!("{shown}: {}", plain(&error)), "name another with --state"),
        },
    }
}

fn space(path: &Path) -> Finding {
    let about = Finding::new(Kind::State, "room", format!("at least {}", format_bytes(LEAST)));
    let mend = "make room, or name another folder with --state";
    match file::room(path) {
        Err(error) => about.missing(plain(&error), mend),
        Ok((free, inodes)) => {
            let counted = inodes.map_or_else(String::new, |n| format!(", {n} inodes"));
            let found = format!("{} free{counted}", format_bytes(free));
            let files = inodes.unwrap_or(u64::MAX);
            if free < LEAST || files < LEAST_INODES {
                about.missing(found, mend)
            } else if free < LITTLE || files < LITTLE_INODES {
                about.warn(found, "a run keeps what its commands say: make room soon")
            } else {
                about.ok(found)
            }
        }
    }
}

fn file_system(path: &Path) -> Finding {
    let about = Finding::new(Kind::State, "file system", "local, writable, lasting");
    let (Ok(stat), Ok(flags)) = (nix::sys::statfs::statfs(path), statvfs(path).map(|s| s.flags())) else {
        return about.skipped("the system does not say which it is");
    };
    // The kernel's numbers have 32 bits; the type here depends on the machine.
    let magic = u32::try_from(stat.filesystem_type().0 & 0xffff_ffff).unwrap_or_default();
    let (name, nature) = kind(magic);
    let elsewhere = "name a folder on a local disk with --state";
    if flags.contains(FsFlags::ST_RDONLY) {
        return about.missing(
            format!("{name}, mounted read-only"),
            "mount it writable, or name another folder with --state",
        );
    }
    match nature {
        Nature::Local => about.ok(name),
        Nature::Memory => about.warn(format!("{name}: all runs are gone after a restart"), elsewhere),
        Nature::Remote => {
            about.warn(format!("{name}: locks and syncs may not hold across the network"), elsewhere)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Local,
    Memory,
    Remote,
}

/// By the kernel's number.
fn kind(magic: u32) -> (String, Nature) {
    use Nature::{Local, Memory, Remote};
    const KNOWN: &[(u32, &str, Nature)] = &[
        (0xef53, "ext4", Local),
        (0x5846_5342, "xfs", Local),
        (0x9123_683e, "btrfs", Local),
        (0x2fc1_2fc1, "zfs", Local),
        (0xf2f5_2010, "f2fs", Local),
        (0xca45_1a4e, "bcachefs", Local),
        (0x794c_7630, "overlay", Local),
        (0x0102_1994, "tmpfs", Memory),
        (0x8584_58f6, "ramfs", Memory),
        (0x6969, "nfs", Remote),
        (0xff53_4d42, "cifs", Remote),
        (0xfe53_4d42, "smb", Remote),
        (0x0102_1997, "9p", Remote),
        (0x6573_5546, "fuse", Remote),
        (0x00c3_6400, "ceph", Remote),
        (0x5346_414f, "afs", Remote),
    ];
    match KNOWN.iter().find(|(known, ..)| *known == magic) {
        Some((_, name, nature)) => ((*name).to_owned(), *nature),
        None => (format!("file system 0x{magic:x}"), Local),
    }
}

/// Whether a run with this key would be refused.
fn lock(state: &StateDir, key: &str, survey: &runs::Survey) -> Finding {
    let about = Finding::new(Kind::State, "lock", format!("nobody holds {key:?}"));
    match state.key_run(key) {
        Ok(Some(run)) if survey.is_open(&run) => about.missing(
            format!("{key:?} is in use by run {run}"),
            match survey.is_driven(&run) {
                true => format!("it is under way: `runbook attach {run}` watches it"),
                false => format!("`runbook resume {run}` goes on with it, `runbook cancel {run}` ends it"),
            },
        ),
        Ok(_) => about.ok("free"),
        Err(error) => about.missing(error.to_string(), "see `docs/exit-codes.md`, Suspect"),
    }
}

fn clock(now: Timestamp, newest: Option<Timestamp>) -> Finding {
    let about = Finding::new(Kind::State, "clock", "not before what is recorded");
    let mend = "set the clock: times in the log and the report would be wrong";
    if Timestamp::parse(EARLIEST).is_some_and(|earliest| now < earliest) {
        return about.warn(format!("it says {} UTC", now.human()), mend);
    }
    match newest.filter(|newest| newest.0 > now.0 + SLACK_MS) {
        Some(newest) => {
            let ahead = newest.since(now);
            about.warn(format!("the newest record is from {} UTC, {ahead} ahead", newest.human()), mend)
        }
        None => about.ok("no record is ahead of it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Verdict;

    #[test]
    fn a_clock_that_went_back_is_seen() {
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let (now, before) = (at("2026-11-21T10:00:00Z"), at("2026-11-21T09:00:00Z"));
        assert_eq!(clock(now, Some(before)).verdict, Verdict::Ok);
        assert_eq!(clock(now, None).verdict, Verdict::Ok);
        let ahead = clock(before, Some(now));
        assert_eq!(ahead.verdict, Verdict::Warn);
        assert_eq!(ahead.found, "the newest record is from 2026-11-21 10:00:00 UTC, 1h00m ahead");
        assert_eq!(clock(at("1970-01-01T00:00:07Z"), None).found, "it says 1970-01-01 00:00:07 UTC");
    }

    #[test]
    fn file_systems_by_the_kernels_number() {
        assert_eq!(kind(0xef53), ("ext4".to_owned(), Nature::Local));
        assert_eq!(kind(0x6969).1, Nature::Remote);
        assert_eq!(kind(0x1234), ("file system 0x1234".to_owned(), Nature::Local));
        // This one is real.
        assert_eq!(file_system(Path::new("/proc")).verdict, Verdict::Ok);
    }
}
