//! The part of the format that says where else commands run.

use super::{TEXTS, optional};
use crate::playbook::shape::{Field, Keys, Kind, Object, Refusal, Rule};

const KINDS: &[&str] = &["ssh", "container", "kubectl", "via"];

/// The same in a playbook and in `runbook.yaml`.
pub(super) const HOSTS: Kind = Kind::Map { keys: Keys::Name, values: &Kind::Object(&HOST) };
pub(super) const HOST_GROUPS: Kind = Kind::Map { keys: Keys::Name, values: &TEXTS };

pub(super) static ON_FIELD: [Field; 1] = [optional(
    "on",
    Kind::Template,
    "One name of `hosts`: where the command runs; `local` is this machine. Default: this machine; a check, an \
     undo or a remedy runs where its step does.",
)];

pub(super) const ON_ONLY_PROCESS: Rule = Rule::Not {
    key: "on",
    with: &["sql", "http", "wait", "choose", "manual", "notify", "any_of", "playbook"],
    because: "only `run` and `exec` can run on another host",
};

static HOST: Object = Object {
    name: "a host",
    doc: "A place where commands run: another machine, a container, a namespace. Texts may read `params`.",
    fields: &[&[
        optional("ssh", Kind::Template, "`[USER@]HOST`, or a name of the ssh configuration."),
        optional("container", Kind::Template, "A running container."),
        optional("kubectl", Kind::Template, "A pod, or such as `deploy/web`."),
        optional(
            "via",
            Kind::Argv,
            "A command that runs the command put behind it there: `[nsenter, -t, \"1\", -n]`.",
        ),
        optional(
            "connect_timeout",
            Kind::Duration,
            "How long it may take until the other side answers. Default: 30s, or what `ssh` needs beyond its own.",
        ),
        optional("user", Kind::EnvValue, "The account there, of `ssh` and `container`."),
        optional("port", Kind::EnvValue, "The port of `ssh`."),
        optional("config", Kind::Template, "The configuration file of `ssh`, instead of the user's own."),
        optional("identity", Kind::Template, "The key file of `ssh`."),
        optional(
            "options",
            Kind::Map { keys: Keys::Identifier, values: &Kind::EnvValue },
            "Options of `ssh`, as for its -o.",
        ),
        optional("engine", Kind::Choice(&["docker", "podman"]), "Of `container`. Default: docker."),
        optional("namespace", Kind::EnvValue, "Of `kubectl`."),
        optional("context", Kind::EnvValue, "Of `kubectl`."),
        optional("pod_container", Kind::EnvValue, "The container in the pod of `kubectl`."),
    ]],
    rules: &[
        Rule::One { what: "a way to it", keys: KINDS, or: &[] },
        Rule::Only { key: "user", with: &["ssh", "container"] },
        Rule::Only { key: "port", with: &["ssh"] },
        Rule::Only { key: "config", with: &["ssh"] },
        Rule::Only { key: "identity", with: &["ssh"] },
        Rule::Only { key: "options", with: &["ssh"] },
        Rule::Only { key: "engine", with: &["container"] },
        Rule::Only { key: "namespace", with: &["kubectl"] },
        Rule::Only { key: "context", with: &["kubectl"] },
        Rule::Only { key: "pod_container", with: &["kubectl"] },
    ],
    refused: &[
        ("host", Refusal::Because("write `ssh: HOST`")),
        ("docker", Refusal::Because("write `container: NAME`, with `engine: docker`")),
        ("podman", Refusal::Because("write `container: NAME`, with `engine: podman`")),
        ("password", Refusal::Because("nobody is there to type one: use a key, an agent or a certificate")),
    ],
};
