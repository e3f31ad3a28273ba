//! Records to report: the one place where an [`Incident`] is made.

use super::{
    CheckReport, Deviation, Failure, INCIDENT_FORMAT, Incident, Journal, Person, PhaseReport, Projected,
    RollbackReport, StepReport, TakenReport, TaskReport, review,
};
use crate::model::{
    Event, Millis, Objective, ObjectiveVerdict, Record, RunOutcome, StepOutcome, TaskKind, TaskVerdict,
};
use crate::plan::{Plan, StepIx};
use crate::report::history::{CheckHistory, History, StepHistory, TaskHistory};
use crate::report::rollback::{Rollback, Taken, failures};
use crate::report::timeline::Timeline;
use crate::report::{TailFn, closing, neutral, words};

/// Lines of output quoted for a failure.
const TAIL_LINES: usize = 20;
/// Characters of one command in a report; the journal has the whole.
const MAX_COMMAND: usize = 8_000;
const MAX_FAILURES: usize = 50;

impl Incident {
    /// `head` is the hash of the journal's last line; `tail` gives the output of a task.
    pub fn build(plan: &Plan, records: &[Record], head: &str, tail: &TailFn<'_>) -> Self {
        Self::of(plan, records, &History::of(plan, records), head, tail)
    }

    /// As [`Incident::build`], by somebody who has folded the records already.
    pub fn of(plan: &Plan, records: &[Record], history: &History, head: &str, tail: &TailFn<'_>) -> Self {
        let start = history.start.as_ref();
        let end = history.end.as_ref();
        let steps: Vec<StepReport> =
            (0..plan.steps.len()).map(|ix| step(plan, ix, history, end.is_none())).collect();
        let failures: Vec<Failure> = failures(plan, history)
            .into_iter()
            .take(MAX_FAILURES)
            .map(|ix| failure(plan, ix, &history.steps[ix], tail))
            .collect();
        let deviations = deviations(plan, records, history);
        let questions = review::questions(plan, history);
        let told = review::Told {
            plan,
            history,
            failures: &failures,
            deviations: &deviations,
            questions: &questions,
        };
        let review = told.review();
        let mut counts = std::collections::BTreeMap::new();
        for step in &steps {
            *counts.entry(step.state.clone()).or_insert(0) += 1;
        }
        Self {
            version: INCIDENT_FORMAT,
            run: start.map(|s| s.run.clone()),
            playbook: neutral::line(&plan.playbook.name),
            title: neutral::line(&plan.playbook.title),
            drill: start.is_some_and(|s| s.drill),
            environment: start.and_then(|s| s.environment.as_ref()).map(neutral::line),
            outcome: end.map(|e| e.outcome),
            summary: summary(plan, history),
            why: end.and_then(|e| e.why.as_ref()).map(neutral::line),
            incident_since: start.map(|s| s.incident_since),
            started: history.started_at,
            last: history.last_at,
            duration: history.last_t,
            rto: end.and_then(|e| e.rto.as_ref()).map(clean_objective),
            rpo: end.and_then(|e| e.rpo.as_ref()).map(clean_objective),
            projection: Projected::of(plan, records, history),
            counts,
            failures,
            rollback: rollback(plan, history),
            deviations,
            phases: phases(plan, history),
            steps,
            timeline: Timeline::of(records),
            params: start
                .map(|s| s.params.iter().map(|(n, v)| (neutral::line(n), words::value(v))).collect())
                .unwrap_or_default(),
            people: people(plan, history),
            commander: history.commander().map(neutral::line),
            time: review::time_spent(history),
            questions,
            notices: history.notices.clone(),
            review,
            journal: Journal {
                records: history.seq,
                epochs: history.epoch,
                head: neutral::line(head),
                // The one in force; the timeline has the others.
                plan_hash: history
                    .replans
                    .last()
                    .map(|(_, info)| &info.plan_hash)
                    .or(start.map(|s| &s.plan_hash))
                    .map(neutral::line),
                host: start.map(|s| neutral::line(&s.host)),
                binary: start.map(|s| neutral::line(&s.version)),
                verify: start.map(|s| format!("runbook verify {} --head {}", s.run, neutral::line(head))),
            },
        }
    }
}

