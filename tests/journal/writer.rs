//! A journal that cannot be written: nothing is lost that was acknowledged, nothing is acknowledged that is lost.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use runbook::journal::{Journal, JournalError, RESERVE_FILE, StateDir, read};
use runbook::model::{Event, Record};

use crate::common::{Place, place_of_second_process, record, run_id, second_process, skipped, small_run};

fn long(seq: u64, length: usize) -> Record {
    record(seq, Event::PhaseStarted { phase: "x".repeat(length) })
}

/// Runs `test` in a second process whose work folder is a file system of 1 MiB, if this machine allows one.
fn on_a_small_disk(test: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=1m,mode=700 tmpfs \"$RUNBOOK_TEST_PLACE\"";
    let unshared = |command: &Command| {
        let mut outer = Command::new("unshare");
        outer.args(["--map-root-user", "--mount"]).arg(command.get_program()).args(command.get_args());
        outer.env("RUNBOOK_TEST_PLACE", dir.path());
        outer
    };
    let mut probe = Command::new("sh");
    probe.args(["-c", mount]);
    if !unshared(&probe).output().is_ok_and(|ran| ran.status.success()) {
        skipped("this machine lets us mount no small file system, so no full disk was tested");
        return;
    }
    let ran = unshared(&second_process(mount, test, dir.path())).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && text.contains("full disk tested"), "{text}");
}

fn fill(dir: &Path) {
    let mut filler = fs::File::create(dir.join("filler")).unwrap();
    let full = loop {
        // Small pieces: what is left at the end is less than one of them.
        if let Err(error) = filler.write_all(&[1; 512]).and_then(|()| filler.flush()) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    // Or the file system has delayed some of it, and finds room after all.
    let _ = filler.sync_all();
    while filler.write_all(&[1; 512]).is_ok() {}
}

/// The second process.
#[test]
fn fill_the_disk() {
    let Some(place) = place_of_second_process() else { return };
    let run = StateDir::open_or_create(&place.join("state")).unwrap().create_run(&run_id()).unwrap();
    let mut journal = Journal::create(&run).unwrap();
    journal.append(&small_run()[..2]).unwrap();
    fill(&place);
    // Longer than what is left of the last page: a part of it is written before the disk is full.
    let error = journal.append(&[long(3, 20_000)]).unwrap_err();
    assert!(error.is_full() && !error.is_suspect());
    let text = error.to_string();
    let path = run.path().join("journal.jsonl").display().to_string();
    assert_eq!(text, format!("cannot write {path}: no space left on device"));
    // The part is gone again.
    let (contents, torn) = read(&run).unwrap();
    assert_eq!((&contents.records[..], torn), (&small_run()[..2], None));
    // Nothing new is taken, however small.
    assert_eq!(journal.append(&[long(3, 1)]), Err(error.clone()));
    // What has happened is: as long as the reserve lasts.
    let outcome = long(3, 20_000);
    journal.append_outcomes(std::slice::from_ref(&outcome)).unwrap();
    assert!(!run.path().join(RESERVE_FILE).exists());
    assert_eq!(read(&run).unwrap().0.records[2], outcome);
    assert_eq!(journal.append(&[long(4, 1)]), Err(error.clone()));
    assert!(journal.append_outcomes(&[long(4, 400_000)]).unwrap_err().is_full());
    journal.append_outcomes(&[long(4, 20_000)]).unwrap();
    assert_eq!(read(&run).unwrap().0.records.len(), 4);
    drop(journal);
    // Without room for a reserve nothing goes on.
    fill(&place);
    assert!(Journal::open(&run).unwrap_err().is_full());
    fs::remove_file(place.join("filler")).unwrap();
    let (mut journal, contents, torn) = Journal::open(&run).unwrap();
    assert_eq!((contents.records.len(), torn), (4, None));
    journal.append(&[long(5, 1)]).unwrap();
    assert!(run.path().join(RESERVE_FILE).exists());
    eprintln!("full disk tested");
}

#[test]
fn a_full_disk_still_takes_outcomes() {
    on_a_small_disk("writer::fill_the_disk");
}

/// The second process.
#[test]
fn find_the_disk_full_at_an_outcome() {
    let Some(place) = place_of_second_process() else { return };
    let run = StateDir::open_or_create(&place.join("state")).unwrap().create_run(&run_id()).unwrap();
    let mut journal = Journal::create(&run).unwrap();
    journal.append(&small_run()[..2]).unwrap();
    fill(&place);
    journal.append_outcomes(&[long(3, 20_000)]).unwrap();
    assert!(journal.append(&[long(4, 1)]).unwrap_err().is_full());
    eprintln!("full disk tested");
}

#[test]
fn the_first_to_find_the_disk_full_may_be_an_outcome() {
    on_a_small_disk("writer::find_the_disk_full_at_an_outcome");
}

/// The second process: may write files of a few kilobytes at most.
#[test]
fn pass_a_limit() {
    let Some(place) = place_of_second_process() else { return };
    let run = StateDir::open(&place).unwrap().unwrap().run(&run_id()).unwrap();
    let (mut journal, ..) = Journal::open(&run).unwrap();
    let error = journal.append(&[long(3, 4_000_000)]).unwrap_err();
    assert!(error.to_string().ends_with("file too large"), "{error}");
    assert_eq!(journal.append(&[long(3, 1)]), Err(error.clone()));
    assert_eq!(journal.append_outcomes(&[long(3, 1)]), Err(error));
    eprintln!("limit tested");
}

#[test]
fn after_another_error_nothing_is_taken_any_more() {
    let place = Place::new();
    place.write(&small_run()[..2]);
    let setup = "trap '' XFSZ; ulimit -f 2048";
    let ran = second_process(setup, "writer::pass_a_limit", place.state.path()).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && text.contains("limit tested"), "{text}");
    // The next one sets aside what was written of the line.
    let (_, contents, torn) = Journal::open(&place.run).unwrap();
    assert_eq!(contents.records, small_run()[..2]);
    assert!(torn.unwrap().bytes > 1_000_000);
}

