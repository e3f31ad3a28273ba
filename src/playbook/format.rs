//! The whole format, once: every object, its keys, what each may hold, and how they go together.

use super::shape::{Field, Keys, Kind, Object, Refusal, Rule};

mod action;
mod channels;
mod check;
mod drill;
mod failure;
mod foreach;
mod hosts;
mod people;
mod requires;
mod tell;

use action::{
    COMMAND_FIELDS, ENV, ENV_ONLY_PROCESS, GRACE_ONLY_PROCESS, OPTION_FIELDS, SHELL, SHELL_ONLY_RUN,
    STDIN_ONLY_PROCESS,
};
use channels::CHANNELS;
use check::{CHECK_ONCE, CHECKS, WITHIN_ELSEWHERE};
use drill::DRILL;
use failure::{RETRY, UNDO};
use foreach::FOREACH_FIELDS;
pub use foreach::MAX_ITEMS;
use hosts::{HOST_GROUPS, HOSTS, ON_FIELD, ON_ONLY_PROCESS};
use people::{APPROVAL, CHOOSE, MANUAL};
use requires::REQUIRES;
use tell::{ESCALATION, NOTIFY, UPDATES};

/// The version of the format that this program reads.
pub const API_VERSION: &str = "runbook/v1";

const fn needed(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, required: true, doc }
}

const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, required: false, doc }
}

const TEXTS: Kind = Kind::List(&Kind::Text);
const VALUES: Kind = Kind::Map { keys: Keys::Identifier, values: &Kind::Value };
const EXPRESSIONS: Kind = Kind::OneOrList(&Kind::Expression);
const ACTIONS: &[&str] =
    &["run", "exec", "sql", "http", "wait", "choose", "manual", "notify", "any_of", "playbook"];
const PEOPLE: &[&str] = &["choose", "manual"];
const NOTICE: &[&str] = &["notify"];
const GROUPS: &[&str] = &["any_of", "playbook"];

static GROUP_FIELDS: [Field; 6] = [
    optional("wait", Kind::Duration, "Waits this long."),
    optional("choose", Kind::Object(&CHOOSE), "A person picks one of several ways to go on."),
    optional("manual", Kind::Object(&MANUAL), "A person does it, and says so."),
    optional("notify", Kind::Object(&NOTIFY), "People are told something by `channels`."),
    optional(
        "any_of",
        Kind::Some(&Kind::Object(&ALTERNATIVE)),
        "Alternatives, tried in order until one succeeds; those that failed are undone.",
    ),
    optional("playbook", Kind::Object(&INCLUDE), "Another playbook; its steps become part of this plan."),
];

const NO_WAIT_HERE: &str = "only a step can wait";
const NO_GROUP_HERE: &str = "only a step can hold other steps";

