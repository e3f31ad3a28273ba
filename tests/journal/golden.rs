//! A journal of format 1 with every event in it. It must be read, and written, to the byte, for as long as format 1 is.

use runbook::journal::{Ending, Integrity, read, verify};
use runbook::model::{
    Answer, Cause, Choice, Event, Millis, Objective, ObjectiveVerdict, OnTimeout, Past, PastStep, Person,
    Question, QuestionKind, Record, ReplanInfo, Reply, Resolution, ResumeInfo, RunEnd, RunOutcome, Spread,
    StartInfo, StepOutcome, TaskEnd, TaskEndKind, TaskId, TaskVerdict, UndoneState, Via,
};
use serde_json::json;

use crate::common::{Place, record, started, step, step_ended};

const GOLDEN: &[u8] = include_bytes!("../golden/journal-v1.jsonl");

fn task_started(task: &str, command: &str) -> Event {
    Event::TaskStarted {
        task: TaskId::parse(task).unwrap(),
        command: command.into(),
        values: vec![],
        workdir: None,
        host: None,
        timeout: None,
    }
}

fn task_ended(task: &str, kind: TaskEndKind, verdict: TaskVerdict) -> Event {
    let task = TaskId::parse(task).unwrap();
    Event::TaskEnded {
        task,
        end: TaskEnd::new(kind, Millis(40)),
        verdict,
        outputs: [].into(),
        result: None,
        no_retry: false,
    }
}

