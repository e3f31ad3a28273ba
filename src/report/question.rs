//! A question as the person sees it who is asked.

use std::io::{self, Write};

use super::look::{self, Look, Tone};
use super::{neutral, words};
use crate::model::{Question, QuestionKind, StepId};

/// A line of a question: how far it is indented, and its text.
pub type Line = (usize, String);

/// Below the number of an option.
const UNDER_NUMBER: usize = 4;

/// What may become of a step that has failed.
const FAILURE_WAYS: [(&str, &str); 5] = [
    ("retry", "start it again"),
    ("skip", "go on without it; needs a reason"),
    ("done", "it was done by hand; its checks still have to hold; needs a reason"),
    ("rollback", "take back what was done, and end"),
    ("abort", "end here; what was done stands"),
];

/// The whole question, for a terminal that is not the run's.
pub fn write_question(
    w: &mut dyn Write,
    step: &StepId,
    title: &str,
    question: &Question,
    agreed: &[String],
    look: Look,
) -> io::Result<()> {
    writeln!(
        w,
        "{}  {}",
        look.paint(Tone::Bold, step.as_str()),
        look.paint(Tone::Dim, &heading(question, title))
    )?;
    let limit = words::answered_within(question);
    for line in lines(question, agreed).into_iter().chain(limit.map(|limit| (0, limit))) {
        for line in wrapped(&line, look.width.unwrap_or(usize::MAX).saturating_sub(2)) {
            writeln!(w, "  {}", look.fit(line))?;
        }
    }
    Ok(())
}

/// The step's title, or that it is to be taken back. Neutral.
pub fn heading(question: &Question, title: &str) -> String {
    match question.kind {
        QuestionKind::Undo => neutral::line(format!("Take back: {title}")),
        _ => neutral::line(title),
    }
}

/// The prompt and all that belongs to it but the time. Neutral.
pub fn lines(question: &Question, agreed: &[String]) -> Vec<Line> {
    let prompt = neutral::block(question.prompt.trim_end());
    let mut out: Vec<Line> = prompt.lines().map(|line| (0, line.to_owned())).collect();
    for (n, option) in question.options.iter().enumerate() {
        let suggested = if question.suggestion.as_ref() == Some(&option.id) { " (suggested)" } else { "" };
        out.push((2, neutral::line(format!("{} {}{suggested}: {}", n + 1, option.id, option.title))));
        let facts = words::option_facts(option);
        if !facts.is_empty() {
            out.push((UNDER_NUMBER, neutral::line(facts.join("; "))));
        }
    }
    if question.kind == QuestionKind::Failure {
        let ways = FAILURE_WAYS.iter().map(|(word, meaning)| (2, format!("{word:<9} {meaning}")));
        out.extend(ways);
    }
    out.extend(words::answerers(question).into_iter().map(|line| (0, line)));
    if !agreed.is_empty() {
        out.push((0, neutral::line(format!("agreed so far: {}", agreed.join(", ")))));
    }
    out
}

/// The line in pieces of at most `columns`, each as far indented as the first.
pub fn wrapped((indent, text): &Line, columns: usize) -> Vec<String> {
    let pieces = look::wrap(text, columns.saturating_sub(*indent).max(10));
    pieces.into_iter().map(|piece| format!("{:indent$}{piece}", "")).collect()
}

/// What to type at a prompt. Neutral.
pub fn hint(question: &Question, run: &str, step: &StepId) -> String {
    let evidence = |yes: &str, no: &str| {
        let command = words::answer_line(question, run, step);
        format!(
            "{yes} needs a file that shows it, in another terminal: {command}; here, type {no} with a reason"
        )
    };
    match question.kind {
        QuestionKind::Approval | QuestionKind::Undo if question.evidence => evidence("yes", "no"),
        QuestionKind::Manual if question.evidence => evidence("done", "failed"),
        QuestionKind::Choice => {
            neutral::line(format!("type {}, or its number, then Enter", question.takes()))
        }
        QuestionKind::Failure => "type one of these words, then Enter".to_owned(),
        QuestionKind::Approval | QuestionKind::Undo | QuestionKind::Manual => {
            format!("type {}, then Enter", question.takes())
        }
    }
}
