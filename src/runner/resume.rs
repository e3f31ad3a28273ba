//! Going on with a run whose process is gone: what was done stays done, and what was in flight is found out.

use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::{Engine, Found, Input, Lost, Replan, RunFacts, State};
use crate::exec::{Abroad, Exec, ExecConfig, Finding, InFlight};
use crate::journal::{Journal, StateDir};
use crate::model::{Event, Millis, Record, ReplanInfo, RunId, RunOutcome, StartInfo, StepId, TaskId};
use crate::plan::{Command, Plan};
use crate::planted::{self, Bug};
use crate::preflight;

use super::clock::RunClock;
use super::control::Listener;
use super::drive::{Driver, Finished};
use super::error::RunError;
use super::facts::Identity;
use super::prompt::PromptLine;
use super::start::{MakeReporters, OUTPUT_CAP, People, runtime};
use super::tell::Teller;
use super::{limits, load, secrets};

/// A run that lay still for less than this is not worth a record of its own.
const WORTH_TELLING: Millis = Millis::secs(1);

/// What the person wants of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    GoOn,
    RollBack,
    /// End it: what still runs is stopped.
    Cancel,
}

pub struct ResumeRequest<'a> {
    pub state_dir: &'a StateDir,
    pub run: &'a RunId,
    pub intent: Intent,
    /// The plan to go on with instead of the stored one.
    pub replan: Option<NewPlan>,
    pub identity: Identity,
    pub people: People,
    pub program: PathBuf,
    pub reporters: &'a mut MakeReporters<'a>,
}

/// The plan of an edited playbook.
pub struct NewPlan {
    pub plan: Plan,
    /// The playbook as typed, kept beside the plan for people.
    pub playbook_text: String,
    /// Doubtful steps of which the person says that what was done stands.
    pub accepted: Vec<StepId>,
}

