//! Which steps can start together: the order in which a plan is shown.

use crate::plan::{Body, Plan, Step, StepIx};

/// The steps of one phase or group in waves: a step stands one wave after the last of its `needs`.
pub fn waves(plan: &Plan, steps: &[StepIx]) -> Vec<Vec<StepIx>> {
    // A step may need one that is typed after it, so levels are found by walking needs before what needs them. The
    // walk is by hand: 10,000 steps in a chain must not be 10,000 calls deep.
    let mut level: std::collections::HashMap<StepIx, Option<usize>> = steps.iter().map(|ix| (*ix, None)).collect();
    for root in steps {
        let mut stack = vec![*root];
        while let Some(ix) = stack.last().copied() {
            if level.get(&ix).copied().flatten().is_some() {
                stack.pop();
                continue;
            }
            let inside = |need: &&StepIx| level.contains_key(*need);
            let needs: Vec<StepIx> = plan.steps[ix].needs.iter().filter(inside).copied().collect();
            let open: Vec<StepIx> = needs.iter().filter(|n| level[*n].is_none()).copied().collect();
            // A cycle is refused when a plan is compiled; were there one, it would end here instead of looping.
            if open.is_empty() || stack.len() > steps.len() {
                let above = needs.iter().filter_map(|n| level[n]).max();
                level.insert(ix, Some(above.map_or(0, |n| n + 1)));
                stack.pop();
            } else {
                stack.extend(open);
            }
        }
    }
    let mut out: Vec<Vec<StepIx>> = Vec::new();
    for ix in steps {
        let at = level[ix].unwrap_or(0);
        if out.len() <= at {
            out.resize(at + 1, Vec::new());
        }
        out[at].push(*ix);
    }
    out
}

/// The steps directly inside a group; empty for any other step.
pub fn children(step: &Step) -> &[StepIx] {
    match &step.body {
        Body::AnyOf(steps) | Body::Playbook { steps, .. } => steps,
        Body::Command(_) | Body::Wait(_) | Body::Nothing => &[],
    }
}

/// All steps in the order in which they are shown, which is an order in which they could run: phase by phase, wave by
/// wave, a group before what is inside it.
pub fn run_order(plan: &Plan) -> Vec<StepIx> {
    let mut out = Vec::with_capacity(plan.steps.len());
    // Last in, first out: what comes first is pushed last.
    let mut stack: Vec<StepIx> = Vec::new();
    let mut push = |stack: &mut Vec<StepIx>, steps: &[StepIx]| {
        stack.extend(waves(plan, steps).into_iter().flatten().collect::<Vec<_>>().into_iter().rev());
    };
    for phase in &plan.phases {
        push(&mut stack, &phase.steps);
        while let Some(ix) = stack.pop() {
            out.push(ix);
            let inside = children(&plan.steps[ix]);
            match &plan.steps[ix].body {
                Body::AnyOf(_) => stack.extend(inside.iter().rev()),
                _ => push(&mut stack, inside),
            }
        }
    }
    out
}
