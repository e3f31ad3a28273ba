//! Who is surely over before whom.
//!
//! Each list of steps is cut into chains (each step waits for the one before it in its chain). Most questions are
//! about two steps of one chain and are answered by comparing two numbers; the others search upward, whole chains at
//! a time, and never above the step asked for.

use super::build::{Draft, List, ListKind};
use crate::plan::StepIx;

#[derive(Default)]
pub(super) struct Order {
    /// For each step: its chain, and its place in it.
    chain: Vec<(usize, usize)>,
    /// For each chain: its steps from first to last.
    chains: Vec<Vec<StepIx>>,
    /// A number for each step, larger than those of all it needs.
    rank: Vec<usize>,
    /// For each list: its steps, each after all it needs.
    sorted: Vec<Vec<StepIx>>,
}

/// How a step that is read stands to the step that reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The step itself.
    Own,
    Over,
    NotOver,
    /// A group that the reading step is inside of.
    Encloses,
    /// Inside this group, which the reading step is not in.
    Hidden(StepIx),
}

impl Order {
    pub fn of(drafts: &[Draft<'_>], lists: &[List]) -> Self {
        let mut order = Self {
            chain: vec![(0, 0); drafts.len()],
            chains: Vec::new(),
            rank: vec![0; drafts.len()],
            sorted: Vec::new(),
        };
        for list in lists {
            let sorted = topological(drafts, &list.steps);
            for (rank, ix) in sorted.iter().enumerate() {
                order.rank[*ix] = rank;
                let above = drafts[*ix].needs.iter().copied().find(|n| {
                    let (chain, at) = order.chain[*n];
                    drafts[*n].list == drafts[*ix].list && order.chains[chain].len() == at + 1
                });
                let chain = match above {
                    Some(above) => order.chain[above].0,
                    None => {
                        order.chains.push(Vec::new());
                        order.chains.len() - 1
                    }
                };
                order.chain[*ix] = (chain, order.chains[chain].len());
                order.chains[chain].push(*ix);
            }
            order.sorted.push(sorted);
        }
        order
    }

    /// The steps of a list, each after all it needs.
    pub fn in_order(&self, list: usize) -> &[StepIx] {
        &self.sorted[list]
    }

    /// Whether `before` is over whenever `after` starts; both of one list.
    fn precedes(&self, drafts: &[Draft<'_>], before: StepIx, after: StepIx) -> bool {
        let (goal, goal_at) = self.chain[before];
        let (chain, at) = self.chain[after];
        if chain == goal && goal_at <= at {
            return goal_at < at;
        }
        // For each chain met, how many of its first steps are still to be looked at.
        let mut seen: std::collections::HashMap<usize, usize> = std::collections::HashMap::new();
        let mut open = vec![after];
        while let Some(ix) = open.pop() {
            let (chain, at) = self.chain[ix];
            if chain == goal && goal_at <= at {
                return true;
            }
            let done = seen.get(&chain).copied().unwrap_or(0);
            if done > at {
                continue;
            }
            seen.insert(chain, at + 1);
            for member in self.chains[chain][done..=at].iter().rev() {
                if self.rank[*member] <= self.rank[before] {
                    break;
                }
                open.extend(drafts[*member].needs.iter().filter(|n| {
                    drafts[**n].list == drafts[before].list
                        && self.chain[**n].0 != chain
                        && self.rank[**n] >= self.rank[before]
                }));
            }
        }
        false
    }

    /// How `read` stands to `reader`; both of one scope.
    pub fn standing(&self, drafts: &[Draft<'_>], lists: &[List], reader: StepIx, read: StepIx) -> Standing {
        if reader == read {
            return Standing::Own;
        }
        let there = &lists[drafts[read].list];
        let mut at = reader;
        loop {
            if at == read {
                return Standing::Encloses;
            }
            let here = &lists[drafts[at].list];
            let over = |yes| if yes { Standing::Over } else { Standing::NotOver };
            if drafts[at].list == drafts[read].list {
                return match here.kind {
                    ListKind::AnyOf => over(drafts[read].position < drafts[at].position),
                    ListKind::Phase(_) => over(self.precedes(drafts, read, at)),
                };
            }
            match (here.kind, there.kind) {
                (ListKind::Phase(mine), ListKind::Phase(theirs)) if here.scope == there.scope => {
                    return over(theirs < mine);
                }
                (ListKind::AnyOf, _) => {}
                // Inside an alternative of some group of this phase, or of another one.
                (ListKind::Phase(_), _) => return Standing::Hidden(there.parent.unwrap_or(read)),
            }
            match drafts[at].parent {
                Some(parent) => at = parent,
                None => return Standing::Hidden(there.parent.unwrap_or(read)),
            }
        }
    }
}

/// The steps of a list, each after all it needs; those in a cycle (already reported) last.
fn topological(drafts: &[Draft<'_>], steps: &[StepIx]) -> Vec<StepIx> {
    // As typed is nearly always an order already.
    let position = |ix: StepIx| drafts[ix].position;
    let inside = |ix: StepIx, n: StepIx| drafts[n].list == drafts[ix].list;
    if steps
        .iter()
        .all(|ix| drafts[*ix].needs.iter().all(|n| !inside(*ix, *n) || position(*n) < position(*ix)))
    {
        return steps.to_vec();
    }
    let mut missing: Vec<usize> = vec![0; steps.len()];
    let mut waiting: Vec<Vec<StepIx>> = vec![Vec::new(); steps.len()];
    for ix in steps {
        for need in drafts[*ix].needs.iter().filter(|n| inside(*ix, **n)) {
            missing[position(*ix)] += 1;
            waiting[position(*need)].push(*ix);
        }
    }
    let mut ready: std::collections::VecDeque<StepIx> =
        steps.iter().copied().filter(|ix| missing[position(*ix)] == 0).collect();
    let mut sorted = Vec::with_capacity(steps.len());
    while let Some(ix) = ready.pop_front() {
        sorted.push(ix);
        for next in &waiting[position(ix)] {
            missing[position(*next)] -= 1;
            if missing[position(*next)] == 0 {
                ready.push_back(*next);
            }
        }
    }
    sorted
}
