//! What texts of a plan come to as far as it is known before the first step.

use serde_json::Value;

use super::template::{self, Ctx, RunView};
use super::{Command, Plan, Step};
use crate::model::HERE;

/// Where a command will run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    Here,
    /// One of [`Plan::hosts`].
    On(String),
    /// A step that has not run yet says it, or a parameter that is not given.
    Late,
}

impl Plan {
    /// Renders with the parameters of a scope, and with the item of a `foreach`. Of the run itself nothing is known.
    pub fn before_the_start<T>(
        &self,
        scope: usize,
        item: Option<&Value>,
        render: impl FnOnce(&Ctx<'_>) -> T,
    ) -> Option<T> {
        let params = &self.scopes.get(scope)?.params;
        let run = RunView {
            id: "‹run id›",
            dir: "‹run folder›",
            started_at: "‹start›",
            operator: "‹operator›",
            environment: self.environment.as_ref().map(|e| e.name.as_str()),
            verdict: None,
        };
        Some(render(&Ctx {
            params,
            steps: &[],
            run: &run,
            item,
            result: None,
            groups: &self.groups,
            drill: self.drill.as_ref(),
        }))
    }

    /// Where a command of the step will run.
    pub fn where_of(&self, step: &Step, command: &Command) -> Where {
        let Some(on) = &command.on else { return Where::Here };
        let name =
            self.before_the_start(step.scope, step.item.as_ref(), |ctx| template::render_text(on, ctx));
        match name {
            Some(Ok(name)) if name == HERE => Where::Here,
            Some(Ok(name)) if self.hosts.contains_key(&name) => Where::On(name),
            _ => Where::Late,
        }
    }
}