fn clean_objective(objective: &Objective) -> Objective {
    Objective { note: objective.note.as_ref().map(neutral::line), ..objective.clone() }
}

/// The whole run in one sentence.
fn summary(plan: &Plan, history: &History) -> String {
    let what = neutral::line(&plan.playbook.title);
    let Some(end) = &history.end else {
        return format!(
            "{what}: the run is not over; the last record came {} after its start",
            history.last_t
        );
    };
    let mut out = format!("{what}: {} after {}", end.outcome, history.last_t);
    if let (RunOutcome::Recovered | RunOutcome::Degraded, Some(rto)) = (end.outcome, &end.rto) {
        match rto.verdict {
            ObjectiveVerdict::Met => out.push_str(", within the RTO"),
            ObjectiveVerdict::Missed => out.push_str(", later than the RTO allows"),
            ObjectiveVerdict::None => {}
        }
    }
    out.push_str(&format!(". {}", words::sentence(words::run_meaning(end.outcome))));
    out
}

fn step(plan: &Plan, ix: StepIx, history: &History, open: bool) -> StepReport {
    let (step, past) = (&plan.steps[ix], &history.steps[ix]);
    let state = match past.final_outcome() {
        Some(outcome) => outcome.as_str(),
        None if past.started.is_some() => "not over",
        None if open => "pending",
        None => "not started",
    };
    StepReport {
        id: step.id.clone(),
        title: neutral::line(&step.title),
        phase: step.phase,
        state: state.to_owned(),
        outcome: past.outcome,
        why: past.why.as_ref().map(neutral::line),
        started_t: past.started,
        ended_t: past.ended,
        attempts: past.attempts,
        tasks: past.tasks.iter().map(task).collect(),
        checks: past.checks.iter().map(|c| check(plan, ix, c)).collect(),
        wait: past.wait,
        outputs: past.outputs.iter().map(|(name, v)| (neutral::line(name), words::value(v))).collect(),
        choice: past.choice.as_ref().map(neutral::line),
        items: history.item_count(plan, ix).map(|count| words::items_done(&count)),
        advisories: past.advisories.iter().map(neutral::line).collect(),
    }
}

fn task(past: &TaskHistory) -> TaskReport {
    let what = words::task(&past.task);
    let what = if what.is_empty() { "attempt 1".to_owned() } else { what };
    TaskReport {
        what: match &past.host {
            Some(host) => format!("{what} on {}", neutral::line(host)),
            None => what,
        },
        undo: past.task.kind == TaskKind::Undo,
        command: shortened(&past.command),
        values: past.values.iter().map(|(n, v)| (neutral::line(n), shortened(v))).collect(),
        workdir: past.workdir.as_ref().map(neutral::line),
        started_t: past.started,
        ended_t: past.end.as_ref().map(|(t, _, _)| *t),
        verdict: past.end.as_ref().map_or("no end recorded", |(_, _, v)| words::verdict(v).0),
        end: past.end.as_ref().map(|(_, end, verdict)| words::task_end(end, verdict)),
        remarks: past.end.as_ref().map(|(_, end, _)| words::task_remarks(end)).unwrap_or_default(),
    }
}

fn check(plan: &Plan, ix: StepIx, past: &CheckHistory) -> CheckReport {
    let title = plan.steps[ix].verify.get(usize::from(past.check)).map(|c| neutral::line(&c.title));
    CheckReport {
        title: title.unwrap_or_else(|| format!("check {}", u32::from(past.check) + 1)),
        command: shortened(&past.command),
        polls: past.polls,
        started_t: past.started,
        ended_t: past.ended,
        verdict: past.end.as_ref().map_or("no end recorded", |(_, v)| words::verdict(v).0),
        end: past.end.as_ref().map(|(end, verdict)| words::task_end(end, verdict)),
    }
}

fn shortened(text: &str) -> String {
    let safe = neutral::block(text.trim_end());
    match safe.char_indices().nth(MAX_COMMAND) {
        Some((at, _)) => format!("{}… ({} bytes in all)", &safe[..at], text.len()),
        None => safe,
    }
}