/// Each kind of event, each way to end, and each optional field both absent and there.
fn events() -> Vec<Event> {
    let ended = |why: &str| TaskVerdict::Failed(why.into());
    let mut end = TaskEnd::new(TaskEndKind::Exited { code: 3 }, Millis(2_041));
    (end.stdout_bytes, end.stderr_bytes, end.truncated) = (10_737_418_240, 17, true);
    (end.leaky, end.leaked) = (true, vec![4711, 4712]);
    let mut start = started();
    start.environment = Some("production".into());
    start.drill = true;
    start.seed = u64::MAX;
    start.params = [
        ("database".to_owned(), json!("/srv/db with \"quotes\" \u{1b}[31m\u{2028}é😀")),
        ("flags".to_owned(), json!({"z": [true, null, -1], "a": 2.5})),
    ]
    .into();
    vec![
        Event::RunStarted(Box::new(start)),
        Event::PhaseStarted { phase: "restore".into() },
        Event::WaitStarted { step: step("settle"), length: Millis(5_000) },
        Event::StepSkipped { step: step("notify"), why: "when is false".into() },
        Event::GroupStarted { step: step("pick"), params: [].into() },
        Event::GroupStarted { step: step("inner"), params: [("n".to_owned(), json!(1))].into() },
        task_started("stop.unless", "systemctl is-active app"),
        task_ended("stop.unless", TaskEndKind::Exited { code: 1 }, ended("exit 1")),
        Event::TaskStarted {
            task: TaskId::parse("pick/newest.2r1").unwrap(),
            command: "cp \"$RB_V1\" \"$RB_V2\"".into(),
            values: vec![("RB_V1".into(), "a b\n".into()), ("RB_V2".into(), String::new())],
            workdir: Some("/srv".into()),
            host: None,
            timeout: Some(Millis(30_000)),
        },
        Event::TaskEnded {
            task: TaskId::parse("pick/newest.2r1").unwrap(),
            end,
            verdict: ended("exit 3"),
            outputs: [("path".to_owned(), json!("/b/1.db")), ("rows".to_owned(), json!(1200))].into(),
            result: Some(json!({"exit": 3})),
            no_retry: true,
        },
        Event::RetryScheduled { step: step("pick/newest"), failed: 2, delay: Millis(1_500), undo: false },
        Event::RetryScheduled { step: step("stop"), failed: 1, delay: Millis(1), undo: true },
        task_ended("d.1", TaskEndKind::NotStarted { error: "stopped".into() }, TaskVerdict::NotRun),
        Event::KeeperLost { why: "it was killed".into() },
        task_started("pick/newest.2.remedy", "sync"),
        task_ended("pick/newest.2.remedy", TaskEndKind::Signaled { signal: 9 }, ended("killed by signal 9")),
        task_started("pick/newest.3.verify0.7", "GET http://localhost/health"),
        task_ended("pick/newest.3.verify0.7", TaskEndKind::Answered, TaskVerdict::Passed),
        task_ended(
            "pick/newest.3",
            TaskEndKind::Unknown { why: "the keeper is gone".into() },
            TaskVerdict::Unknown("the keeper is gone".into()),
        ),
        task_started("pick/newest.3.check", "sqlite:/srv/db: select 1"),
        task_ended("pick/newest.3.check", TaskEndKind::Errored { error: "locked".into() }, ended("locked")),
        task_ended("a.1", TaskEndKind::TimedOut, ended("timed out after 30s")),
        task_ended("b.1", TaskEndKind::Cancelled, TaskVerdict::Cancelled),
        task_ended("c.1", TaskEndKind::NotStarted { error: "not found".into() }, ended("not found")),
        Event::AdvisoryFailed {
            step: step("start"),
            check: 1,
            title: "cache is warm".into(),
            why: "12 is not above 50".into(),
        },
        step_ended("stop", StepOutcome::Satisfied),
        Event::StepEnded {
            step: step("pick"),
            outcome: StepOutcome::Failed,
            why: Some("no backup verified".into()),
            outputs: [("path".to_owned(), json!("/b/1.db")), ("rows".to_owned(), json!(1200))].into(),
            choice: Some("newest".into()),
        },
        Event::PhaseDeadlineMissed { phase: "restore".into(), deadline: Millis(600_000) },
        Event::PhaseEnded { phase: "restore".into() },
        resolved("f", Resolution::Done, None),
        resolved("f", Resolution::NotDone, Some("44136f evidence-f")),
        resolved("f", Resolution::Retry, None),
        resolved("f", Resolution::Skip, None),
        step_ended("c", StepOutcome::Succeeded),
        step_ended("d", StepOutcome::Skipped),
        step_ended("e", StepOutcome::Cancelled),
        step_ended("f", StepOutcome::Unknown),
        Event::CancelRequested { by: "ada".into(), how: "signal".into() },
        Event::Gap { length: Millis(3_600_000), why: "the machine slept".into() },
        run_ended(RunOutcome::Cancelled),
        // The second process begins here.
        Event::TailSetAside { bytes: 17, file: "journal.torn-1".into() },
        Event::RunResumed(ResumeInfo {
            operator: "grace".into(),
            host: "bastion".into(),
            pid: 43,
            version: "0.1.1".into(),
            boot_id: "c".into(),
        }),
        Event::RollbackStarted { because: "pick failed".into() },
        task_started("stop.1.undo", "systemctl start app"),
        Event::StepUndone { step: step("stop"), state: UndoneState::Undone },
        Event::StepUndone { step: step("e"), state: UndoneState::Failed { why: "exit 1".into() } },
        Event::StepUndone { step: step("f"), state: UndoneState::Unknown { why: "cut off".into() } },
        step_ended("stop", StepOutcome::Undone),
        step_ended("e", StepOutcome::UndoFailed),
        Event::RunEnded(Box::new(RunEnd {
            outcome: RunOutcome::Stuck,
            why: Some("an undo failed".into()),
            rto: Some(Objective {
                target: Some(Millis(900_000)),
                measured: Some(Millis(901_000)),
                verdict: ObjectiveVerdict::Missed,
                note: None,
            }),
            rpo: Some(Objective {
                target: None,
                measured: None,
                verdict: ObjectiveVerdict::None,
                note: Some("no backup was restored".into()),
            }),
        })),
        run_ended(RunOutcome::Recovered),
        run_ended(RunOutcome::Degraded),
        run_ended(RunOutcome::Failed),
        run_ended(RunOutcome::RolledBack),
        run_ended(RunOutcome::InDoubt),
        run_ended(RunOutcome::Waiting),
        // Events that came later stand at the end: what was written before stays as it is.
        Event::Replanned(Box::new(ReplanInfo {
            file: "plan-44136fa355b3.json".into(),
            plan_hash: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a".into(),
            by: "grace".into(),
            added: vec![step("new"), step("pick/third")],
            removed: vec![step("notify")],
            changed: vec![step("stop"), step("start")],
            accepted: vec![step("stop")],
        })),
        Event::Replanned(Box::new(ReplanInfo {
            file: "plan-44136fa355b3.json".into(),
            plan_hash: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a".into(),
            by: "ada".into(),
            added: vec![],
            removed: vec![],
            changed: vec![],
            accepted: vec![],
        })),
        run_ended(RunOutcome::Recovered),
        Event::Asked { step: step("restore"), number: 1, question: Box::new(question()) },
        Event::Asked {
            step: step("pick/way"),
            number: 2,
            question: Box::new(Question {
                kind: QuestionKind::Choice,
                options: vec![
                    Choice {
                        id: "replica".into(),
                        title: "Promote the replica".into(),
                        eta: Some("10m".into()),
                        loss: Some("the lag".into()),
                        closed: None,
                    },
                    Choice {
                        id: "backup".into(),
                        title: "Restore".into(),
                        eta: None,
                        loss: None,
                        closed: Some("there is none".into()),
                    },
                ],
                suggestion: Some("replica".into()),
                approvers: vec![],
                excluded: vec![],
                count: 1,
                timeout: None,
                on_timeout: OnTimeout::Wait,
                evidence: false,
                ..question()
            }),
        },
        answered(Answer::Approve, Via::Terminal),
        answered(Answer::Reject, Via::Socket),
        answered(Answer::Choose { option: "replica".into() }, Via::Command),
        answered(Answer::Done, Via::File),
        answered(Answer::NotDone, Via::Drill),
        answered(Answer::Retry, Via::Socket),
        answered(Answer::Skip, Via::Socket),
        answered(Answer::RollBack, Via::Socket),
        answered(Answer::Abort, Via::Socket),
        Event::AnswerRefused {
            step: step("restore"),
            answer: Answer::Approve,
            by: Person { name: "mallory".into(), uid: Some(1003), via: Via::Socket },
            why: "mallory is not asked; bob may answer".into(),
        },
        Event::QuestionExpired { step: step("restore"), number: 1, then: OnTimeout::Fail },
        Event::QuestionExpired { step: step("restore"), number: 2, then: OnTimeout::Proceed },
        Event::QuestionExpired { step: step("pick/way"), number: 3, then: OnTimeout::Suggest },
        Event::QuestionExpired { step: step("pick/way"), number: 4, then: OnTimeout::Wait },
        run_ended(RunOutcome::Recovered),
        Event::Noted { text: "the vendor was called\nat 10:40".into(), by: bob(Via::Socket) },
        Event::HandedOver { to: "carol".into(), by: bob(Via::Command), note: Some("end of shift".into()) },
        Event::HandedOver { to: "bob".into(), by: bob(Via::Terminal), note: None },
        Event::Acknowledged { by: bob(Via::Socket) },
        notice(1, Cause::Update { number: 1, last: false }),
        Event::Notice {
            number: 2,
            cause: Cause::Escalation { level: 2, why: "the incident has lasted 5m".into() },
            channels: vec!["team".into(), "pager".into()],
            to: vec!["ada".into(), "the board".into()],
            text: None,
        },
        Event::Notice {
            number: 3,
            cause: Cause::Step { step: step("tell") },
            channels: Vec::new(),
            to: Vec::new(),
            text: Some("The database is back.\n".into()),
        },
        notice(4, Cause::Update { number: 2, last: true }),
        notice(5, Cause::Recovered),
        run_ended(RunOutcome::Recovered),
        Event::NoticeEnded {
            number: 1,
            channel: "team".into(),
            delivered: true,
            attempts: 3,
            unsure: false,
            why: None,
        },
        Event::NoticeEnded {
            number: 2,
            channel: "pager".into(),
            delivered: false,
            attempts: 0,
            unsure: true,
            why: Some("the process that sent it is gone".into()),
        },
        Event::RunStarted(Box::new(StartInfo { past: Some(Box::default()), ..started() })),
        Event::RunStarted(Box::new(StartInfo { past: Some(Box::new(past())), ..started() })),
        run_ended(RunOutcome::Recovered),
        notice(6, Cause::Acknowledged { by: "bob".into() }),
        Event::TaskStarted {
            task: TaskId::parse("far.1").unwrap(),
            command: "systemctl stop app".into(),
            values: vec![],
            workdir: None,
            host: Some("web1".into()),
            timeout: None,
        },
        Event::TaskFound { task: TaskId::parse("far.1").unwrap() },
        run_ended(RunOutcome::Recovered),
        Event::HostSilent { task: TaskId::parse("far.1").unwrap(), why: "no route to host".into() },
        run_ended(RunOutcome::Recovered),
    ]
}

