//! Starting a run: everything that can be refused is refused before anything is written.

use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::{Engine, Input, RunFacts};
use crate::exec::{Exec, ExecConfig};
use crate::journal::{self, Journal, StateDir};
use crate::model::{FORMAT, RunId, StartInfo, Timestamp};
use crate::plan::Plan;
use crate::planted::{self, Bug};
use crate::preflight;
use crate::report::Reporter;

use super::clock::{RunClock, wall_now};
use super::control::Listener;
use super::drive::{Driver, Finished};
use super::error::RunError;
use super::facts::Identity;
use super::prompt::PromptLine;
use super::script::Script;
use super::tell::Teller;
use super::{limits, load, past, secrets};

/// Bytes of one output that are kept in full.
pub(super) const OUTPUT_CAP: u64 = 1 << 30;

/// Makes the views of a run, once it has a name.
pub type MakeReporters<'a> = dyn FnMut(&RunId, &Plan) -> Vec<Box<dyn Reporter>> + 'a;

/// How people are reached.
#[derive(Debug, Clone, Default)]
pub struct People {
    /// Somebody sits at this terminal and may be asked.
    pub here: bool,
    /// The run waits for answers; otherwise it ends `waiting` when nothing else goes on.
    pub waits: bool,
    /// What is said to its questions by a file or a drill.
    pub script: Script,
}

pub struct StartRequest<'a> {
    pub state_dir: &'a StateDir,
    pub plan: Plan,
    /// The playbook as typed, kept beside the plan for people.
    pub playbook_text: &'a str,
    pub identity: Identity,
    pub people: People,
    /// When the incident began; now if absent.
    pub incident_since: Option<Timestamp>,
    /// The run is part of a drill.
    pub drill: bool,
    /// The program to start as the keeper: this one.
    pub program: PathBuf,
    /// Makes the reporters once the run has a name.
    pub reporters: &'a mut MakeReporters<'a>,
}

/// Starts a run and drives it to its end.
pub fn start(request: StartRequest<'_>) -> Result<Finished, RunError> {
    let StartRequest { state_dir, plan, identity, drill, .. } = request;
    limits::prepare().map_err(RunError::io("signal handlers"))?;
    let problems = preflight::unmet(&plan, false);
    if !problems.is_empty() {
        return Err(RunError::Requires(problems));
    }
    let (secrets, keys) = secrets::read_all(&plan)?;
    let secrets = Arc::new(secrets);

    // Before anything is locked or written.
    let past = past::look(state_dir, &plan);
    let started = wall_now();
    let mut random = [0; 12];
    getrandom::fill(&mut random)
        .map_err(|e| RunError::io("random numbers")(std::io::Error::other(e.to_string())))?;
    let [a, b, c, d, seed @ ..] = random;
    let run = RunId::new(&plan.playbook.name, started, [a, b, c, d]);

    let guard = state_dir.lock_key(&plan.lock, &run, &|other| load::holder(state_dir, other))?;
    let guard = (!planted::is(Bug::DropKeyEarly)).then_some(guard);
    let dir = state_dir.create_run(&run)?;
    let _lock = dir.try_lock()?;
    let plan_bytes = plan.to_json();
    dir.write_file(journal::PLAN_FILE, &plan_bytes)?;
    // For people; a resume reads the plan.
    dir.write_derived("playbook.yaml", request.playbook_text.as_bytes())?;
    let journal = Journal::create(&dir)?;
    // Now its folder shows that the run is open: the next one that wants the key finds it held.
    drop(guard);

    let mut info = StartInfo {
        format: FORMAT,
        run: run.clone(),
        playbook: plan.playbook.name.clone(),
        title: plan.playbook.title.clone(),
        plan_hash: Plan::hash(&plan_bytes),
        environment: plan.environment.as_ref().map(|e| e.name.clone()),
        params: plan.scopes.first().map(|s| s.params.clone()).unwrap_or_default(),
        incident_since: request.incident_since.unwrap_or(started),
        operator: String::new(),
        host: String::new(),
        pid: 0,
        version: String::new(),
        boot_id: String::new(),
        seed: u64::from_le_bytes(seed),
        drill,
        past: Some(Box::new(past)),
    };
    identity.stamp(&mut info);
    let mut reporters = (request.reporters)(&run, &plan);
    let facts = RunFacts {
        id: run.to_string(),
        dir: dir.path().to_string_lossy().into_owned(),
        started_at: started.to_string(),
        operator: identity.operator.clone(),
        environment: info.environment.clone(),
    };
    let engine = Engine::new(Arc::new(plan), facts);
    let config = ExecConfig {
        run_dir: dir.path().to_owned(),
        secrets,
        output_cap: OUTPUT_CAP,
        keeper_binary: request.program,
    };
    runtime()?.block_on(async {
        let driver = Driver {
            dir: &dir,
            teller: Teller::start(engine.plan(), keys, &[]),
            refused: Vec::new(),
            engine,
            journal,
            exec: Exec::new(config),
            clock: RunClock::after(crate::model::Millis::ZERO, Timestamp(0)),
            listener: Listener::bind(&dir)?,
            operator: identity.operator.clone(),
            script: request.people.script,
            waits: request.people.waits,
            prompt: if request.people.here { PromptLine::open() } else { None },
            rested: false,
            reporters: &mut reporters,
            ticked: std::time::Instant::now(),
            foreseen: None,
        };
        driver.drive(Input::Start(Box::new(info))).await
    })
}

/// One thread: a run mostly waits.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::io("the runtime"))
}
