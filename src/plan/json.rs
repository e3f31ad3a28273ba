//! `plan.json`: how a plan is written, hashed, and read back without trusting it.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    Body, Check, Command, Expr, ForEach, OnFailure, PLAN_FORMAT, Plan, Retry, Step, StepIx, Template, Use,
};

/// Groups inside groups in a plan that is read; more than the compiler makes.
const MAX_DEPTH: usize = 64;

/// Why a stored plan was refused.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("it is not a plan: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it has format {0}, and this program reads format {PLAN_FORMAT}")]
    Format(u32),
    #[error("it contradicts itself: {0}")]
    Inconsistent(String),
}

impl Plan {
    /// The bytes of `plan.json`: the same plan gives the same bytes.
    ///
    /// # Panics
    /// If a path is not UTF-8, which the compiler refuses.
    pub fn to_json(&self) -> Vec<u8> {
        // Without blanks: they were a third of it, and it is written, hashed and read whole at each start and end of a run.
        let mut bytes =
            serde_json::to_vec(self).expect("a plan's paths are UTF-8 and its maps have text keys");
        bytes.push(b'\n');
        bytes
    }

    /// The SHA-256 of the bytes of `plan.json`, in hexadecimal.
    pub fn hash(json: &[u8]) -> String {
        use std::fmt::Write;
        let mut hex = String::with_capacity(64);
        for byte in Sha256::digest(json) {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }

    /// Reads `plan.json`. Every index in the plan that comes back is in bounds, and its graph has no cycle.
    pub fn from_json(json: &[u8]) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let read: Result<Self, _> = serde_json::from_slice(json);
        let format = match &read {
            Ok(plan) => plan.format,
            // Another version may have other fields.
            Err(_) => serde_json::from_slice::<Version>(json)?.format,
        };
        if format != PLAN_FORMAT {
            return Err(PlanError::Format(format));
        }
        let plan = read?;
        plan.check().map_err(PlanError::Inconsistent)?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), String> {
        if self.scopes.is_empty() || self.scopes[0].group.is_some() {
            return Err("it has no outermost scope".into());
        }
        if self.max_parallel == 0 {
            return Err("nothing may run".into());
        }
        for scope in &self.scopes {
            if let Some(group) = scope.group {
                self.step(group)?;
            }
            for late in &scope.late {
                self.check_template(&late.value)?;
            }
        }
        let mut ids = std::collections::HashSet::new();
        // How often a list names the step: once is right.
        let mut listed = vec![0_u8; self.steps.len()];
        for (number, phase) in self.phases.iter().enumerate() {
            self.check_list(&phase.steps, None, number, &mut listed)?;
        }
        for (ix, step) in self.steps.iter().enumerate() {
            if !ids.insert(step.id.as_str()) {
                return Err(format!("two steps have the id {}", step.id));
            }
            self.check_step(ix, step, &mut listed).map_err(|e| format!("step {}: {e}", step.id))?;
        }
        if let Some(ix) = listed.iter().position(|n| *n != 1) {
            return Err(format!("step {} stands in {} lists", self.steps[ix].id, listed[ix]));
        }
        if let Some(data_as_of) = &self.objectives.data_as_of {
            self.check_expr(data_as_of)?;
        }
        self.check_acyclic()
    }

    fn step(&self, ix: StepIx) -> Result<&Step, String> {
        self.steps.get(ix).ok_or_else(|| format!("there is no step number {ix}"))
    }

    fn check_list(
        &self,
        list: &[StepIx],
        parent: Option<StepIx>,
        phase: usize,
        listed: &mut [u8],
    ) -> Result<(), String> {
        for ix in list {
            let step = self.step(*ix)?;
            if step.parent != parent || step.phase != phase {
                return Err(format!("step {} is listed where it does not stand", step.id));
            }
            listed[*ix] = listed[*ix].saturating_add(1);
        }
        Ok(())
    }

