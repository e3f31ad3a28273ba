//! The state folder: private whatever the umask, and nothing planted in it is followed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use runbook::journal::{JOURNAL_FILE, Journal, JournalError, StateDir, StateError, read};
use runbook::model::RunId;

use crate::common::{Place, RUN, place_of_second_process, run_id, second_process, skipped, small_run};

fn is_refused<T: std::fmt::Debug>(result: Result<T, StateError>) -> bool {
    matches!(result, Err(StateError::Unsafe { .. }))
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o777
}

/// The second process: its umask was set by the first.
#[test]
fn make_a_run() {
    let Some(place) = place_of_second_process() else { return };
    let state = StateDir::open_or_create(&place.join("a/b/state")).unwrap();
    let run = state.create_run(&run_id()).unwrap();
    run.write_file("plan.json", b"{}").unwrap();
    let _lock = run.try_lock().unwrap();
    drop(state.lock_key("key", &run_id(), &|_| None).unwrap());
    Journal::create(&run).unwrap().append(&small_run()[..2]).unwrap();
}

#[test]
fn folders_are_0700_and_files_0600_whatever_the_umask() {
    for umask in ["000", "022", "077", "777"] {
        let dir = tempfile::tempdir().unwrap();
        let ran =
            second_process(&format!("umask {umask}"), "folder::make_a_run", dir.path()).output().unwrap();
        assert!(ran.status.success(), "umask {umask}: {}", String::from_utf8_lossy(&ran.stderr));
        let mut seen = 0;
        let mut folders = vec![dir.path().join("a")];
        while let Some(folder) = folders.pop() {
            assert_eq!(mode(&folder), 0o700, "umask {umask}: {}", folder.display());
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                seen += 1;
                if path.is_dir() {
                    folders.push(path);
                } else {
                    assert_eq!(mode(&path), 0o600, "umask {umask}: {}", path.display());
                }
            }
        }
        // b, state, runs, locks, guard, a key, the run, output, keeper, plan, lock, journal, reserve
        assert_eq!(seen, 13, "umask {umask}");
    }
}

#[test]
fn a_reader_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(StateDir::open(&dir.path().join("none")).unwrap().is_none());
    assert!(StateDir::open(dir.path()).unwrap().is_none());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn planted_links_are_refused() {
    let place = Place::new();
    place.write(&small_run());
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("target");
    fs::write(&target, b"mine").unwrap();

    // The run's files.
    fs::rename(place.journal(), elsewhere.path().join("journal")).unwrap();
    symlink(elsewhere.path().join("journal"), place.journal()).unwrap();
    assert!(matches!(read(&place.run), Err(JournalError::State(StateError::Unsafe { .. }))));
    let error = Journal::open(&place.run).unwrap_err();
    assert!(error.is_suspect(), "{error}");
    symlink(&target, place.run.path().join("plan.json")).unwrap();
    assert!(is_refused(place.run.read_file("plan.json", 100)));
    symlink(&target, place.run.path().join(".plan.json.new")).unwrap();
    place.run.write_file("plan.json", b"{}").unwrap();
    assert_eq!(place.run.read_file("plan.json", 100).unwrap(), b"{}");
    symlink(&target, place.run.path().join("writer.lock")).unwrap();
    assert!(is_refused(place.run.try_lock()));
    symlink(&target, place.state.path().join("locks/guard")).unwrap();
    assert!(is_refused(place.state.lock_key("key", &run_id(), &|_| None)));
    assert_eq!(fs::read(&target).unwrap(), b"mine", "nothing was written through a link");

    // A run's folder.
    let other = RunId::parse("db-20261121T110000Z-zzzz").unwrap();
    symlink(place.run.path(), place.state.path().join("runs").join(other.as_str())).unwrap();
    assert!(is_refused(place.state.run(&other)));
    assert_eq!(place.state.runs().unwrap(), [run_id()]);
    assert!(place.state.create_run(&other).is_err());

    // The folder of runs.
    let root = place.state.path();
    fs::rename(root.join("runs"), root.join("old")).unwrap();
    symlink(root.join("old"), root.join("runs")).unwrap();
    assert!(is_refused(StateDir::open(root)));
    assert!(is_refused(StateDir::open_or_create(root)));
}

#[test]
fn a_fifo_in_place_of_a_file_is_refused_and_not_waited_for() {
    let place = Place::new();
    let made = std::process::Command::new("mkfifo").arg(place.journal()).status().unwrap();
    assert!(made.success());
    assert!(matches!(read(&place.run), Err(JournalError::State(StateError::Unsafe { .. }))));
}