/// The root of a playbook file.
pub static PLAYBOOK: Object = Object {
    name: "a playbook",
    doc: "One file, one playbook. It is read from top to bottom.",
    fields: &[&[
        needed("apiVersion", Kind::Choice(&[API_VERSION]), "The version of this format: `runbook/v1`."),
        needed("name", Kind::Name, "The file's name without its ending."),
        optional("title", Kind::Text, "What people call it."),
        optional("description", Kind::Text, "What it does, in a few sentences."),
        optional(
            "severity",
            Kind::Choice(&["critical", "high", "medium", "low"]),
            "How bad the incident is that it is for.",
        ),
        optional("owner", Kind::Text, "Who keeps it correct."),
        optional("reviewed", Kind::Date, "When somebody last read it with care."),
        optional(
            "review_every",
            Kind::Duration,
            "`lint` warns when the last review is longer ago than this.",
        ),
        optional("symptoms", TEXTS, "How one knows that this is the playbook to use."),
        optional("objectives", Kind::Object(&OBJECTIVES), "What the recovery is measured against."),
        optional(
            "params",
            Kind::Map { keys: Keys::Identifier, values: &Kind::Object(&PARAM) },
            "What may be set at the start. Checked before the first step.",
        ),
        optional(
            "secrets",
            Kind::Map { keys: Keys::Identifier, values: &Kind::Object(&SECRET) },
            "Read when the run starts; never in scripts, arguments, plan or log.",
        ),
        optional(
            "environments",
            Kind::Map { keys: Keys::Name, values: &Kind::Object(&ENVIRONMENT) },
            "Sets of parameters, chosen with `--env`. They beat the defaults of `params`.",
        ),
        optional(
            "channels",
            CHANNELS,
            "Where word of a run can be sent. One of the same name in `runbook.yaml` is set aside.",
        ),
        optional(
            "escalation",
            ESCALATION,
            "Who is called when the incident lasts. It ends with the run. Instead of that of `runbook.yaml`.",
        ),
        optional("updates", UPDATES, "Regular word of how things stand. Instead of those of `runbook.yaml`."),
        optional(
            "roles",
            Kind::Map { keys: Keys::Name, values: &TEXTS },
            "Who holds each role, by account: the first is the primary, the others back them up.",
        ),
        optional(
            "hosts",
            HOSTS,
            "Where else commands run: `on`. One of the same name in `runbook.yaml` is set aside.",
        ),
        optional("groups", HOST_GROUPS, "Hosts under one name: `groups.NAME` in expressions is the list."),
        optional("requires", Kind::Object(&REQUIRES), "What must be there before the first step."),
        optional("defaults", Kind::Object(&DEFAULTS), "Options for every step that does not say otherwise."),
        optional("max_parallel", Kind::Int { min: 1, max: 1000 }, "How many steps run at once. Default: 8."),
        optional(
            "lock",
            Kind::Template,
            "One open run at a time for the same key. Default: the name and the environment.",
        ),
        optional(
            "workdir",
            Kind::Text,
            "The folder that relative paths count from. Default: the playbook's own.",
        ),
        optional("steps", Kind::Some(&Kind::Object(&STEP)), "The steps, if there are no phases."),
        optional("phases", Kind::List(&Kind::Object(&PHASE)), "Groups of steps, one after the other."),
        optional("drill", Kind::Object(&DRILL), "How the playbook is proved on a world it may break."),
    ]],
    rules: &[Rule::One { what: "one of `steps` and `phases`", keys: &["steps", "phases"], or: &[] }],
    refused: &[
        ("timeout", Refusal::Because("a timeout for every step is written below `defaults`")),
        ("env", Refusal::Because("variables for every step are written below `defaults`")),
    ],
};

static OBJECTIVES: Object = Object {
    name: "the objectives",
    doc: "Their verdict stands in the log and in the report.",
    fields: &[&[
        optional("rto", Kind::Duration, "From the start of the incident to the last required check."),
        optional("rpo", Kind::Duration, "How much data, in time, may be lost."),
        optional("data_as_of", Kind::Expression, "The time that the data went back to."),
    ]],
    rules: &[],
    refused: &[],
};

static PARAM: Object = Object {
    name: "a parameter",
    doc: "Its value comes from `-p name=value`, the environment or the default.",
    fields: &[&[
        needed(
            "type",
            Kind::Choice(&["string", "path", "integer", "number", "boolean", "duration", "size", "list"]),
            "What a value must be.",
        ),
        optional("description", Kind::Text, "What it is for."),
        optional("required", Kind::Bool, "It must be given. Default: false."),
        optional("default", Kind::Value, "Used if it is not given."),
        optional("pattern", Kind::Pattern, "A regular expression that must match somewhere in the value."),
        optional("choices", Kind::List(&Kind::Value), "The only values it may have."),
        optional("min", Kind::Value, "The least value."),
        optional("max", Kind::Value, "The greatest value."),
    ]],
    rules: &[],
    refused: &[],
};

static SECRET: Object = Object {
    name: "a secret",
    doc: "Where the value is read from.",
    fields: &[&[
        optional("env", Kind::Text, "A variable of the environment."),
        optional("file", Kind::Text, "A file; one line break at its end is left out."),
        optional("command", Kind::Argv, "A command and its arguments that prints it."),
    ]],
    rules: &[Rule::One { what: "a source", keys: &["env", "file", "command"], or: &[] }],
    refused: &[],
};

static ENVIRONMENT: Object = Object {
    name: "an environment",
    doc: "A set of parameters.",
    fields: &[&[
        optional("params", VALUES, "Values for `params`."),
        optional(
            "confirm",
            Kind::Choice(&["name"]),
            "`name`: the environment's name must be typed to start. No drill runs against it.",
        ),
    ]],
    rules: &[],
    refused: &[],
};

