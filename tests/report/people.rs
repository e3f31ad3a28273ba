//! A run in which people are asked, answer, do not answer, lead, write things down: in every view.

use runbook::model::{
    Answer, Choice, Event, Millis, OnTimeout, Person, Question, QuestionKind, Record, ReplanInfo, Reply,
    Resolution, RunOutcome, StepOutcome, Timestamp, Via,
};
use runbook::plan::{Ask, Body, Choose, Expr, OnFailure, Plan, PlannedOption, Template};
use runbook::report::{About, Brief, Checklist, History, Incident, Look, Status};

use crate::fixtures::{self, START, Tape, id_of, plan_of, run, step};
use crate::{HEAD, check, fold, tail, text};

fn ask(prompt: &str, approvers: &[&str]) -> Ask {
    Ask {
        prompt: Template { src: prompt.to_owned(), uses: Vec::new() },
        approvers: approvers.iter().map(|name| (*name).to_owned()).collect(),
        count: 1,
        exclude_operator: false,
        timeout: None,
        on_timeout: OnTimeout::Wait,
        evidence: false,
    }
}

/// Five steps in two phases: somebody chooses, two agree, somebody does it by hand.
pub fn plan() -> Plan {
    let mut way = step(
        "way",
        "Which way back",
        0,
        Body::Choose(Box::new(Choose {
            ask: Ask {
                timeout: Some(Millis::secs(300)),
                on_timeout: OnTimeout::Suggest,
                ..ask("The database is damaged. Which way back?", &[])
            },
            options: vec![
                option("replica", "Promote the replica", Some("5m"), Some("the replica's lag")),
                option("backup", "Restore the newest backup", Some("15m"), None),
            ],
            suggest: Some(Expr { src: "'backup'".to_owned(), uses: Vec::new() }),
        })),
    );
    way.when = Some(Expr { src: "params.database != ''".to_owned(), uses: Vec::new() });
    let mut restore = run("restore", "Put the backup in place", 1, "install -m 600 -- backup.db tasks.db");
    restore.destructive = true;
    restore.approval = Some(Box::new(Ask {
        count: 2,
        exclude_operator: true,
        timeout: Some(Millis::secs(1200)),
        on_timeout: OnTimeout::Fail,
        evidence: true,
        ..ask("Replace {{ params.database }}?", &["alice", "bob", "carol"])
    }));
    restore.undo = fixtures::undo("install -m 600 -- damaged.db tasks.db");
    let mut warm = run("warm", "Warm the cache", 1, "./warm --after {{ steps[\"way\"].choice }}");
    warm.on_failure = OnFailure::Ask;
    let keys = step(
        "keys",
        "Get the keys from the vendor",
        1,
        Body::Manual(Box::new(ask("Call the vendor.\nAsk for the keys.", &["bob"]))),
    );
    let mut open = run("open", "Let the users in", 1, "./open");
    open.irreversible = true;
    let mut plan =
        plan_of(&[("decide", "Decide"), ("recover", "Recover")], vec![way, restore, warm, keys, open]);
    plan.roles = [("commander".to_owned(), vec!["alice".to_owned(), "carol".to_owned()])].into();
    plan
}

fn option(id: &str, title: &str, eta: Option<&str>, loss: Option<&str>) -> PlannedOption {
    PlannedOption {
        id: id.to_owned(),
        title: title.to_owned(),
        eta: eta.map(str::to_owned),
        loss: loss.map(str::to_owned),
        when: None,
    }
}

fn person(name: &str) -> Person {
    Person { name: name.to_owned(), uid: Some(1000), via: Via::Socket }
}

fn question(kind: QuestionKind, prompt: &str, approvers: &[&str]) -> Question {
    Question {
        kind,
        attempt: 1,
        prompt: prompt.to_owned(),
        options: Vec::new(),
        suggestion: None,
        approvers: approvers.iter().map(|name| (*name).to_owned()).collect(),
        excluded: Vec::new(),
        count: 1,
        timeout: None,
        on_timeout: OnTimeout::Wait,
        evidence: false,
    }
}

fn asked(tape: &mut Tape, step: &str, number: u32, question: Question) {
    tape.event(Event::Asked { step: id_of(step), number, question: Box::new(question) });
}

fn answered(tape: &mut Tape, step: &str, number: u32, answer: Answer, comment: Option<&str>, by: &str) {
    let reply = Reply { answer, comment: comment.map(str::to_owned), evidence: None };
    tape.event(Event::Answered { step: id_of(step), number, reply, by: person(by) });
}

/// Up to where two people have to agree and one of them has.
pub fn waiting() -> Vec<Record> {
    let mut tape = Tape::start(false);
    begin(&mut tape);
    tape.records
}