pub fn resume(request: ResumeRequest<'_>) -> Result<Finished, RunError> {
    let ResumeRequest { state_dir, run, intent, identity, .. } = request;
    limits::prepare().map_err(RunError::io("signal handlers"))?;
    let dir = state_dir.run(run)?;
    let _lock = dir.try_lock()?;
    // First by reading only: a run that cannot be resumed is left as it is.
    let (contents, _) = crate::journal::read(&dir)?;
    let plan = load::read_plan(&dir, run, &contents)?;
    let state = load::fold(&plan, run, &contents.records)?;
    let start = allowed(&state, run, intent, &identity)?.clone();
    let adopted = match request.replan {
        Some(new) => adopt(run, &plan, &state, new, &contents.records, &identity)?,
        None => None,
    };
    let (plan, state) = match &adopted {
        Some(adopted) => (adopted.plan.clone(), adopted.state.clone()),
        None => (plan, state),
    };
    // The writer's lock is held already, so the run counts as open at once.
    state_dir.lock_key(&plan.lock, run, &|other| {
        if other == run { None } else { load::holder(state_dir, other) }
    })?;
    let (secrets, keys) = secrets::read_all(&plan)?;
    let secrets = Arc::new(secrets);

    if let Some(Adopted { bytes, text, info, .. }) = &adopted {
        dir.write_file(&info.file, bytes)?;
        dir.write_derived(&info.file.replace("plan", "playbook").replace(".json", ".yaml"), text.as_bytes())?;
    }
    let (journal, _, torn) = Journal::open(&dir)?;
    let clock = RunClock::after(state.last_t, state.last_at);
    let mut before = Vec::new();
    if let Some(torn) = torn
        && !planted::is(Bug::SilentTornTail)
    {
        before.push(Event::TailSetAside { bytes: torn.bytes, file: torn.file });
    }
    let still = clock.now().t.saturating_sub(state.last_t);
    if still >= WORTH_TELLING && state.end().is_none() {
        let why = "no process drove the run".into();
        before.push(Event::Gap { length: still, why });
    }
    before.extend(adopted.map(|adopted| Event::Replanned(Box::new(adopted.info))));
    let facts = RunFacts {
        id: run.to_string(),
        dir: dir.path().to_string_lossy().into_owned(),
        started_at: state.started_at.to_string(),
        operator: identity.operator.clone(),
        environment: start.environment.clone(),
    };
    let mut reporters = (request.reporters)(run, &plan);
    // Those who watch get to know what was before.
    let mut replay = State::new(&plan);
    for record in &contents.records {
        // It was folded above.
        let _ = replay.apply(&plan, record);
        for reporter in &mut reporters {
            reporter.replay(&plan, &replay, record);
        }
    }
    let engine = Engine::with_state(plan, state, facts);
    // Before anything is built on it or taken back; not about what is to be left.
    let lost_there = engine.state().lost_elsewhere(engine.plan(), intent == Intent::RollBack);
    let lost_there: Vec<_> = lost_there.filter(|_| intent != Intent::Cancel).cloned().collect();
    let elsewhere: Vec<TaskId> = lost_there.iter().map(|lost| lost.task.clone()).collect();
    let (in_flight, lost) = (in_flight(&engine, &lost_there, clock.now().t), lost(&engine));
    let config = ExecConfig {
        run_dir: dir.path().to_owned(),
        secrets,
        output_cap: OUTPUT_CAP,
        keeper_binary: request.program,
    };
    runtime()?.block_on(async {
        let what = "joining the commands in flight";
        let (exec, findings) = Exec::attach(config, in_flight).await.map_err(RunError::io(what))?;
        let found = findings
            .into_iter()
            .filter_map(|(task, finding)| {
                let found = found(finding).or_else(|| elsewhere.contains(&task).then_some(Found::Runs))?;
                Some((task, found))
            })
            .chain(lost)
            .collect();
        let info = identity.resume_info();
        let (rollback, cancel) = match intent {
            Intent::GoOn => (None, None),
            Intent::RollBack => (Some(identity.operator.clone()), None),
            Intent::Cancel => (None, Some(identity.operator.clone())),
        };
        let driver = Driver {
            dir: &dir,
            teller: Teller::start(engine.plan(), keys, &contents.records),
            refused: Vec::new(),
            engine,
            journal,
            exec,
            clock,
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
        driver.drive(Input::Resume { info, before, found, rollback, cancel }).await
    })
}

/// A plan that takes the stored one's place.
struct Adopted {
    plan: Arc<Plan>,
    state: State,
    bytes: Vec<u8>,
    text: String,
    info: ReplanInfo,
}

/// `None` if the edit changes nothing.
fn adopt(
    run: &RunId,
    old: &Plan,
    state: &State,
    new: NewPlan,
    records: &[Record],
    identity: &Identity,
) -> Result<Option<Adopted>, RunError> {
    let NewPlan { plan, playbook_text, accepted } = new;
    let Replan { difference, refused, doubtful, state } = Replan::consider(old, state, &plan, records);
    if difference.is_empty() {
        return Ok(None);
    }
    let is_open = |(step, _): &&(StepId, String)| !accepted.contains(step);
    let open = doubtful.iter().filter(is_open).map(|(step, why)| format!("step {step} is in doubt: {why}"));
    let why: Vec<String> = refused.into_iter().chain(open).collect();
    let (true, Some(state)) = (why.is_empty(), state) else {
        return Err(RunError::Replan { run: run.clone(), why });
    };
    let problems = preflight::unmet(&plan, true);
    if !problems.is_empty() {
        return Err(RunError::Requires(problems));
    }
    let bytes = plan.to_json();
    let plan_hash = Plan::hash(&bytes);
    let info = ReplanInfo {
        // The same plan has the same name: a crash between the file and its record leaves nothing to clear away.
        file: format!("plan-{}.json", &plan_hash[..12]),
        plan_hash,
        by: identity.operator.clone(),
        added: difference.added,
        removed: difference.removed,
        changed: difference.changed.into_iter().map(|change| change.step).collect(),
        accepted: doubtful.into_iter().map(|(step, _)| step).collect(),
    };
    Ok(Some(Adopted { plan: Arc::new(plan), state, bytes, text: playbook_text, info }))
}

/// Whether the run may be taken up, with its start record.
fn allowed<'a>(
    state: &'a State,
    run: &RunId,
    intent: Intent,
    identity: &Identity,
) -> Result<&'a StartInfo, RunError> {
    let Some(start) = &state.start else {
        let why = "it has no record: the machine stopped before the run began; start it anew".into();
        return Err(RunError::Fold { run: run.clone(), why });
    };
    if start.host != identity.host && !state.in_flight.is_empty() {
        let (run, host) = (run.clone(), start.host.clone());
        return Err(RunError::OtherHost { run, host });
    }
    let Some(end) = state.end() else { return Ok(start) };
    let finished =
        matches!(end.outcome, RunOutcome::Recovered | RunOutcome::Degraded | RunOutcome::RolledBack);
    match intent {
        Intent::GoOn if finished => Err(RunError::NothingToResume { run: run.clone(), outcome: end.outcome }),
        Intent::Cancel => Err(RunError::NothingToResume { run: run.clone(), outcome: end.outcome }),
        Intent::RollBack if end.outcome == RunOutcome::RolledBack => {
            Err(RunError::NothingToRollBack { run: run.clone(), why: "it is rolled back already".into() })
        }
        _ => Ok(start),
    }
}