static DEFAULTS: Object = Object {
    name: "the defaults",
    doc: "Options for every step that does not say otherwise.",
    fields: &[&[
        optional("timeout", Kind::Timeout, "The longest one attempt may take; `none` for no limit."),
        optional("grace", Kind::Duration, "The time between TERM and KILL after a timeout."),
        optional("shell", SHELL, "What `run` is run by."),
        optional("retry", Kind::Object(&RETRY), "What happens when an attempt fails."),
        optional("env", ENV, "Variables for the environment of every command."),
    ]],
    rules: &[],
    refused: &[],
};

static PHASE: Object = Object {
    name: "a phase",
    doc: "It starts when the one above has ended.",
    fields: &[&[
        needed("id", Kind::Name, "Unique among the phases."),
        optional("title", Kind::Text, "What people see."),
        optional(
            "deadline",
            Kind::Duration,
            "Missing it is logged and raises the next level of `escalation`; it never ends a step.",
        ),
        optional(
            "status",
            Kind::Choice(&["investigating", "identified", "monitoring"]),
            "What `updates` call it. Default: the first of several is investigating, the last is monitoring.",
        ),
        needed("steps", Kind::Some(&Kind::Object(&STEP)), "The steps of the phase."),
    ]],
    rules: &[],
    refused: &[],
};

static STEP_FIELDS: [Field; 15] = [
    optional("when", Kind::Expression, "If it is false, the step is skipped."),
    optional(
        "unless",
        Kind::Object(&CHECK_ONCE),
        "A check before the start; if it holds, the action is not run.",
    ),
    optional("approval", Kind::Object(&APPROVAL), "Somebody has to agree before the action starts."),
    optional("retry", Kind::Object(&RETRY), "What happens when an attempt fails."),
    optional("expect", EXPRESSIONS, "What must hold of `result`. Default: `result.exit == 0`."),
    optional(
        "outputs",
        Kind::Map { keys: Keys::Identifier, values: &Kind::Expression },
        "Names for parts of `result`, for later steps.",
    ),
    optional("verify", CHECKS, "Checks after the action."),
    optional("undo", Kind::Object(&UNDO), "The action that takes the step back."),
    optional("irreversible", Kind::Bool, "There is no way back; `plan` marks it."),
    optional(
        "check",
        Kind::Object(&CHECK_ONCE),
        "After an unknown outcome: exit 0 means the effect is there, 1 that it is not.",
    ),
    optional("idempotent", Kind::Bool, "May be repeated after an unknown outcome."),
    optional(
        "on_failure",
        Kind::Choice(&["stop", "continue", "rollback", "ask"]),
        "What happens to the run when the step fails; `ask`: a person says. Default: stop.",
    ),
    optional(
        "escalate",
        Kind::Int { min: 1, max: 100 },
        "The level of `escalation` that is raised when the step fails.",
    ),
    optional("destructive", Kind::Bool, "Shown and guarded in `plan`."),
    optional("sensitive", Kind::Bool, "Its output is not kept."),
];