fn begin(tape: &mut Tape) {
    tape.pass(4).phase("decide");
    let choice =
        |id: &str, title: &str, eta: Option<&str>, loss: Option<&str>, closed: Option<&str>| Choice {
            id: id.to_owned(),
            title: title.to_owned(),
            eta: eta.map(str::to_owned),
            loss: loss.map(str::to_owned),
            closed: closed.map(str::to_owned),
        };
    asked(
        tape,
        "way",
        1,
        Question {
            options: vec![
                choice(
                    "replica",
                    "Promote the replica",
                    Some("5m"),
                    Some("the replica's lag"),
                    Some("it lags"),
                ),
                choice("backup", "Restore the newest backup", Some("15m"), None, None),
            ],
            suggestion: Some("backup".to_owned()),
            timeout: Some(Millis::secs(300)),
            on_timeout: OnTimeout::Suggest,
            ..question(QuestionKind::Choice, "The database is damaged. Which way back?", &[])
        },
    );
    tape.pass(20_000).event(Event::Acknowledged { by: person("carol") });
    tape.pass(280_000).event(Event::QuestionExpired {
        step: id_of("way"),
        number: 1,
        then: OnTimeout::Suggest,
    });
    tape.event(Event::StepEnded {
        step: id_of("way"),
        outcome: StepOutcome::Succeeded,
        why: None,
        outputs: [].into(),
        choice: Some("backup".to_owned()),
    });
    tape.phase_end("decide").phase("recover");
    asked(
        tape,
        "restore",
        1,
        Question {
            excluded: vec!["alice".to_owned()],
            count: 2,
            timeout: Some(Millis::secs(1200)),
            on_timeout: OnTimeout::Fail,
            evidence: true,
            ..question(QuestionKind::Approval, "Replace /srv/app/tasks.db?", &["alice", "bob", "carol"])
        },
    );
    tape.pass(15_000).event(Event::AnswerRefused {
        step: id_of("restore"),
        answer: Answer::Approve,
        by: person("alice"),
        why: "whoever drives the run may not answer".to_owned(),
    });
    tape.event(Event::Noted {
        text: "the vendor was called\n<b>he calls back</b>".to_owned(),
        by: person("alice"),
    });
    tape.event(Event::HandedOver {
        to: "carol".to_owned(),
        by: person("alice"),
        note: Some("end of shift".to_owned()),
    });
    tape.pass(45_000);
    answered(tape, "restore", 1, Answer::Approve, Some("seen the damage"), "bob");
}

/// It recovers, with a step skipped by a word, one done again by another, and an edited playbook.
pub fn recovered() -> Vec<Record> {
    let mut tape = Tape::start(false);
    begin(&mut tape);
    tape.pass(30_000);
    answered(&mut tape, "restore", 1, Answer::Approve, None, "carol");
    tape.good("restore", "install -m 600 -- backup.db tasks.db", 2_400);
    tape.attempt("warm", 1, "./warm --after backup", 800, 4);
    asked(&mut tape, "warm", 1, question(QuestionKind::Failure, "step warm failed: exit 4. What now?", &[]));
    tape.pass(12_000);
    answered(&mut tape, "warm", 1, Answer::Skip, Some("it warms by itself"), "carol");
    tape.over("warm", StepOutcome::Skipped, Some("skipped by carol: it warms by itself"));
    asked(
        &mut tape,
        "keys",
        1,
        question(QuestionKind::Manual, "Call the vendor.\nAsk for the keys.", &["bob"]),
    );
    tape.resume(60_000);
    tape.event(Event::Replanned(Box::new(ReplanInfo {
        file: "plan-44136fa355b3.json".to_owned(),
        plan_hash: "5f1c".repeat(16),
        by: "carol".to_owned(),
        added: Vec::new(),
        removed: Vec::new(),
        changed: vec![id_of("restore")],
        accepted: vec![id_of("restore")],
    })));
    tape.pass(20_000);
    answered(&mut tape, "keys", 1, Answer::Done, Some("keys are in the safe"), "bob");
    tape.over("keys", StepOutcome::Succeeded, None);
    tape.good("open", "./open", 1_100).phase_end("recover");
    let mut records = tape.ended(RunOutcome::Recovered, None);
    // Said long after the end: the run is no longer for it.
    let last = records.last().expect("an end").clone();
    records.push(Record {
        seq: last.seq + 1,
        t: Millis(last.t.0 + 86_400_000),
        at: Timestamp(last.at.0 + 86_400_000),
        event: Event::Noted { text: "the vendor confirms".to_owned(), by: person("carol") },
        ..last
    });
    records
}

