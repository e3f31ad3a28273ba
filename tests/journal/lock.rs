//! Locks between processes.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use runbook::journal::{Holder, StateDir, StateError};
use runbook::model::{RunId, Timestamp};

use crate::common::{Place, place_of_second_process, run_id, second_process};

/// The second process: takes the lock, says so, and waits to be killed.
#[test]
fn hold_the_lock() {
    let Some(place) = place_of_second_process() else { return };
    let state = StateDir::open(&place).unwrap().unwrap();
    let _lock = state.run(&run_id()).unwrap().try_lock().unwrap();
    eprintln!("locked");
    // Ends when the first process is gone.
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn one_writer_and_a_killed_one_holds_nothing() {
    let place = Place::new();
    let mut child = second_process("true", "lock::hold_the_lock", place.state.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut words = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(words.any(|line| line.unwrap() == "locked"));
    let error = place.run.try_lock().unwrap_err();
    let StateError::Busy { run, pid, since } = &error else { panic!("{error}") };
    assert_eq!((run, *pid), (&run_id(), Some(child.id())));
    assert!(since.is_some());
    let text = error.to_string();
    assert!(text.contains(&format!("pid {}", child.id())), "{text}");

    child.kill().unwrap();
    child.wait().unwrap();
    let lock = place.run.try_lock().unwrap();
    // A second one in the same process is refused as well.
    assert!(
        matches!(place.run.try_lock(), Err(StateError::Busy { pid, .. }) if pid == Some(std::process::id()))
    );
    drop(lock);
    place.run.try_lock().unwrap();
}

#[test]
fn a_key_belongs_to_one_open_run() {
    let place = Place::new();
    let other = RunId::parse("db-20261121T110000Z-zzzz").unwrap();
    let holder = Holder { pid: 7, host: "bastion".into(), since: Timestamp(1_795_257_475_120), alive: true };
    let nobody = |_: &RunId| None;
    let held = |_: &RunId| Some(holder.clone());
    let lock = |run: &RunId, open: &dyn Fn(&RunId) -> Option<Holder>| {
        place.state.lock_key("db/../orders\n", run, open)
    };
    lock(&run_id(), &nobody).unwrap();
    // Its own run may take it again: a resume.
    lock(&run_id(), &held).unwrap();
    let error = lock(&other, &held).unwrap_err();
    let (key, run) = ("db/../orders\n".to_owned(), run_id());
    assert_eq!(error, StateError::Locked { key, run, holder: holder.clone() });
    assert!(error.to_string().contains("(pid 7 on bastion, since 2026-11-21 10:37:55 UTC)"), "{error}");
    // Another key is free.
    place.state.lock_key("other", &other, &held).unwrap();
    // The run is over.
    lock(&other, &nobody).unwrap();
    let asked = std::cell::Cell::new(None);
    let ask = |run: &RunId| {
        asked.set(Some(run.clone()));
        Some(holder.clone())
    };
    lock(&run_id(), &ask).unwrap_err();
    assert_eq!(asked.take(), Some(other));
}

#[test]
fn a_damaged_lock_is_not_free() {
    let place = Place::new();
    place.state.lock_key("key", &run_id(), &|_| None).unwrap();
    let locks = place.state.path().join("locks");
    for entry in std::fs::read_dir(locks).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            std::fs::write(path, b"{").unwrap();
        }
    }
    let error = place.state.lock_key("key", &run_id(), &|_| None).unwrap_err();
    assert!(matches!(error, StateError::Damaged { .. }), "{error}");
}

/// The second process: tries to take the key for a run of its own, and says whether it could.
#[test]
fn take_the_key() {
    let Some(place) = place_of_second_process() else { return };
    let state = StateDir::open_or_create(&place).unwrap();
    let tail = format!("{:04}", std::process::id() % 10_000);
    let run = RunId::parse(&format!("db-20261121T110000Z-{tail}")).unwrap();
    let alive = |_: &RunId| Some(Holder { pid: 1, host: "bastion".into(), since: Timestamp(0), alive: true });
    match state.lock_key("one", &run, &alive) {
        Ok(_) => eprintln!("taken"),
        Err(StateError::Locked { .. }) => eprintln!("refused"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn of_many_processes_one_gets_the_key() {
    let place = Place::new();
    let children: Vec<_> = (0..6)
        .map(|_| {
            second_process("true", "lock::take_the_key", place.state.path())
                .stderr(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let said: Vec<String> = children
        .into_iter()
        .map(|child| String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap())
        .collect();
    let count = |word: &str| said.iter().filter(|text| text.contains(word)).count();
    assert_eq!((count("taken"), count("refused")), (1, 5), "{said:?}");
}
