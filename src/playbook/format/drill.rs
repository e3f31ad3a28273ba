//! The drill of a playbook.

use super::action::{
    COMMAND_FIELDS, ENV_ONLY_PROCESS, GRACE_ONLY_PROCESS, OPTION_FIELDS, SHELL_ONLY_RUN, STDIN_ONLY_PROCESS,
};
use super::channels::CHANNELS;
use super::check::{CHECKS, PROOF, SYMPTOM};
use super::failure::RETRY;
use super::hosts::{ON_FIELD, ON_ONLY_PROCESS};
use super::{EXPRESSIONS, VALUES, optional};
use crate::playbook::shape::{Field, Keys, Kind, Object, Refusal, Rule};

pub(super) static DRILL: Object = Object {
    name: "a drill",
    doc: "It never runs against an environment with `confirm`.",
    fields: &[
        &[optional(
            "isolated",
            Kind::Bool,
            "In namespaces of its own: no network but its own, and whatever becomes of it, nothing of it stays.",
        )],
        &SECTIONS,
        &[optional(
            "variants",
            Kind::Map { keys: Keys::Name, values: &Kind::Object(&VARIANT) },
            "Several drills on worlds that have much in common.",
        )],
    ],
    rules: &[],
    refused: &[],
};

const SYMPTOMS: Kind = Kind::List(&Kind::Object(&SYMPTOM));
const PROOFS: Kind = Kind::List(&Kind::Object(&PROOF));

/// What a drill and its variants have in common.
static SECTIONS: [Field; 9] = [
    optional("world", DRILL_STEPS, "Builds the world, in a fresh folder `{{ drill.dir }}`."),
    optional("params", VALUES, "Parameters for the run; templates over `drill.dir` and `drill.port`."),
    optional("inject", DRILL_STEPS, "Makes the fault."),
    optional("symptom", SYMPTOMS, "Must hold after the fault, or the drill is void."),
    optional(
        "answers",
        Kind::Map { keys: Keys::Step, values: &Kind::Text },
        "What people say in the drill: a step to `approve`, `reject`, `done`, an option, ...",
    ),
    optional(
        "channels",
        CHANNELS,
        "Where word of the run goes instead, by the names of the playbook's channels; templates over `drill`, no secrets. \
         A channel that is not named here tells nobody.",
    ),
    optional("assert", EXPRESSIONS, "What must hold of the run in the end."),
    optional(
        "proof",
        PROOFS,
        "Must hold of the world when the run is over, or the drill has failed. May read `drill.run`.",
    ),
    optional("teardown", DRILL_STEPS, "Always runs, also after a failure."),
];

static VARIANT: Object = Object {
    name: "a variant of a drill",
    doc: "What it says is added to the drill: its steps, checks and assertions come after the others, in `teardown` \
          before them; its `params`, `answers` and `channels` are used instead of those of the same name.",
    fields: &[&[optional("title", Kind::Text, "What people see.")], &SECTIONS],
    rules: &[],
    refused: &[
        ("isolated", Refusal::Because("the drill says it for all of its variants")),
        ("variants", Refusal::Because("a variant has none of its own")),
    ],
};

pub(super) const DRILL_STEPS: Kind = Kind::List(&Kind::Object(&DRILL_STEP));

pub(super) static DRILL_STEP: Object = Object {
    name: "a step of a drill",
    doc: "The steps of a drill run one after the other.",
    fields: &[
        &[
            optional(
                "id",
                Kind::Name,
                "Unique in the drill. Default: `world-1`, `inject-2`, in the variant `a` `a-world-1`.",
            ),
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
        ("foreach", Refusal::Because("a drill's own steps are written out; a script may loop")),
    ],
};
