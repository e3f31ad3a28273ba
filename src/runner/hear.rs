//! What people say to a run: over its sockets, at its terminal, or when nobody drives it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::engine::{Engine, Input, RunFacts, State};
use crate::journal::{Journal, RunDir, StateDir};
use crate::model::{Answer, Binding, Event, Person, Record, RunId, StepId, Via};
use crate::plan::Plan;

use super::clock::RunClock;
use super::control;
use super::control::{Answering, Evidence, Heard, LARGEST_EVIDENCE, Open, Request};
use super::drive::{Driver, Stopped};
use super::error::RunError;
use super::facts::Identity;
use super::load::{fold, read_plan};
use super::prompt::{PromptLine, Typed};

impl Driver<'_> {
    /// Answers a request from another terminal.
    pub(super) fn hear(&mut self, heard: Heard, inputs: &mut Vec<Input>) -> Result<(), Stopped> {
        let Heard { by, owner, request, reply } = heard;
        let said = match request {
            Request::Cancel { force } if owner => {
                inputs.push(Input::Cancel { by: by.name, how: "runbook cancel".into(), force });
                control::Reply::ok("the run was told")
            }
            Request::Cancel { .. } => control::Reply::refused("only whoever owns the run may end it"),
            Request::Questions => {
                let all = open_questions(self.engine.plan(), self.engine.state());
                let questions = all.into_iter().filter(|q| owner || q.question.is_for(&by.name)).collect();
                control::Reply { questions, ..control::Reply::ok("") }
            }
            Request::Answer(answering) => self.take_answer(*answering, by)?,
            said @ (Request::Note { .. } | Request::HandOver { .. } | Request::Acknowledge) => {
                self.remark(said, by, owner)?
            }
        };
        // Whoever asked may have gone.
        let _ = reply.send(said);
        Ok(())
    }

    fn take_answer(&mut self, answering: Answering, by: Person) -> Result<control::Reply, Stopped> {
        let Answering { step, binding, mut reply, evidence } = answering;
        if let Some(evidence) = evidence {
            // Only from somebody who is asked, so that nobody else can fill the disk.
            let open = self.engine.plan().find(&step).and_then(|ix| self.engine.state().steps[ix].asking());
            if open.is_some_and(|asking| asking.question.is_for(&by.name)) {
                match keep_evidence(self.dir, &step, &evidence) {
                    Ok(kept) => reply.evidence = Some(kept),
                    Err(why) => return Ok(control::Reply::refused(why)),
                }
            }
        }
        let input = Input::Answer { step, binding: Some(binding), reply, by };
        Ok(outcome_of(&self.answer(vec![input])?))
    }

    /// Listens to the terminal while the person at it is asked something.
    pub(super) fn listen(&mut self) {
        let Some(prompt) = &mut self.prompt else { return };
        if prompt.follow(self.engine.state(), &self.operator) {
            self.show_prompt();
        }
    }

    fn show_prompt(&mut self) {
        let prompt = self.prompt.as_ref().and_then(PromptLine::shown);
        self.reporters.iter_mut().for_each(|r| r.typing(prompt.as_ref()));
        self.redraw();
    }

    pub(super) fn typed(&mut self, line: Option<&str>) -> Result<(), Stopped> {
        let (plan, state) = (self.engine.plan(), self.engine.state());
        let typed = self.prompt.as_mut().zip(line).and_then(|(prompt, line)| prompt.read(plan, state, line));
        if let Some(Typed { step, binding, reply }) = typed {
            let uid = nix::unistd::getuid().as_raw();
            let by = Person { name: self.operator.clone(), uid: Some(uid), via: Via::Terminal };
            let records = self.answer(vec![Input::Answer { step, binding: Some(binding), reply, by }])?;
            let said = outcome_of(&records);
            if let Some(prompt) = self.prompt.as_mut().filter(|_| !said.ok) {
                prompt.say(said.message);
            }
        }
        // Another question may be open now.
        self.listen();
        self.show_prompt();
        Ok(())
    }
}

fn open_questions(plan: &Plan, state: &State) -> Vec<Open> {
    let open = state.open_questions().into_iter().filter_map(|ix| {
        let asking = state.steps[ix].asking()?;
        Some(Open {
            step: plan.steps[ix].id.clone(),
            title: plan.steps[ix].title.clone(),
            binding: Binding { number: asking.number, plan_hash: state.plan_hash.clone() },
            question: asking.question.clone(),
            agreed: asking.agreed.clone(),
        })
    });
    open.collect()
}

