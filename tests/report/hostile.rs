//! Texts from commands and playbooks that want to be more than text, and readers that go away.

use std::io::{self, Write};

use proptest::prelude::*;
use runbook::engine::State;
use runbook::model::{Event, TaskKind};
use runbook::plan::Plan;
use runbook::report::{
    Closing, GraphFormat, History, Incident, Json, Look, Plain, PlanView, Reporter, Status, graph, log_text,
    neutral, timeline, write_closing, write_show,
};

use crate::fixtures;

const NASTY: [&str; 9] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'; </style><svg/onload=alert(1)>",
    "\x1b[2J\x1b]0;owned\x07",
    "safe\u{202e}gpj.exe",
    "| `a` *b* [c](javascript:d) ![e](http://f)",
    "\"]; evil -> node [label=\"",
    "x\"]\n  click s0 \"javascript:alert(1)\"",
    "\\\" \\N \\l %% end }}",
];

fn hostile_plan(text: &str) -> Plan {
    let mut plan = fixtures::plan();
    plan.playbook.title = text.to_owned();
    plan.playbook.description = Some(text.to_owned());
    plan.playbook.symptoms = vec![text.to_owned()];
    for phase in &mut plan.phases {
        phase.title = text.to_owned();
    }
    for step in &mut plan.steps {
        step.title = text.to_owned();
        for check in &mut step.verify {
            check.title = text.to_owned();
        }
    }
    plan
}

fn hostile_incident(text: &str) -> Incident {
    let plan = hostile_plan(text);
    let mut records = fixtures::stuck();
    for record in &mut records {
        match &mut record.event {
            Event::RunStarted(start) => {
                start.operator = text.to_owned();
                start.params.insert(text.to_owned(), text.into());
            }
            Event::TaskStarted { command, values, workdir, .. } => {
                *command = text.to_owned();
                *values = vec![(text.to_owned(), text.to_owned())];
                *workdir = Some(text.to_owned());
            }
            Event::TaskEnded { outputs, .. } => {
                outputs.insert(text.to_owned(), text.into());
            }
            Event::StepEnded { why: Some(why), .. } | Event::RollbackStarted { because: why } => {
                *why = text.to_owned();
            }
            Event::RunEnded(end) => end.why = Some(text.to_owned()),
            _ => {}
        }
    }
    Incident::build(&plan, &records, "head", &|_, _| Some(text.as_bytes().to_vec()))
}

/// The tags of a page, as a browser would find them.
fn tags(html: &str) -> Vec<&str> {
    html.split('<').skip(1).map(|tag| tag.split(['>', ' ', '\n']).next().unwrap_or_default()).collect()
}

fn assert_page_is_clean(html: &str, text: &str) {
    const KNOWN: [&str; 42] = [
        "!doctype", "html", "head", "meta", "title", "style", "body", "main", "header", "div", "h1", "h2",
        "h3", "p", "span", "svg", "line", "text", "rect", "g", "i", "table", "thead", "tbody", "tr", "th",
        "td", "b", "br", "details", "summary", "pre", "code", "dl", "dt", "dd", "ul", "li", "footer", "/",
        "", "",
    ];
    for tag in tags(html) {
        let name = tag.strip_prefix('/').unwrap_or(tag);
        assert!(KNOWN.contains(&name), "{text:?} made a <{tag}>");
    }
    for part in html.split('<').skip(1) {
        let inside = part.split('>').next().unwrap_or_default();
        assert!(!inside.contains(" on") && !inside.contains("src=") && !inside.contains("href="), "{inside}");
    }
    assert!(
        !html.chars().any(|c| c != '\n' && c != '\t' && neutral::is_hidden(c)),
        "{text:?} hides something"
    );
}

#[test]
fn no_text_becomes_markup() {
    for text in NASTY {
        let incident = hostile_incident(text);
        assert_page_is_clean(&incident.to_html(), text);
        let markdown = incident.to_markdown();
        assert!(!markdown.chars().any(|c| c != '\n' && c != '\t' && neutral::is_hidden(c)));
    }
}

/// A mermaid label holds only what cannot end it.
fn assert_mermaid_is_clean(text: &str) {
    let plan = hostile_plan(text);
    let plain = graph(&fixtures::plan(), GraphFormat::Mermaid, Look::PLAIN);
    let drawn = graph(&plan, GraphFormat::Mermaid, Look::PLAIN);
    assert_eq!(drawn.lines().count(), plain.lines().count(), "{text:?} adds lines");
    for line in drawn.lines().filter(|l| l.contains("[\"")) {
        let label =
            line.split_once("[\"").and_then(|(_, rest)| rest.rsplit_once("\"]")).map(|(label, _)| label);
        let label = label.unwrap_or_default().replace("<br/>", "");
        assert!(!label.contains(['"', '<', '>', '[', ']', '`', '%', '&']), "{text:?}: {line}");
    }
}

