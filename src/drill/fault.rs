//! Faults in the executor itself, set on purpose: real ones, made by real commands.

use crate::model::{Millis, StepId};
use crate::plan::{Action, Body, Plan, Template};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The step's action exits with 1.
    Fail(StepId),
    /// The step's action hangs until its timeout.
    Timeout(StepId),
    /// The keeper is killed while the step's action runs: nobody can know how it ended.
    Unknown(StepId),
}

impl Fault {
    /// Parses `step=ID:fail`, `step=ID:timeout`, `step=ID:unknown`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let usage = || format!("--fault {text}: write step=ID:fail, step=ID:timeout or step=ID:unknown");
        let (step, kind) = text.strip_prefix("step=").and_then(|t| t.split_once(':')).ok_or_else(usage)?;
        let step = StepId::parse(step).map_err(|e| format!("--fault {text}: {e}"))?;
        match kind {
            "fail" => Ok(Self::Fail(step)),
            "timeout" => Ok(Self::Timeout(step)),
            "unknown" => Ok(Self::Unknown(step)),
            _ => Err(usage()),
        }
    }

    /// Puts the fault in the place of the step's action.
    pub fn apply(&self, plan: &mut Plan) -> Result<(), String> {
        let (id, script, timeout) = match self {
            Self::Fail(step) => (step, "exit 1", None),
            Self::Timeout(step) => (step, "sleep 3600", Some(Millis::secs(1))),
            // The parent of every command is the keeper.
            Self::Unknown(step) => (step, "kill -KILL \"$PPID\"; sleep 1", None),
        };
        let Some(ix) = plan.find(id) else {
            return Err(format!("the playbook has no step {id} to break"));
        };
        let Body::Command(command) = &mut plan.steps[ix].body else {
            return Err(format!("step {id} runs no command that could be broken"));
        };
        let argv = ["sh", "-c", script].map(|src| Template { src: src.into(), uses: Vec::new() });
        command.action = Action::Exec(vec![argv.to_vec()]);
        command.timeout = timeout.or(command.timeout);
        plan.steps[ix].outputs.clear();
        plan.steps[ix].expect.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_strictly() {
        let step = StepId::parse("restore").unwrap();
        assert_eq!(Fault::parse("step=restore:fail"), Ok(Fault::Fail(step.clone())));
        assert_eq!(Fault::parse("step=restore:timeout"), Ok(Fault::Timeout(step.clone())));
        assert_eq!(Fault::parse("step=restore:unknown"), Ok(Fault::Unknown(step)));
        for bad in ["restore:fail", "step=restore", "step=:fail", "step=restore:explode", ""] {
            assert!(Fault::parse(bad).is_err(), "{bad}");
        }
    }
}
