//! The moving part of the live view, as plain lines: what runs now, against which limits.
//!
//! A pure function of state and time, so that every situation can be tested without a terminal. No line is ever wider
//! than the terminal, and there are never more lines than it has rows.

use std::collections::BTreeMap;

use super::look::{self, Look, Tone};
use super::outlook::Outlook;
use super::output::Tail;
use super::{neutral, words};
use crate::engine::{Activity, PhaseStatus, RunStatus, State, StepState, StepStatus, UndoStatus};
use crate::model::{Millis, OnTimeout, TaskId, TaskKind, format_millis};
use crate::plan::{Plan, Step, StepIx};

/// The terminal in rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub rows: usize,
    pub columns: usize,
}

/// What a frame is made of.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub plan: &'a Plan,
    pub state: &'a State,
    pub now: Millis,
    pub tails: &'a BTreeMap<TaskId, Tail>,
    /// The line on which a person answers: the step, what stands there, and why the last answer was none.
    pub prompt: Option<(StepIx, &'a str, &'a str)>,
    pub look: Look,
    pub size: Size,
}

type Segment = (Tone, String);

/// The lines of one frame, top to bottom.
pub fn frame(view: &View<'_>) -> Vec<String> {
    // The last column stays free: a terminal that is written full to its edge may wrap.
    let columns = view.size.columns.saturating_sub(1).max(1);
    let budget = view.size.rows.saturating_sub(1).max(1);
    let outlook = Outlook::of(view.plan, view.state, view.now);
    let mut lines: Vec<Vec<Segment>> = header(view, outlook.as_ref());
    // The questions are what a person has to see: what they need is kept free, before all else.
    let asked = questions(view, columns, budget);
    let budget_above = budget.saturating_sub(asked.len());
    lines.truncate(budget_above);
    let active: Vec<StepIx> =
        (0..view.plan.steps.len()).filter(|ix| is_active(view.plan, *ix, &view.state.steps[*ix])).collect();
    let free = budget_above.saturating_sub(lines.len());
    let shown = if active.len() > free { free.saturating_sub(1) } else { active.len() };
    let tail_lines = (free - shown).checked_div(shown).unwrap_or(0).min(Tail::LINES);
    for ix in &active[..shown] {
        lines.push(step_line(view, *ix, outlook.as_ref()));
        lines.extend(tail(view, *ix, tail_lines));
    }
    if shown < active.len() && free > 0 {
        lines.push(vec![(Tone::Dim, format!("  and {} more running", active.len() - shown))]);
    }
    lines.extend(asked);
    lines.truncate(budget);
    lines.iter().map(|segments| compose(view.look, segments, columns)).collect()
}

/// The open questions, the one that is answered here last, above the line on which it is. At most `most` lines.
fn questions(view: &View<'_>, columns: usize, most: usize) -> Vec<Vec<Segment>> {
    let run = view.state.start.as_ref().map_or("RUN", |start| start.run.as_str());
    let mut open = view.state.open_questions();
    open.sort_by_key(|ix| view.prompt.is_some_and(|(step, ..)| step == *ix));
    let mut lines: Vec<Vec<Segment>> = Vec::new();
    // Where the last question begins.
    let mut last = 0;
    for ix in open {
        let step = &view.plan.steps[ix];
        let Some(asking) = view.state.steps[ix].asking() else { continue };
        last = lines.len();
        lines.push(vec![
            (Tone::Warn, "? ".to_owned()),
            (Tone::Bold, step.id.to_string()),
            (Tone::Plain, format!("  {}", super::question::heading(&asking.question, &step.title))),
        ]);
        let inner = columns.saturating_sub(4).max(10);
        let text = super::question::lines(&asking.question, &asking.agreed);
        let wrapped = text.iter().flat_map(|line| super::question::wrapped(line, inner));
        lines.extend(wrapped.map(|line| vec![(Tone::Plain, format!("    {line}"))]));
        let dim = |text: &str| {
            let pieces = look::wrap(text, inner);
            pieces.into_iter().map(|piece| vec![(Tone::Dim, format!("    {piece}"))]).collect::<Vec<_>>()
        };
        lines.extend(dim(&time_to_answer(view, asking)));
        match view.prompt {
            Some((at, line, note)) if at == ix => {
                if note.is_empty() {
                    lines.extend(dim(&super::question::hint(&asking.question, run, &step.id)));
                } else {
                    let pieces = look::wrap(&neutral::line(note), inner);
                    lines.extend(pieces.into_iter().map(|piece| vec![(Tone::Warn, format!("    {piece}"))]));
                }
                lines.push(typed_line(line, columns));
            }
            _ => {
                lines.extend(dim(&format!(
                    "answer with: {}",
                    words::answer_line(&asking.question, run, &step.id)
                )));
            }
        }
    }
    // The end is where it is answered, and for what is said above it.
    let skipped = lines.len().saturating_sub(most);
    if skipped > last && most > 3 {
        let more = vec![(Tone::Dim, "    (more than fits here)".to_owned())];
        lines.splice(last + 1..=skipped + 1, [more]);
        lines.drain(..last);
    } else {
        lines.drain(..skipped);
    }
    lines
}

