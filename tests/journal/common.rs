//! What the tests share: a state folder, records, and a second process.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use runbook::journal::{JOURNAL_FILE, Journal, RunDir, StateDir};
use runbook::model::{
    Event, Millis, Record, RunEnd, RunId, RunOutcome, StartInfo, StepId, StepOutcome, Timestamp,
};

pub const RUN: &str = "db-20261121T103755Z-ab1d";

/// The variable that tells a test to be the second process, and where to work.
const PLACE: &str = "RUNBOOK_TEST_PLACE";

pub struct Place {
    _dir: tempfile::TempDir,
    pub state: StateDir,
    pub run: RunDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open_or_create(&dir.path().join("state")).unwrap();
        let run = state.create_run(&run_id()).unwrap();
        Self { _dir: dir, state, run }
    }

    pub fn journal(&self) -> PathBuf {
        self.run.path().join(JOURNAL_FILE)
    }

    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.journal()).unwrap()
    }

    /// Replaces the journal's bytes in place.
    pub fn set(&self, bytes: &[u8]) {
        std::fs::write(self.journal(), bytes).unwrap();
    }

    /// Writes a journal of these records, and closes it.
    pub fn write(&self, records: &[Record]) -> String {
        let mut journal = Journal::create(&self.run).unwrap();
        journal.append(records).unwrap();
        journal.head().to_owned()
    }
}

pub fn run_id() -> RunId {
    RunId::parse(RUN).unwrap()
}

pub fn step(name: &str) -> StepId {
    StepId::parse(name).unwrap()
}

pub fn record(seq: u64, event: Event) -> Record {
    let offset = i64::try_from(seq).unwrap() * 7;
    Record { seq, epoch: 1, t: Millis(seq * 7), at: Timestamp(1_795_257_475_120 + offset), event }
}

pub fn started() -> StartInfo {
    StartInfo {
        format: 1,
        run: run_id(),
        playbook: "db".into(),
        title: "Restore the database".into(),
        // Of the bytes `{}`.
        plan_hash: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a".into(),
        environment: None,
        params: [("limit".to_owned(), 3.into())].into(),
        incident_since: Timestamp(1_795_257_400_000),
        operator: "ada".into(),
        host: "bastion".into(),
        pid: 42,
        version: "0.1.0".into(),
        boot_id: "b".into(),
        seed: 7,
        drill: false,
        past: None,
    }
}

pub fn step_ended(name: &str, outcome: StepOutcome) -> Event {
    Event::StepEnded { step: step(name), outcome, why: None, outputs: [].into(), choice: None }
}

/// A run of four records.
pub fn small_run() -> Vec<Record> {
    let end = RunEnd { outcome: RunOutcome::Recovered, why: None, rto: None, rpo: None };
    vec![
        record(1, Event::RunStarted(Box::new(started()))),
        record(2, Event::PhaseStarted { phase: "Schützen \"jetzt\"\n".into() }),
        record(3, step_ended("stop", StepOutcome::Succeeded)),
        record(4, Event::RunEnded(Box::new(end))),
    ]
}

/// A command that starts this test program again, to run only `test`, after the shell commands `setup`.
pub fn second_process(setup: &str, test: &str, place: &std::path::Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{setup}; exec \"$@\""), "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(PLACE, place);
    command
}

/// Says on the real stderr, which the test harness does not swallow, that something was not tested.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// In the second process: where to work. In the first: none, and the test that asks has nothing to do.
pub fn place_of_second_process() -> Option<PathBuf> {
    std::env::var_os(PLACE).map(PathBuf::from)
}