fn found(finding: Finding) -> Option<Found> {
    match finding {
        Finding::NeverStarted => Some(Found::NeverStarted),
        Finding::Ended { end, output } => Some(Found::Ended { end, output: Box::new(output) }),
        Finding::Unknown { why } => Some(Found::Unknown { why }),
        // Its end will come as an event.
        Finding::Running => None,
    }
}

/// What was under way with the keeper, which can be asked, and what other hosts may know of by now.
fn in_flight(engine: &Engine, elsewhere: &[Lost], now: Millis) -> Vec<InFlight> {
    let state = engine.state();
    let under_way = state.in_flight.iter().filter(|(task, _)| is_kept(engine, task));
    let given_up = elsewhere.iter().map(|lost| (&lost.task, &lost.flight));
    under_way.chain(given_up).map(|(task, flight)| one_in_flight(engine, task, flight, now)).collect()
}

/// What it takes to find out what became of a task.
fn one_in_flight(engine: &Engine, task: &TaskId, flight: &crate::engine::InFlight, now: Millis) -> InFlight {
    let plan = engine.plan();
    let command = engine.command_of(task);
    let age = now.saturating_sub(flight.since);
    let host = flight.host.as_ref().and_then(|name| plan.host(name));
    let abroad = host.map(|host| Abroad {
        host,
        root: plan.root.clone(),
        sensitive: plan.steps[flight.step].sensitive,
        timeout: flight.timeout.map(|timeout| timeout.saturating_sub(age).max(Millis::secs(1))),
        grace: command.map_or(Millis::ZERO, |command| command.grace),
        age,
    });
    InFlight { task: task.clone(), want: command.map(|c| c.want).unwrap_or_default(), abroad }
}

/// Requests and queries: their answers died with the process that waited for them.
fn lost(engine: &Engine) -> Vec<(TaskId, Found)> {
    let unknown = |task: &TaskId| {
        let why = "the process that waited for the answer was ended; it may have taken effect".to_owned();
        (task.clone(), Found::Unknown { why })
    };
    engine.state().in_flight.keys().filter(|task| !is_kept(engine, task)).map(unknown).collect()
}

fn is_kept(engine: &Engine, task: &TaskId) -> bool {
    engine.command_of(task).is_none_or(Command::is_process)
}