/// How long it has been asked, and what follows when nobody answers.
fn time_to_answer(view: &View<'_>, asking: &crate::engine::Asking) -> String {
    let since = whole_seconds(view.now.saturating_sub(asking.since));
    let asked = format!("{} for {since}", words::asked(asking.question.kind));
    let Some(until) = asking.until else { return asked };
    let left = whole_seconds(until.saturating_sub(view.now));
    let then = match (&asking.question.suggestion, asking.question.on_timeout) {
        (Some(option), OnTimeout::Suggest) => format!("{option} is taken"),
        _ => words::unanswered(&asking.question).to_owned(),
    };
    format!("{asked}; {left} left, then {}", neutral::line(then))
}

/// What stands on the line, the end of it if it is too long.
fn typed_line(line: &str, columns: usize) -> Vec<Segment> {
    let line = neutral::line(line);
    let room = columns.saturating_sub(6).max(8);
    let from = line.char_indices().map(|(at, _)| at).find(|at| look::width(&line[*at..]) <= room);
    let shown = &line[from.unwrap_or(line.len())..];
    vec![(Tone::Accent, "  > ".to_owned()), (Tone::Bold, shown.to_owned()), (Tone::Plain, "_".into())]
}

fn is_active(plan: &Plan, ix: StepIx, step: &StepState) -> bool {
    if step.is_asking() {
        return false;
    }
    let items = step.is_inside() && plan.foreach(ix).is_some();
    let undoing = matches!(
        step.undo,
        UndoStatus::Running { .. } | UndoStatus::Deciding { .. } | UndoStatus::Backoff { .. }
    );
    // A group's own line would say nothing that the steps inside do not say; that of a list tells how far it is.
    undoing || items || matches!(&step.status, StepStatus::Active(activity) if *activity != Activity::Inside)
}

fn header(view: &View<'_>, outlook: Option<&Outlook>) -> Vec<Vec<Segment>> {
    let (plan, state) = (view.plan, view.state);
    let Some(start) = &state.start else { return Vec::new() };
    let mut first = vec![(Tone::Bold, start.run.to_string())];
    if let Some(environment) = &start.environment {
        first.push((Tone::Plain, format!("  {}", neutral::line(environment))));
    }
    if start.drill {
        first.push((Tone::Accent, "  drill".to_owned()));
    }
    let mut lines = vec![first];
    if let Some(target) = plan.objectives.rto {
        let used = state.started_at.since(start.incident_since).saturating_add(view.now);
        let tone = match used.0.saturating_mul(100).checked_div(target.0).unwrap_or(100) {
            0..75 => Tone::Good,
            75..100 => Tone::Warn,
            _ => Tone::Bad,
        };
        let text = format!("RTO {} of {} ", whole_seconds(used), words::target_text(target));
        lines.push(vec![(tone, text), (tone, bar(view.look, used, target, 24))]);
    }
    if let Some(outlook) = outlook.filter(|o| o.recovery.is_some() || plan.objectives.rto.is_some()) {
        let columns = view.size.columns.saturating_sub(1);
        let text = outlook.sentence_within(columns);
        let basis = outlook.basis().map(|basis| format!("  {basis}"));
        let basis = basis.filter(|basis| look::width(&text) + look::width(basis) <= columns);
        let mut line = vec![(outlook.tone(), text)];
        line.extend(basis.map(|basis| (Tone::Dim, basis)));
        lines.push(line);
    }
    lines.push(progress(view));
    lines
}

