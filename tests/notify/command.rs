//! A command as a channel: what it gets, and how its end is read.

use std::path::Path;
use std::time::{Duration, Instant};

use runbook::model::{Channel, ChannelKind, CommandChannel, Millis};
use runbook::notify::Keys;

use crate::support::{SECRET, assert_silent_about, channel, keys, notice, secret, send};

fn script(dir: &Path, text: &str) -> Channel {
    channel(
        "phone",
        ChannelKind::Command(CommandChannel {
            argv: vec!["bash".into(), "-c".into(), text.into(), "call".into()],
            env: vec![("TOKEN".into(), secret("token"))],
            workdir: dir.to_owned(),
        }),
    )
}

fn token() -> Keys {
    keys(&[("token", SECRET)])
}

#[test]
fn it_gets_the_message_and_its_secret() {
    let dir = tempfile::tempdir().unwrap();
    let channel = script(
        dir.path(),
        "cat > text; printf '%s' \"$RUNBOOK_NOTICE\" > json; \
         printf '%s\\n' \"$RUNBOOK_NOTICE_ID\" \"$RUNBOOK_NOTICE_ACTION\" \"$RUNBOOK_NOTICE_SUBJECT\" \"$RUNBOOK_RUN\" \
         \"$RUNBOOK_DRILL\" \"${#TOKEN}\" > vars; echo \"calling with $TOKEN\"",
    );
    let mut notice = notice("7");
    notice.drill = true;
    let delivery = send(&channel, &notice, &token());
    assert!(delivery.delivered && delivery.attempts == 1, "{delivery:?}");
    assert_eq!(delivery.answered.as_deref(), Some("calling with ***"));
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(
        read("text"),
        "[drill] Database corruption: level 1\n\n\
         Step restore failed: <exit 1> & nothing else\nSecond line: äöü\n\n\
         step: restore\nelapsed: 4m10s\nrun: db-corruption-20261121T103755Z-ab12\nenvironment: production\n\
         operator: alice\nhost: db1\njournal head: c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00\n\
         see: https://example.org/runs/1\n"
    );
    let json: serde_json::Value = serde_json::from_str(&read("json")).unwrap();
    assert_eq!((json["format"].as_str(), json["drill"].as_bool()), (Some("runbook-notice/v1"), Some(true)));
    let length = SECRET.len();
    assert_eq!(
        read("vars"),
        format!(
            "db-corruption-20261121T103755Z-ab12/7\ntrigger\n[drill] Database corruption: level 1\n\
             db-corruption-20261121T103755Z-ab12\n1\n{length}\n"
        )
    );
}

#[test]
fn one_that_fails_is_called_again() {
    let dir = tempfile::tempdir().unwrap();
    let channel = script(dir.path(), "echo x >> tries; test \"$(wc -l < tries)\" -ge 3");
    let delivery = send(&channel, &notice("7"), &token());
    assert!(delivery.delivered && delivery.attempts == 3, "{delivery:?}");
}

#[test]
fn one_that_cannot_be_had_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut missing = script(dir.path(), "");
    if let ChannelKind::Command(command) = &mut missing.kind {
        command.argv = vec!["no-such-command-anywhere".into()];
    }
    let delivery = send(&missing, &notice("7"), &token());
    assert!(!delivery.delivered && delivery.attempts == 1, "{delivery:?}");
    assert!(delivery.why.unwrap().starts_with("no-such-command-anywhere cannot be started"));
    let delivery = send(&script(dir.path(), "no-such-command-anywhere"), &notice("7"), &token());
    assert!(!delivery.delivered && delivery.attempts == 1, "{delivery:?}");
}

#[test]
fn what_it_says_of_its_failure_is_recorded_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let mut channel =
        script(dir.path(), "echo first >&2; printf 'no credit for %s\\033[2J\\n' \"$TOKEN\" >&2; exit 4");
    channel.retry_for = Millis::ZERO;
    let delivery = send(&channel, &notice("7"), &token());
    assert!(!delivery.delivered && delivery.attempts == 1, "{delivery:?}");
    assert_eq!(delivery.why.as_deref(), Some("bash ended with exit status: 4: no credit for ***\\x1b[2J"));
    assert_silent_about(SECRET, &[&delivery, &channel]);
}

/// Its whole tree ends with it, and the one who waits does not wait for it.
#[test]
fn one_that_hangs_is_ended_with_what_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let mut channel = script(dir.path(), "sleep 600 & echo $! > child; echo $$ > parent; wait");
    (channel.timeout, channel.retry_for) = (Millis::secs(6), Millis::ZERO);
    let delivery = send(&channel, &notice("7"), &token());
    assert!(!delivery.delivered && delivery.unsure, "{delivery:?}");
    for name in ["parent", "child"] {
        let pid = std::fs::read_to_string(dir.path().join(name)).unwrap();
        let began = Instant::now();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
        };
        while !gone() {
            assert!(began.elapsed() < Duration::from_secs(60), "{name} {pid} still runs");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What it leaves behind has its own life, and is not waited for.
#[test]
fn one_that_leaves_something_behind_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let channel = script(dir.path(), "touch keep; (while test -e keep; do sleep 0.05; done) & echo gone");
    let delivery = send(&channel, &notice("7"), &token());
    std::fs::remove_file(dir.path().join("keep")).unwrap();
    assert!(delivery.delivered && delivery.attempts == 1, "{delivery:?}");
    assert_eq!(delivery.answered.as_deref(), Some("gone"));
}

#[test]
fn one_that_does_not_read_or_says_too_much_is_fine() {
    let dir = tempfile::tempdir().unwrap();
    let mut notice = notice("7");
    notice.text = "long ".repeat(3000);
    let delivery = send(
        &script(dir.path(), "exec < /dev/null; head -c 3000000 /dev/zero | tr '\\0' 'x'; echo; echo end"),
        &notice,
        &token(),
    );
    assert!(delivery.delivered, "{delivery:?}");
    assert_eq!(delivery.answered.as_deref(), Some("end"));
}
