//! Checks, wherever they stand.

use super::action::{
    COMMAND_FIELDS, ENV_ONLY_PROCESS, GRACE_ONLY_PROCESS, ONE_COMMAND, OPTION_FIELDS, SHELL_ONLY_RUN,
    STDIN_ONLY_PROCESS,
};
use super::hosts::{ON_FIELD, ON_ONLY_PROCESS};
use super::{EXPRESSIONS, NO_GROUP_HERE, NO_WAIT_HERE, optional};
use crate::playbook::shape::{Field, Kind, Object, Refusal, Rule};

pub(super) const CHECKS: Kind = Kind::List(&Kind::Object(&CHECK));

pub(super) const WITHIN_ELSEWHERE: &str =
    "only the checks of `verify` and of a drill's `symptom` and `proof` are repeated";

pub(super) static CHECK_FIELDS: [Field; 2] = [
    optional("title", Kind::Text, "What people see."),
    optional("expect", EXPRESSIONS, "What must hold of `result`. Default: `result.exit == 0`."),
];

pub(super) static POLL_FIELDS: [Field; 2] = [
    optional("within", Kind::Duration, "Asked again until it holds, this long."),
    optional("every", Kind::Duration, "The pause between two tries."),
];

pub(super) const CHECK_RULES: &[Rule] = &[
    ONE_COMMAND,
    SHELL_ONLY_RUN,
    STDIN_ONLY_PROCESS,
    ENV_ONLY_PROCESS,
    GRACE_ONLY_PROCESS,
    ON_ONLY_PROCESS,
    Rule::Only { key: "every", with: &["within"] },
];

pub(super) static CHECK: Object = Object {
    name: "a check",
    doc: "An action whose result is judged.",
    fields: &[
        &COMMAND_FIELDS,
        &CHECK_FIELDS,
        &POLL_FIELDS,
        &[optional("required", Kind::Bool, "`false`: advisory; the run goes on, degraded. Default: true.")],
        &OPTION_FIELDS,
        &ON_FIELD,
    ],
    rules: CHECK_RULES,
    refused: &[
        ("wait", Refusal::Because(NO_WAIT_HERE)),
        ("any_of", Refusal::Because(NO_GROUP_HERE)),
        ("playbook", Refusal::Because(NO_GROUP_HERE)),
        ("retry", Refusal::Because("a check is repeated with `within` and `every`")),
    ],
};

pub(super) static SYMPTOM: Object = Object {
    name: "a symptom",
    doc: "A check that must hold after the fault, or the drill is void.",
    fields: &[&COMMAND_FIELDS, &CHECK_FIELDS, &POLL_FIELDS, &OPTION_FIELDS, &ON_FIELD],
    rules: CHECK_RULES,
    refused: &[
        ("wait", Refusal::Because(NO_WAIT_HERE)),
        ("any_of", Refusal::Because(NO_GROUP_HERE)),
        ("playbook", Refusal::Because(NO_GROUP_HERE)),
        ("retry", Refusal::Because("a check is repeated with `within` and `every`")),
        ("required", Refusal::Because("only a check of `verify` can be advisory")),
    ],
};

pub(super) static PROOF: Object = Object {
    name: "a proof",
    doc: "A check of the world that must hold when the run is over, or the drill has failed.",
    ..SYMPTOM
};

pub(super) static CHECK_ONCE: Object = Object {
    name: "a single check",
    doc: "An action whose result is judged, once.",
    fields: &[&COMMAND_FIELDS, &CHECK_FIELDS, &OPTION_FIELDS, &ON_FIELD],
    rules: &[
        ONE_COMMAND,
        SHELL_ONLY_RUN,
        STDIN_ONLY_PROCESS,
        ENV_ONLY_PROCESS,
        GRACE_ONLY_PROCESS,
        ON_ONLY_PROCESS,
    ],
    refused: &[
        ("wait", Refusal::Because(NO_WAIT_HERE)),
        ("any_of", Refusal::Because(NO_GROUP_HERE)),
        ("playbook", Refusal::Because(NO_GROUP_HERE)),
        ("within", Refusal::Because(WITHIN_ELSEWHERE)),
        ("every", Refusal::Because(WITHIN_ELSEWHERE)),
        ("required", Refusal::Because("only a check of `verify` can be advisory")),
        ("retry", Refusal::Because("a check is asked once")),
    ],
};