fn past() -> Past {
    let spread = |p50, p90| Spread { p50: Millis(p50), p90: Millis(p90) };
    let people = Some(spread(60_000, 240_000));
    let steps = [
        ("pick/newest", PastStep { ran: 12, not_needed: 0, took: spread(1_500, 4_000), people: None }),
        ("restore", PastStep { ran: 3, not_needed: 9, took: spread(480_000, 540_000), people }),
        ("tidy", PastStep { ran: 0, not_needed: 12, took: Spread::ZERO, people: None }),
    ];
    let steps = steps.into_iter().map(|(id, told)| (step(id), told)).collect();
    Past { runs: 12, drills: 4, steps }
}

fn notice(number: u32, cause: Cause) -> Event {
    Event::Notice { number, cause, channels: vec!["team".into()], to: Vec::new(), text: None }
}

fn bob(via: Via) -> Person {
    Person { name: "bob".into(), uid: Some(1001), via }
}

fn question() -> Question {
    Question {
        kind: QuestionKind::Approval,
        attempt: 1,
        prompt: "Replace it?".into(),
        options: vec![],
        suggestion: None,
        approvers: vec!["bob".into(), "carol".into()],
        excluded: vec!["ada".into()],
        count: 2,
        timeout: Some(Millis(600_000)),
        on_timeout: OnTimeout::Fail,
        evidence: true,
    }
}