/// The phase in hand, or what the run does instead, and how many steps are over.
fn progress(view: &View<'_>) -> Vec<Segment> {
    let (plan, state) = (view.plan, view.state);
    let over = state.steps.iter().filter(|s| matches!(s.status, StepStatus::Over(_))).count();
    let mut line = vec![(Tone::Dim, format!("{over} of {} steps  ", plan.steps.len()))];
    match &state.status {
        RunStatus::RollingBack { because } => {
            line.push((Tone::Accent, format!("rolling back: {}", neutral::line(because))));
        }
        RunStatus::Cancelling { by } => {
            line.push((Tone::Warn, format!("cancelled by {}: waiting for what runs", neutral::line(by))));
        }
        RunStatus::Stopping { why } => line.push((Tone::Warn, format!("stopping: {}", neutral::line(why)))),
        _ => {
            let running = state.phases.iter().rposition(|p| matches!(p, PhaseStatus::Running { .. }));
            let Some((phase, PhaseStatus::Running { since, late })) =
                running.and_then(|ix| Some((plan.phases.get(ix)?, &state.phases[ix])))
            else {
                return line;
            };
            if plan.phases.len() > 1 {
                line.push((Tone::Bold, neutral::line(&phase.title)));
            }
            if let Some(deadline) = phase.deadline {
                let used = view.now.saturating_sub(*since);
                let text = format!("  {} of {}", whole_seconds(used), words::target_text(deadline));
                line.push((if *late { Tone::Bad } else { Tone::Plain }, text));
                if *late {
                    line.push((Tone::Bad, " late".to_owned()));
                }
            }
        }
    }
    line
}

fn step_line(view: &View<'_>, ix: StepIx, outlook: Option<&Outlook>) -> Vec<Segment> {
    let (step, state) = (&view.plan.steps[ix], &view.state.steps[ix]);
    let mut line = vec![
        (Tone::Accent, format!("{} ", spinner(view.look, view.now))),
        (Tone::Bold, step.id.to_string()),
        (Tone::Plain, format!("  {}", activity(view, ix, step, state))),
    ];
    let late = outlook.and_then(|outlook| outlook.recovery.as_ref()).map(|r| &r.overdue);
    if let Some(row) = late.into_iter().flatten().find(|row| row.step == step.id) {
        line.push((Tone::Warn, format!("  late: {} in past runs (p90)", row.p90)));
    }
    line.push((Tone::Dim, format!("  {}", neutral::line(&step.title))));
    line
}

/// What the step does now, and against which limit.
fn activity(view: &View<'_>, ix: StepIx, step: &Step, state: &StepState) -> String {
    let left = |until: Millis| whole_seconds(until.saturating_sub(view.now));
    match &state.undo {
        UndoStatus::Running { tries } => {
            let again = if *tries > 1 { format!(", try {tries}") } else { String::new() };
            return format!("undo{again} {}", running(view, ix));
        }
        UndoStatus::Backoff { tries, until } => {
            return format!("undo try {tries} failed, next in {}", left(*until));
        }
        UndoStatus::None | UndoStatus::Asking(_) | UndoStatus::Heard(_) => {}
        UndoStatus::Deciding { .. } | UndoStatus::Over(_) => {}
    }
    let StepStatus::Active(activity) = &state.status else { return String::new() };
    let of = step.retry.attempts;
    match activity {
        Activity::Unless => format!("looking whether it is needed {}", running(view, ix)),
        Activity::Acting if of > 1 => format!("attempt {} of {of} {}", state.attempts, running(view, ix)),
        Activity::Acting => running(view, ix),
        Activity::Waiting { until } => format!("waiting, {} left", left(*until)),
        Activity::Remedy { failed } => format!("remedy after attempt {failed} {}", running(view, ix)),
        Activity::Backoff { failed, until } => {
            format!("attempt {failed} of {of} failed, next in {}", left(*until))
        }
        Activity::Verifying { check, poll, since, .. } => {
            let check = step.verify.get(usize::from(*check));
            let title = check.map_or_else(String::new, |c| format!(": {}", neutral::line(&c.title)));
            let used = whole_seconds(view.now.saturating_sub(*since));
            let limit = check
                .and_then(|c| c.within)
                .map_or_else(String::new, |w| format!(" of {}", words::target_text(w)));
            format!("verifying{title}, poll {poll}, {used}{limit}")
        }
        Activity::Checking => format!("looking whether it took effect {}", running(view, ix)),
        Activity::Inside => {
            view.state.item_count(view.plan, ix).map_or_else(String::new, |count| words::items_done(&count))
        }
        // A question has lines of its own.
        Activity::Asking(_) | Activity::Told | Activity::Deciding { .. } | Activity::Heard(_) => {
            String::new()
        }
    }
}

