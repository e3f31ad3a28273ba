//! The stages of a drill, one after the other; teardown comes always.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use crate::engine::{Engine, PhaseStatus, RunFacts};
use crate::journal::{StateDir, StateError};
use crate::model::RunOutcome;
use crate::plan::template::RunVerdict;
use crate::plan::{DrillPlans, Plan};
use crate::report::History;
use crate::runner::{
    Finished, Identity, LoadedRun, MakeReporters, People, RunError, Script, StartRequest, load_finished,
    start, wall_now,
};

use super::report::DRILL_FORMAT;
use super::{Assertion, DrillReport, Fault, StageReport, Verdict, leftovers};

#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{0}")]
    Fault(String),
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
}

pub struct DrillRequest<'a> {
    pub plans: DrillPlans,
    /// Which of the playbook's drills, if it has several.
    pub variant: Option<&'a str>,
    /// Whether this process is in namespaces of its own.
    pub isolated: bool,
    pub playbook_text: &'a str,
    pub faults: Vec<Fault>,
    /// Where the playbook's own run is recorded.
    pub state_dir: &'a StateDir,
    /// Where the other sections' runs are recorded, and the report is written.
    pub records: &'a Path,
    pub identity: Identity,
    /// Who is asked what the playbook asks; the drill's `answers` if absent.
    pub people: Option<People>,
    pub program: PathBuf,
    /// Told the stage's name before it begins.
    pub announce: &'a mut dyn FnMut(&str),
    pub reporters: &'a mut MakeReporters<'a>,
}

/// Drills. The world's folder is the caller's to make and to remove.
pub fn run(mut request: DrillRequest<'_>) -> Result<DrillReport, DrillError> {
    let faults = std::mem::take(&mut request.faults);
    for fault in &faults {
        fault.apply(&mut request.plans.playbook).map_err(DrillError::Fault)?;
    }
    leftovers::adopt().map_err(|error| DrillError::Io { what: "becoming a subreaper".into(), error })?;
    let plans = request.plans.clone();
    let mut report = DrillReport {
        format: DRILL_FORMAT,
        playbook: plans.playbook.playbook.name.clone(),
        variant: request.variant.map(str::to_owned),
        isolated: request.isolated,
        plan_hash: Plan::hash(&plans.playbook.to_json()),
        started: wall_now(),
        ended: wall_now(),
        verdict: Verdict::Void,
        why: None,
        stages: Vec::new(),
        run: None,
        outcome: None,
        rto: None,
        rpo: None,
        waiting_for_people: None,
        assertions: Vec::new(),
        faults: faults.iter().map(|f| format!("{f:?}")).collect(),
        left_running: Vec::new(),
    };
    let proved = prove(&mut request, &plans, &mut report);
    // Whatever happened, the world is taken down; what went wrong first is what is reported.
    let teardown = stage(&mut request, "teardown", plans.teardown.clone(), &mut report);
    report.left_running = leftovers::end_all();
    report.ended = wall_now();
    proved?;
    teardown?;
    let json = serde_json::to_vec_pretty(&report)
        .map_err(|e| DrillError::Io { what: "the drill's report".into(), error: e.into() })?;
    let path = request.records.join("drill.json");
    std::fs::write(&path, json)
        .map_err(|error| DrillError::Io { what: path.display().to_string(), error })?;
    Ok(report)
}

fn prove(
    request: &mut DrillRequest<'_>,
    plans: &DrillPlans,
    report: &mut DrillReport,
) -> Result<(), DrillError> {
    let before = [
        ("world", &plans.world, "the world could not be built"),
        ("inject", &plans.inject, "the fault could not be injected"),
        ("symptom", &plans.symptom, "the fault did not show, so nothing would be proved"),
    ];
    for (name, plan, void) in before {
        let outcome = stage(request, name, plan.clone(), report)?;
        if outcome == RunOutcome::Cancelled {
            report.verdict = Verdict::Cancelled;
            return Ok(());
        }
        if outcome != RunOutcome::Recovered {
            let why = report.stages.last().and_then(|s| s.why.clone()).unwrap_or_default();
            report.why = Some(format!("{void}: {why}"));
            return Ok(());
        }
    }
    (request.announce)("playbook");
    let finished = drive(request, plans.playbook.clone(), None)?;
    report.run = Some(finished.run.clone());
    report.outcome = Some(finished.end.outcome);
    report.rto.clone_from(&finished.end.rto);
    report.rpo.clone_from(&finished.end.rpo);
    report.stages.push(stage_report("playbook", &finished));
    let loaded = load_finished(request.state_dir, &finished)?;
    report.waiting_for_people = Some(History::of(&loaded.plan, &loaded.records).waiting_for_people());
    report.assertions = judge(request, plans, &finished, loaded);
    let broken: Vec<&str> = report.assertions.iter().filter(|a| !a.held).map(|a| a.text.as_str()).collect();
    let broken = (!broken.is_empty()).then(|| format!("not true: {}", broken.join("; ")));
    let proof = if finished.end.outcome == RunOutcome::Cancelled {
        None
    } else {
        proof(request, plans, &finished, report)?
    };
    let why: Vec<String> = broken.into_iter().chain(proof).collect();
    report.verdict = if why.is_empty() { Verdict::Passed } else { Verdict::Failed };
    report.why = (!why.is_empty()).then(|| why.join("; "));
    if finished.end.outcome == RunOutcome::Cancelled && report.verdict != Verdict::Passed {
        // Nothing was proved either way.
        report.verdict = Verdict::Cancelled;
        report.why.clone_from(&finished.end.why);
        report.assertions.clear();
    }
    Ok(())
}

