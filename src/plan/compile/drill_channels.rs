//! Where word of a run goes in a drill: to receivers that the drill itself has set up, and to nobody else.

use crate::model::Channel;
use crate::plan::DrillPlace;
use crate::plan::template::{Place, render_text};
use crate::playbook::ast;
use crate::playbook::channels::{elsewhere, read};
use crate::playbook::diagnostic::{Diagnostic, Severity};
use crate::playbook::source::{Span, Text};
use crate::playbook::tell::unknown_channels;

use super::build::{Builder, Unit};
use super::drill::with_place;
use super::text::Site;
use crate::plan::OnFailure;

/// The channels of the drill in this place, and what is wrong with them.
pub(super) fn drill_channels(
    main: &Builder<'_>,
    drill: &ast::Drill,
    place: &DrillPlace,
) -> (Vec<Channel>, Vec<Diagnostic>) {
    let mut reader = Reader {
        builder: Builder::build(main.loaded, Unit::section("channels", &[], OnFailure::Stop), main.base),
        place,
        found: Vec::new(),
    };
    let known = || main.channels.iter().map(|channel| channel.name.as_str());
    let names: Vec<Text> = drill.channels.iter().map(|channel| channel.name.clone()).collect();
    reader.found.extend(unknown_channels(&names, known(), "of the playbook or in runbook.yaml"));
    let mut channels = Vec::new();
    for typed in &drill.channels {
        let Some(mut channel) = reader.channel(typed) else { continue };
        if !drill.isolated
            && let Some(host) = elsewhere(&channel)
        {
            let message = format!("a drill would tell {host}");
            let help = "let the drill's world receive it at 127.0.0.1, or make the drill `isolated`";
            reader.found.push(Diagnostic::error("drill-tells", typed.name.span, message).help(help));
            continue;
        }
        channel.root(&main.base.root_of(main.book(0)));
        channels.push(channel);
    }
    (channels, reader.found)
}

struct Reader<'a, 'b> {
    builder: Builder<'a>,
    place: &'b DrillPlace,
    found: Vec<Diagnostic>,
}

impl Reader<'_, '_> {
    fn channel(&mut self, typed: &ast::Channel) -> Option<Channel> {
        let mut typed = typed.clone();
        let before = self.found.len();
        texts(&mut typed).into_iter().for_each(|text| self.render(text));
        if self.found.len() > before {
            return None;
        }
        let read = read(&typed);
        // That something secret stands in the open is no matter where nothing is secret.
        self.found.extend(read.diagnostics.into_iter().filter(|d| d.severity == Severity::Error));
        let secret = read.secrets.into_iter().map(|(name, span)| no_secret(&name, span));
        self.found.extend(secret);
        read.channel.filter(|_| self.found.len() == before)
    }

    /// Puts in what the text says of the drill's place.
    fn render(&mut self, text: &mut Text) {
        if !text.value.contains("{{") {
            return;
        }
        let before = self.builder.diagnostics.len();
        let read = self.builder.read(text, Place::SecretText, Site::start(0));
        if self.builder.diagnostics.len() > before {
            self.found.extend(self.builder.diagnostics.drain(before..));
            return;
        }
        if read.late || !read.params.is_empty() {
            let message = "a drill's channels are set up before anything else is known";
            self.found.push(
                Diagnostic::error("not-known-yet", text.span, message)
                    .label("only `drill.dir` and `drill.port` can be read here"),
            );
            return;
        }
        match with_place(self.place, |ctx| render_text(&read.template, ctx)) {
            Ok(value) => text.value = value,
            Err(error) => {
                let mut wrong = Diagnostic::error("template", text.span, error.message);
                wrong.help = error.help;
                self.found.push(wrong);
            }
        }
    }
}

fn no_secret(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error("drill-secret", span, format!("a drill does not read the secret `{name}`"))
        .label("the receiver is the drill's own")
        .help("write any word here")
}

/// Every text of a channel but its name.
fn texts(channel: &mut ast::Channel) -> Vec<&mut Text> {
    let mut all: Vec<&mut Text> = channel.ca_file.iter_mut().collect();
    match &mut channel.kind {
        ast::ChannelKind::Slack { url } => all.push(url),
        ast::ChannelKind::Pagerduty { routing_key, url } => {
            all.push(routing_key);
            all.extend(url);
        }
        ast::ChannelKind::Webhook { url, headers, sign } => {
            all.push(url);
            all.extend(headers.iter_mut().map(|(_, value)| value));
            all.extend(sign);
        }
        ast::ChannelKind::Email { smtp, from, to, username, password } => {
            all.extend([smtp, from]);
            all.extend(to.iter_mut().chain(username).chain(password));
        }
        ast::ChannelKind::Command { argv, env } => {
            all.extend(argv);
            all.extend(env.iter_mut().map(|(_, value)| value));
        }
    }
    all
}