/// With a comment, evidence and a uid where the answer is a yes, without them otherwise.
fn answered(answer: Answer, via: Via) -> Event {
    let yes = matches!(answer, Answer::Approve | Answer::Done);
    Event::Answered {
        step: step("restore"),
        number: 1,
        reply: Reply {
            answer,
            comment: yes.then(|| "looked at it".into()),
            evidence: yes.then(|| "44136f evidence-restore".into()),
        },
        by: Person { name: "bob".into(), uid: yes.then_some(1001), via },
    }
}

fn resolved(name: &str, resolution: Resolution, evidence: Option<&str>) -> Event {
    let (by, reason) = ("grace".into(), "looked at it".into());
    Event::StepResolved { step: step(name), resolution, by, reason, evidence: evidence.map(Into::into) }
}

fn run_ended(outcome: RunOutcome) -> Event {
    Event::RunEnded(Box::new(RunEnd { outcome, why: None, rto: None, rpo: None }))
}

fn expected() -> Vec<Record> {
    let resumed = events().iter().position(|e| matches!(e, Event::TailSetAside { .. })).unwrap();
    (1_u64..)
        .zip(events())
        .map(|(seq, event)| Record { epoch: if seq > resumed as u64 { 2 } else { 1 }, ..record(seq, event) })
        .collect()
}

/// A new kind of event does not compile here until it is in the golden file too.
fn kind(event: &Event) -> usize {
    match event {
        Event::RunStarted(_) => 0,
        Event::RunResumed(_) => 1,
        Event::TailSetAside { .. } => 2,
        Event::Gap { .. } => 3,
        Event::PhaseStarted { .. } => 4,
        Event::PhaseEnded { .. } => 5,
        Event::PhaseDeadlineMissed { .. } => 6,
        Event::StepSkipped { .. } => 7,
        Event::WaitStarted { .. } => 8,
        Event::GroupStarted { .. } => 9,
        Event::TaskStarted { .. } => 10,
        Event::TaskEnded { .. } => 11,
        Event::RetryScheduled { .. } => 12,
        Event::AdvisoryFailed { .. } => 13,
        Event::StepEnded { .. } => 14,
        Event::RollbackStarted { .. } => 15,
        Event::StepUndone { .. } => 16,
        Event::CancelRequested { .. } => 17,
        Event::RunEnded(_) => 18,
        Event::KeeperLost { .. } => 19,
        Event::StepResolved { .. } => 20,
        Event::Replanned(_) => 21,
        Event::Asked { .. } => 22,
        Event::Answered { .. } => 23,
        Event::AnswerRefused { .. } => 24,
        Event::QuestionExpired { .. } => 25,
        Event::Noted { .. } => 26,
        Event::HandedOver { .. } => 27,
        Event::Acknowledged { .. } => 28,
        Event::Notice { .. } => 29,
        Event::NoticeEnded { .. } => 30,
        Event::TaskFound { .. } => 31,
        Event::HostSilent { .. } => 32,
    }
}

#[test]
fn every_kind_of_event_is_there() {
    let kinds: std::collections::BTreeSet<usize> = events().iter().map(kind).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), (0..=32).collect::<Vec<_>>());
}

#[test]
fn the_golden_journal_reads_as_ever() {
    let place = Place::new();
    place.set(GOLDEN);
    std::fs::set_permissions(place.journal(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (contents, torn) = read(&place.run).unwrap();
    assert_eq!(contents.records, expected());
    assert_eq!(torn, None);
    let found = verify(&place.run, Some(&contents.head));
    assert_eq!(found.integrity, Integrity::Intact);
    assert_eq!(found.completeness.ending, Ending::Ended(RunOutcome::Recovered));
}

/// With `RUNBOOK_BLESS` set, writes the golden file: only for a new format, or for an event that never was in it.
#[test]
fn the_golden_journal_is_written_as_ever() {
    let place = Place::new();
    place.write(&expected());
    let written = place.bytes();
    if std::env::var_os("RUNBOOK_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/journal-v1.jsonl");
        std::fs::write(path, &written).unwrap();
        return;
    }
    let lines =
        |bytes: &[u8]| -> Vec<String> { String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect() };
    assert_eq!(lines(&written), lines(GOLDEN));
    assert_eq!(written, GOLDEN);
}
