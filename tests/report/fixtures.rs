//! A small recovery playbook as a plan, and the records of several runs of it, built by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runbook::model::{
    Event, Millis, Objective, ObjectiveVerdict, Record, ResumeInfo, RunEnd, RunId, RunOutcome, StartInfo,
    StepId, StepOutcome, TaskEnd, TaskEndKind, TaskId, TaskKind, TaskVerdict, Timestamp, UndoneState, Want,
};
use runbook::plan::{
    Action, Body, Check, Command, Environment, Expr, Http, Meta, Objectives, OnFailure, Phase, Plan,
    Requires, Retry, Scope, Shell, Step, StepIx, Template, Undo,
};
use serde_json::{Value, json};

/// 2026-11-21 10:37:55 UTC.
pub const START: i64 = 1_795_257_475_000;

pub fn script(text: &str) -> Command {
    Command {
        action: Action::Script {
            shell: Shell::Bash,
            script: Template { src: text.to_owned(), uses: Vec::new() },
        },
        env: Vec::new(),
        on: None,
        workdir: None,
        stdin: None,
        timeout: Some(Millis::secs(300)),
        grace: Millis::secs(10),
        want: Want::default(),
    }
}

pub fn step(id: &str, title: &str, phase: usize, body: Body) -> Step {
    Step {
        id: id_of(id),
        title: title.to_owned(),
        scope: 0,
        phase,
        parent: None,
        needs: Vec::new(),
        when: None,
        unless: None,
        approval: None,
        body,
        expect: Vec::new(),
        outputs: Vec::new(),
        retry: Retry::never(),
        verify: Vec::new(),
        undo: None,
        irreversible: false,
        check: None,
        idempotent: false,
        on_failure: OnFailure::Stop,
        escalate: None,
        destructive: false,
        sensitive: false,
        keep_result: false,
        item: None,
    }
}

pub fn run(id: &str, title: &str, phase: usize, text: &str) -> Step {
    step(id, title, phase, Body::Command(script(text)))
}

pub fn id_of(id: &str) -> StepId {
    StepId::parse(id).expect("a valid id")
}

pub fn undo(text: &str) -> Option<Box<Undo>> {
    let (command, retry) = (script(text), Retry::never());
    Some(Box::new(Undo { approval: None, command, expect: Vec::new(), retry }))
}

pub fn plan_of(phases: &[(&str, &str)], mut steps: Vec<Step>) -> Plan {
    let of_phase = |n: usize, steps: &[Step]| -> Vec<StepIx> {
        (0..steps.len()).filter(|ix| steps[*ix].phase == n && steps[*ix].parent.is_none()).collect()
    };
    let phases: Vec<Phase> = phases
        .iter()
        .enumerate()
        .map(|(n, (id, title))| Phase {
            id: (*id).to_owned(),
            title: (*title).to_owned(),
            deadline: (n == 0).then_some(Millis::secs(300)),
            status: runbook::model::IncidentStatus::default(),
            steps: of_phase(n, &steps),
        })
        .collect();
    for phase in &phases {
        for pair in phase.steps.windows(2) {
            if steps[pair[1]].needs.is_empty() {
                steps[pair[1]].needs = vec![pair[0]];
            }
        }
    }
    Plan {
        format: 1,
        playbook: Meta {
            name: "db-corruption".to_owned(),
            title: "Database corruption".to_owned(),
            description: Some("Restore the task database from the newest backup that verifies.".to_owned()),
            severity: Some("critical".to_owned()),
            owner: Some("platform-oncall".to_owned()),
            symptoms: vec!["The application fails to start with database errors".to_owned()],
        },
        environment: Some(Environment { name: "production".to_owned(), confirm: true }),
        objectives: Objectives {
            rto: Some(Millis::secs(900)),
            rpo: Some(Millis::secs(3600)),
            data_as_of: None,
        },
        roles: BTreeMap::new(),
        secrets: Vec::new(),
        channels: Vec::new(),
        channel_secrets: Vec::new(),
        escalation: Vec::new(),
        updates: None,
        hosts: BTreeMap::new(),
        connect_timeouts: std::collections::BTreeMap::new(),
        groups: BTreeMap::new(),
        requires: Requires { commands: vec!["sqlite3".to_owned()], ..Requires::default() },
        max_parallel: 8,
        lock: "/srv/app/tasks.db".to_owned(),
        root: PathBuf::from("/srv/playbooks"),
        scopes: vec![Scope {
            group: None,
            params: BTreeMap::from([("database".to_owned(), json!("/srv/app/tasks.db"))]),
            late: Vec::new(),
        }],
        phases,
        steps,
        drill: None,
        index: Default::default(),
    }
}