/// What became of an answer, from the records that it made.
fn outcome_of(records: &[Record]) -> control::Reply {
    let judged = records.iter().find_map(|record| match &record.event {
        Event::Answered { reply, .. } if reply.answer == Answer::Approve => {
            Some(control::Reply::ok("recorded: you agree"))
        }
        Event::Answered { reply, .. } => {
            Some(control::Reply::ok(format!("recorded: {}", reply.answer.words())))
        }
        Event::AnswerRefused { why, .. } => Some(control::Reply::refused(why)),
        _ => None,
    });
    judged.unwrap_or_else(|| control::Reply::refused("the run takes no answers"))
}

/// Keeps a file that was sent with an answer; gives what the record says of it.
fn keep_evidence(dir: &RunDir, step: &StepId, evidence: &Evidence) -> Result<String, String> {
    let bytes = BASE64_STANDARD.decode(&evidence.base64).map_err(|e| format!("the evidence: {e}"))?;
    if bytes.len() as u64 > LARGEST_EVIDENCE {
        return Err(format!("the evidence is larger than {} MiB", LARGEST_EVIDENCE >> 20));
    }
    store_evidence(dir, step, &evidence.name, &bytes).map_err(|e| e.to_string())
}

/// Copies what shows something into the run's folder; gives what a record says of it.
pub fn store_evidence(
    dir: &RunDir,
    step: &StepId,
    was: &str,
    bytes: &[u8],
) -> Result<String, crate::journal::StateError> {
    let hash = Plan::hash(bytes);
    let name = format!("evidence-{}-{}", step.as_str().replace('/', "+"), &hash[..12]);
    dir.write_file(&name, bytes)?;
    let was: String = was.chars().filter(|c| !c.is_control()).take(200).collect();
    Ok(format!("{hash} {name} (was {was})"))
}

/// The open questions of a run that nobody drives.
pub fn questions(state_dir: &StateDir, run: &RunId) -> Result<Vec<Open>, RunError> {
    let loaded = super::load::load(state_dir, run)?;
    Ok(open_questions(&loaded.plan, &loaded.state))
}

/// Opens the journal of a run that nobody drives. A tail that was cut off is told of first, as a resume does.
pub fn open_undriven(dir: &RunDir, plan: &Plan, state: &mut State) -> Result<Journal, RunError> {
    let (mut journal, _, torn) = Journal::open(dir)?;
    if let Some(torn) = torn {
        let now = RunClock::after(state.last_t, state.last_at).now();
        let event = Event::TailSetAside { bytes: torn.bytes, file: torn.file };
        let (seq, epoch, t) = (state.seq + 1, state.epoch.max(1), now.t.max(state.last_t));
        let record = Record { seq, epoch, t, at: now.at, event };
        state.apply(plan, &record).map_err(|why| RunError::Fold { run: dir.id().clone(), why })?;
        journal.append(&[record])?;
    }
    Ok(journal)
}

/// Records an answer in a run that nobody drives; the next resume acts on it.
pub fn answer_undriven(
    state_dir: &StateDir,
    run: &RunId,
    answering: Answering,
) -> Result<control::Reply, RunError> {
    let dir = state_dir.run(run)?;
    let _lock = dir.try_lock()?;
    let (contents, _) = crate::journal::read(&dir)?;
    let plan = read_plan(&dir, run, &contents)?;
    let mut state = fold(&plan, run, &contents.records)?;
    let Answering { step, binding, mut reply, evidence } = answering;
    if let Some(evidence) = evidence {
        match keep_evidence(&dir, &step, &evidence) {
            Ok(kept) => reply.evidence = Some(kept),
            Err(why) => return Ok(control::Reply::refused(why)),
        }
    }
    let mut journal = open_undriven(&dir, &plan, &mut state)?;
    let identity = Identity::current();
    let uid = nix::unistd::getuid().as_raw();
    let by = Person { name: identity.operator.clone(), uid: Some(uid), via: Via::Command };
    let clock = RunClock::after(state.last_t, state.last_at);
    let facts = RunFacts {
        id: run.to_string(),
        dir: dir.path().to_string_lossy().into_owned(),
        started_at: state.started_at.to_string(),
        operator: identity.operator,
        environment: plan.environment.as_ref().map(|e| e.name.clone()),
    };
    let mut engine = Engine::with_state(plan, state, facts);
    let records = engine.record_answer(clock.now(), step, Some(binding), reply, by);
    journal.append(&records)?;
    Ok(outcome_of(&records))
}
