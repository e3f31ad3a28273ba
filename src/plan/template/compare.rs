//! Comparisons that would silently say no: a number with a text, a duration with a text, an outcome that is none.
//!
//! MiniJinja compares values of different types without an error. Where the type of one side is known from its name,
//! a text on the other side is checked here, and a duration such as `'2m'` is rewritten to its number.

use minijinja::machinery::Span;
use minijinja::machinery::ast::{BinOp, BinOpKind, Compare, Expr};

use super::analysis::{Path, Walker, path};
use crate::model::nearest;
use crate::model::{RunOutcome, StepOutcome, parse_duration};

const RUN_OUTCOMES: [RunOutcome; 8] = [
    RunOutcome::Recovered,
    RunOutcome::Degraded,
    RunOutcome::Failed,
    RunOutcome::RolledBack,
    RunOutcome::Stuck,
    RunOutcome::InDoubt,
    RunOutcome::Waiting,
    RunOutcome::Cancelled,
];

const STEP_OUTCOMES: [StepOutcome; 8] = [
    StepOutcome::Succeeded,
    StepOutcome::Satisfied,
    StepOutcome::Skipped,
    StepOutcome::Failed,
    StepOutcome::Cancelled,
    StepOutcome::Unknown,
    StepOutcome::Undone,
    StepOutcome::UndoFailed,
];

/// What a path is known to hold.
enum Kind {
    Number,
    /// In milliseconds, or in seconds.
    Duration {
        seconds: bool,
    },
    Outcome(Vec<&'static str>),
    Other,
}

pub(super) fn chain(walker: &mut Walker<'_>, chain: &Compare<'_>) {
    let mut left = &chain.expr;
    for op in &chain.ops {
        pair(walker, left, &op.expr);
        left = &op.expr;
    }
}

pub(super) fn binary(walker: &mut Walker<'_>, op: &BinOp<'_>) {
    use BinOpKind::{Eq, Gt, Gte, Lt, Lte, Ne};
    if matches!(op.op, Eq | Ne | Lt | Lte | Gt | Gte) {
        pair(walker, &op.left, &op.right);
    }
}

fn pair(walker: &mut Walker<'_>, left: &Expr<'_>, right: &Expr<'_>) {
    for (read, written) in [(left, right), (right, left)] {
        let (Some(path), Expr::Const(constant)) = (path(read), written) else { continue };
        match constant.value.as_str() {
            Some(text) => check_text(walker, &path, text, written.span()),
            None => check_number(walker, &path, constant.value.is_number(), written.span()),
        }
    }
}

fn check_text(walker: &mut Walker<'_>, path: &Path, text: &str, span: Span) {
    let name = path.parts.join(".");
    match kind(path) {
        Kind::Other => {}
        Kind::Number => {
            let help = text.parse::<i64>().is_ok().then(|| format!("write {text} without quotes"));
            walker.error(span, format!("`{name}` is a number and never equals a text"), help);
        }
        Kind::Outcome(known) if !known.contains(&text) => {
            let help = match nearest(text, known.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("the outcomes are {}", known.join(", ")),
            };
            walker.error(span, format!("there is no outcome '{text}'"), Some(help));
        }
        Kind::Outcome(_) => {}
        Kind::Duration { seconds } => match parse_duration(text) {
            Ok(_) => {
                let range = span.start_offset as usize..span.end_offset as usize;
                let literal = walker.text()[range.clone()].to_owned();
                let scale = if seconds { " / 1000" } else { "" };
                walker.rewrites.push((range, format!("({literal} | duration{scale})")));
            }
            Err(why) => walker.error(span, format!("'{text}' is not a duration: {why}"), None),
        },
    }
}

fn check_number(walker: &mut Walker<'_>, path: &Path, is_number: bool, span: Span) {
    if let (Kind::Duration { seconds: false }, true) = (kind(path), is_number) {
        let help = Some("write a duration in quotes, such as '2m'".into());
        walker.error(span, format!("`{}` is a duration", path.parts.join(".")), help);
    }
}

fn kind(path: &Path) -> Kind {
    if path.open {
        return Kind::Other;
    }
    let parts: Vec<&str> = path.parts.iter().map(String::as_str).collect();
    match parts[..] {
        ["run", "rto" | "rpo"] | ["run", "phases", _, "took"] => Kind::Duration { seconds: false },
        ["run", "outcome"] => Kind::Outcome(RUN_OUTCOMES.iter().map(|o| o.as_str()).collect()),
        ["steps", _, "outcome"] => Kind::Outcome(STEP_OUTCOMES.iter().map(|o| o.as_str()).collect()),
        ["result", field] | ["steps", _, "result", field] => match field {
            "duration" => Kind::Duration { seconds: true },
            "exit" | "signal" | "status" | "affected" => Kind::Number,
            _ => Kind::Other,
        },
        _ => Kind::Other,
    }
}