#[test]
fn a_line_too_long_is_refused() {
    let place = Place::new();
    let mut journal = Journal::create(&place.run).unwrap();
    let error = journal.append(&[long(1, 16 << 20)]).unwrap_err();
    assert!(matches!(error, JournalError::Record { seq: 1, .. }), "{error}");
    assert_eq!(place.bytes(), b"");
    let (mut journal, ..) = Journal::open(&place.run).unwrap();
    journal.append(&[long(1, (16 << 20) - 300)]).unwrap();
    assert_eq!(read(&place.run).unwrap().0.records.len(), 1);
}

#[test]
fn a_second_writer_is_noticed() {
    let place = Place::new();
    place.write(&small_run()[..2]);
    let (mut one, ..) = Journal::open(&place.run).unwrap();
    let (mut two, ..) = Journal::open(&place.run).unwrap();
    one.append(&[long(3, 1)]).unwrap();
    let error = two.append(&[long(3, 2)]).unwrap_err();
    assert!(matches!(error, JournalError::Interfered { .. }), "{error}");
    assert_eq!(two.append(&[long(3, 2)]), Err(error));
    one.append(&[long(4, 1)]).unwrap();
    assert_eq!(read(&place.run).unwrap().0.records.len(), 4);
}

#[test]
fn the_reserve_is_real_and_goes_with_the_end() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let reserve = place.run.path().join(RESERVE_FILE);
    let mut journal = Journal::create(&place.run).unwrap();
    assert!(reserve.metadata().unwrap().blocks() * 512 >= 256 << 10);
    journal.append(&small_run()).unwrap();
    assert!(!reserve.exists());
    let (mut journal, ..) = Journal::open(&place.run).unwrap();
    assert!(reserve.exists(), "the run goes on after all");
    journal.append(&[long(5, 1)]).unwrap();
    assert!(reserve.exists());
}