/// Seven steps in three phases.
pub fn plan() -> Plan {
    let mut stop = run("stop-app", "Stop the application", 0, "docker-compose down");
    stop.undo = undo("docker-compose up -d");
    let keep = run("keep-evidence", "Copy the damaged files aside", 0, "cp -a -- tasks.db damaged.db");
    let mut pick =
        run("pick", "Find the newest backup that verifies", 1, "./bin/newest-good-backup ./backups");
    pick.retry = Retry { attempts: 3, delay: Millis::secs(2), backoff: 2.0, ..Retry::never() };
    let mut restore = run("restore", "Put the backup in place", 1, "install -m 600 -- \"$RB_V1\" tasks.db");
    restore.undo = undo("install -m 600 -- damaged.db tasks.db");
    restore.destructive = true;
    restore.on_failure = OnFailure::Rollback;
    let mut start = run("start-app", "Start the application", 2, "docker-compose up -d");
    start.on_failure = OnFailure::Rollback;
    start.irreversible = true;
    let mut healthy = step("healthy", "The application answers", 2, Body::Nothing);
    healthy.on_failure = OnFailure::Rollback;
    healthy.verify = vec![Check {
        title: "The health page answers 200".to_owned(),
        command: Command {
            action: Action::Http(Box::new(Http {
                method: "GET".to_owned(),
                url: Template { src: "http://localhost:5000/health".to_owned(), uses: Vec::new() },
                headers: Vec::new(),
                body: None,
                auth: None,
                ca_file: None,
            })),
            ..script("")
        },
        expect: vec![Expr { src: "result.status == 200".to_owned(), uses: Vec::new() }],
        within: Some(Millis::secs(120)),
        every: Millis::secs(2),
        required: true,
    }];
    plan_of(
        &[("contain", "Immediate actions"), ("recover", "Restore"), ("prove", "Verify")],
        vec![stop, keep, pick, restore, start, healthy],
    )
}

/// Writes records one after another on one clock.
pub struct Tape {
    pub records: Vec<Record>,
    t: u64,
    epoch: u32,
    /// Added to the wall clock.
    pub skew: i64,
}

impl Tape {
    pub fn start(drill: bool) -> Self {
        let mut tape = Self { records: Vec::new(), t: 0, epoch: 1, skew: 0 };
        tape.event(Event::RunStarted(Box::new(StartInfo {
            format: 1,
            run: RunId::new("db-corruption", Timestamp(START), [0, 1, 27, 3]),
            playbook: "db-corruption".to_owned(),
            title: "Database corruption".to_owned(),
            plan_hash: "5f1c".repeat(16),
            environment: Some("production".to_owned()),
            params: BTreeMap::from([("database".to_owned(), json!("/srv/app/tasks.db"))]),
            incident_since: Timestamp(START - 60_000),
            operator: "alice".to_owned(),
            host: "db1".to_owned(),
            pid: 4711,
            version: "0.1.0".to_owned(),
            boot_id: "b0071d".to_owned(),
            seed: 7,
            drill,
            past: None,
        })));
        tape
    }

    pub fn event(&mut self, event: Event) -> &mut Self {
        self.records.push(Record {
            seq: self.records.len() as u64 + 1,
            epoch: self.epoch,
            t: Millis(self.t),
            at: Timestamp(START + self.t as i64 + self.skew),
            event,
        });
        self
    }

    pub fn pass(&mut self, ms: u64) -> &mut Self {
        self.t += ms;
        self
    }

    pub fn phase(&mut self, id: &str) -> &mut Self {
        self.event(Event::PhaseStarted { phase: id.to_owned() })
    }

    pub fn phase_end(&mut self, id: &str) -> &mut Self {
        self.event(Event::PhaseEnded { phase: id.to_owned() })
    }

    pub fn begin(&mut self, task: TaskId, command: &str) -> &mut Self {
        self.event(Event::TaskStarted {
            task,
            command: command.to_owned(),
            values: Vec::new(),
            workdir: Some("/srv/playbooks".to_owned()),
            host: None,
            timeout: Some(Millis::secs(300)),
        })
    }

    pub fn end(&mut self, task: TaskId, ms: u64, kind: TaskEndKind, verdict: TaskVerdict) -> &mut Self {
        self.pass(ms);
        self.event(Event::TaskEnded {
            task,
            end: TaskEnd::new(kind, Millis(ms)),
            verdict,
            outputs: BTreeMap::new(),
            result: None,
            no_retry: false,
        })
    }