/// Nobody could say what became of the step, until somebody did.
fn resolved() -> Vec<Record> {
    let mut records = waiting();
    let last = records.last().expect("a record").clone();
    let event = Event::StepResolved {
        step: id_of("restore"),
        resolution: Resolution::Skip,
        by: "carol".to_owned(),
        reason: "done by the vendor".to_owned(),
        evidence: None,
    };
    records.push(Record { seq: last.seq + 1, event, ..last });
    records
}

#[test]
fn a_run_with_people_in_every_form() {
    let plan = plan();
    for (name, records) in
        [("people", recovered()), ("people-waiting", waiting()), ("people-resolved", resolved())]
    {
        fold(&plan, &records);
        let incident = Incident::build(&plan, &records, HEAD, &tail);
        check(&format!("{name}.report.md"), &incident.to_markdown());
        check(&format!("{name}.report.html"), &incident.to_html());
        check(&format!("{name}.report.json"), &incident.to_json().expect("a report is JSON"));
        let entries = runbook::report::timeline::Timeline::of(&records);
        check(&format!("{name}.log.txt"), &runbook::report::log_text::log_text(&plan, &entries, Look::PLAIN));
    }
}

#[test]
fn a_brief_on_one_screen() {
    let plan = plan();
    let now =
        |records: &[Record], later: i64| Some(Timestamp(records.last().expect("a record").at.0 + later));
    let mut all = String::new();
    for (name, records, driven) in [
        ("waiting", waiting(), true),
        ("waiting, and nobody drives it", waiting(), false),
        ("recovered", recovered(), false),
    ] {
        let brief = Brief::of(&plan, &records, now(&records, 5_000), Some(driven));
        let shown = text(|w| brief.write(w, Look::PLAIN));
        assert!(
            shown.lines().count() < 24
                && shown.lines().all(|l| l.chars().count() <= 80 || l.contains("runbook ")),
            "{shown}"
        );
        all.push_str(&format!("=== {name}\n{shown}"));
    }
    let of_fixture = fixtures::plan();
    for (name, records) in crate::runs() {
        let brief = Brief::of(&of_fixture, &records, now(&records, 60_000), Some(false));
        let shown = text(|w| brief.write(w, Look::PLAIN));
        assert!(shown.lines().count() < 24, "{shown}");
        all.push_str(&format!("=== {name}\n{shown}"));
    }
    check("brief.txt", &all);
    let brief = Brief::of(&plan, &waiting(), now(&waiting(), 5_000), Some(true));
    check("brief.json", &(serde_json::to_string_pretty(&brief).expect("JSON") + "\n"));
    // An old terminal: no colour, no letters but ASCII, and few columns.
    let narrow = Look { color: false, unicode: false, width: Some(60) };
    let shown = text(|w| brief.write(w, narrow));
    assert!(shown.is_ascii(), "{shown}");
    assert!(shown.lines().all(|l| l.len() <= 60 || l.contains("runbook ")), "{shown}");
}

#[test]
fn a_checklist_on_paper() {
    let about = About {
        hash: "5f1c".repeat(16),
        date: "2026-11-21 10:37:55 UTC".to_owned(),
        reviewed: Some("2026-10-01".to_owned()),
        review_due: Some("2026-12-30".to_owned()),
        responsibilities: vec![("commander".to_owned(), vec!["Decides".to_owned()])],
        contacts: vec![("dns".to_owned(), "support@dns.example <b>contract 4711</b>".to_owned())],
    };
    for (name, plan) in [("people", plan()), ("plan", fixtures::plan())] {
        let sheet = Checklist::of(&plan, &about);
        let shown = sheet.to_text(Look::PLAIN);
        for line in shown.lines() {
            assert!(line.chars().count() <= 80 && !line.contains('\u{c}'), "{line}");
        }
        check(&format!("{name}.checklist.txt"), &shown);
        check(&format!("{name}.checklist.md"), &sheet.to_markdown());
        let page = sheet.to_html();
        assert!(!page.contains("<b>contract") && !page.contains("<script"), "{page}");
        for tag in ["dl", "div", "p", "pre", "dd", "dt", "h2", "h3"] {
            let ends = page.matches(&format!("</{tag}>")).count();
            let begins =
                page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(begins, ends, "{tag}");
        }
        check(&format!("{name}.checklist.html"), &page);
    }
}

#[test]
fn what_is_said_after_the_end_makes_no_run_longer() {
    let plan = plan();
    let records = recovered();
    let (whole, without) = (History::of(&plan, &records), History::of(&plan, &records[..records.len() - 1]));
    assert_eq!((whole.last_t, whole.last_at, whole.end.is_some()), (without.last_t, without.last_at, true));
    let now = Some(Timestamp(START + 900_000_000));
    let took = |history: &History| Status::of(&plan, history, now, Some(false)).elapsed;
    assert_eq!(took(&whole), took(&without));
}