    fn check_step(&self, ix: StepIx, step: &Step, listed: &mut [u8]) -> Result<(), String> {
        if step.scope >= self.scopes.len() || step.phase >= self.phases.len() {
            return Err("its scope or phase does not exist".into());
        }
        let mut depth = 0;
        let mut at = step.parent;
        let mut below = ix;
        while let Some(parent) = at {
            // Groups stand before what is inside them, so this walk ends.
            depth += 1;
            if parent >= below || depth > MAX_DEPTH {
                return Err("it is not inside its parent".into());
            }
            below = parent;
            at = self.step(parent)?.parent;
        }
        for need in &step.needs {
            let need = self.step(*need)?;
            if need.parent != step.parent || need.phase != step.phase {
                return Err(format!("it needs {}, which stands elsewhere", need.id));
            }
        }
        let of_an_item = step.parent.is_some_and(|p| self.foreach(p).is_some());
        if step.item.is_some() != of_an_item {
            return Err("it has an item, and is not done for each of a list".into());
        }
        match &step.body {
            Body::AnyOf(inside) => self.check_list(inside, Some(ix), step.phase, listed)?,
            Body::Playbook { scope, steps } => {
                if self.scopes.get(*scope).is_none_or(|s| s.group != Some(ix)) {
                    return Err("its inner scope is not its own".into());
                }
                self.check_list(steps, Some(ix), step.phase, listed)?;
            }
            Body::ForEach(each) => {
                self.check_items(ix, each)?;
                self.check_list(&each.steps, Some(ix), step.phase, listed)?;
            }
            Body::Command(command) => self.check_command(command)?,
            Body::Choose(choose) => {
                self.check_ask(&choose.ask)?;
                let options = choose.options.iter().filter_map(|o| o.when.as_ref());
                options.chain(&choose.suggest).try_for_each(|e| self.check_expr(e))?;
            }
            Body::Manual(ask) => self.check_ask(ask)?,
            Body::Notify(tell) => self.check_template(&tell.message)?,
            Body::Wait(_) | Body::Nothing => {}
        }
        step.approval.iter().try_for_each(|ask| self.check_ask(ask))?;
        let undo = step.undo.iter().filter_map(|undo| undo.approval.as_ref());
        undo.into_iter().try_for_each(|ask| self.check_ask(ask))?;
        step.when.iter().chain(&step.expect).try_for_each(|e| self.check_expr(e))?;
        step.outputs.iter().try_for_each(|(_, e)| self.check_expr(e))?;
        self.check_retry(&step.retry)?;
        step.checks().try_for_each(|c| self.check_check(c))?;
        if let Some(undo) = &step.undo {
            self.check_command(&undo.command)?;
            undo.expect.iter().try_for_each(|e| self.check_expr(e))?;
            self.check_retry(&undo.retry)?;
        }
        Ok(())
    }

    /// The items' steps follow their group, and hold nothing that is done once for all of them.
    fn check_items(&self, group: StepIx, each: &ForEach) -> Result<(), String> {
        if each.max_parallel == Some(0) {
            return Err("no item may run".into());
        }
        if each.at_least.is_some_and(|least| least == 0 || least > each.steps.len()) {
            return Err("so many items cannot be done".into());
        }
        for (number, ix) in each.steps.iter().enumerate() {
            let step = self.step(*ix)?;
            let alone = step.needs.is_empty() && step.when.is_none() && step.approval.is_none();
            let acts = match step.body {
                Body::Command(_) => true,
                Body::Nothing => !step.verify.is_empty(),
                _ => false,
            };
            let sound = alone && acts && step.item.is_some() && step.on_failure == OnFailure::Stop;
            if *ix != group + 1 + number || !sound {
                return Err(format!("step {} is no step of an item", step.id));
            }
        }
        Ok(())
    }

    fn check_ask(&self, ask: &super::Ask) -> Result<(), String> {
        if ask.count == 0 {
            return Err("nobody has to agree".into());
        }
        self.check_template(&ask.prompt)
    }

    fn check_check(&self, check: &Check) -> Result<(), String> {
        self.check_command(&check.command)?;
        check.expect.iter().try_for_each(|e| self.check_expr(e))
    }

    fn check_retry(&self, retry: &Retry) -> Result<(), String> {
        if retry.attempts == 0 {
            return Err("it may not even be tried once".into());
        }
        let in_range =
            retry.backoff.is_finite() && retry.backoff >= 1.0 && (0.0..=1.0).contains(&retry.jitter);
        if !in_range {
            return Err("its backoff or jitter is out of range".into());
        }
        retry.when.iter().try_for_each(|e| self.check_expr(e))?;
        retry.remedies.iter().try_for_each(|(_, c)| self.check_command(c))
    }

    fn check_command(&self, command: &Command) -> Result<(), String> {
        if let super::Action::Exec(commands) = &command.action
            && (commands.is_empty() || commands.iter().any(Vec::is_empty))
        {
            return Err("a command has no program".into());
        }
        let mut checked = Ok(());
        command.for_each_template(&mut |template, _| {
            if checked.is_ok() {
                checked = self.check_template(template);
            }
        });
        checked
    }

    fn check_template(&self, template: &Template) -> Result<(), String> {
        self.check_uses(&template.uses)
    }

    fn check_expr(&self, expr: &Expr) -> Result<(), String> {
        self.check_uses(&expr.uses)
    }

    fn check_uses(&self, uses: &[Use]) -> Result<(), String> {
        uses.iter().try_for_each(|u| self.step(u.step).map(|_| ()))
    }

    fn check_acyclic(&self) -> Result<(), String> {
        let all: Vec<StepIx> = (0..self.steps.len()).collect();
        if self.in_order(&all).len() == self.steps.len() {
            Ok(())
        } else {
            Err("its steps wait for one another".into())
        }
    }
}