    /// An attempt from start to end.
    pub fn attempt(&mut self, step: &str, n: u32, command: &str, ms: u64, exit: i32) -> &mut Self {
        let task = TaskId::new(id_of(step), TaskKind::Attempt, n);
        let verdict =
            if exit == 0 { TaskVerdict::Passed } else { TaskVerdict::Failed(format!("exit {exit}")) };
        self.begin(task.clone(), command).end(task, ms, TaskEndKind::Exited { code: exit }, verdict)
    }

    pub fn over(&mut self, step: &str, outcome: StepOutcome, why: Option<&str>) -> &mut Self {
        self.event(Event::StepEnded {
            step: id_of(step),
            outcome,
            why: why.map(str::to_owned),
            outputs: BTreeMap::new(),
            choice: None,
        })
    }

    /// A step with one attempt that passes.
    pub fn good(&mut self, step: &str, command: &str, ms: u64) -> &mut Self {
        self.attempt(step, 1, command, ms, 0).over(step, StepOutcome::Succeeded, None)
    }

    pub fn undo(&mut self, step: &str, command: &str, ms: u64, exit: i32) -> &mut Self {
        let task = TaskId::new(id_of(step), TaskKind::Undo, 1);
        let (verdict, state) = if exit == 0 {
            (TaskVerdict::Passed, UndoneState::Undone)
        } else {
            let why = format!("exit {exit}");
            (TaskVerdict::Failed(why.clone()), UndoneState::Failed { why })
        };
        self.begin(task.clone(), command).end(task, ms, TaskEndKind::Exited { code: exit }, verdict);
        self.event(Event::StepUndone { step: id_of(step), state })
    }

    pub fn resume(&mut self, after: u64) -> &mut Self {
        self.epoch += 1;
        self.pass(after);
        self.event(Event::RunResumed(ResumeInfo {
            operator: "bob".to_owned(),
            host: "db1".to_owned(),
            pid: 5000 + self.epoch,
            version: "0.1.0".to_owned(),
            boot_id: "b0071d".to_owned(),
        }));
        self.event(Event::Gap { length: Millis(after), why: "the run lay still".to_owned() })
    }

    pub fn ended(&mut self, outcome: RunOutcome, why: Option<&str>) -> Vec<Record> {
        let measured = Millis(60_000 + self.t);
        let met = outcome == RunOutcome::Recovered;
        self.event(Event::RunEnded(Box::new(RunEnd {
            outcome,
            why: why.map(str::to_owned),
            rto: Some(Objective {
                target: Some(Millis::secs(900)),
                measured: met.then_some(measured),
                verdict: if met { ObjectiveVerdict::Met } else { ObjectiveVerdict::Missed },
                note: (!met).then(|| "the last required check never passed".to_owned()),
            }),
            rpo: Some(Objective {
                target: Some(Millis::secs(3600)),
                measured: None,
                verdict: ObjectiveVerdict::None,
                note: Some("data_as_of is not set".to_owned()),
            }),
        })));
        std::mem::take(&mut self.records)
    }
}

fn contain(tape: &mut Tape) {
    tape.pass(4).phase("contain");
    tape.good("stop-app", "docker-compose down", 3_210);
    tape.good("keep-evidence", "cp -a -- tasks.db damaged.db", 140);
    tape.phase_end("contain").phase("recover");
}

fn pick_with_a_retry(tape: &mut Tape) {
    let command = "./bin/newest-good-backup ./backups";
    tape.attempt("pick", 1, command, 1_800, 3);
    tape.event(Event::RetryScheduled { step: id_of("pick"), failed: 1, delay: Millis(2_000), undo: false });
    let task = TaskId::new(id_of("pick"), TaskKind::Attempt, 2);
    tape.pass(2_000).begin(task.clone(), command).pass(2_450).event(Event::TaskEnded {
        task,
        end: TaskEnd { stdout_bytes: 40, ..TaskEnd::new(TaskEndKind::Exited { code: 0 }, Millis(2_450)) },
        verdict: TaskVerdict::Passed,
        outputs: BTreeMap::from([("path".to_owned(), Value::from("backups/tasks-0900.db"))]),
        result: None,
        no_retry: false,
    });
    tape.over("pick", StepOutcome::Succeeded, None);
}

fn restore_and_start(tape: &mut Tape) {
    let task = TaskId::new(id_of("restore"), TaskKind::Attempt, 1);
    tape.event(Event::TaskStarted {
        task: task.clone(),
        command: "install -m 600 -- \"${RB_V1}\" tasks.db\nsync tasks.db".to_owned(),
        values: vec![("RB_V1".to_owned(), "backups/tasks-0900.db".to_owned())],
        workdir: Some("/srv/playbooks".to_owned()),
        host: None,
        timeout: Some(Millis::secs(300)),
    });
    tape.end(task, 220, TaskEndKind::Exited { code: 0 }, TaskVerdict::Passed);
    tape.over("restore", StepOutcome::Succeeded, None);
    tape.phase_end("recover").phase("prove");
    tape.good("start-app", "docker-compose up -d", 2_900);
}

