//! What people will be asked, as it is known before the start.

use serde::Serialize;

use super::{neutral, rendered, words};
use crate::plan::{Ask, Body, Plan, PlannedOption, Step};

#[derive(Debug, Clone, Serialize)]
pub struct AskView {
    /// `approval`, `choose` or `manual`.
    pub kind: &'static str,
    pub prompt: String,
    /// Who answers, until when, and what there is to choose from; a line each.
    pub facts: Vec<String>,
}

/// What is asked before the step's action, or instead of one.
pub fn of_step(plan: &Plan, step: &Step) -> Vec<AskView> {
    let mut all: Vec<AskView> = step.approval.iter().map(|ask| view(plan, step, "approval", ask)).collect();
    match &step.body {
        Body::Choose(choose) => {
            let mut asked = view(plan, step, "choose", &choose.ask);
            let options = choose.options.iter().map(option);
            let suggest = choose.suggest.as_ref();
            let suggest = suggest.map(|e| format!("suggested: {}", rendered::expression(&e.src)));
            asked.facts = options.chain(suggest).chain(asked.facts).collect();
            all.push(asked);
        }
        Body::Manual(ask) => all.push(view(plan, step, "manual", ask)),
        _ => {}
    }
    all
}

/// What is asked before the step is taken back.
pub fn of_undo(plan: &Plan, step: &Step) -> Option<AskView> {
    let ask = step.undo.as_ref()?.approval.as_ref()?;
    Some(view(plan, step, "approval", ask))
}

fn view(plan: &Plan, step: &Step, kind: &'static str, ask: &Ask) -> AskView {
    let mut facts = Vec::new();
    if !ask.approvers.is_empty() {
        facts.push(neutral::line(format!("by {}", ask.approvers.join(", "))));
    }
    if ask.count > 1 {
        facts.push(format!("{} different people have to agree", ask.count));
    }
    if ask.exclude_operator {
        facts.push("not by whoever starts the run".to_owned());
    }
    if ask.evidence {
        facts.push("with a file that shows it".to_owned());
    }
    if let Some(timeout) = ask.timeout {
        facts.push(format!(
            "within {}, else: {}",
            words::target_text(timeout),
            words::on_timeout(ask.on_timeout)
        ));
    }
    AskView { kind, prompt: rendered::text(plan, step.scope, &ask.prompt), facts }
}

fn option(option: &PlannedOption) -> String {
    let mut facts = vec![option.title.clone()];
    facts.extend(option.eta.as_ref().map(|eta| format!("takes {eta}")));
    facts.extend(option.loss.as_ref().map(|loss| format!("loses {loss}")));
    facts.extend(option.when.as_ref().map(|when| format!("only if {}", rendered::expression(&when.src))));
    neutral::line(format!("{}: {}", option.id, facts.join("; ")))
}
