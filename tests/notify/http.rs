//! Slack, PagerDuty and webhooks: what is posted, and what is made of the answers.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use runbook::model::{
    ChannelKind, Millis, NoticeAction, PagerDutyChannel, Piece, SecretName, SecretText, WebhookChannel,
};
use runbook::notify::Keys;

use crate::support::{
    Answer, Request, SECRET, Server, assert_silent_about, certificate, channel, keys, notice, say, secret,
    send, slack, webhook,
};

/// Everything a receiver gets, as a text to compare; the port and the version are not the same everywhere.
fn shown(request: &Request) -> String {
    let mut out = format!("{}\n", request.line);
    for (name, value) in &request.headers {
        let value = match name.as_str() {
            "host" => "HOST",
            "user-agent" => value.split('/').next().unwrap(),
            "runbook-signature" => "t=SECONDS,v1=HEX",
            _ => value,
        };
        out += &format!("{name}: {value}\n");
    }
    out + &format!("\n{:#}\n", request.json())
}

#[test]
fn slack_gets_text() {
    let server = Server::start(|_, _| say("200 OK", "ok"));
    let mut hidden = notice("7");
    hidden.subject = format!("a\r\n<!channel> {SECRET} \x1b[2J");
    let channel = slack(&server.url("/services/T0/B0/x"));
    let keys = keys(&[("other", SECRET)]);
    for notice in [&notice("7"), &hidden] {
        let delivery = send(&channel, notice, &keys);
        assert!(delivery.delivered && delivery.attempts == 1 && delivery.why.is_none(), "{delivery:?}");
        assert_eq!(delivery.answered.as_deref(), Some("200 OK: ok"));
    }
    let seen = server.seen();
    agrees("slack", &shown(&seen[0]));
    let text = seen[1].json()["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("*a\\n&lt;!channel&gt; *** \\x1b[2J*\n"), "{text}");
}

#[test]
fn pagerduty_gets_one_alert_for_a_run() {
    let server = Server::start(|_, _| say("202 Accepted", r#"{"status":"success"}"#));
    let kind =
        PagerDutyChannel { url: SecretText::plain(server.url("/v2/enqueue")), routing_key: secret("key") };
    let channel = channel("pager", ChannelKind::Pagerduty(kind));
    let mut notice = notice("7");
    for action in [NoticeAction::Trigger, NoticeAction::Acknowledge, NoticeAction::Resolve] {
        notice.action = action;
        assert!(send(&channel, &notice, &keys(&[("key", SECRET)])).delivered);
    }
    let seen = server.seen();
    let all: String = seen.iter().map(shown).collect::<Vec<_>>().join("\n");
    assert!(seen.iter().all(|r| r.json()["routing_key"] == SECRET), "it gets the real key");
    agrees("pagerduty", &all.replace(SECRET, "KEY"));
}

#[test]
fn a_webhook_gets_everything_and_a_signature_that_python_verifies() {
    let server = Server::start(|_, _| say("204 No Content", ""));
    let mut channel = webhook(&server.url("/hook"));
    channel.kind = ChannelKind::Webhook(WebhookChannel {
        url: SecretText(vec![
            Piece::Plain(server.url("/hook/")),
            Piece::UrlSecret(SecretName("path".into())),
        ]),
        headers: vec![(
            "Authorization".into(),
            SecretText(vec![Piece::Plain("Bearer ".into()), Piece::Secret(SecretName("token".into()))]),
        )],
        sign: Some(secret("sign")),
    });
    let keys = keys(&[("path", "a/b c"), ("token", "token-Yw72mp"), ("sign", SECRET)]);
    let delivery = send(&channel, &notice("7"), &keys);
    assert!(delivery.delivered, "{delivery:?}");
    let request = &server.seen()[0];
    assert_eq!(request.line, "POST /hook/a%2Fb%20c");
    assert_eq!(request.header("authorization"), "Bearer token-Yw72mp");
    agrees("webhook", &shown(request));

    // The very lines that the documentation gives to receivers.
    let page = include_str!("../../docs/playbooks.md");
    let lines = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let verify = &format!(
        "{lines}\nimport sys\nkey, header, body = sys.argv[1].encode(), sys.argv[2], sys.stdin.buffer.read()\n\
         assert verify(key, header, body)\n\
         assert not verify(key, header, body + b' ') and not verify(b'other', header, body)\n\
         assert not verify(key, header, body, -1)\n"
    );
    let mut python = Command::new("python3")
        .args(["-c", verify, SECRET, request.header("runbook-signature")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(request.body.as_bytes()).unwrap();
    assert!(python.wait().unwrap().success(), "the signature is wrong");
}

#[test]
fn a_server_that_is_busy_twice_gets_the_notice_once_more() {
    let server =
        Server::start(|n, _| if n < 2 { say("503 Service Unavailable", "later") } else { say("200 OK", "") });
    let delivery = send(&webhook(&server.url("/")), &notice("7"), &Keys::default());
    assert!(delivery.delivered && delivery.attempts == 3 && !delivery.unsure, "{delivery:?}");
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    // Whoever counts by the key counts one.
    for request in &seen {
        assert_eq!(request.header("idempotency-key"), "db-corruption-20261121T103755Z-ab12/7");
        assert_eq!(request.body, seen[0].body);
    }
}

#[test]
fn retry_after_is_waited_for() {
    for date in [false, true] {
        let server = Server::start(move |n, _| {
            // A date has whole seconds, so that two seconds from now are between one and two.
            let at = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
            let value = if date { at } else { "2".to_owned() };
            match n {
                0 => Answer::Say("429 Too Many Requests", vec![("Retry-After".into(), value)], "slow".into()),
                _ => say("200 OK", ""),
            }
        });
        let began = Instant::now();
        let delivery = send(&webhook(&server.url("/")), &notice("7"), &Keys::default());
        assert!(delivery.delivered && delivery.attempts == 2, "{delivery:?}");
        // Without the header the pause would have been 625 ms at most.
        assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
        assert!(delivery.duration >= Millis(1900));
    }
}

#[test]
fn who_asks_for_more_patience_than_there_is_is_given_up_at_once() {
    let server = Server::start(|_, _| {
        Answer::Say("503 Service Unavailable", vec![("Retry-After".into(), "3600".into())], String::new())
    });
    let delivery = send(&webhook(&server.url("/")), &notice("7"), &Keys::default());
    assert!(!delivery.delivered && delivery.attempts == 1, "{delivery:?}");
    let why = delivery.why.unwrap();
    assert_eq!(
        why,
        "127.0.0.1 answered 503 Service Unavailable; it asks to wait 1h00m, longer than `retry_for` allows"
    );
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn what_is_wrong_for_good_is_tried_once() {
    for status in
        ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "410 Gone", "302 Found"]
    {
        let server = Server::start(move |_, _| {
            // A secret that comes back, and what a terminal would obey.
            Answer::Say(
                status,
                vec![("Location".into(), "/login".into())],
                format!("no_team {SECRET}\x1b[2J\nmore"),
            )
        });
        let delivery = send(&webhook(&server.url("/")), &notice("7"), &keys(&[("s", SECRET)]));
        assert!(!delivery.delivered && delivery.attempts == 1 && !delivery.unsure, "{delivery:?}");
        assert_eq!(
            server.seen().len(),
            1,
            "{status}: a redirect that would drop the message is not followed"
        );
        assert_eq!(delivery.answered.as_deref(), Some(&*format!("{status}: no_team ***\\x1b[2J\\nmore")));
        assert!(delivery.why.as_deref().unwrap().starts_with(&format!("127.0.0.1 answered {status}")));
    }
}

#[test]
fn a_redirect_keeps_the_message_and_never_leaves_the_host() {
    let other = Server::start(|_, _| say("200 OK", ""));
    let away = other.url("/");
    let server = Server::start(move |_, request| match request.line.as_str() {
        "POST /moved" => {
            Answer::Say("308 Permanent Redirect", vec![("Location".into(), "/new".into())], String::new())
        }
        "POST /away" => {
            Answer::Say("307 Temporary Redirect", vec![("Location".into(), away.clone())], String::new())
        }
        _ => say("200 OK", "ok"),
    });
    assert!(send(&webhook(&server.url("/moved")), &notice("7"), &Keys::default()).delivered);
    let seen = server.seen();
    assert_eq!([&*seen[0].line, &*seen[1].line], ["POST /moved", "POST /new"]);
    assert_eq!(seen[0].body, seen[1].body);
    let delivery = send(&webhook(&server.url("/away")), &notice("7"), &Keys::default());
    assert!(!delivery.delivered && delivery.attempts == 1, "{delivery:?}");
    assert!(delivery.why.unwrap().contains("leads elsewhere"));
    assert!(other.seen().is_empty(), "nothing went to another place");
}

#[test]
fn a_server_that_hangs_or_hangs_up_is_tried_again_and_may_have_it() {
    for silent in [true, false] {
        let server = Server::start(move |n, _| match n {
            0 if silent => Answer::Silence,
            0 => Answer::HangUp,
            _ => say("200 OK", ""),
        });
        let mut channel = webhook(&server.url("/"));
        channel.timeout = Millis::secs(3);
        let delivery = send(&channel, &notice("7"), &Keys::default());
        assert!(delivery.delivered && delivery.attempts >= 2 && !delivery.unsure, "{delivery:?}");
    }
    let server = Server::start(|_, _| Answer::Silence);
    let mut channel = webhook(&server.url("/"));
    (channel.timeout, channel.retry_for) = (Millis(300), Millis::secs(1));
    let delivery = send(&channel, &notice("7"), &Keys::default());
    assert!(!delivery.delivered && delivery.unsure, "nobody can know: {delivery:?}");
    assert_eq!(delivery.why.as_deref(), Some("there was no answer within 300ms"));
}

#[test]
fn a_server_that_is_not_there_has_nothing() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut channel = webhook(&format!("http://127.0.0.1:{port}/secret-path"));
    channel.retry_for = Millis(900);
    let delivery = send(&channel, &notice("7"), &Keys::default());
    assert!(!delivery.delivered && !delivery.unsure && delivery.attempts >= 1, "{delivery:?}");
    assert_eq!(delivery.why.as_deref(), Some("127.0.0.1 refuses the connection"));
}

/// As behind a firewall that drops what comes: nothing was sent, and that is said.
#[test]
fn a_server_that_does_not_take_the_connection_has_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    // Its queue is made short and filled: the kernel then drops who knocks.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&place, Duration::from_millis(500)) {
        filling.push(stream);
        assert!(filling.len() < 100, "the queue has no end here");
    }
    let mut channel = webhook(&format!("http://{place}/"));
    (channel.timeout, channel.retry_for) = (Millis::secs(2), Millis::ZERO);
    let delivery = send(&channel, &notice("7"), &Keys::default());
    assert!(!delivery.delivered && !delivery.unsure, "{delivery:?}");
    assert_eq!(delivery.why.as_deref(), Some("127.0.0.1 could not be reached in time"));
}

#[test]
fn secrets_are_in_no_error() {
    let texts = |text: &str| (text.to_owned(), SecretText(vec![Piece::Secret(SecretName("url".into()))]));
    for (value, url) in [
        texts(&format!("no url {SECRET}")),
        texts(&format!("ftp://{SECRET}")),
        texts(&format!("http://127.0.0.1:1/{SECRET}")),
        texts(&format!("http://[{SECRET}]/")),
        texts(&format!("http://127.0.0.1:99999/{SECRET}")),
    ] {
        let mut channel = slack("");
        channel.kind = ChannelKind::Slack(runbook::model::SlackChannel { url });
        channel.retry_for = Millis::ZERO;
        let keys = keys(&[("url", &value)]);
        let delivery = send(&channel, &notice("7"), &keys);
        assert!(!delivery.delivered);
        assert_silent_about(SECRET, &[&delivery, &channel, &keys]);
    }
    let missing = send(
        &channel(
            "pager",
            ChannelKind::Pagerduty(PagerDutyChannel {
                url: SecretText::plain("http://127.0.0.1:1"),
                routing_key: secret("key"),
            }),
        ),
        &notice("7"),
        &Keys::new(Default::default(), [(SecretName("key".into()), "PD_KEY is not set".into())].into()),
    );
    assert_eq!((missing.attempts, missing.why.as_deref()), (0, Some("secret key: PD_KEY is not set")));
}

#[test]
fn a_certificate_that_nobody_signed_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some((cert, key)) = certificate(dir.path(), "DNS:localhost") else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let serve = "import http.server,ssl,sys\n\
        class H(http.server.BaseHTTPRequestHandler):\n \
        def do_POST(s):\n  s.rfile.read(int(s.headers['content-length'])); s.send_response(200); s.send_header('content-length','0'); s.end_headers()\n \
        def log_message(s,*a): pass\n\
        s=http.server.ThreadingHTTPServer(('127.0.0.1',int(sys.argv[1])),H)\n\
        c=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain(sys.argv[2],sys.argv[3])\n\
        s.socket=c.wrap_socket(s.socket,server_side=True)\nprint('up',flush=True)\ns.serve_forever()";
    let mut server = Command::new("python3")
        .args(["-c", serve, &port.to_string()])
        .args([&cert, &key])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut up).unwrap();

    let mut channel = webhook(&format!("https://localhost:{port}/"));
    let refused = send(&channel, &notice("7"), &Keys::default());
    channel.ca_file = Some(cert.clone());
    let trusted = send(&channel, &notice("7"), &Keys::default());
    let mut other_name = webhook(&format!("https://127.0.0.1:{port}/"));
    other_name.ca_file = Some(cert);
    let misnamed = send(&other_name, &notice("7"), &Keys::default());
    channel.ca_file = Some(dir.path().join("none.pem"));
    let without = send(&channel, &notice("7"), &Keys::default());
    // It may have ended by itself, which the assertions below would show.
    let _ = server.kill();
    server.wait().unwrap();

    assert!(!refused.delivered && refused.attempts == 1, "{refused:?}");
    let why = refused.why.unwrap();
    assert!(
        why.starts_with("the certificate of localhost is refused:") && why.contains("`ca_file`"),
        "{why}"
    );
    assert!(trusted.delivered, "{trusted:?}");
    assert!(!misnamed.delivered && misnamed.attempts == 1, "{misnamed:?}");
    assert!(misnamed.why.as_deref().unwrap().ends_with("it is for another name"), "{misnamed:?}");
    assert!(without.why.unwrap().contains("none.pem"));
}

/// Compares with `tests/cases/notify/NAME.txt`.
#[track_caller]
fn agrees(name: &str, text: &str) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/notify");
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(path, text).unwrap();
        return;
    }
    let wanted = std::fs::read_to_string(path).unwrap_or_default();
    assert!(wanted == text, "{name} differs; UPDATE_CASES=1 writes it anew. It is now\n{text}");
}