fn poll(tape: &mut Tape, n: u32, holds: bool) {
    let task = TaskId::new(id_of("healthy"), TaskKind::Verify { check: 0, poll: n }, 1);
    let verdict = if holds { TaskVerdict::Passed } else { TaskVerdict::Failed("status 503".to_owned()) };
    tape.begin(task.clone(), "GET http://localhost:5000/health");
    tape.end(task, 25, TaskEndKind::Answered, verdict);
}

pub fn recovered() -> Vec<Record> {
    let mut tape = Tape::start(false);
    contain(&mut tape);
    pick_with_a_retry(&mut tape);
    restore_and_start(&mut tape);
    for n in 1..=5 {
        poll(&mut tape, n, n == 5);
        tape.pass(if n == 5 { 0 } else { 2_000 });
    }
    tape.over("healthy", StepOutcome::Succeeded, None).phase_end("prove");
    tape.ended(RunOutcome::Recovered, None)
}

pub fn drill() -> Vec<Record> {
    let mut records = recovered();
    if let Event::RunStarted(start) = &mut records[0].event {
        start.drill = true;
        start.environment = None;
    }
    records
}

fn failing_health(tape: &mut Tape) {
    contain(tape);
    pick_with_a_retry(tape);
    restore_and_start(tape);
    for n in 1..=4 {
        poll(tape, n, false);
        tape.pass(2_000);
    }
    tape.over("healthy", StepOutcome::Failed, Some("The health page answers 200: not within 2m: status 503"));
    tape.event(Event::RollbackStarted { because: "healthy failed".to_owned() });
}

pub fn rolled_back() -> Vec<Record> {
    let mut tape = Tape::start(false);
    failing_health(&mut tape);
    tape.undo("restore", "install -m 600 -- damaged.db tasks.db", 300, 0);
    tape.undo("stop-app", "docker-compose up -d", 2_500, 0);
    tape.ended(RunOutcome::RolledBack, Some("healthy failed, and what was done was taken back"))
}

pub fn stuck() -> Vec<Record> {
    let mut tape = Tape::start(false);
    failing_health(&mut tape);
    tape.undo("restore", "install -m 600 -- damaged.db tasks.db", 300, 1);
    tape.undo("stop-app", "docker-compose up -d", 2_500, 0);
    tape.ended(RunOutcome::Stuck, Some("the undo of restore failed"))
}

/// Killed while `restore` ran; the resume could not know what became of it.
pub fn in_doubt() -> Vec<Record> {
    let mut tape = Tape::start(false);
    contain(&mut tape);
    pick_with_a_retry(&mut tape);
    let task = TaskId::new(id_of("restore"), TaskKind::Attempt, 1);
    tape.begin(task.clone(), "install -m 600 -- \"${RB_V1}\" tasks.db");
    tape.resume(95_000);
    let why = "the machine was started again";
    tape.end(task, 0, TaskEndKind::Unknown { why: why.to_owned() }, TaskVerdict::Unknown(why.to_owned()));
    tape.over("restore", StepOutcome::Unknown, Some(why));
    tape.ended(RunOutcome::InDoubt, Some("restore: the machine was started again"))
}

/// Killed, resumed twice, and killed again in the middle of a step; the wall clock was set back by an hour.
pub fn open() -> Vec<Record> {
    let mut tape = Tape::start(false);
    contain(&mut tape);
    tape.resume(10_000);
    tape.skew = -3_600_000;
    tape.resume(20_000);
    tape.begin(TaskId::new(id_of("pick"), TaskKind::Attempt, 1), "./bin/newest-good-backup ./backups");
    tape.records
}

pub fn cancelled() -> Vec<Record> {
    let mut tape = Tape::start(false);
    contain(&mut tape);
    let task = TaskId::new(id_of("pick"), TaskKind::Attempt, 1);
    tape.begin(task.clone(), "./bin/newest-good-backup ./backups").pass(700);
    tape.event(Event::CancelRequested { by: "alice".to_owned(), how: "Ctrl-C".to_owned() });
    tape.end(task, 120, TaskEndKind::Cancelled, TaskVerdict::Cancelled);
    tape.over("pick", StepOutcome::Cancelled, None);
    tape.ended(RunOutcome::Cancelled, Some("cancelled by alice"))
}
