//! Questions to people: when one is asked, which answers count, and what follows from them.

use std::collections::BTreeMap;

use crate::model::{
    Answer, Binding, Choice, Event, OnTimeout, Person, Question, QuestionKind, Reply, RunOutcome, StepId,
    StepOutcome, UndoneState, Via,
};
use crate::plan::{Ask, Body, Choose, OnFailure, StepIx, template};
use crate::planted::{self, Bug};

use super::core::Engine;
use super::state::{Activity, Asking, Heard, RunStatus, StepStatus};

impl Engine {
    /// Asks whether the action may start.
    pub(super) fn ask_approval(&mut self, ix: StepIx, ask: &Ask) {
        let next = self.state.steps[ix].attempts.saturating_add(1);
        self.ask(ix, QuestionKind::Approval, ask, next, Vec::new(), None);
    }

    /// Asks whether the step may be taken back.
    pub(super) fn ask_undo(&mut self, ix: StepIx, ask: &Ask) {
        let last = self.state.steps[ix].attempts;
        self.ask(ix, QuestionKind::Undo, ask, last, Vec::new(), None);
    }

    /// The person does the step.
    pub(super) fn ask_manual(&mut self, ix: StepIx, ask: &Ask) {
        let next = self.state.steps[ix].attempts.saturating_add(1);
        self.ask(ix, QuestionKind::Manual, ask, next, Vec::new(), None);
    }

    pub(super) fn ask_choice(&mut self, ix: StepIx, choose: &Choose) {
        let next = self.state.steps[ix].attempts.saturating_add(1);
        let mut options = Vec::new();
        for option in &choose.options {
            let closed = match &option.when {
                None => None,
                Some(when) => match self.with_ctx(ix, &when.uses, None, |ctx| template::eval_bool(when, ctx))
                {
                    Ok(true) => None,
                    Ok(false) => Some(format!("{} is false", when.src)),
                    Err(error) => return self.fail_step(ix, format!("option {}: {error}", option.id)),
                },
            };
            options.push(Choice {
                id: option.id.clone(),
                title: option.title.clone(),
                eta: option.eta.clone(),
                loss: option.loss.clone(),
                closed,
            });
        }
        if options.iter().all(|o| o.closed.is_some()) {
            return self.fail_step(ix, "none of the options can be taken".into());
        }
        let suggestion = match &choose.suggest {
            None => None,
            Some(expr) => match self.with_ctx(ix, &expr.uses, None, |ctx| template::eval(expr, ctx)) {
                Ok(value) => value.as_str().map(str::to_owned),
                Err(error) => return self.fail_step(ix, format!("`suggest`: {error}")),
            },
        };
        if let Some(wanted) = &suggestion {
            match options.iter().find(|o| o.id == *wanted) {
                None => return self.fail_step(ix, format!("`suggest` names no option: {wanted:?}")),
                Some(Choice { closed: Some(why), .. }) => {
                    return self
                        .fail_step(ix, format!("`suggest` names {wanted}, which cannot be taken: {why}"));
                }
                Some(_) => {}
            }
        }
        self.ask(ix, QuestionKind::Choice, &choose.ask, next, options, suggestion);
    }

    fn ask(
        &mut self,
        ix: StepIx,
        kind: QuestionKind,
        ask: &Ask,
        attempt: u32,
        options: Vec<Choice>,
        suggestion: Option<String>,
    ) {
        let prompt = self.with_ctx(ix, &ask.prompt.uses, None, |ctx| template::render_text(&ask.prompt, ctx));
        let prompt = match prompt {
            Ok(prompt) => prompt,
            Err(error) if kind == QuestionKind::Undo => {
                let (step, why) = (self.plan.steps[ix].id.clone(), format!("the prompt: {error}"));
                self.emit(Event::StepUndone { step, state: UndoneState::Failed { why } });
                return;
            }
            Err(error) => {
                return self.end_step(ix, StepOutcome::Failed, Some(format!("the prompt: {error}")));
            }
        };
        let excluded = if ask.exclude_operator { vec![self.starter()] } else { Vec::new() };
        let question = Question {
            kind,
            attempt,
            prompt,
            options,
            suggestion,
            approvers: ask.approvers.clone(),
            excluded,
            count: ask.count,
            timeout: ask.timeout,
            on_timeout: ask.on_timeout,
            evidence: ask.evidence,
        };
        self.put(ix, question);
    }

    /// The step has failed for good, and its author wants a person to say what now.
    fn ask_what_now(&mut self, ix: StepIx, why: String) {
        let question = Question {
            kind: QuestionKind::Failure,
            attempt: self.state.steps[ix].attempts,
            prompt: format!("It failed: {why}. What now?"),
            options: Vec::new(),
            suggestion: None,
            approvers: Vec::new(),
            excluded: Vec::new(),
            count: 1,
            timeout: None,
            on_timeout: OnTimeout::Wait,
            evidence: false,
        };
        self.put(ix, question);
    }

