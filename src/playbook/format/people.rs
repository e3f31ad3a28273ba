//! What people are asked.

use super::{TEXTS, needed, optional};
use crate::playbook::shape::{Keys, Kind, Object, Refusal, Rule};

pub(super) const BY: &str =
    "Who may answer: accounts, or names of `roles`. Default: whoever may speak to the run.";

pub(super) static APPROVAL: Object = Object {
    name: "an approval",
    doc: "Asked before the action starts, or before the step is taken back. It holds for the attempts of one start.",
    fields: &[&[
        needed("prompt", Kind::Template, "What is asked, with the facts that decide it."),
        optional("approvers", TEXTS, BY),
        optional(
            "count",
            Kind::Int { min: 1, max: 50 },
            "How many different people have to agree. Default: 1.",
        ),
        optional("exclude_operator", Kind::Bool, "Whoever started the run may not answer. Default: false."),
        optional("timeout", Kind::Duration, "The time to answer. Default: none."),
        optional(
            "on_timeout",
            Kind::Choice(&["fail", "wait", "proceed"]),
            "What happens when it is over. Default: fail.",
        ),
        optional("evidence", Kind::Bool, "A yes needs a file that shows it. Default: false."),
    ]],
    rules: &[Rule::Only { key: "on_timeout", with: &["timeout"] }],
    refused: &[("by", Refusal::Because("who may answer an approval is written as `approvers`"))],
};

pub(super) static MANUAL: Object = Object {
    name: "a manual step",
    doc: "A person does it and says whether it is done.",
    fields: &[&[
        needed("instructions", Kind::Template, "What to do."),
        optional("by", TEXTS, BY),
        optional("timeout", Kind::Duration, "The time to answer. Default: none."),
        optional(
            "on_timeout",
            Kind::Choice(&["fail", "wait"]),
            "What happens when it is over. Default: fail.",
        ),
        optional("evidence", Kind::Bool, "Done needs a file that shows it. Default: false."),
    ]],
    rules: &[Rule::Only { key: "on_timeout", with: &["timeout"] }],
    refused: &[("prompt", Refusal::Because("what a person does is written as `instructions`"))],
};

pub(super) static CHOOSE: Object = Object {
    name: "a choice",
    doc: "`steps.ID.choice` is what was chosen.",
    fields: &[&[
        needed("prompt", Kind::Template, "What is asked, with the facts that decide it."),
        needed(
            "options",
            Kind::Map { keys: Keys::Name, values: &Kind::Object(&OPTION) },
            "The ways to go on.",
        ),
        optional("suggest", Kind::Expression, "Gives the name of the option that the playbook would take."),
        optional("by", TEXTS, BY),
        optional("timeout", Kind::Duration, "The time to answer. Default: none."),
        optional(
            "on_timeout",
            Kind::Choice(&["fail", "wait", "suggest"]),
            "What happens when it is over. Default: fail.",
        ),
    ]],
    rules: &[Rule::Only { key: "on_timeout", with: &["timeout"] }],
    refused: &[],
};

pub(super) static OPTION: Object = Object {
    name: "an option",
    doc: "One way to go on.",
    fields: &[&[
        optional("title", Kind::Text, "What people see."),
        optional("eta", Kind::Text, "How long it takes, in words."),
        optional("loss", Kind::Text, "What is lost by it, in words."),
        optional("when", Kind::Expression, "If it is false, the option cannot be taken."),
    ]],
    rules: &[],
    refused: &[],
};