const STEP_RULES: &[Rule] = &[
    Rule::One { what: "an action", keys: ACTIONS, or: &["verify", "approval"] },
    SHELL_ONLY_RUN,
    STDIN_ONLY_PROCESS,
    ENV_ONLY_PROCESS,
    GRACE_ONLY_PROCESS,
    ON_ONLY_PROCESS,
    Rule::Not { key: "retry", with: GROUPS, because: "the steps inside have their own attempts" },
    Rule::Not { key: "timeout", with: GROUPS, because: "the steps inside have their own timeouts" },
    Rule::Not { key: "workdir", with: GROUPS, because: "the steps inside have their own folders" },
    Rule::Not { key: "expect", with: GROUPS, because: "the steps inside have their own results" },
    Rule::Not { key: "undo", with: GROUPS, because: "the steps inside are undone one by one" },
    Rule::Not { key: "check", with: GROUPS, because: "the steps inside have their own checks" },
    Rule::Not { key: "idempotent", with: GROUPS, because: "it is a property of each step inside" },
    Rule::Not { key: "irreversible", with: GROUPS, because: "it is a property of each step inside" },
    Rule::Not { key: "destructive", with: GROUPS, because: "it is a property of each step inside" },
    Rule::Not { key: "sensitive", with: GROUPS, because: "it is a property of each step inside" },
    Rule::Not { key: "outputs", with: &["any_of"], because: "read the outputs of the steps inside" },
    Rule::Not { key: "retry", with: &["wait"], because: "waiting does not fail" },
    Rule::Not { key: "timeout", with: &["wait"], because: "waiting ends by itself" },
    Rule::Not { key: "workdir", with: &["wait"], because: "waiting starts no command" },
    Rule::Not { key: "expect", with: &["wait"], because: "waiting has no result" },
    Rule::Not { key: "outputs", with: &["wait"], because: "waiting has no result" },
    Rule::Not { key: "undo", with: &["wait"], because: "waiting changes nothing" },
    Rule::Not { key: "check", with: &["wait"], because: "waiting changes nothing" },
    Rule::Not { key: "retry", with: PEOPLE, because: "nobody is asked twice by itself" },
    Rule::Not { key: "timeout", with: PEOPLE, because: "the time to answer is written inside" },
    Rule::Not { key: "workdir", with: PEOPLE, because: "a person has no working folder" },
    Rule::Not { key: "expect", with: PEOPLE, because: "a person gives no result" },
    Rule::Not {
        key: "outputs",
        with: PEOPLE,
        because: "a person gives no result; `steps.ID.choice` is what was chosen",
    },
    Rule::Not { key: "check", with: PEOPLE, because: "the person knows" },
    Rule::Not { key: "idempotent", with: PEOPLE, because: "nobody is asked twice by itself" },
    Rule::Not { key: "sensitive", with: PEOPLE, because: "a person has no output" },
    Rule::Not { key: "undo", with: &["choose"], because: "choosing changes nothing" },
    Rule::Not { key: "verify", with: &["choose"], because: "choosing changes nothing" },
    Rule::Not { key: "approval", with: &["choose"], because: "whoever chooses agrees" },
    Rule::Not { key: "irreversible", with: &["choose"], because: "choosing changes nothing" },
    Rule::Not { key: "destructive", with: &["choose"], because: "choosing changes nothing" },
    Rule::Not { key: "retry", with: NOTICE, because: "a channel tries again by itself" },
    Rule::Not { key: "timeout", with: NOTICE, because: "nobody waits for it" },
    Rule::Not { key: "workdir", with: NOTICE, because: "a message has no working folder" },
    Rule::Not { key: "expect", with: NOTICE, because: "a message has no result" },
    Rule::Not { key: "outputs", with: NOTICE, because: "a message has no result" },
    Rule::Not { key: "undo", with: NOTICE, because: "what is said is said" },
    Rule::Not { key: "check", with: NOTICE, because: "the log knows what became of it" },
    Rule::Not { key: "idempotent", with: NOTICE, because: "it is never sent again" },
    Rule::Not { key: "irreversible", with: NOTICE, because: "a message changes nothing" },
    Rule::Not { key: "destructive", with: NOTICE, because: "a message changes nothing" },
    Rule::Not { key: "sensitive", with: NOTICE, because: "a message has no output" },
    Rule::Only { key: "retry", with: ACTIONS },
    Rule::Only { key: "timeout", with: ACTIONS },
    Rule::Only { key: "grace", with: ACTIONS },
    Rule::Only { key: "env", with: ACTIONS },
    Rule::Only { key: "workdir", with: ACTIONS },
    Rule::Only { key: "stdin", with: ACTIONS },
    Rule::Only { key: "shell", with: ACTIONS },
    Rule::Only { key: "on", with: ACTIONS },
    Rule::Only { key: "expect", with: ACTIONS },
    Rule::Only { key: "outputs", with: ACTIONS },
    Rule::Only { key: "undo", with: ACTIONS },
    Rule::Only { key: "check", with: ACTIONS },
    Rule::Only { key: "unless", with: ACTIONS },
    Rule::Not {
        key: "undo",
        with: &["irreversible"],
        because: "a step that can be undone is not irreversible",
    },
    foreach::NOT_GROUPS,
    foreach::NOT_WAIT,
    foreach::NOT_PEOPLE,
    foreach::NOT_ALONE,
    foreach::PARALLEL_ONLY,
    foreach::FAILURE_ONLY,
    foreach::QUORUM_ONLY,
];

