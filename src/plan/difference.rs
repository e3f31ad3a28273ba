//! What an edit changes: two plans compared step by step, whatever the numbers of their steps.

use serde::Serialize;
use serde_json::Value;

use super::{Body, Command, ForEach, Plan, Step, StepIx};
use crate::model::StepId;

/// What is not the same in two plans of one playbook.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Of the playbook as a whole.
    pub whole: Vec<FieldChange>,
    /// In the order of the new plan.
    pub added: Vec<StepId>,
    /// In the order of the old plan.
    pub removed: Vec<StepId>,
    /// In the order of the new plan.
    pub changed: Vec<StepChange>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StepChange {
    pub step: StepId,
    pub fields: Vec<FieldChange>,
}

/// One part of a definition. `null` where it is not said.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    pub field: &'static str,
    pub before: Value,
    pub after: Value,
}

impl Difference {
    pub fn between(old: &Plan, new: &Plan) -> Self {
        let ids = |plan: &Plan, other: &Plan| -> Vec<StepId> {
            let missing = plan.steps.iter().filter(|s| other.find(&s.id).is_none());
            missing.map(|s| s.id.clone()).collect()
        };
        let change = |(ix, step): (StepIx, &Step)| {
            let before = definition(old, old.find(&step.id)?);
            let fields = changes(before, definition(new, ix));
            (!fields.is_empty()).then(|| StepChange { step: step.id.clone(), fields })
        };
        Self {
            whole: changes(whole(old), whole(new)),
            added: ids(new, old),
            removed: ids(old, new),
            changed: new.steps.iter().enumerate().filter_map(change).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// Named parts of a definition, always in the same order.
type Fields = Vec<(&'static str, Value)>;

fn changes(before: Fields, after: Fields) -> Vec<FieldChange> {
    let mut before: std::collections::BTreeMap<_, _> = before.into_iter().collect();
    let mut out = Vec::new();
    for (field, after) in after {
        let before = before.remove(field).unwrap_or_default();
        if before != after {
            out.push(FieldChange { field, before, after });
        }
    }
    out.extend(before.into_iter().map(|(field, before)| FieldChange { field, before, after: Value::Null }));
    out.retain(|c| c.before != c.after);
    out
}

fn whole(plan: &Plan) -> Fields {
    // Every field by name, so that a new one is not forgotten here.
    let Plan {
        format: _,
        playbook,
        environment,
        objectives,
        roles,
        secrets,
        channels,
        channel_secrets,
        escalation,
        updates,
        hosts,
        connect_timeouts,
        groups,
        requires,
        max_parallel,
        lock,
        root,
        scopes,
        phases,
        steps: _,
        drill,
        index: _,
    } = plan;
    let phases: Vec<Value> = phases
        .iter()
        .map(|p| {
            let mut phase = plain(plan, &p);
            if let Some(map) = phase.as_object_mut() {
                map.remove("steps");
            }
            phase
        })
        .collect();
    vec![
        ("playbook", plain(plan, playbook)),
        ("environment", plain(plan, environment)),
        ("objectives", plain(plan, objectives)),
        ("roles", plain(plan, roles)),
        ("secrets", plain(plan, secrets)),
        ("channels", plain(plan, channels)),
        ("channel_secrets", plain(plan, channel_secrets)),
        ("escalation", plain(plan, escalation)),
        ("updates", plain(plan, updates)),
        ("hosts", plain(plan, hosts)),
        ("connect_timeouts", plain(plan, connect_timeouts)),
        ("groups", plain(plan, groups)),
        ("requires", plain(plan, requires)),
        ("max_parallel", plain(plan, max_parallel)),
        ("lock", plain(plan, lock)),
        ("root", plain(plan, root)),
        ("params", plain(plan, &scopes.first().map(|s| &s.params))),
        ("phases", Value::Array(phases)),
        ("drill", plain(plan, drill)),
    ]
}

/// A step in words that mean the same in every plan: other steps by id, not by number.
fn definition(plan: &Plan, ix: StepIx) -> Fields {
    let step = &plan.steps[ix];
    let Step {
        id: _,
        title,
        scope,
        phase,
        parent: _,
        needs,
        when,
        unless,
        approval,
        body,
        expect,
        outputs,
        retry,
        verify,
        undo,
        irreversible,
        check,
        idempotent,
        on_failure,
        escalate,
        destructive,
        sensitive,
        keep_result,
        item,
    } = step;
    let ids = |steps: &[StepIx]| steps.iter().map(|ix| Value::from(plan.steps[*ix].id.as_str())).collect();
    let mut needs: Vec<&str> = needs.iter().map(|ix| plan.steps[*ix].id.as_str()).collect();
    needs.sort_unstable();
    let mut fields = vec![("title", Value::from(title.as_str())), ("needs", Value::from(needs))];
    fields.push(("phase", plan.phases.get(*phase).map_or(Value::Null, |p| Value::from(p.id.as_str()))));
    if let Some(scope) = plan.scopes.get(*scope).filter(|scope| scope.group.is_some()) {
        fields.push(("params", plain(plan, &scope.params)));
    }
    match body {
        Body::Command(command) => command_fields(plan, command, &mut fields),
        Body::Wait(length) => fields.push(("wait", plain(plan, length))),
        Body::AnyOf(inside) => fields.push(("any_of", ids(inside))),
        Body::Playbook { scope, steps: _ } => {
            let late = plan.scopes.get(*scope).map(|scope| &scope.late);
            fields.push(("playbook", Value::from(true)));
            fields.push(("with", plain(plan, &late)));
        }
        Body::ForEach(each) => {
            let ForEach { steps, max_parallel, on_item_failure, at_least } = each;
            fields.push(("foreach", ids(steps)));
            fields.push(("max_parallel", plain(plan, max_parallel)));
            fields.push(("on_item_failure", plain(plan, on_item_failure)));
            fields.push(("at_least", plain(plan, at_least)));
        }
        Body::Choose(choose) => fields.push(("choose", plain(plan, choose))),
        Body::Manual(ask) => fields.push(("manual", plain(plan, ask))),
        Body::Notify(tell) => fields.push(("notify", plain(plan, tell))),
        Body::Nothing => fields.push(("nothing", Value::from(true))),
    }
    fields.extend([
        ("when", plain(plan, when)),
        ("unless", plain(plan, unless)),
        ("approval", plain(plan, approval)),
        ("expect", plain(plan, expect)),
        ("outputs", plain(plan, outputs)),
        ("retry", plain(plan, retry)),
        ("verify", plain(plan, verify)),
        ("undo", plain(plan, undo)),
        ("irreversible", plain(plan, irreversible)),
        ("check", plain(plan, check)),
        ("idempotent", plain(plan, idempotent)),
        ("on_failure", plain(plan, on_failure)),
        ("escalate", plain(plan, escalate)),
        ("destructive", plain(plan, destructive)),
        ("sensitive", plain(plan, sensitive)),
        ("keep_result", plain(plan, keep_result)),
        ("item", plain(plan, item)),
    ]);
    fields
}

fn command_fields(plan: &Plan, command: &Command, fields: &mut Fields) {
    // `want` follows from the expressions.
    let Command { action, env, on, workdir, stdin, timeout, grace, want: _ } = command;
    fields.extend([
        ("action", plain(plan, action)),
        ("env", plain(plan, env)),
        ("on", plain(plan, on)),
        ("workdir", plain(plan, workdir)),
        ("stdin", plain(plan, stdin)),
        ("timeout", plain(plan, timeout)),
        ("grace", plain(plan, grace)),
    ]);
}

fn plain<T: Serialize>(plan: &Plan, part: &T) -> Value {
    // A part of a plan is JSON: `plan.json` is made of it.
    let mut value = serde_json::to_value(part).unwrap_or_default();
    unnumber(plan, &mut value);
    value
}

/// Names instead of numbers in `uses`, and no `want`. The depth is that of the plan's types and of typed JSON bodies,
/// which the reader of playbooks bounds.
fn unnumber(plan: &Plan, value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.contains_key("action") {
                map.remove("want");
            }
            if map.contains_key("src")
                && let Some(Value::Array(uses)) = map.get_mut("uses")
            {
                for each in uses {
                    let ix = each.get("step").and_then(Value::as_u64).and_then(|ix| usize::try_from(ix).ok());
                    if let Some(step) = ix.and_then(|ix| plan.steps.get(ix)) {
                        *each = Value::from(step.id.as_str());
                    }
                }
            }
            map.values_mut().for_each(|value| unnumber(plan, value));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| unnumber(plan, item)),
        _ => {}
    }
}