    fn put(&mut self, ix: StepIx, question: Question) {
        let step = self.plan.steps[ix].id.clone();
        let number = self.state.steps[ix].asked.saturating_add(1);
        self.emit(Event::Asked { step, number, question: Box::new(question) });
        self.later(ix);
    }

    /// Who started the run: a later process may be somebody else's.
    fn starter(&self) -> String {
        self.state.start.as_ref().map_or_else(String::new, |start| start.operator.clone())
    }

    /// Ends a step that has failed for good, or asks what now.
    pub(super) fn fail_step(&mut self, ix: StepIx, why: String) {
        let group =
            matches!(self.plan.steps[ix].body, Body::AnyOf(_) | Body::Playbook { .. } | Body::ForEach(_));
        let asks = self.plan.steps[ix].on_failure == OnFailure::Ask && !group;
        if asks && self.state.status == RunStatus::Running {
            self.ask_what_now(ix, why);
        } else {
            self.end_step(ix, StepOutcome::Failed, Some(why));
        }
    }

    /// What a question that is open, or was answered, comes to now.
    pub(super) fn advance_question(&mut self, ix: StepIx, held: bool) {
        match self.state.steps[ix].status.clone() {
            StepStatus::Active(Activity::Asking(_) | Activity::Heard(_)) if self.rolling_back() => {
                self.end_step(ix, StepOutcome::Cancelled, Some("the run is rolled back".into()));
            }
            StepStatus::Active(Activity::Asking(asking)) if !held && self.may_go_on() => {
                self.expire_if_due(ix, &asking);
            }
            _ => {}
        }
    }

    pub(super) fn expire_if_due(&mut self, ix: StepIx, asking: &Asking) {
        if asking.until.is_some_and(|until| self.now.t >= until) {
            let step = self.plan.steps[ix].id.clone();
            let then = asking.question.on_timeout;
            self.emit(Event::QuestionExpired { step, number: asking.number, then });
            self.later(ix);
        }
    }

    /// Acts on a settled question, once nothing else is left to conclude and a place is free: what follows, be it only
    /// the verification of the group around the step, may need one. In a run that stops nothing new starts; the answer
    /// stands, and a resume acts on it.
    pub(super) fn act_on_answers(&mut self) -> bool {
        if !self.slot_is_free() {
            return false;
        }
        let heard = self.figures.heard.first().map(|ix| (*ix, self.state.steps[*ix].status.clone()));
        let Some((ix, StepStatus::Active(Activity::Heard(heard)))) = heard else { return false };
        self.act_on(ix, heard);
        true
    }

    fn act_on(&mut self, ix: StepIx, heard: Heard) {
        let Heard { kind, answer, why } = heard;
        match (kind, answer) {
            (QuestionKind::Approval, Answer::Approve) => self.begin_action(ix),
            (QuestionKind::Choice, Answer::Choose { option }) => {
                let step = self.plan.steps[ix].id.clone();
                let (outcome, outputs) = (StepOutcome::Succeeded, BTreeMap::new());
                self.emit(Event::StepEnded { step, outcome, why: None, outputs, choice: Some(option) });
            }
            (QuestionKind::Manual, Answer::Done) | (QuestionKind::Failure, Answer::Done) => {
                self.after_action(ix)
            }
            (QuestionKind::Manual, _) => self.fail_step(ix, why),
            (QuestionKind::Failure, Answer::Retry) => self.begin_action(ix),
            (QuestionKind::Failure, Answer::Skip) => {
                let step = self.plan.steps[ix].id.clone();
                self.emit(Event::StepSkipped { step, why });
            }
            // What a rollback or the end of the run follows from stands in the state: see `after_end`.
            _ => self.end_step(ix, StepOutcome::Failed, Some(why)),
        }
    }

    /// Judges what somebody said, and records it either way.
    pub(super) fn answer(&mut self, step: StepId, binding: Option<Binding>, reply: Reply, by: Person) {
        match self.judge_answer(&step, binding.as_ref(), &reply, &by) {
            Ok((ix, number)) => {
                self.emit(Event::Answered { step, number, reply, by });
                self.later(ix);
            }
            Err(why) => _ = self.emit(Event::AnswerRefused { step, answer: reply.answer, by, why }),
        }
    }

