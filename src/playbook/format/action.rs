//! What a step, a check or an undo does, and the options of what is done.

use super::{needed, optional};
use crate::playbook::shape::{Field, Keys, Kind, Object, Refusal, Rule};

pub(super) const ENV: Kind = Kind::Map { keys: Keys::Variable, values: &Kind::EnvValue };

pub(super) const COMMANDS: &[&str] = &["run", "exec", "sql", "http"];

pub(super) const METHODS: &[&str] = &["get", "post", "put", "patch", "delete", "head"];

pub(super) static COMMAND_FIELDS: [Field; 4] = [
    optional(
        "run",
        Kind::Template,
        "A shell script. Values in `{{ }}` reach it as variables, never as code.",
    ),
    optional(
        "exec",
        Kind::Pipeline,
        "A command and its arguments without a shell, or a list of such as a pipeline.",
    ),
    optional("sql", Kind::Object(&SQL), "A query. Values in `{{ }}` become bound parameters."),
    optional("http", Kind::Object(&HTTP), "A request."),
];

pub(super) static OPTION_FIELDS: [Field; 6] = [
    optional(
        "timeout",
        Kind::Timeout,
        "The longest one attempt may take; `none` for no limit. Default: 10m.",
    ),
    optional("grace", Kind::Duration, "The time between TERM and KILL after a timeout. Default: 10s."),
    optional("env", ENV, "Variables for the command's environment; templates. Secrets may be used here."),
    optional(
        "workdir",
        Kind::Template,
        "The folder the command runs in. Default: the playbook's own folder.",
    ),
    optional("stdin", Kind::Template, "What the command reads from its standard input. Default: nothing."),
    optional("shell", SHELL, "What `run` is run by. Default: bash, with -euo pipefail."),
];

pub(super) const SHELL: Kind = Kind::Choice(&["bash", "sh"]);

/// Rules about options that a kind of action cannot use.
pub(super) const SHELL_ONLY_RUN: Rule = Rule::Not {
    key: "shell",
    with: &["exec", "sql", "http", "wait", "choose", "manual", "notify", "any_of", "playbook"],
    because: "only `run` has a shell",
};

pub(super) const STDIN_ONLY_PROCESS: Rule = Rule::Not {
    key: "stdin",
    with: &["sql", "http", "wait", "choose", "manual", "notify", "any_of", "playbook"],
    because: "only `run` and `exec` read a standard input",
};

pub(super) const ENV_ONLY_PROCESS: Rule = Rule::Not {
    key: "env",
    with: &["sql", "http", "wait", "choose", "manual", "notify", "any_of", "playbook"],
    because: "only `run` and `exec` have an environment",
};

pub(super) const GRACE_ONLY_PROCESS: Rule = Rule::Not {
    key: "grace",
    with: &["sql", "http", "wait", "choose", "manual", "notify", "any_of", "playbook"],
    because: "only `run` and `exec` start a process that can be given time to end",
};

pub(super) const ONE_COMMAND: Rule = Rule::One { what: "an action", keys: COMMANDS, or: &[] };

const DATABASE: &str = "`sqlite:PATH` or `postgres://USER@HOST:PORT/DATABASE`, both with `?mode=ro` for what changes \
                        nothing; a server with `?sslmode=` disable, prefer, require, verify-ca or verify-full.";

pub(super) static SQL: Object = Object {
    name: "a query",
    doc: "Runs against a database.",
    fields: &[&[
        needed("database", Kind::Template, DATABASE),
        optional("password", Kind::Template, "The password of a server: `{{ secrets.NAME }}`."),
        optional(
            "ca_file",
            Kind::Template,
            "The authority (PEM) that must have signed the server's certificate, in place of the system's.",
        ),
        needed("query", Kind::Template, "One statement."),
    ]],
    rules: &[],
    refused: &[],
};

pub(super) static HTTP: Object = Object {
    name: "a request",
    doc: "One request. Exactly one method, whose value is the URL.",
    fields: &[&[
        optional("get", Kind::Template, "The URL of a GET."),
        optional("post", Kind::Template, "The URL of a POST."),
        optional("put", Kind::Template, "The URL of a PUT."),
        optional("patch", Kind::Template, "The URL of a PATCH."),
        optional("delete", Kind::Template, "The URL of a DELETE."),
        optional("head", Kind::Template, "The URL of a HEAD."),
        optional(
            "headers",
            Kind::Map { keys: Keys::Header, values: &Kind::Template },
            "Headers. Secrets may be used here.",
        ),
        optional("body", Kind::Template, "The body, as text."),
        optional("json", Kind::Value, "The body, as JSON; its texts are templates."),
        optional("auth", Kind::Object(&AUTH), "Who asks, with the proof of it; nobody else is shown it."),
        optional("ca_file", Kind::Template, "An authority (PEM) to trust beside those of the system."),
    ]],
    rules: &[
        Rule::One { what: "a method", keys: METHODS, or: &[] },
        Rule::Not { key: "body", with: &["json"], because: "a request has one body" },
        Rule::Not { key: "body", with: &["get", "head"], because: "such a request has no body" },
        Rule::Not { key: "json", with: &["get", "head"], because: "such a request has no body" },
    ],
    refused: &[
        ("url", Refusal::Because("write the method and the URL: `get: URL`")),
        ("insecure", Refusal::Because(UNCHECKED)),
        ("verify", Refusal::Because(UNCHECKED)),
    ],
};

const UNCHECKED: &str = "the server's certificate is always checked: name its authority as `ca_file`";

static AUTH: Object = Object {
    name: "an authorization",
    doc: "The header `Authorization`.",
    fields: &[&[
        optional("bearer", Kind::Template, "A token: `{{ secrets.NAME }}`."),
        optional("basic", Kind::Object(&BASIC), "A user and a password."),
    ]],
    rules: &[Rule::One { what: "an authorization", keys: &["bearer", "basic"], or: &[] }],
    refused: &[],
};

static BASIC: Object = Object {
    name: "a basic authorization",
    doc: "Sent in base64, which hides nothing: only over https, or on this machine.",
    fields: &[&[
        needed("user", Kind::Template, "The name; no colon."),
        needed("password", Kind::Template, "The password: `{{ secrets.NAME }}`."),
    ]],
    rules: &[],
    refused: &[],
};