fn failure(plan: &Plan, ix: StepIx, past: &StepHistory, tail: &TailFn<'_>) -> Failure {
    let undo_failed = past.final_outcome() == Some(StepOutcome::UndoFailed);
    let undo = past.tasks.iter().rfind(|t| t.task.kind == TaskKind::Undo).filter(|_| undo_failed);
    let culprit = past.culprit();
    let of_task = |t: &TaskHistory| {
        let values = t.values.iter().map(|(n, v)| (neutral::line(n), shortened(v))).collect();
        (shortened(&t.command), values)
    };
    let by_id = |id: &crate::model::TaskId| {
        let task = past.tasks.iter().find(|t| t.task == *id).map(of_task);
        task.or_else(|| {
            past.checks.iter().find(|c| c.last == *id).map(|c| (shortened(&c.command), Vec::new()))
        })
    };
    let (command, values) = undo.map(of_task).or_else(|| culprit.and_then(by_id)).unzip();
    Failure {
        step: plan.steps[ix].id.clone(),
        title: neutral::line(&plan.steps[ix].title),
        outcome: past.final_outcome().unwrap_or(StepOutcome::Failed),
        why: undo_why(past).or_else(|| past.why.clone()).map(neutral::line),
        command,
        values: values.unwrap_or_default(),
        output: closing::quoted(past, tail, TAIL_LINES),
    }
}

fn undo_why(past: &StepHistory) -> Option<String> {
    words::undone(past.undo.as_ref()?).2.map(|why| format!("its undo: {why}"))
}

fn rollback(plan: &Plan, history: &History) -> Option<RollbackReport> {
    let (_, because) = history.rollback.as_ref()?;
    let rollback = Rollback::of(plan, history);
    let list = |taken: &[Taken]| {
        taken
            .iter()
            .map(|t| TakenReport {
                step: plan.steps[t.step].id.clone(),
                why: t.why.clone(),
                command: t.command.as_deref().map(shortened),
            })
            .collect()
    };
    Some(RollbackReport {
        because: neutral::line(because),
        undone: list(&rollback.undone),
        not_undone: list(&rollback.not_undone),
        unknown: list(&rollback.unknown),
    })
}

fn phases(plan: &Plan, history: &History) -> Vec<PhaseReport> {
    plan.phases
        .iter()
        .zip(&history.phases)
        .map(|(phase, past)| PhaseReport {
            id: neutral::line(&phase.id),
            title: neutral::line(&phase.title),
            started_t: past.started,
            ended_t: past.ended,
            deadline: phase.deadline,
            late: past.late,
        })
        .collect()
}