pub static STEP: Object = Object {
    name: "a step",
    doc: "A step waits for the step above it, unless `needs` says otherwise.",
    fields: &[
        &[
            needed("id", Kind::Name, "Unique in the playbook."),
            optional("title", Kind::Text, "What people see."),
            optional(
                "needs",
                Kind::List(&Kind::Name),
                "Ids of steps to wait for; `[]` for none. Default: the step above.",
            ),
        ],
        &COMMAND_FIELDS,
        &GROUP_FIELDS,
        &FOREACH_FIELDS,
        &STEP_FIELDS,
        &OPTION_FIELDS,
        &ON_FIELD,
    ],
    rules: STEP_RULES,
    refused: STEP_REFUSED,
};

const STEP_REFUSED: &[(&str, Refusal)] = &[
    ("within", Refusal::Because(WITHIN_ELSEWHERE)),
    ("every", Refusal::Because(WITHIN_ELSEWHERE)),
    ("required", Refusal::Because("only a check of `verify` can be advisory")),
    ("name", Refusal::Because("a step has an `id` and a `title`")),
];

static ALTERNATIVE: Object = Object {
    name: "an alternative",
    doc: "A step of `any_of`.",
    fields: &[
        &[
            needed("id", Kind::Name, "Unique in the playbook."),
            optional("title", Kind::Text, "What people see."),
        ],
        &COMMAND_FIELDS,
        &GROUP_FIELDS,
        &FOREACH_FIELDS,
        &STEP_FIELDS,
        &OPTION_FIELDS,
        &ON_FIELD,
    ],
    rules: STEP_RULES,
    refused: &[
        ("needs", Refusal::Because("alternatives are tried in order, one after the other")),
        ("within", Refusal::Because(WITHIN_ELSEWHERE)),
        ("every", Refusal::Because(WITHIN_ELSEWHERE)),
    ],
};

static INCLUDE: Object = Object {
    name: "an included playbook",
    doc: "Its steps are named `<id of this step>/<id>`.",
    fields: &[&[
        needed("name", Kind::Name, "The name of the playbook."),
        optional("params", VALUES, "Values for its parameters; templates."),
    ]],
    rules: &[],
    refused: &[],
};

/// The root of `runbook.yaml`.
pub static CONFIG: Object = Object {
    name: "the configuration",
    doc: "`runbook.yaml`: what playbooks share. Found by walking up from the working directory.",
    fields: &[&[
        optional("apiVersion", Kind::Choice(&[API_VERSION]), "The version of this format: `runbook/v1`."),
        optional("playbooks", TEXTS, "Folders with playbooks, relative to this file."),
        optional("state", Kind::Text, "The folder that keeps the runs, relative to this file."),
        optional(
            "environments",
            Kind::Map { keys: Keys::Name, values: &Kind::Object(&ENVIRONMENT) },
            "Environments for every playbook.",
        ),
        optional("hosts", HOSTS, "Hosts for every playbook. Without templates."),
        optional("groups", HOST_GROUPS, "Groups of hosts for every playbook."),
        optional("channels", CHANNELS, "Where word of a run can be sent, for every playbook."),
        optional("escalation", ESCALATION, "For every playbook that has none of its own."),
        optional("updates", UPDATES, "For every playbook that has none of its own."),
        optional(
            "secrets",
            Kind::Map { keys: Keys::Identifier, values: &Kind::Object(&SECRET) },
            "For `channels`. A playbook's secret of the same name is used instead.",
        ),
        optional(
            "roles",
            Kind::Map { keys: Keys::Name, values: &TEXTS },
            "Who holds each role, by account: the first is the primary, the others back them up.",
        ),
        optional(
            "responsibilities",
            Kind::Map { keys: Keys::Name, values: &TEXTS },
            "What each role is there for.",
        ),
        optional(
            "contacts",
            Kind::Map { keys: Keys::Name, values: &Kind::Text },
            "How to reach people and suppliers.",
        ),
    ]],
    rules: &[],
    refused: &[
        ("steps", Refusal::Because("steps belong into a playbook, a file of its own")),
        ("phases", Refusal::Because("phases belong into a playbook, a file of its own")),
    ],
};