/// Looks at the world that the run has left behind. Why it is not as it should be, if it is not.
fn proof(
    request: &mut DrillRequest<'_>,
    plans: &DrillPlans,
    finished: &Finished,
    report: &mut DrillReport,
) -> Result<Option<String>, DrillError> {
    let mut plan = plans.proof.clone();
    if let Some(place) = &mut plan.drill {
        place.run = Some(finished.dir.clone());
    }
    let outcome = stage(request, "proof", plan, report)?;
    // A check that fails lets the others go on, so that all that is wrong is known.
    let holds = outcome == RunOutcome::Recovered;
    let why = report.stages.last().and_then(|stage| stage.why.clone());
    Ok((!holds).then(|| format!("not proved: {}", why.unwrap_or_else(|| outcome.to_string()))))
}

/// Runs a section that is not the playbook itself.
fn stage(
    request: &mut DrillRequest<'_>,
    name: &'static str,
    plan: Plan,
    report: &mut DrillReport,
) -> Result<RunOutcome, DrillError> {
    if plan.steps.is_empty() {
        return Ok(RunOutcome::Recovered);
    }
    (request.announce)(name);
    let finished = drive(request, plan, Some(name))?;
    report.stages.push(stage_report(name, &finished));
    Ok(finished.end.outcome)
}

fn stage_report(stage: &'static str, finished: &Finished) -> StageReport {
    let (run, outcome) = (finished.run.clone(), finished.end.outcome);
    StageReport { stage, run, outcome, why: finished.end.why.clone() }
}

fn drive(request: &mut DrillRequest<'_>, plan: Plan, section: Option<&str>) -> Result<Finished, DrillError> {
    let own;
    let state_dir = match section {
        None => request.state_dir,
        Some(_) => {
            own = StateDir::open_or_create(request.records)?;
            &own
        }
    };
    let people = match (section, &request.people) {
        // The world is built, broken and taken down by the drill alone.
        (Some(_), _) => People::default(),
        (None, Some(people)) => people.clone(),
        // Without an answer the run ends waiting, and the drill says so.
        (None, None) => {
            People { script: Script::of_drill(request.plans.answers.clone()), ..People::default() }
        }
    };
    Ok(start(StartRequest {
        state_dir,
        plan,
        playbook_text: request.playbook_text,
        identity: request.identity.clone(),
        people,
        incident_since: None,
        drill: true,
        program: request.program.clone(),
        reporters: request.reporters,
    })?)
}

fn judge(
    request: &DrillRequest<'_>,
    plans: &DrillPlans,
    finished: &Finished,
    loaded: LoadedRun,
) -> Vec<Assertion> {
    let facts = RunFacts {
        id: finished.run.to_string(),
        dir: finished.dir.to_string_lossy().into_owned(),
        started_at: loaded.state.started_at.to_string(),
        operator: request.identity.operator.clone(),
        environment: loaded.plan.environment.as_ref().map(|e| e.name.clone()),
    };
    let engine = Engine::with_state(loaded.plan, loaded.state, facts);
    let measured = |o: &Option<crate::model::Objective>| o.as_ref().and_then(|o| o.measured).map(|m| m.0);
    let state = engine.state();
    let phases: Vec<(&str, Option<u64>)> = plans
        .playbook
        .phases
        .iter()
        .zip(&state.phases)
        .map(|(phase, status)| match status {
            PhaseStatus::Ended { since, at, .. } => (phase.id.as_str(), Some(at.saturating_sub(*since).0)),
            _ => (phase.id.as_str(), None),
        })
        .collect();
    let verdict = RunVerdict {
        outcome: finished.end.outcome.as_str(),
        rto: measured(&finished.end.rto),
        rpo: measured(&finished.end.rpo),
        phases: &phases,
    };
    let assertion = |(expr, text): (&crate::plan::Expr, &String)| {
        let (held, error) = match engine.holds(expr, verdict) {
            Ok(held) => (held, None),
            Err(error) => (false, Some(error.to_string())),
        };
        Assertion { text: text.clone(), held, error }
    };
    plans.assert.iter().zip(&plans.assert_texts).map(assertion).collect()
}

/// A TCP port on the loopback that nobody listens on now. It lies below the range from which the kernel hands out
/// ports by itself, so nobody gets it by chance before the drill's world takes it.
pub fn free_port() -> std::io::Result<u16> {
    for _ in 0..200 {
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(|e| std::io::Error::other(e.to_string()))?;
        let port = 20_000 + u16::from_le_bytes(random) % 10_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(std::io::Error::other("no free port between 20000 and 30000"))
}
