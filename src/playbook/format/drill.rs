//! The drill of a playbook.

use super::action::{
    COMMAND_FIELDS, ENV_ONLY_PROCESS, GRACE_ONLY_PROCESS, OPTION_FIELDS, SHELL_ONLY_RUN, STDIN_ONLY_PROCESS,
};
use super::check::{CHECKS, SYMPTOM};
use super::failure::RETRY;
use super::hosts::{ON_FIELD, ON_ONLY_PROCESS};
use super::{EXPRESSIONS, VALUES, optional};
use crate::playbook::shape::{Keys, Kind, Object, Refusal, Rule};

pub(super) static DRILL: Object = Object {
    name: "a drill",
    doc: "It never runs against an environment with `confirm`.",
    fields: &[&[
        optional("world", DRILL_STEPS, "Builds the world, in a fresh folder `{{ drill.dir }}`."),
        optional("params", VALUES, "Parameters for the run; templates over `drill.dir`."),
        optional("inject", DRILL_STEPS, "Makes the fault."),
        optional(
            "symptom",
            Kind::List(&Kind::Object(&SYMPTOM)),
            "Must hold after the fault, or the drill is void.",
        ),
        optional(
            "answers",
            Kind::Map { keys: Keys::Step, values: &Kind::Text },
            "What people say in the drill: a step to `approve`, `reject`, `done`, an option, ...",
        ),
        optional("assert", EXPRESSIONS, "What must hold of the run in the end."),
        optional("teardown", DRILL_STEPS, "Always runs, also after a failure."),
    ]],
    rules: &[],
    refused: &[],
};

pub(super) const DRILL_STEPS: Kind = Kind::List(&Kind::Object(&DRILL_STEP));

pub(super) static DRILL_STEP: Object = Object {
    name: "a step of a drill",
    doc: "The steps of a drill run one after the other.",
    fields: &[
        &[
            optional("id", Kind::Name, "Unique in the drill. Default: `world-1`, `inject-2`, `teardown-1`."),
            optional("title", Kind::Text, "What people see."),
        ],
        &COMMAND_FIELDS,
        &[
            optional("wait", Kind::Duration, "Waits this long."),
            optional("retry", Kind::Object(&RETRY), "What happens when an attempt fails."),
            optional("expect", EXPRESSIONS, "What must hold of `result`. Default: `result.exit == 0`."),
            optional("verify", CHECKS, "Checks after the action."),
        ],
        &OPTION_FIELDS,
        &ON_FIELD,
    ],
    rules: &[
        Rule::One { what: "an action", keys: &["run", "exec", "sql", "http", "wait"], or: &["verify"] },
        SHELL_ONLY_RUN,
        STDIN_ONLY_PROCESS,
        ENV_ONLY_PROCESS,
        GRACE_ONLY_PROCESS,
        ON_ONLY_PROCESS,
    ],
    refused: &[
        ("needs", Refusal::Because("the steps of a drill run one after the other")),
        ("any_of", Refusal::Because("a drill has no alternatives")),
        ("playbook", Refusal::Because("a drill includes no other playbook")),
        ("undo", Refusal::Because("`teardown` takes the world down")),
    ],
};
