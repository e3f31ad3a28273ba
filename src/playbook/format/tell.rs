//! The part of the format that says who is told, and when.

use super::{needed, optional};
use crate::playbook::shape::{Kind, Object, Refusal};

/// The same in a playbook and in `runbook.yaml`.
pub(super) const ESCALATION: Kind = Kind::Some(&Kind::Object(&LEVEL));
pub(super) const UPDATES: Kind = Kind::Object(&UPDATES_OBJECT);

const CHANNELS: Kind = Kind::OneOrList(&Kind::Name);

pub(super) static NOTIFY: Object = Object {
    name: "a message",
    doc: "Sent when the step is reached. Nobody waits for it, and a channel that fails does not fail the step.",
    fields: &[&[
        needed("channels", CHANNELS, "Names of `channels`."),
        needed("message", Kind::Template, "What is said."),
    ]],
    rules: &[],
    refused: &[("text", Refusal::Because("what is said is written as `message`"))],
};

static LEVEL: Object = Object {
    name: "a level",
    doc: "More people, when the incident lasts or gets worse. Each level is raised once in a run.",
    fields: &[&[
        needed("level", Kind::Int { min: 1, max: 100 }, "Higher than that of the level above."),
        optional(
            "after",
            Kind::Duration,
            "From the start of the incident. Without it and `projected_breach`, only a failure or a missed deadline raises the level.",
        ),
        optional(
            "projected_breach",
            Kind::Choice(&["p50", "p90"]),
            "Raised as soon as recovery is projected later than the RTO: by the longer times of past runs (`p90`, early), or by the usual ones (`p50`); without past runs when the RTO has passed.",
        ),
        needed("notify", CHANNELS, "Names of `channels`."),
        optional("to", Kind::OneOrList(&Kind::Text), "Whom it is for: accounts, `roles`, or words."),
    ]],
    rules: &[],
    refused: &[("channels", Refusal::Because("the channels of a level are written as `notify`"))],
};

static UPDATES_OBJECT: Object = Object {
    name: "the updates",
    doc: "One when the run starts, then at this cadence, and a final one when it ends.",
    fields: &[&[
        needed("channels", CHANNELS, "Names of `channels`."),
        needed(
            "every",
            Kind::Some(&Kind::Object(&CADENCE)),
            "The cadence, counted from the start of the incident: one piece after the other.",
        ),
        optional("status_file", Kind::Text, "A file that always holds the newest update, for a status page."),
    ]],
    rules: &[],
    refused: &[],
};

static CADENCE: Object = Object {
    name: "a cadence",
    doc: "How often, and for how long.",
    fields: &[&[
        needed("every", Kind::Duration, "The pause between two updates."),
        optional("for", Kind::Duration, "How long this pause is kept. The last one can leave it out."),
    ]],
    rules: &[],
    refused: &[(
        "after",
        Refusal::Because("the pieces follow each other: say with `for` how long each lasts"),
    )],
};