#[test]
fn what_others_can_write_to_is_refused() {
    let place = Place::new();
    place.write(&small_run());
    let root = place.state.path().to_owned();
    let run = root.join("runs").join(RUN);
    for path in [&root, &root.join("runs"), &run] {
        for bad in [0o770, 0o702, 0o777] {
            fs::set_permissions(path, Permissions::from_mode(bad)).unwrap();
            let result = StateDir::open(&root).and_then(|state| state.unwrap().run(&run_id()).map(drop));
            assert!(is_refused(result), "{} {bad:o}", path.display());
        }
        // Others may look, if somebody wants that.
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        StateDir::open(&root).unwrap().unwrap().run(&run_id()).unwrap();
    }
    fs::set_permissions(run.join(JOURNAL_FILE), Permissions::from_mode(0o620)).unwrap();
    let error = read(&place.run).unwrap_err();
    assert!(error.to_string().contains("others can write to it (mode 620)"), "{error}");
}

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    let place = Place::new();
    place.write(&small_run());
    if chown(place.journal(), Some(12_345), None).is_err() {
        skipped("only root can give files away, so no foreign owner was tested");
        return;
    }
    let error = read(&place.run).unwrap_err();
    assert!(error.to_string().contains("it belongs to user 12345"), "{error}");
    let root = place.state.path();
    chown(root, Some(12_345), None).unwrap();
    assert!(is_refused(StateDir::open(root)));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let place = Place::new();
    for bad in ["../x", "../../etc/passwd", "/etc/passwd", "", "a\nb"] {
        assert_eq!(place.state.find(bad), Err(StateError::NotARun(bad.to_owned())));
    }
    for bad in ["../plan.json", "a/b", "", ".", "..", ".hidden", "a\0b"] {
        assert_eq!(place.run.write_file(bad, b""), Err(StateError::FileName(bad.to_owned())));
        assert_eq!(place.run.read_file(bad, 1), Err(StateError::FileName(bad.to_owned())));
    }
}

#[test]
fn runs_are_found_as_people_name_them() {
    let place = Place::new();
    for name in ["db-20261122T000000Z-bbbb", "web-20261120T000000Z-cccc"] {
        place.state.create_run(&RunId::parse(name).unwrap()).unwrap();
    }
    fs::create_dir(place.state.path().join("runs/lost+found")).unwrap();
    fs::write(place.state.path().join("runs/db-20261123T000000Z-file"), b"").unwrap();
    let names: Vec<String> = place.state.runs().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["db-20261122T000000Z-bbbb", RUN, "web-20261120T000000Z-cccc"]);
    let find = |text: &str| place.state.find(text).map(|run| run.to_string());
    assert_eq!(find("last").unwrap(), "db-20261122T000000Z-bbbb");
    assert_eq!(find("db").unwrap(), "db-20261122T000000Z-bbbb");
    assert_eq!(find("w").unwrap(), "web-20261120T000000Z-cccc");
    assert_eq!(find(RUN).unwrap(), RUN);
    assert_eq!(
        find("db-2026").unwrap_err().to_string(),
        format!("\"db-2026\" matches 2 runs: db-20261122T000000Z-bbbb, {RUN}")
    );
    assert_eq!(
        find("wep").unwrap_err().to_string(),
        "no run matches \"wep\"; did you mean web-20261120T000000Z-cccc?"
    );
    assert!(find("network").unwrap_err().to_string().contains("the newest runs are db-2026"));
}

#[test]
fn files_have_a_limit_and_are_replaced_whole() {
    let place = Place::new();
    place.run.write_file("plan.json", &[b'x'; 100]).unwrap();
    assert_eq!(place.run.read_file("plan.json", 100).unwrap().len(), 100);
    assert!(matches!(place.run.read_file("plan.json", 99), Err(StateError::TooLong { .. })));
    place.run.write_file("plan.json", b"short").unwrap();
    assert_eq!(place.run.read_file("plan.json", 100).unwrap(), b"short");
    let error = place.run.read_file("none.json", 100).unwrap_err().to_string();
    assert!(error.starts_with("cannot open ") && error.ends_with("no such file or directory"), "{error}");
}

#[test]
fn a_run_is_made_once() {
    let place = Place::new();
    assert!(matches!(place.state.create_run(&run_id()), Err(StateError::Io(_))));
    let missing = RunId::parse("db-20270101T000000Z-none").unwrap();
    assert!(matches!(place.state.run(&missing), Err(StateError::NoSuchRun { .. })));
}
