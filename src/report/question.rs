//! A question as the person sees it who is asked.

use std::io::{self, Write};

use super::look::{Look, Tone};
use super::{neutral, words};
use crate::model::{Question, StepId};

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
        look.paint(Tone::Dim, &neutral::line(title))
    )?;
    for line in lines(question, agreed) {
        writeln!(w, "  {line}")?;
    }
    Ok(())
}

/// The prompt and all that belongs to it, a line each. Neutral.
pub fn lines(question: &Question, agreed: &[String]) -> Vec<String> {
    let mut out: Vec<String> =
        neutral::block(question.prompt.trim_end()).lines().map(str::to_owned).collect();
    out.extend(words::question(question));
    if !agreed.is_empty() {
        out.push(neutral::line(format!("agreed so far: {}", agreed.join(", "))));
    }
    out
}
