//! A notice without anything that could do harm, and the texts that channels share.

use crate::model::Notice;
use crate::planted::{self, Bug};
use crate::text::{Redactor, neutral};

/// Characters of a subject, and of each name and fact.
const LONGEST_LINE: usize = 300;
/// Characters of a text. Nobody reads more on a telephone; the journal has the rest.
const LONGEST_TEXT: usize = 16_000;

/// The notice as every channel gets it: no secret, no control character, nothing endless, and a drill marked as one.
pub fn clean(notice: &Notice, redactor: &Redactor) -> Notice {
    let nothing = Redactor::default();
    let redactor = if planted::is(Bug::BareNotice) { &nothing } else { redactor };
    let line = |text: &str| clip(&neutral::line(redactor.redact_text(text)), LONGEST_LINE);
    let block = |text: &str| clip(neutral::block(redactor.redact_text(text)).trim_end(), LONGEST_TEXT);
    let drill = if notice.drill { "[drill] " } else { "" };
    Notice {
        id: line(&notice.id),
        dedup_key: line(&notice.dedup_key),
        subject: format!("{drill}{}", line(&notice.subject)),
        text: block(&notice.text),
        playbook: line(&notice.playbook),
        title: line(&notice.title),
        environment: notice.environment.as_deref().map(line),
        facts: notice.facts.iter().map(|(name, value)| (line(name), line(value))).collect(),
        head: notice.head.as_deref().map(line),
        host: line(&notice.host),
        operator: line(&notice.operator),
        link: notice.link.as_deref().map(line),
        ..notice.clone()
    }
}

/// At most so many characters, and a word about the rest.
pub fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}… ({} characters in all)", &text[..at], text.chars().count()),
    }
}

/// Where the notice comes from, as names and values.
pub fn origin(notice: &Notice) -> Vec<(&'static str, &str)> {
    let mut facts = vec![("run", notice.run.as_str())];
    facts.extend(notice.environment.as_deref().map(|e| ("environment", e)));
    facts.extend([("operator", notice.operator.as_str()), ("host", notice.host.as_str())]);
    facts.extend(notice.head.as_deref().map(|h| ("journal head", h)));
    facts.extend(notice.link.as_deref().map(|l| ("see", l)));
    facts
}

/// The whole message without its subject, for people, in plain lines.
pub fn body(notice: &Notice) -> String {
    let mut out = String::new();
    if !notice.text.is_empty() {
        out.push_str(&notice.text);
        out.push_str("\n\n");
    }
    for (name, value) in &notice.facts {
        out.push_str(&format!("{name}: {value}\n"));
    }
    for (name, value) in origin(notice) {
        out.push_str(&format!("{name}: {value}\n"));
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{NoticeAction, RunId, Secret, Severity, Timestamp, dedup_key, notice_id};

    pub fn notice() -> Notice {
        let at = Timestamp::parse("2026-11-21T10:37:55.120Z").unwrap();
        let run = RunId::new("db-corruption", at, [0, 1, 2, 3]);
        Notice {
            id: notice_id(&run, "7-escalation-1"),
            action: NoticeAction::Trigger,
            dedup_key: dedup_key(&run),
            subject: "Database corruption: level 1".into(),
            text: "Step restore failed <exit 1> & more".into(),
            run,
            playbook: "db-corruption".into(),
            title: "Database corruption".into(),
            environment: Some("production".into()),
            severity: Some(Severity::Critical),
            drill: false,
            facts: vec![("step".into(), "restore".into())],
            head: Some("ab".repeat(32)),
            at,
            host: "db1".into(),
            operator: "alice".into(),
            link: None,
        }
    }

    #[test]
    fn nothing_harmful_is_left() {
        let secret = Secret::new(b"hunter2-hunter2".to_vec());
        let mut notice = notice();
        notice.drill = true;
        notice.subject = "a\r\nBcc: x@example.org\x1b[2J hunter2-hunter2".into();
        notice.text = format!("\u{202e}hunter2-hunter2\nsecond\n\n{}", "x".repeat(20_000));
        notice.facts = vec![("na\nme".into(), "hunter2-hunter2\x07".into())];
        let clean = clean(&notice, &Redactor::new([&secret]));
        assert_eq!(clean.subject, "[drill] a\\nBcc: x@example.org\\x1b[2J ***");
        assert!(clean.text.starts_with("\\u{202e}***\nsecond\n\nxxx"));
        assert!(clean.text.ends_with("x… (20020 characters in all)"), "{}", &clean.text[16_000..]);
        assert_eq!(clean.facts, [("na\\nme".to_owned(), "***\\x07".to_owned())]);
    }
}
