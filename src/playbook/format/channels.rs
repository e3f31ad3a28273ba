//! The part of the format that is about channels.

use super::{ENV, needed, optional};
use crate::playbook::shape::{Field, Keys, Kind, Object, Refusal, Rule};

const KINDS: &[&str] = &["slack", "pagerduty", "webhook", "email", "command"];

/// The same in a playbook and in `runbook.yaml`.
pub(super) const CHANNELS: Kind = Kind::Map { keys: Keys::Name, values: &Kind::Object(&CHANNEL) };

const IN_THE_KIND: &str = "it belongs to the channel's kind, such as `webhook: { url: ... }`";

static CHANNEL: Object = Object {
    name: "a channel",
    doc: "A way to people or to their tools.",
    fields: &[
        &[
            optional(
                "slack",
                Kind::Object(&SLACK),
                "An incoming webhook of Slack, or of what speaks like it.",
            ),
            optional("pagerduty", Kind::Object(&PAGERDUTY), "PagerDuty's Events API v2."),
            optional("webhook", Kind::Object(&WEBHOOK), "Any receiver of a POST with JSON."),
            optional("email", Kind::Object(&EMAIL), "Mail by SMTP."),
            optional(
                "command",
                Kind::Argv,
                "A command that takes the message on its standard input. No templates.",
            ),
        ],
        &[
            optional("env", ENV, "Variables for `command`. Secrets may be used here."),
            optional(
                "ca_file",
                Kind::Text,
                "Authorities in PEM that are trusted besides those of the system.",
            ),
            optional("timeout", Kind::Duration, "The longest one try may take. Default: 10s."),
            optional(
                "retry_for",
                Kind::Duration,
                "How long it is tried again before it is given up. Default: 2m.",
            ),
        ],
    ],
    rules: &[
        Rule::One { what: "a kind", keys: KINDS, or: &[] },
        Rule::Only { key: "env", with: &["command"] },
        Rule::Not { key: "ca_file", with: &["command"], because: "a command makes its own connections" },
    ],
    refused: &[
        ("url", Refusal::Because(IN_THE_KIND)),
        ("to", Refusal::Because(IN_THE_KIND)),
        ("headers", Refusal::Because(IN_THE_KIND)),
        ("mail", Refusal::Because("mail is `email`")),
        ("smtp", Refusal::Because("mail is `email: { smtp: ... }`")),
        ("exec", Refusal::Because("a command is `command: [NAME, ARGUMENT]`")),
        ("run", Refusal::Because("a command is `command: [NAME, ARGUMENT]`; put a script into a file")),
    ],
};

const URL: Field = needed("url", Kind::SecretText, "Where it is posted to.");

static SLACK: Object =
    Object { name: "a Slack channel", doc: "Posts `text`.", fields: &[&[URL]], rules: &[], refused: &[] };

static PAGERDUTY: Object = Object {
    name: "a PagerDuty channel",
    doc: "One alert for a run, triggered, acknowledged and resolved.",
    fields: &[&[
        needed("routing_key", Kind::SecretText, "The integration key of the service."),
        optional(
            "url",
            Kind::SecretText,
            "Instead of https://events.pagerduty.com/v2/enqueue, such as that of the EU.",
        ),
    ]],
    rules: &[],
    refused: &[("key", Refusal::Because("the integration key is `routing_key`"))],
};

static WEBHOOK: Object = Object {
    name: "a webhook channel",
    doc: "Posts the notice as JSON.",
    fields: &[&[
        URL,
        optional(
            "headers",
            Kind::Map { keys: Keys::Header, values: &Kind::SecretText },
            "More headers. Secrets may be used here.",
        ),
        optional("sign", Kind::SecretText, "The key of the signature in the header Runbook-Signature."),
    ]],
    rules: &[],
    refused: &[],
};

static EMAIL: Object = Object {
    name: "a mail channel",
    doc: "One mail to all recipients.",
    fields: &[&[
        needed(
            "smtp",
            Kind::Text,
            "smtps://HOST:465 (TLS), smtp+starttls://HOST:587, or smtp://HOST:25 (nothing is encrypted).",
        ),
        needed("from", Kind::Text, "The sender, such as `Runbook <runbook@example.org>`."),
        needed("to", Kind::OneOrList(&Kind::Text), "The recipients."),
        optional("username", Kind::SecretText, "For logging in."),
        optional("password", Kind::SecretText, "For logging in."),
    ]],
    rules: &[
        Rule::Only { key: "username", with: &["password"] },
        Rule::Only { key: "password", with: &["username"] },
    ],
    refused: &[("url", Refusal::Because("the server is `smtp: smtps://HOST:465`"))],
};