    fn judge_answer(
        &self,
        step: &StepId,
        binding: Option<&Binding>,
        reply: &Reply,
        by: &Person,
    ) -> Result<(StepIx, u32), String> {
        let Some(ix) = self.plan.find(step) else { return Err(format!("the run has no step {step}")) };
        let state = &self.state.steps[ix];
        let Some(asking) = state.asking() else {
            return Err(match state.asked {
                0 => format!("step {step} asks nothing"),
                _ => format!("too late: what step {step} asked is settled"),
            });
        };
        match self.state.status {
            RunStatus::Running => {}
            RunStatus::Ended(ref end) if end.outcome == RunOutcome::Waiting => {}
            RunStatus::RollingBack { .. } if asking.question.kind == QuestionKind::Undo => {}
            _ => return Err("the run is being ended, and nothing is started any more".into()),
        }
        if binding.is_some_and(|b| b.number != asking.number) {
            return Err(format!("it answers an earlier question of step {step}"));
        }
        if binding.is_some_and(|b| b.plan_hash != self.state.plan_hash) {
            return Err("it was given for another plan: the playbook was edited since".into());
        }
        if asking.until.is_some_and(|until| self.now.t >= until) {
            return Err(format!("too late: the time to answer step {step} is over"));
        }
        fits(asking, reply)?;
        may_say(asking, by)?;
        Ok((ix, asking.number))
    }

    /// Ends a run in which nothing goes on but by a person's word.
    pub(super) fn stop_waiting(&mut self) {
        let undos_asked = self.state.steps.iter().filter(|step| step.asks_to_undo()).count();
        let idle = self.figures.busy == 0 && self.state.in_flight.is_empty();
        let settled = match self.state.status {
            RunStatus::Running => self.figures.heard.is_empty() && self.figures.ready.is_empty(),
            RunStatus::RollingBack { .. } => undos_asked > 0,
            _ => false,
        };
        if !idle || !settled || self.figures.asking == 0 || self.figures.undoing != undos_asked {
            return;
        }
        let waits = |s: &super::state::StepState| s.asking().is_some();
        let asking: Vec<String> = self
            .state
            .steps
            .iter()
            .zip(&self.plan.steps)
            .filter(|(state, _)| waits(state))
            .map(|(_, step)| step.id.to_string())
            .collect();
        let verb = if asking.len() == 1 { "waits" } else { "wait" };
        let why = format!("{} {verb} for a person", asking.join(", "));
        self.end_run(RunOutcome::Waiting, Some(why));
    }
}

/// Whether the answer is one that the question takes.
fn fits(asking: &Asking, reply: &Reply) -> Result<(), String> {
    let question = &asking.question;
    match (question.kind, &reply.answer) {
        (QuestionKind::Approval | QuestionKind::Undo, Answer::Approve | Answer::Reject)
        | (QuestionKind::Manual, Answer::Done | Answer::NotDone)
        | (
            QuestionKind::Failure,
            Answer::Done | Answer::Retry | Answer::Skip | Answer::RollBack | Answer::Abort,
        ) => {}
        (QuestionKind::Choice, Answer::Choose { option }) => {
            let ids: Vec<&str> = question.options.iter().map(|o| o.id.as_str()).collect();
            if !ids.contains(&option.as_str()) {
                return Err(format!("there is no option {option:?}; the options are {}", ids.join(", ")));
            }
        }
        (kind, answer) => return Err(format!("{:?} is no answer to {}", answer.words(), asked_for(kind))),
    }
    match question.lacks(reply) {
        None => Ok(()),
        Some(lack) => Err(lack.to_string()),
    }
}

fn asked_for(kind: QuestionKind) -> &'static str {
    match kind {
        QuestionKind::Approval | QuestionKind::Undo => "a request for approval (approve or reject)",
        QuestionKind::Choice => "a choice (name an option)",
        QuestionKind::Manual => "a manual step (done, or not done)",
        QuestionKind::Failure => "a failed step (retry, skip, done, rollback or abort)",
    }
}

/// Whether the person is among those who may answer.
fn may_say(asking: &Asking, by: &Person) -> Result<(), String> {
    // A drill's answers stand for whoever is asked.
    if by.via == Via::Drill {
        return Ok(());
    }
    let question = &asking.question;
    if question.excluded.contains(&by.name) {
        return Err(format!("{} started the run, and somebody else has to answer", by.name));
    }
    let is_asked = question.approvers.is_empty() || question.approvers.contains(&by.name);
    if !is_asked && !planted::is(Bug::AnyoneApproves) {
        return Err(format!("{} is not asked; {} may answer", by.name, question.approvers.join(", ")));
    }
    if asking.agreed.contains(&by.name) && !planted::is(Bug::AgreeTwice) {
        return Err(format!(
            "{} has agreed already, and {} different people have to",
            by.name, question.count
        ));
    }
    Ok(())
}
