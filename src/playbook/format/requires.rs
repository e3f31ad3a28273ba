//! What must be there before the first step.

use super::{TEXTS, needed, optional};
use crate::playbook::shape::{Kind, Object};

pub(super) static REQUIRES: Object = Object {
    name: "the requirements",
    doc: "Checked before the first step.",
    fields: &[&[
        optional("commands", TEXTS, "Commands that must be found."),
        optional("versions", Kind::List(&Kind::Object(&VERSION)), "Commands that must not be too old."),
        optional("files", Kind::List(&Kind::Template), "Files that must exist."),
        optional("free_space", Kind::Object(&FREE_SPACE), "Room that must be left on a file system."),
        optional("ports", Kind::Object(&PORTS), "TCP ports that must be free, or must answer."),
        optional("env", TEXTS, "Variables of the environment that must be set."),
        optional("hosts", TEXTS, "Hosts, or groups of them, on which a command must be able to run."),
    ]],
    rules: &[],
    refused: &[],
};

static VERSION: Object = Object {
    name: "a version",
    doc: "The command is asked for its version; the first number with a dot in what it says counts.",
    fields: &[&[
        needed("command", Kind::Text, "The command."),
        needed("at_least", Kind::EnvValue, "Numbers with dots: `15`, `\"3.10\"`."),
        optional("ask", Kind::Argv, "How it is asked. Default: the command with `--version`."),
    ]],
    rules: &[],
    refused: &[],
};

/// A port alone is a number in YAML.
const ADDRESSES: Kind = Kind::List(&Kind::EnvValue);

static PORTS: Object = Object {
    name: "the ports",
    doc: "Each is `PORT` (of this machine) or `HOST:PORT`, an IPv6 address in brackets.",
    fields: &[&[
        optional("free", ADDRESSES, "Nobody listens there: for what the playbook starts."),
        optional("open", ADDRESSES, "A connection is taken there. Nothing is sent."),
    ]],
    rules: &[],
    refused: &[],
};

static FREE_SPACE: Object = Object {
    name: "the free space",
    doc: "Room on the file system that holds `path`.",
    fields: &[&[
        needed("path", Kind::Template, "A path on the file system."),
        needed("at_least", Kind::Size, "How much must be free."),
    ]],
    rules: &[],
    refused: &[],
};
