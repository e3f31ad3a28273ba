//! What happens when an attempt fails, and how a step is taken back.

use super::action::{
    COMMAND_FIELDS, ENV_ONLY_PROCESS, GRACE_ONLY_PROCESS, ONE_COMMAND, OPTION_FIELDS, SHELL_ONLY_RUN,
    STDIN_ONLY_PROCESS,
};
use super::hosts::{ON_FIELD, ON_ONLY_PROCESS};
use super::people::APPROVAL;
use super::{EXPRESSIONS, NO_GROUP_HERE, NO_WAIT_HERE, optional};
use crate::playbook::shape::{Kind, Object, Refusal};

pub(super) static UNDO: Object = Object {
    name: "an undo",
    doc: "The action that takes a step back.",
    fields: &[
        &COMMAND_FIELDS,
        &[
            optional(
                "approval",
                Kind::Object(&APPROVAL),
                "Somebody has to agree before the step is taken back.",
            ),
            optional("expect", EXPRESSIONS, "What must hold of `result`. Default: `result.exit == 0`."),
            optional("retry", Kind::Object(&RETRY), "What happens when an attempt fails."),
        ],
        &OPTION_FIELDS,
        &ON_FIELD,
    ],
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
        ("verify", Refusal::Because("say with `expect` what must hold of the undo's own result")),
    ],
};

pub(super) static RETRY: Object = Object {
    name: "a retry",
    doc: "What happens when an attempt fails.",
    fields: &[&[
        optional("attempts", Kind::Int { min: 1, max: 1000 }, "Attempts in all."),
        optional("delay", Kind::Duration, "The pause before the next attempt."),
        optional("backoff", Kind::Number { min: 1.0, max: 100.0 }, "The pause grows by this factor."),
        optional("max_delay", Kind::Duration, "The longest pause."),
        optional("jitter", Kind::Number { min: 0.0, max: 1.0 }, "Each pause changes by up to this share."),
        optional("when", Kind::Expression, "Only if this holds of `result`."),
        optional(
            "remedies",
            Kind::List(&Kind::Object(&REMEDY)),
            "Remedy number k runs after failed attempt number k.",
        ),
    ]],
    rules: &[],
    refused: &[],
};

pub(super) static REMEDY: Object = Object {
    name: "a remedy",
    doc: "An action between two attempts.",
    fields: &[
        &COMMAND_FIELDS,
        &[optional("title", Kind::Text, "What people see.")],
        &OPTION_FIELDS,
        &ON_FIELD,
    ],
    rules: &[
        ONE_COMMAND,
        SHELL_ONLY_RUN,
        STDIN_ONLY_PROCESS,
        ENV_ONLY_PROCESS,
        GRACE_ONLY_PROCESS,
        ON_ONLY_PROCESS,
    ],
    refused: &[
        ("wait", Refusal::Because("the pause between attempts is `delay`")),
        ("any_of", Refusal::Because(NO_GROUP_HERE)),
        ("playbook", Refusal::Because(NO_GROUP_HERE)),
    ],
};
