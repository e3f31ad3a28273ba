//! The journal's reader: of a journal that anybody may have changed, either exactly the records that were written are
//! read, or it is refused at the first byte of the first line that is wrong. What is refused is left as it is.
//!
//! Input: `e`, then edits of the golden journal; `r`, then a journal byte for byte; or `s`, then events, one a line,
//! which are sealed into a chain with right sums, so that only their content decides.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use runbook::journal::{
    Integrity, JOURNAL_FILE, Journal, JournalError, MAX_LINE, RunDir, StateDir, Tail, read, verify,
};
use runbook::model::{Event, FORMAT, Millis, Record, RunId, Timestamp};
use sha2::{Digest, Sha256};

use super::input::Input;

const GOLDEN: &[u8] = include_bytes!("../../tests/golden/journal-v1.jsonl");
/// The shortest line with a sum is far longer.
const MOST_EDITS: usize = 16;

pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() {
        b's' => PLACE.with(|place| sealed(place, input.rest())),
        b'r' => PLACE.with(|place| changed(place, input.rest())),
        _ => PLACE.with(|place| changed(place, &edited(input))),
    }
}

/// The golden journal after some edits.
fn edited(mut input: Input<'_>) -> Vec<u8> {
    let mut journal = GOLDEN.to_vec();
    let lines: Vec<usize> = std::iter::once(0).chain(newlines(GOLDEN).map(|at| at + 1)).collect();
    let line = |n: usize| &GOLDEN[lines[n % (lines.len() - 1)]..lines[n % (lines.len() - 1) + 1]];
    for _ in 0..MOST_EDITS {
        if input.is_empty() {
            break;
        }
        let what = input.byte();
        let at = input.number() % (journal.len() + 1);
        let start = journal[..at].iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        let length = usize::from(input.byte());
        let end = (at + length).min(journal.len());
        match what % 8 {
            0 => journal.truncate(at),
            1 => journal.truncate(start),
            2 => drop(journal.drain(at..end)),
            3 => drop(journal.splice(at..end, input.take(length).iter().copied())),
            4 => drop(journal.splice(at..at, input.take(length).iter().copied())),
            // Lines put in twice, moved, replaced.
            5 => drop(journal.splice(start..start, line(length).iter().copied())),
            6 => drop(journal.splice(at..at, line(length).iter().copied())),
            _ => {
                if let Some(byte) = journal.get_mut(at) {
                    *byte ^= 1 << (length % 8);
                }
            }
        }
    }
    journal
}

fn newlines(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at)
}

/// What must come of reading: so many bytes are good, and what follows them is nothing, a torn line, or wrong.
#[derive(Debug, PartialEq)]
enum Rest {
    Nothing,
    Torn(u64),
    Wrong,
}

/// A journal that differs from the golden one in any way. Nobody can forge a line of it, so whole lines of the golden
/// journal from its beginning are good, and no others.
fn changed(place: &Place, journal: &[u8]) {
    let good = newlines(journal)
        .map(|at| at + 1)
        .take_while(|end| GOLDEN.starts_with(&journal[..*end]))
        .last()
        .unwrap_or(0);
    let rest = match &journal[good..] {
        [] => Rest::Nothing,
        torn if !torn.contains(&b'\n') && torn.len() <= MAX_LINE => Rest::Torn(torn.len() as u64),
        _ => Rest::Wrong,
    };
    place.set(journal);
    let records = place.reads(journal, Some((good as u64, &rest)));
    if let Some(records) = records {
        assert_eq!(records, place.golden[..records.len()], "the records are those that were written");
        assert_eq!(records.len(), newlines(&journal[..good]).count());
    }
}