/// The elapsed time of the step's task in flight, against its timeout.
fn running(view: &View<'_>, ix: StepIx) -> String {
    let Some((_, task)) = in_flight(view.state, view.plan, ix) else { return String::new() };
    let elapsed = whole_seconds(view.now.saturating_sub(task.since));
    let on = task.host.as_ref().map_or_else(String::new, |host| format!("on {} ", neutral::line(host)));
    match task.timeout {
        Some(timeout) => format!("{on}{elapsed} of {}", words::target_text(timeout)),
        None => format!("{on}{elapsed}"),
    }
}

fn in_flight<'a>(
    state: &'a State,
    plan: &Plan,
    ix: StepIx,
) -> Option<(&'a TaskId, &'a crate::engine::InFlight)> {
    // The map is ordered by step first: a lookup, not a scan, or many parallel steps would cost their square.
    let first = TaskId::new(plan.steps[ix].id.clone(), TaskKind::Unless, 0);
    state.in_flight.range(first..).next().filter(|(task, _)| task.step == plan.steps[ix].id)
}

fn tail(view: &View<'_>, ix: StepIx, lines: usize) -> Vec<Vec<Segment>> {
    let tail = in_flight(view.state, view.plan, ix).and_then(|(task, _)| view.tails.get(task));
    let last = tail.map_or_else(Vec::new, |t| t.last(lines));
    let edge = if view.look.unicode { "    │ " } else { "    | " };
    last.into_iter().map(|line| vec![(Tone::Dim, edge.to_owned()), (Tone::Dim, line)]).collect()
}

fn spinner(look: Look, now: Millis) -> char {
    const PRETTY: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
    const ASCII: [char; 4] = ['|', '/', '-', '\\'];
    // 8 to the second; the moment, not a counter, so that a slow terminal does not slow the wheel.
    let n = usize::try_from(now.0 / 125).unwrap_or(0);
    if look.unicode { PRETTY[n % PRETTY.len()] } else { ASCII[n % ASCII.len()] }
}

fn bar(look: Look, used: Millis, target: Millis, width: usize) -> String {
    let share = used.0.min(target.0) as f64 / target.0.max(1) as f64;
    let full = ((share * width as f64).round() as usize).min(width);
    let (a, b) = if look.unicode { ("━", "╌") } else { ("#", "-") };
    format!("{}{}", a.repeat(full), b.repeat(width - full))
}

/// Tenths of a second flicker: `4s`, `1m05s`.
pub fn whole_seconds(ms: Millis) -> String {
    if ms.0 < 60_000 { format!("{}s", ms.0 / 1000) } else { format_millis(ms) }
}

/// Joins the segments, cut to the columns before they are painted.
pub fn compose(look: Look, segments: &[Segment], columns: usize) -> String {
    let mut out = String::new();
    let mut left = columns;
    for (tone, text) in segments {
        let cut = look.cut(text, left);
        left = left.saturating_sub(look::width(&cut));
        out.push_str(&look.paint(*tone, &cut));
        if left == 0 {
            break;
        }
    }
    out
}
