//! What waits for what: names in `needs` become edges, the step above is the default, cycles are found.

use std::collections::HashMap;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::build::{Builder, ListKind, MAX_EDGES};
use super::suggest;
use crate::plan::StepIx;
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::source::Text;

impl Builder<'_> {
    pub(super) fn resolve_needs(&mut self) {
        for list in 0..self.lists.len() {
            // Alternatives are tried in order; the parser refuses `needs` on them.
            if self.lists[list].kind != ListKind::AnyOf {
                self.resolve_list(list);
                self.find_cycles(list);
            }
        }
        for list in 0..self.lists.len() {
            self.join_to_phase_above(list);
        }
    }

    fn resolve_list(&mut self, list: usize) {
        let steps = self.lists[list].steps.clone();
        let mut above = None;
        for ix in steps {
            let mut needs = Vec::new();
            match &self.drafts[ix].ast.needs {
                None => needs.extend(above),
                Some(names) => {
                    for name in names {
                        let Some(other) = self.resolve_need(ix, name) else { continue };
                        // The parser reports a name given twice.
                        if !needs.contains(&other) {
                            needs.push(other);
                        }
                    }
                }
            }
            self.edges += needs.len();
            self.drafts[ix].needs = needs;
            above = Some(ix);
        }
    }

    fn resolve_need(&mut self, ix: StepIx, name: &Text) -> Option<StepIx> {
        let (scope, list) = (self.drafts[ix].scope, self.drafts[ix].list);
        let Some(&other) = self.scopes[scope].names.get(name.value.as_str()) else {
            let siblings = self.lists[list].steps.iter().map(|s| self.drafts[*s].ast.id.value.as_str());
            let others = siblings.filter(|s| *s != self.drafts[ix].ast.id.value);
            let help = suggest::help(&name.value, others, "this phase has no other step");
            self.push(
                Diagnostic::error("unknown-step", name.span, format!("there is no step `{}`", name.value))
                    .label("not a step of this playbook")
                    .help(help),
            );
            return None;
        };
        if other == ix {
            let message = format!("step `{}` needs itself", name.value);
            self.push(Diagnostic::error("self-need", name.span, message).label("remove this"));
            return None;
        }
        if self.drafts[other].list == list {
            return Some(other);
        }
        self.push(self.need_elsewhere(ix, other, name));
        None
    }

    /// Why a step that exists cannot be needed from here.
    fn need_elsewhere(&self, ix: StepIx, other: StepIx, name: &Text) -> Diagnostic {
        let (here, there) = (&self.drafts[ix], &self.drafts[other]);
        let (mine, theirs) = (&self.lists[here.list], &self.lists[there.list]);
        let message = format!("`{}` cannot be needed from here", name.value);
        let diagnostic = Diagnostic::error("need-out-of-reach", name.span, message)
            .related(there.ast.id.span, format!("`{}` is here", name.value));
        match (theirs.kind, mine.kind) {
            (ListKind::AnyOf, _) => diagnostic
                .label(format!("it is an alternative inside `{}`", theirs.name))
                .help(format!("need the group: `{}`", theirs.name)),
            (ListKind::Phase(there), ListKind::Phase(here)) if there < here => diagnostic
                .label(format!("it is in the phase `{}` above", theirs.name))
                .help("phases run one after the other, so it is over already: remove it from `needs`"),
            _ => diagnostic
                .label(format!("it is in the phase `{}` below", theirs.name))
                .help("phases run one after the other: move one of the two steps"),
        }
    }

    fn find_cycles(&mut self, list: usize) {
        let steps = &self.lists[list].steps;
        // Without an edge that points down the list there is no cycle: the usual case, found without a graph.
        let points_down = |ix: &StepIx| {
            self.drafts[*ix].needs.iter().any(|n| self.drafts[*n].position >= self.drafts[*ix].position)
        };
        if !steps.iter().any(points_down) {
            return;
        }
        let mut graph: DiGraph<StepIx, ()> = DiGraph::new();
        let nodes: HashMap<StepIx, NodeIndex> = steps.iter().map(|ix| (*ix, graph.add_node(*ix))).collect();
        for ix in steps {
            for need in &self.drafts[*ix].needs {
                graph.add_edge(nodes[ix], nodes[need], ());
            }
        }
        // Kosaraju's algorithm is the one of petgraph's that does not recurse.
        for component in kosaraju_scc(&graph) {
            if component.len() > 1 {
                let mut members: Vec<StepIx> = component.iter().map(|n| graph[*n]).collect();
                members.sort_unstable();
                self.report_cycle(&members);
                for member in &members {
                    self.drafts[*member].needs.retain(|n| !members.contains(n));
                }
            }
        }
    }

    fn report_cycle(&mut self, members: &[StepIx]) {
        const SHOWN: usize = 12;
        let id = |ix: StepIx| self.drafts[ix].ast.id.value.as_str();
        let names: Vec<String> = members.iter().take(SHOWN).map(|m| format!("`{}`", id(*m))).collect();
        let more = if members.len() > SHOWN {
            format!(" and {} more", members.len() - SHOWN)
        } else {
            String::new()
        };
        let mut related = Vec::new();
        for member in members.iter().take(SHOWN) {
            let draft = &self.drafts[*member];
            for need in draft.needs.iter().filter(|n| members.contains(n)) {
                let (span, why) = match &draft.ast.needs {
                    None => (draft.ast.id.span, ", the step above, as it has no `needs`"),
                    Some(typed) => {
                        let at =
                            typed.iter().find(|t| t.value == id(*need)).map_or(draft.ast.id.span, |t| t.span);
                        (at, "")
                    }
                };
                related.push((span, format!("`{}` waits for `{}`{why}", id(*member), id(*need))));
            }
        }
        let span = related.first().map_or(self.drafts[members[0]].ast.id.span, |r| r.0);
        let label = if related.is_empty() { String::new() } else { related.remove(0).1 };
        let message = format!("these steps wait for one another: {}{more}", names.join(", "));
        let mut diagnostic = Diagnostic::error("cycle", span, message).label(label);
        diagnostic.related = related;
        self.push(
            diagnostic.help("remove one of these, or write `needs: []` on the step that is to start first"),
        );
    }

    /// In an included playbook a phase is only an order: its first steps need the last ones of the phase above.
    fn join_to_phase_above(&mut self, list: usize) {
        let (ListKind::Phase(number), Some(group)) = (self.lists[list].kind, self.lists[list].parent) else {
            return;
        };
        // An empty phase above is passed over.
        let above = self.drafts[group]
            .inside
            .iter()
            .take(number)
            .rev()
            .copied()
            .find(|l| !self.lists[*l].steps.is_empty());
        let Some(above) = above else { return };
        let last = self.last_steps(above);
        let steps = self.lists[list].steps.clone();
        for ix in steps.into_iter().filter(|ix| self.drafts[*ix].needs.is_empty()).collect::<Vec<_>>() {
            self.edges += last.len();
            if self.edges > MAX_EDGES {
                if !self.too_many {
                    self.too_many = true;
                    let span = self.drafts[ix].ast.id.span;
                    self.push(
                        Diagnostic::error("too-many-needs", span, "too many steps wait for too many others")
                            .label("each step of this phase would wait for each of the phase above")
                            .help("put a step between the two phases that all wait for"),
                    );
                }
                return;
            }
            self.drafts[ix].needs.clone_from(&last);
        }
    }

    /// The steps of a list that no other step of it needs.
    fn last_steps(&self, list: usize) -> Vec<StepIx> {
        let steps = &self.lists[list].steps;
        let mut needed = vec![false; steps.len()];
        for ix in steps {
            for need in &self.drafts[*ix].needs {
                if self.drafts[*need].list == list {
                    needed[self.drafts[*need].position] = true;
                }
            }
        }
        steps.iter().zip(needed).filter(|(_, n)| !n).map(|(ix, _)| *ix).collect()
    }
}