/// A dot label ends only where it should: every quote and backslash inside is escaped.
fn assert_dot_is_clean(text: &str) {
    let drawn = graph(&hostile_plan(text), GraphFormat::Dot, Look::PLAIN);
    let plain = graph(&fixtures::plan(), GraphFormat::Dot, Look::PLAIN);
    assert_eq!(drawn.lines().count(), plain.lines().count(), "{text:?} adds lines");
    for (hostile, calm) in drawn.lines().zip(plain.lines()) {
        assert_eq!(strings(hostile), strings(calm), "{text:?}: {hostile}");
    }
}

/// The line with every quoted string emptied, as dot's own lexer would read it.
fn strings(line: &str) -> String {
    let mut out = String::new();
    let (mut inside, mut escaped) = (false, false);
    for c in line.chars() {
        match (inside, c) {
            (true, _) if escaped => escaped = false,
            (true, '\\') => escaped = true,
            (_, '"') => {
                inside = !inside;
                out.push('"');
            }
            (true, _) => {}
            (false, c) => out.push(c),
        }
    }
    assert!(!inside, "an open string in {line}");
    out
}

#[test]
fn no_title_becomes_a_graph() {
    for text in NASTY {
        assert_mermaid_is_clean(text);
        assert_dot_is_clean(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_text_stays_text(text in "[\\PC\\p{Cc}\\p{Cf}<>\"'&`|\\\\]{1,40}") {
        assert_page_is_clean(&hostile_incident(&text).to_html(), &text);
        assert_mermaid_is_clean(&text);
        assert_dot_is_clean(&text);
    }

    #[test]
    fn nothing_a_terminal_obeys_is_printed(text in "[\\PC\\p{Cc}\\p{Cf}]{1,40}") {
        let plan = hostile_plan(&text);
        let records = fixtures::rolled_back();
        let history = History::of(&plan, &records);
        let tail = |_: &_, _| Some(text.as_bytes().to_vec());
        let mut out = Vec::new();
        let closing = Closing { head: &text, report: None, look: Look::PLAIN, tail: &tail };
        write_closing(&mut out, &plan, &history, &closing).unwrap();
        Status::of(&plan, &history, None, None).write(&mut out, Look::PLAIN).unwrap();
        PlanView::of(&plan, "hash").write(&mut out, Look::PLAIN).unwrap();
        write_show(&mut out, &plan, &[], Look::PLAIN).unwrap();
        out.extend(log_text::log_text(&plan, &timeline::Timeline::of(&records), Look::PLAIN).into_bytes());
        out.extend(graph(&plan, GraphFormat::Text, Look::PLAIN).into_bytes());
        let state = State::new(&plan);
        let mut plain = Plain::new(&mut out, Look::PLAIN);
        if let Some(Event::TaskStarted { task, .. }) = records.iter().map(|r| &r.event).find(|e| {
            matches!(e, Event::TaskStarted { task, .. } if task.kind == TaskKind::Attempt)
        }) {
            plain.output(task, false, text.as_bytes());
        }
        plain.finish(&plan, &state);
        let out = String::from_utf8(out).unwrap();
        prop_assert!(!out.chars().any(|c| c != '\n' && c != '\t' && neutral::is_hidden(c)), "{:?}", out);
    }
}

/// Takes so many bytes and then says that the reader has gone.
struct Pipe {
    left: usize,
    writes_after: usize,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.writes_after += 1;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let n = bytes.len().min(self.left);
        self.left -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let plan = fixtures::plan();
    let records = fixtures::rolled_back();
    let history = History::of(&plan, &records);
    for left in [0, 1, 100, 1000] {
        let mut pipe = Pipe { left, writes_after: 0 };
        let mut plain = Plain::new(&mut pipe, Look::PLAIN);
        feed(&mut plain, &plan);
        assert_eq!(pipe.writes_after, 1, "it is tried once and then quiet");
        let mut pipe = Pipe { left, writes_after: 0 };
        feed(&mut Json::new(&mut pipe), &plan);
        assert_eq!(pipe.writes_after, 1, "it is tried once and then quiet");
        let mut pipe = Pipe { left, writes_after: 0 };
        let closing = Closing { head: "h", report: None, look: Look::PLAIN, tail: &|_, _| None };
        let written = write_closing(&mut pipe, &plan, &history, &closing);
        assert_eq!(written.is_err(), left < 300);
    }
}

fn feed(reporter: &mut dyn Reporter, plan: &Plan) {
    let mut state = State::new(plan);
    for record in fixtures::rolled_back() {
        state.apply(plan, &record).expect("a legal run");
        reporter.record(plan, &state, &record);
        reporter.flush();
        if let Event::TaskStarted { task, .. } = &record.event {
            reporter.output(task, false, b"line\n");
        }
    }
    reporter.finish(plan, &state);
}