/// Everything a reviewer asks about first, in the order in which it happened.
pub(in crate::report) fn deviations(plan: &Plan, records: &[Record], history: &History) -> Vec<Deviation> {
    let mut out: Vec<Deviation> = Vec::new();
    let mut add = |t: Millis, kind: &'static str, text: String| {
        out.push(Deviation { t, kind, text: neutral::line(text) });
    };
    let mut waited = false;
    for record in records {
        let t = record.t;
        match &record.event {
            Event::RunEnded(end) => waited = end.outcome == RunOutcome::Waiting,
            // A run that nobody can be asked in stops at its questions, and goes on so.
            Event::RunResumed(_) if waited => waited = false,
            Event::RetryScheduled { step, failed, undo, .. } => {
                let what = if *undo { "undo try" } else { "attempt" };
                add(t, "retry", format!("{step}: {what} {failed} failed and was tried again"));
            }
            Event::StepSkipped { step, why } => add(t, "skipped", format!("{step}: {why}")),
            Event::AdvisoryFailed { step, title, why, .. } => {
                add(t, "advisory", format!("{step}: {title}: {why}"))
            }
            Event::RunResumed(info) => add(t, "resumed", format!("by {} on {}", info.operator, info.host)),
            Event::Replanned(info) => {
                add(t, "replanned", format!("by {}; {}", info.by, words::replan(info).join("; ")));
            }
            Event::CancelRequested { by, how } => add(t, "cancelled", format!("by {by}: {how}")),
            Event::PhaseDeadlineMissed { phase, deadline } => {
                add(
                    t,
                    "late",
                    format!("phase {phase} missed its deadline of {}", words::target_text(*deadline)),
                );
            }
            Event::StepResolved { step, resolution, by, reason, .. } => {
                add(t, "resolved", format!("{step}: {by} said {}: {reason}", words::resolution(*resolution)));
            }
            Event::Answered { step, number, reply, by } => {
                let asked = plan.find(step).map(|ix| &history.steps[ix].questions);
                let question = asked.and_then(|all| all.iter().find(|q| q.number == *number));
                if let Some(said) = review::turns_away(question.map(|q| &q.question), reply, by) {
                    add(t, "answer", format!("{step}: {said}"));
                }
            }
            Event::AnswerRefused { step, answer, by, why } => {
                add(t, "refused", format!("{step}: {by} said {}: {why}", answer.words()));
            }
            Event::QuestionExpired { step, then, .. } => {
                add(
                    t,
                    "unanswered",
                    format!("{step}: nobody answered in time: {}", words::on_timeout(*then)),
                );
            }
            Event::Gap { length, why } => add(t, "clock", format!("{length} passed: {why}")),
            Event::HostSilent { task, why } => add(t, "host", format!("{task}: {}", words::host_silent(why))),
            Event::KeeperLost { why } => add(t, "keeper", format!("the keeper is gone: {why}")),
            Event::TailSetAside { bytes, file } => {
                add(
                    t,
                    "journal",
                    format!("an unterminated last line of {bytes} bytes was set aside in {file}"),
                );
            }
            Event::TaskEnded { task, end, verdict, .. } => {
                if *verdict == TaskVerdict::NotRun {
                    add(t, "journal", format!("{task} was recorded as started and never ran"));
                }
                for remark in words::task_remarks(end) {
                    add(t, "output", format!("{task}: {remark}"));
                }
            }
            _ => {}
        }
    }
    for (t, remark) in history.remarks.iter().filter(|(_, r)| r.starts_with("the wall clock")) {
        add(*t, "clock", remark.clone());
    }
    for (step, past) in plan.steps.iter().zip(&history.steps) {
        let group = step.parent.and_then(|parent| history.steps[parent].choice.as_ref());
        if let (Some(served), Some(StepOutcome::Failed)) = (group, past.outcome) {
            let why = past.why.as_deref().unwrap_or("it failed");
            add(
                past.ended.unwrap_or_default(),
                "alternative",
                format!("{}: {why}; {served} served", step.id),
            );
        }
        if past.outcome == Some(StepOutcome::Satisfied) {
            let at = past.ended.unwrap_or_default();
            add(at, "skipped", format!("{}: its action was not needed", step.id));
        }
    }
    out.sort_by_key(|d| d.t);
    out
}

fn people(plan: &Plan, history: &History) -> Vec<Person> {
    let mut out = Vec::new();
    let mut add = |name: &str, did: String, t: Millis| {
        out.push(Person { name: neutral::line(name), did: neutral::line(did), t });
    };
    if let Some(start) = &history.start {
        add(&start.operator, format!("started the run on {}", start.host), Millis::ZERO);
    }
    for (t, _, info) in &history.resumes {
        add(&info.operator, format!("resumed it on {}", info.host), *t);
    }
    for (t, info) in &history.replans {
        add(&info.by, "put an edited playbook in the place of the plan".to_owned(), *t);
    }
    for (t, by, how) in &history.cancels {
        add(by, format!("asked for the end: {how}"), *t);
    }
    for (t, step, resolution, by, reason) in &history.resolutions {
        add(by, format!("said of {step}: {}: {reason}", words::resolution(*resolution)), *t);
    }
    for (t, by) in &history.acknowledged {
        add(&by.name, "took notice".to_owned(), *t);
    }
    for (t, to, by, note) in &history.handoffs {
        let note = note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        add(&by.name, format!("handed over to {to}{note}"), *t);
    }
    for (t, _, by, text) in &history.notes {
        add(&by.name, format!("noted: {}", text.lines().collect::<Vec<_>>().join(" / ")), *t);
    }
    for (step, past) in plan.steps.iter().zip(&history.steps) {
        for (t, reply, by) in past.questions.iter().flat_map(|q| &q.answers) {
            let comment = reply.comment.as_ref().map(|c| format!(": {c}")).unwrap_or_default();
            add(&by.name, format!("answered {}: {}{comment}", step.id, reply.answer.words()), *t);
        }
    }
    out.sort_by_key(|p| p.t);
    out
}
