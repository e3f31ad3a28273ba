//! What a journal proves, and what it cannot: separate verdicts for separate questions.

use std::io::Read;
use std::thread;

use sha2::{Digest, Sha256};

use super::folder::Access;
use super::line::hex;
use super::reader::{JOURNAL_FILE, Scan, open};
use super::{IoFault, JournalError, RunDir};
use crate::model::{Event, RunId, RunOutcome};

/// The plan, as the run stored it.
pub const PLAN_FILE: &str = "plan.json";

/// The file and the hash of the plan that the event puts in force, if it does.
pub fn plan_of(event: &Event) -> Option<(&str, &str)> {
    match event {
        Event::RunStarted(start) => Some((PLAN_FILE, &start.plan_hash)),
        Event::Replanned(info) => Some((&info.file, &info.plan_hash)),
        _ => None,
    }
}

/// From so many bytes of a journal on, a thread for the plan is worth its start.
const LONG: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    pub integrity: Integrity,
    pub completeness: Completeness,
    pub truncation: Truncation,
    /// Good records, up to the first bad one if there is one.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// SHA-256 of the last good line, in hex; 64 zeros if there is none.
    pub head: String,
}

/// Is every line as it was written, in its place?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Integrity {
    Intact,
    /// The first bad place, or why the journal could not be read.
    Broken(JournalError),
}

/// Is it a whole run? Said of the good records only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completeness {
    /// The run named in the first record, if that is `run_started`.
    pub started: Option<RunId>,
    /// That is the run whose folder this is.
    pub right_run: bool,
    pub plan: PlanCheck,
    pub ending: Ending,
    /// Bytes after the last newline: a writer is at work, or was interrupted. They were never acknowledged.
    pub torn: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanCheck {
    /// The plan's file, and that of each plan put in its place later, has the hash that was recorded.
    Matches,
    Differs {
        file: String,
        recorded: String,
        found: String,
    },
    /// A plan's file could not be read: why.
    Unreadable(String),
    /// There is no record to compare with.
    NotRecorded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The last record is the run's end, what became of its notices aside.
    Ended(RunOutcome),
    /// The run goes on, or was interrupted, or its end was cut off.
    Open,
}

/// Are lines missing at the end?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truncation {
    /// No head was given: this cannot be known from the file alone.
    CannotBeKnown,
    /// The head is that of the last record.
    None,
    /// The head is that of an earlier record: the run went on after it was noted, and nothing up to it is missing.
    GrownSince { seq: u64, later: u64 },
    /// No record has this head: lines were cut off, the journal was rewritten, or the head is of another run.
    HeadNotFound,
}

/// What an event says that decides here. All of it has been read by then.
struct Said {
    /// The run that started.
    run: Option<RunId>,
    /// None: a remark, which leaves it as it was.
    ending: Option<Ending>,
    /// The file and the hash of the plan that it puts in force.
    plan: Option<Box<(String, String)>>,
}

impl Said {
    fn of(event: Event) -> Self {
        let ending = match &event {
            Event::RunEnded(end) => Some(Ending::Ended(end.outcome)),
            event if event.is_remark() => None,
            _ => Some(Ending::Open),
        };
        let plan = plan_of(&event).map(|(file, hash)| Box::new((file.to_owned(), hash.to_owned())));
        let run = if let Event::RunStarted(info) = event { Some(info.run) } else { None };
        Self { run, ending, plan }
    }
}

impl Verification {
    /// Nothing speaks against the journal. A run that is open, and a head that was not given, do not.
    pub fn is_good(&self) -> bool {
        self.integrity == Integrity::Intact
            && self.completeness.right_run
            && self.completeness.plan == PlanCheck::Matches
            && self.truncation != Truncation::HeadNotFound
    }
}

/// Checks the journal and the plan of a run. Changes nothing.
///
/// `expected_head` is a head noted earlier: all 64 hex digits, or the first 8 or more of them.
pub fn verify(dir: &RunDir, expected_head: Option<&str>) -> Verification {
    let wanted = expected_head.map(|head| head.trim().to_ascii_lowercase());
    let wanted = wanted.as_deref();
    let is_wanted = |head: &str| wanted.is_some_and(|wanted| wanted.len() >= 8 && head.starts_with(wanted));

    let mut scan = Scan::new();
    let mut started = None;
    let mut ending = Ending::Open;
    let mut found_at = None;
    let (result, plan) = thread::scope(|scope| {
        let mut plans = Vec::new();
        let result = open(dir, Access::Read).and_then(|file| {
            let is_long = file.metadata().is_ok_and(|meta| meta.len() > LONG);
            scan.run(&file, &dir.path().join(JOURNAL_FILE), Said::of, &mut |line, head| {
                if is_wanted(head) {
                    found_at = Some(line.seq);
                }
                let Said { run, ending: said, plan } = line.event;
                ending = said.unwrap_or(ending);
                if line.seq == 1 {
                    started = run;
                }
                if let Some((file, hash)) = plan.map(|plan| *plan) {
                    // That of the start, which every run has, is hashed while a long journal is read on.
                    let begun = (plans.is_empty() && is_long).then(|| (file.clone(), hash.clone())).and_then(
                        |(file, hash)| {
                            let check = move || check_plan(dir, &file, &hash);
                            thread::Builder::new().spawn_scoped(scope, check).ok()
                        },
                    );
                    plans.push((file, hash, begun));
                }
            })
        });
        let mut checks = plans.into_iter().map(|(file, hash, begun)| {
            let done = begun.and_then(|thread| thread.join().ok());
            done.unwrap_or_else(|| check_plan(dir, &file, &hash))
        });
        (result, checks.find(|check| *check != PlanCheck::Matches).unwrap_or(PlanCheck::Matches))
    });
    let records = scan.chain.seq();
    let truncation = match (wanted, found_at) {
        (None, _) => Truncation::CannotBeKnown,
        (Some(_), None) => Truncation::HeadNotFound,
        (Some(_), Some(seq)) if seq == records => Truncation::None,
        (Some(_), Some(seq)) => Truncation::GrownSince { seq, later: records - seq },
    };
    let plan = if started.is_some() { plan } else { PlanCheck::NotRecorded };
    let (integrity, torn) = match result {
        Ok(torn) => (Integrity::Intact, torn),
        Err(error) => (Integrity::Broken(error), None),
    };
    Verification {
        integrity,
        completeness: Completeness {
            right_run: started.as_ref() == Some(dir.id()),
            started,
            plan,
            ending,
            torn,
        },
        truncation,
        records,
        bytes: scan.good,
        head: scan.chain.head().to_owned(),
    }
}

fn check_plan(dir: &RunDir, file: &str, recorded: &str) -> PlanCheck {
    match hash_file(dir, file) {
        Ok(found) if found == recorded => PlanCheck::Matches,
        Ok(found) => PlanCheck::Differs { file: file.to_owned(), recorded: recorded.to_owned(), found },
        Err(error) => PlanCheck::Unreadable(error.to_string()),
    }
}

fn hash_file(dir: &RunDir, name: &str) -> Result<String, JournalError> {
    let mut file = dir.open_file(name)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize()).iter().map(|b| char::from(*b)).collect()),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(IoFault::new("read", &dir.path().join(name), error).into()),
        }
    }
}
