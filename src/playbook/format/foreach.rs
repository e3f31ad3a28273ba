//! One step for each item of a list.

use super::optional;
use crate::playbook::shape::{Field, Kind, Rule};

/// Items that one `foreach` may have.
pub const MAX_ITEMS: usize = 10_000;

pub(super) static FOREACH_FIELDS: [Field; 4] = [
    optional(
        "foreach",
        Kind::Items,
        "The step is done for each item, which `{{ item }}` names: a list, or an expression over `params` that gives one.",
    ),
    optional(
        "max_parallel",
        Kind::Int { min: 1, max: 1000 },
        "Items at once. Default: as many as steps may run at once.",
    ),
    optional(
        "on_item_failure",
        Kind::Choice(&["stop", "continue"]),
        "Whether further items are begun once one was not done. Default: stop; with `at_least`: continue.",
    ),
    optional(
        "at_least",
        Kind::Int { min: 1, max: MAX_ITEMS as i64 },
        "So many items have to be done for the step to be done. Default: all.",
    ),
];

const INSIDE: &str = "put `foreach` on the steps inside";

/// An approval alone is asked once. What cannot be done for each item is refused with its own reason.
pub(super) const NOT_ALONE: Rule = Rule::Only {
    key: "foreach",
    with: &[
        "run", "exec", "sql", "http", "verify", "wait", "choose", "manual", "notify", "any_of", "playbook",
    ],
};
pub(super) const NOT_GROUPS: Rule =
    Rule::Not { key: "foreach", with: &["any_of", "playbook"], because: INSIDE };
pub(super) const NOT_WAIT: Rule =
    Rule::Not { key: "foreach", with: &["wait"], because: "all items would wait at once" };
pub(super) const NOT_PEOPLE: Rule = Rule::Not {
    key: "foreach",
    with: &["choose", "manual", "notify"],
    because: "people are asked and told once",
};
pub(super) const PARALLEL_ONLY: Rule = Rule::Only { key: "max_parallel", with: &["foreach"] };
pub(super) const FAILURE_ONLY: Rule = Rule::Only { key: "on_item_failure", with: &["foreach"] };
pub(super) const QUORUM_ONLY: Rule = Rule::Only { key: "at_least", with: &["foreach"] };
