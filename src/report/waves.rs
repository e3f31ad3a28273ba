//! Which steps can start together: the order in which a plan is shown.

use crate::plan::{Body, Places, Plan, Step, StepIx};

/// The steps of one phase or group in waves: a step stands one wave after the last of its `needs`.
pub fn waves(plan: &Plan, steps: &[StepIx]) -> Vec<Vec<StepIx>> {
    if steps.is_empty() {
        return Vec::new();
    }
    let places = Places::of(steps);
    let mut level = vec![0; steps.len()];
    let mut open = vec![0_usize; steps.len()];
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    for (place, ix) in steps.iter().enumerate() {
        for need in plan.steps[*ix].needs.iter().filter_map(|need| places.get(*need)) {
            open[place] += 1;
            needed_by[need].push(place);
        }
    }
    // A step may need one that is typed after it, so the order of typing is not enough. (A cycle is refused when a
    // plan is compiled; here its members would all stand in the first wave.)
    let mut ready: Vec<usize> = (0..steps.len()).filter(|place| open[*place] == 0).collect();
    while let Some(place) = ready.pop() {
        let below = level[place] + 1;
        for next in std::mem::take(&mut needed_by[place]) {
            level[next] = below.max(level[next]);
            open[next] -= 1;
            if open[next] == 0 {
                ready.push(next);
            }
        }
    }
    let mut out: Vec<Vec<StepIx>> = Vec::new();
    for (ix, at) in steps.iter().zip(level) {
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
        Body::ForEach(each) => &each.steps,
        Body::Command(_)
        | Body::Wait(_)
        | Body::Choose(_)
        | Body::Manual(_)
        | Body::Notify(_)
        | Body::Nothing => &[],
    }
}

/// The steps inside that are shown as steps of their own before a run: what is done for each item of a list is shown once.
pub fn shown_inside(step: &Step) -> &[StepIx] {
    match &step.body {
        Body::ForEach(_) => &[],
        _ => children(step),
    }
}

/// All steps in the order in which they are shown, which is an order in which they could run: phase by phase, wave by
/// wave, a group before what is inside it.
pub fn run_order(plan: &Plan) -> Vec<StepIx> {
    let mut out = Vec::with_capacity(plan.steps.len());
    // Last in, first out: what comes first is pushed last.
    let mut stack: Vec<StepIx> = Vec::new();
    let push = |stack: &mut Vec<StepIx>, steps: &[StepIx]| {
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
