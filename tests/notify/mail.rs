//! Mail against a real server (aiosmtpd): TLS, logging in, recipients that are refused or asked to wait.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use runbook::model::{Channel, ChannelKind, EmailChannel, Millis, SmtpSecurity, SmtpServer};
use runbook::notify::Keys;
use serde_json::{Value, json};

use crate::support::{SECRET, assert_silent_about, certificate, channel, keys, notice, secret, send};

pub struct MailServer {
    pub dir: tempfile::TempDir,
    pub port: u16,
    process: Child,
}

impl MailServer {
    /// None: there is no aiosmtpd (or no openssl) here, which is said.
    pub fn start(mut options: Value) -> Option<Self> {
        let Some(python) = python() else {
            println!("SKIPPED: there is no aiosmtpd here; mail is not tested");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        if options["starttls"] == true || options["smtps"] == true {
            let (cert, key) = certificate(dir.path(), "DNS:localhost")?;
            (options["cert"], options["key"]) = (json!(cert), json!(key));
        }
        // Free a moment ago, and nobody here asks for a port by its number.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/notify/smtpd.py");
        let mut process = Command::new(python)
            .arg(script)
            .arg(dir.path())
            .args([&port.to_string(), &options.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        process.stdout.as_mut().unwrap().read_exact(&mut up).expect("the mail server starts");
        Some(Self { dir, port, process })
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    pub fn mails(&self) -> Vec<Value> {
        self.lines("mails.jsonl")
    }

    fn channel(&self, host: &str, security: SmtpSecurity, login: bool, to: &[&str]) -> Channel {
        let login = |name| login.then(|| secret(name));
        let mut channel = channel(
            "mail",
            ChannelKind::Email(EmailChannel {
                smtp: SmtpServer { host: host.into(), port: self.port, security },
                from: "Runbook <runbook@example.org>".into(),
                to: to.iter().map(|to| (*to).to_owned()).collect(),
                username: login("user"),
                password: login("password"),
            }),
        );
        channel.ca_file = (security != SmtpSecurity::Plain).then(|| self.dir.path().join("cert.pem"));
        channel
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has seen.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One that has aiosmtpd: Debian's package is for Debian's own.
fn python() -> Option<&'static str> {
    ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let check = Command::new(python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        check.is_ok_and(|status| status.success())
    })
}

fn login() -> Keys {
    keys(&[("user", "mailer"), ("password", SECRET)])
}

#[test]
fn a_mail_arrives_whole() {
    let Some(server) = MailServer::start(json!({})) else { return };
    let channel = server.channel(
        "127.0.0.1",
        SmtpSecurity::Plain,
        false,
        &["ops@example.org", "Night Shift <night@example.org>"],
    );
    let mut notice = notice("7");
    notice.subject = "Datenbank geöffnet\r\nBcc: eve@example.org".into();
    notice.text = "first\n.\nthird: äöü".into();
    let delivery = send(&channel, &notice, &Keys::default());
    assert!(delivery.delivered && delivery.attempts == 1, "{delivery:?}");
    assert_eq!(delivery.answered.as_deref(), Some("250 queued as 1"));
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0]["from"], "runbook@example.org");
    assert_eq!(mails[0]["to"], json!(["ops@example.org", "night@example.org"]));
    // Read as a mail program reads it.
    let read = "import email,email.policy,json,sys\n\
        m=email.message_from_string(sys.argv[1],policy=email.policy.default)\n\
        print(json.dumps({'headers':[[k,str(v)] for k,v in m.items()],'body':m.get_content()}))";
    let output =
        Command::new("python3").args(["-c", read, mails[0]["mail"].as_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mail: Value = serde_json::from_slice(&output.stdout).unwrap();
    let header = |name: &str| -> Vec<&str> {
        let all = mail["headers"].as_array().unwrap().iter();
        all.filter(|h| h[0].as_str().unwrap().eq_ignore_ascii_case(name))
            .map(|h| h[1].as_str().unwrap())
            .collect()
    };
    assert_eq!(header("subject"), ["Datenbank geöffnet\\nBcc: eve@example.org"]);
    assert!(header("bcc").is_empty());
    assert_eq!(header("from"), ["Runbook <runbook@example.org>"]);
    assert_eq!(header("to"), ["ops@example.org, Night Shift <night@example.org>"]);
    assert_eq!(header("message-id"), ["<db-corruption-20261121T103755Z-ab12.7@example.org>"]);
    assert_eq!(header("references"), ["<runbook.db-corruption-20261121T103755Z-ab12@example.org>"]);
    assert_eq!(header("auto-submitted"), ["auto-generated"]);
    assert_eq!(header("x-runbook-run"), ["db-corruption-20261121T103755Z-ab12"]);
    assert_eq!(header("date"), ["Sat, 21 Nov 2026 10:37:55 +0000"]);
    let body = mail["body"].as_str().unwrap().replace("\r\n", "\n");
    assert!(body.starts_with("first\n.\nthird: äöü\n\nstep: restore\n"), "{body}");
    assert!(body.contains(&format!("journal head: {}", "c0ffee00".repeat(8))), "{body}");
}

#[test]
fn encrypted_and_logged_in() {
    for (options, security) in
        [(json!({ "starttls": true }), SmtpSecurity::StartTls), (json!({ "smtps": true }), SmtpSecurity::Tls)]
    {
        let mut options = options;
        (options["user"], options["password"]) = (json!("mailer"), json!(SECRET));
        let Some(server) = MailServer::start(options) else { return };
        let channel = server.channel("localhost", security, true, &["ops@example.org"]);
        let delivery = send(&channel, &notice("7"), &login());
        assert!(delivery.delivered && delivery.attempts == 1, "{security:?}: {delivery:?}");
        let mails = server.mails();
        assert_eq!((&mails[0]["user"], &mails[0]["tls"]), (&json!("mailer"), &json!(true)));

        // The wrong password is wrong the second time as well.
        let wrong = keys(&[("user", "mailer"), ("password", "wrong-Xv63no")]);
        let delivery = send(&channel, &notice("8"), &wrong);
        assert!(!delivery.delivered && delivery.attempts == 1 && !delivery.unsure, "{delivery:?}");
        assert!(delivery.why.as_deref().unwrap().starts_with("localhost answered 535"), "{delivery:?}");
        assert_silent_about("wrong-Xv63no", &[&delivery, &wrong]);
        assert_eq!(server.mails().len(), 1);
    }
}

#[test]
fn a_server_that_cannot_be_trusted_gets_neither_mail_nor_password() {
    let options = json!({ "starttls": true, "user": "mailer", "password": SECRET });
    let Some(server) = MailServer::start(options) else { return };
    let mut unknown = server.channel("localhost", SmtpSecurity::StartTls, true, &["ops@example.org"]);
    unknown.ca_file = None;
    let misnamed = server.channel("127.0.0.1", SmtpSecurity::StartTls, true, &["ops@example.org"]);
    for channel in [unknown, misnamed] {
        let delivery = send(&channel, &notice("7"), &login());
        assert!(!delivery.delivered && delivery.attempts == 1 && !delivery.unsure, "{delivery:?}");
        assert!(delivery.why.as_deref().unwrap().contains("certificate of"), "{delivery:?}");
    }
    // One that does not offer STARTTLS, as when somebody in between has taken it away.
    let Some(plain) = MailServer::start(json!({ "user": "mailer", "password": SECRET })) else { return };
    let mut stripped = plain.channel("localhost", SmtpSecurity::StartTls, true, &["ops@example.org"]);
    stripped.ca_file = None;
    let delivery = send(&stripped, &notice("7"), &login());
    assert!(!delivery.delivered && delivery.attempts == 1, "{delivery:?}");
    assert!(delivery.why.as_deref().unwrap().contains("STARTTLS"), "{delivery:?}");
    for server in [&server, &plain] {
        assert!(server.mails().is_empty() && server.lines("logins.jsonl").is_empty());
    }
}

#[test]
fn whoever_is_refused_or_asked_to_wait_holds_up_nobody() {
    let options = json!({ "refuse": ["gone@example.org"], "later": ["grey@example.org"], "busy": 1 });
    let Some(server) = MailServer::start(options) else { return };
    let to = ["gone@example.org", "ops@example.org", "grey@example.org", "b@example.org"];
    let channel = server.channel("127.0.0.1", SmtpSecurity::Plain, false, &to);
    let delivery = send(&channel, &notice("7"), &Keys::default());
    assert!(!delivery.delivered && !delivery.unsure, "not to all: {delivery:?}");
    assert_eq!(
        delivery.why.as_deref(),
        Some("3 of 4 have it; refused: gone@example.org: 550 no such user here")
    );
    let got: Vec<String> = server
        .mails()
        .iter()
        .flat_map(|m| m["to"].as_array().unwrap().clone())
        .map(|to| to.as_str().unwrap().to_owned())
        .collect();
    let mut sorted = got.clone();
    sorted.sort();
    assert_eq!(sorted, ["b@example.org", "grey@example.org", "ops@example.org"], "each once");
}

#[test]
fn one_who_is_asked_to_wait_gets_it_later_and_the_others_not_twice() {
    let Some(server) = MailServer::start(json!({ "later": ["grey@example.org"] })) else { return };
    let to = ["ops@example.org", "grey@example.org"];
    let channel = server.channel("127.0.0.1", SmtpSecurity::Plain, false, &to);
    let delivery = send(&channel, &notice("7"), &Keys::default());
    assert!(delivery.delivered && delivery.attempts == 2, "{delivery:?}");
    let got: Vec<Value> = server.mails().iter().map(|m| m["to"].clone()).collect();
    assert_eq!(got, [json!(["ops@example.org"]), json!(["grey@example.org"])]);
}

/// A try that is broken off while the mail is on its way forgets nobody.
#[test]
fn a_server_that_stalls_with_the_mail_is_tried_again_for_all() {
    let Some(server) = MailServer::start(json!({ "stall": 1, "refuse": ["gone@example.org"] })) else {
        return;
    };
    let to = ["a@example.org", "gone@example.org", "b@example.org"];
    let mut channel = server.channel("127.0.0.1", SmtpSecurity::Plain, false, &to);
    channel.timeout = Millis::secs(10);
    let delivery = send(&channel, &notice("7"), &Keys::default());
    assert!(!delivery.delivered && delivery.attempts >= 2 && delivery.unsure, "{delivery:?}");
    assert!(
        delivery.why.as_deref().unwrap().starts_with("2 of 3 have it; refused: gone@example.org"),
        "{delivery:?}"
    );
    let got: Vec<Value> = server.mails().iter().map(|m| m["to"].clone()).collect();
    assert_eq!(got, [json!(["a@example.org", "b@example.org"])]);
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let smtp = SmtpServer {
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
        security: SmtpSecurity::Plain,
    };
    let mut channel = channel(
        "mail",
        ChannelKind::Email(EmailChannel {
            smtp,
            from: "a@example.org".into(),
            to: vec!["b@example.org".into()],
            username: None,
            password: None,
        }),
    );
    (channel.timeout, channel.retry_for) = (Millis(300), Millis(500));
    let delivery = send(&channel, &notice("7"), &Keys::default());
    assert!(!delivery.delivered && !delivery.unsure, "nothing was sent: {delivery:?}");
    assert_eq!(delivery.why.as_deref(), Some("there was no answer within 300ms"));
}