/// Events with whatever stands in them, in lines that are right in every other way.
fn sealed(place: &Place, events: &[u8]) {
    let mut journal = Vec::new();
    let mut prev = "0".repeat(64);
    for (n, event) in events.split(|byte| *byte == b'\n').enumerate() {
        let at = Timestamp(1_795_257_475_120 + n as i64);
        let at = serde_json::to_string(&at).expect("a time");
        let mut line = format!(
            "{{\"v\":{FORMAT},\"seq\":{},\"epoch\":1,\"t\":{n},\"at\":{at},\"prev\":\"{prev}\",\"event\":",
            n + 1
        )
        .into_bytes();
        line.extend_from_slice(event);
        let sum = hex(&line);
        line.extend_from_slice(format!(",\"sum\":\"{}\"}}", &sum[..16]).as_bytes());
        prev = hex(&line);
        journal.extend_from_slice(&line);
        journal.push(b'\n');
    }
    place.set(&journal);
    let Some(records) = place.reads(&journal, None) else { return };
    assert_eq!(records.len(), newlines(&journal).count());
    // What was read can be written, and reads back as the same.
    place.clear();
    let mut again = Journal::create(&place.run).expect("a journal");
    again.append(&records).expect("what was read can be written");
    let (contents, torn) = read(&place.run).expect("what was written can be read");
    assert_eq!((contents.records, torn), (records, None));
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

thread_local! {
    static PLACE: LazyCell<Place> = LazyCell::new(Place::new);
}

struct Place {
    _folder: tempfile::TempDir,
    run: RunDir,
    golden: Vec<Record>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDir::open_or_create(folder.path()).expect("the state folder");
        let run =
            state.create_run(&RunId::parse("db-20261121T103755Z-ab1d").expect("a run id")).expect("a run");
        let mut place = Self { _folder: folder, run, golden: Vec::new() };
        drop(Journal::create(&place.run).expect("a journal"));
        place.set(GOLDEN);
        place.golden = read(&place.run).expect("the golden journal reads").0.records;
        place
    }

    fn journal(&self) -> PathBuf {
        self.run.path().join(JOURNAL_FILE)
    }

    /// Puts these bytes into the journal, and removes what an earlier input left.
    fn set(&self, bytes: &[u8]) {
        self.clear();
        drop(Journal::create(&self.run).expect("a journal"));
        std::fs::write(self.journal(), bytes).expect("the journal is written");
    }

    fn clear(&self) {
        for name in self.files().into_keys().filter(|name| name != "journal.reserve") {
            std::fs::remove_file(self.run.path().join(name)).expect("a file goes");
        }
    }

    /// Every file of the run, but of the reserve only that it is there.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(self.run.path()).expect("the run's folder") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("its kind").is_file() {
                let name = entry.file_name().into_string().expect("a readable name");
                let reserve = name == "journal.reserve";
                let bytes = if reserve { Vec::new() } else { std::fs::read(entry.path()).expect("readable") };
                files.insert(name, bytes);
            }
        }
        files
    }

    /// Reads the journal in every way there is. All agree, with each other and with `wanted`; the records, if it was
    /// accepted.
    fn reads(&self, journal: &[u8], wanted: Option<(u64, &Rest)>) -> Option<Vec<Record>> {
        let before = self.files();
        let read = read(&self.run);
        let found = match &read {
            Ok((contents, None)) => (contents.bytes, Rest::Nothing),
            Ok((contents, Some(bytes))) => (contents.bytes, Rest::Torn(*bytes)),
            Err(JournalError::Damaged { offset, line, .. }) => {
                let before = &journal[..usize::try_from(*offset).expect("it fits")];
                assert_eq!(*line, newlines(before).count() as u64 + 1, "byte {offset} is in line {line}");
                assert!(before.is_empty() || before.ends_with(b"\n"), "byte {offset} begins a line");
                (*offset, Rest::Wrong)
            }
            Err(JournalError::Newer { offset, .. }) => (*offset, Rest::Wrong),
            Err(other) => panic!("{other}"),
        };
        let length = journal.len() as u64;
        assert!(found.0 < length || found == (length, Rest::Nothing), "{found:?} of {length}");
        if let Some((good, rest)) = wanted {
            assert_eq!((found.0, &found.1), (good, rest));
        }
        self.others_agree(&read, found.0);
        assert!(self.files() == before, "looking changed something");
        self.opens(journal, &before, read)
    }

    fn others_agree(
        &self,
        read: &Result<(runbook::journal::Contents, Option<u64>), JournalError>,
        good: u64,
    ) {
        let verdict = verify(&self.run, None);
        assert_eq!(verdict.bytes, good);
        let followed = Tail::open(&self.run).expect("the journal opens").next_records();
        match read {
            Ok((contents, torn)) => {
                assert_eq!(verdict.integrity, Integrity::Intact);
                assert_eq!((&verdict.completeness.torn, &verdict.head), (torn, &contents.head));
                assert_eq!(verdict.records, contents.records.len() as u64);
                assert_eq!(followed.as_ref(), Ok(&contents.records));
                assert!(contents.records.iter().zip(1..).all(|(record, seq)| record.seq == seq));
            }
            Err(error) => {
                assert_eq!(verdict.integrity, Integrity::Broken(error.clone()));
                assert_eq!(followed.as_ref(), Err(error));
            }
        }
    }

    /// Opens the journal for writing: only a torn last line is moved, and then records can follow.
    fn opens(
        &self,
        journal: &[u8],
        before: &BTreeMap<String, Vec<u8>>,
        read: Result<(runbook::journal::Contents, Option<u64>), JournalError>,
    ) -> Option<Vec<Record>> {
        let opened = Journal::open(&self.run);
        let after = self.files();
        let (contents, torn) = match read {
            Ok(read) => read,
            Err(error) => {
                assert_eq!(opened.err(), Some(error));
                assert!(after == *before, "what is refused is not changed");
                return None;
            }
        };
        let (mut writer, reopened, moved) = opened.expect("what can be read can be opened");
        assert_eq!(reopened, contents);
        assert_eq!(moved.as_ref().map(|torn| torn.bytes), torn);
        let (good, rest) = journal.split_at(usize::try_from(contents.bytes).expect("it fits"));
        assert!(after[JOURNAL_FILE] == good, "every complete line is left alone");
        match &moved {
            Some(torn) => assert!(after[&torn.file] == rest, "the torn line is kept"),
            None => assert_eq!(after.len(), before.len()),
        }
        let seq = contents.records.len() as u64 + 1;
        let epoch = contents.records.last().map_or(1, |record| record.epoch);
        let event = Event::PhaseStarted { phase: "next".into() };
        let next = Record { seq, epoch, t: Millis(seq), at: Timestamp(0), event };
        writer.append(std::slice::from_ref(&next)).expect("a record can follow");
        let (longer, torn) = runbook::journal::read(&self.run).expect("it reads");
        assert_eq!((longer.records.last(), longer.records.len() as u64, torn), (Some(&next), seq, None));
        Some(contents.records)
    }
}
