//! Requests over TLS, and who is told who asks.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use runbook::exec::TaskSpec;
use runbook::model::{HttpAuth, HttpOp, Millis, Op, Piece, SecretName, SecretText, TaskEndKind, TaskOutput};
use serde_json::{Value, json};

use crate::ca::{Ca, Pair};
use crate::keeper_support::{World, secrets, spec, task};

const TOKEN: &str = "t0ken.of-the~bearer";
const PASSWORD: &str = "pass:w\u{f6}rd/+";

pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    /// None: there is no python3 here, which is said.
    pub fn start(pair: Option<&Pair>) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reach/https.py");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "python3", "-u", script]);
        if let Some(pair) = pair {
            command.arg(&pair.cert).arg(&pair.key);
        }
        if Command::new("python3").arg("--version").output().is_err() {
            println!("SKIPPED: there is no python3 here; requests to a server of its own are not tested");
            return None;
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some(Self { child, port: line.trim().parse().unwrap() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn secret(name: &str) -> SecretText {
    SecretText(vec![Piece::Secret(SecretName(name.into()))])
}

fn world() -> World {
    World::with(|config| config.secrets = secrets(&[("token", TOKEN), ("pw", PASSWORD)]))
}

fn request(id: &str, method: &str, url: &str, change: impl FnOnce(&mut HttpOp)) -> TaskSpec {
    let mut op = HttpOp {
        method: method.into(),
        url: SecretText::plain(url),
        headers: Vec::new(),
        body: None,
        auth: None,
        ca_file: None,
    };
    change(&mut op);
    spec(id, Op::Http(op))
}

#[track_caller]
fn echoed(output: TaskOutput) -> Value {
    serde_json::from_str(&output.http.unwrap().body.unwrap()).unwrap()
}

fn error(kind: TaskEndKind) -> String {
    match kind {
        TaskEndKind::Errored { error } | TaskEndKind::NotStarted { error } => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_certificate_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let Some(ca) = Ca::new(dir.path()) else { return };
    let stranger = Ca::new(&dir.path().join("stranger")).unwrap();
    let Some(server) = Server::start(Some(&ca.sign("server", "DNS:localhost"))) else { return };
    let old = ca.sign_until("old", "DNS:localhost", "20200201000000Z");
    let expired = Server::start(Some(&old)).unwrap();
    let mut world = world();
    let mut n = 0;
    let mut ask = async |host: &str, port: u16, ca_file: Option<PathBuf>| {
        n += 1;
        let url = format!("https://{host}:{port}/echo");
        world.run(request(&format!("a{n}.1"), "POST", &url, |op| op.ca_file = ca_file)).await
    };
    let (end, output) = ask("localhost", server.port, Some(ca.pem())).await;
    assert_eq!(end.kind, TaskEndKind::Answered);
    assert_eq!(echoed(output)["method"], "POST");
    // Refused before anything was sent: no doubt about it.
    for (host, port, ca_file, why) in [
        ("localhost", server.port, None, "nobody who is trusted has signed it"),
        ("localhost", server.port, Some(stranger.pem()), "certificate of localhost is refused"),
        ("127.0.0.1", server.port, Some(ca.pem()), "it is for another name"),
        ("localhost", expired.port, Some(ca.pem()), "it has expired"),
        ("localhost", server.port, Some("/nowhere/ca.pem".into()), "`ca_file` /nowhere/ca.pem: No such file"),
        ("localhost", server.port, Some("/dev/null".into()), "these are no certificates in PEM"),
    ] {
        let error = error(ask(host, port, ca_file).await.0.kind);
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn who_asks_is_told_to_that_host_alone() {
    let dir = tempfile::tempdir().unwrap();
    let Some(ca) = Ca::new(dir.path()) else { return };
    let Some(server) = Server::start(Some(&ca.sign("server", "DNS:localhost,IP:127.0.0.1"))) else { return };
    let clear = Server::start(None).unwrap();
    let mut world = world();
    let bearer = || Some(HttpAuth::Bearer(secret("token")));
    let basic = || Some(HttpAuth::Basic { user: SecretText::plain("ops"), password: secret("pw") });
    let mut n = 0;
    let mut ask = async |path: &str, auth: Option<HttpAuth>| {
        n += 1;
        let url = format!("https://localhost:{}{path}", server.port);
        let change = |op: &mut HttpOp| {
            (op.auth, op.ca_file) = (auth, Some(ca.pem()));
        };
        let (end, output) = world.run(request(&format!("a{n}.1"), "GET", &url, change)).await;
        assert_eq!(end.kind, TaskEndKind::Answered);
        output
    };
    // What the server repeats is masked, in base64 too.
    let output = ask("/echo", bearer()).await;
    assert_eq!(output.http.as_ref().unwrap().headers["x-asked"], "Bearer ***");
    assert_eq!(echoed(output)["authorization"], "Bearer ***");
    let output = ask("/echo", basic()).await;
    assert_eq!(output.http.as_ref().unwrap().headers["x-asked"], "Basic ***");
    assert_eq!(echoed(output)["authorization"], "Basic ***");
    assert_eq!(echoed(ask("/near", bearer()).await)["authorization"], "Bearer ***");
    assert_eq!(ask("/far", bearer()).await.http.unwrap().status, 302);
    assert_eq!(ask("/down", bearer()).await.http.unwrap().status, 302);

    // What really arrives, read by somebody who does not know that it is a secret.
    let mut plain = World::new();
    let url = format!("https://localhost:{}/echo", server.port);
    let auth = HttpAuth::Basic { user: SecretText::plain("ops"), password: SecretText::plain("n0-secret") };
    let text = |op: &mut HttpOp| {
        (op.auth, op.ca_file, op.body) = (Some(auth), Some(ca.pem()), Some(SecretText::plain("{\"a\": 1}")));
        op.headers.push(("content-type".into(), SecretText::plain("application/json")));
    };
    let (_, output) = plain.run(request("b.1", "PUT", &url, text)).await;
    let said = echoed(output);
    assert_eq!((&said["plain"], &said["body"]), (&json!("***"), &json!("{\"a\": 1}")));
    let auth = HttpAuth::Bearer(SecretText::plain("n0-secret"));
    let (_, output) = plain
        .run(request("c.1", "GET", &url, |op| {
            (op.auth, op.ca_file) = (Some(auth), Some(ca.pem()));
        }))
        .await;
    assert_eq!(echoed(output)["authorization"], "Bearer n0-secret");

    // In the clear on this machine only.
    let url = format!("http://127.0.0.1:{}/echo", clear.port);
    let (_, output) = plain.run(request("d.1", "GET", &url, |op| op.auth = bearer_of("x-y-z"))).await;
    assert_eq!(echoed(output)["authorization"], "Bearer x-y-z");
    let (end, _) =
        plain.run(request("e.1", "GET", "http://example.org/", |op| op.auth = bearer_of("x"))).await;
    assert!(error(end.kind).contains("`auth` goes over https only"));
    let (end, _) = plain.run(request("f.1", "GET", &url, |op| op.auth = bearer_of("a\nb"))).await;
    assert!(error(end.kind).contains("such as a line break"));
}

fn bearer_of(token: &str) -> Option<HttpAuth> {
    Some(HttpAuth::Bearer(SecretText::plain(token)))
}

#[tokio::test(flavor = "current_thread")]
async fn what_was_sent_and_not_answered_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let Some(ca) = Ca::new(dir.path()) else { return };
    let Some(mut server) = Server::start(Some(&ca.sign("server", "DNS:localhost"))) else { return };
    let mut world = world();
    let url = |path: &str| format!("https://localhost:{}{path}", server.port);
    let trust = |op: &mut HttpOp| op.ca_file = Some(ca.pem());
    let (end, _) = world.run(request("a.1", "POST", &url("/hangup"), trust)).await;
    assert!(
        matches!(&end.kind, TaskEndKind::Unknown { why } if why.contains("sent but not answered")),
        "{end:?}"
    );
    let (end, _) = world.run(request("b.1", "GET", &url("/hangup"), trust)).await;
    assert!(matches!(&end.kind, TaskEndKind::Errored { .. }), "{end:?}");
    for (id, method) in [("c.1", "POST"), ("d.1", "GET")] {
        let mut spec = request(id, method, &url("/slow"), trust);
        spec.timeout = Some(Millis::secs(2));
        let (end, _) = world.run(spec).await;
        match (method, &end.kind) {
            ("POST", TaskEndKind::Unknown { why }) => assert!(why.contains("no answer within 2.0s"), "{why}"),
            ("GET", TaskEndKind::TimedOut) => {}
            _ => panic!("{end:?}"),
        }
    }
    // A person ends it, and the server is killed under it.
    for (id, method) in [("e.1", "POST"), ("f.1", "GET")] {
        world.exec().begin(request(id, method, &url("/slow"), trust));
        world.exec().stop(&task(id), false);
        let (end, _) = world.end(&task(id)).await;
        match (method, &end.kind) {
            ("POST", TaskEndKind::Unknown { why }) => assert!(why.contains("ended by a person"), "{why}"),
            ("GET", TaskEndKind::Cancelled) => {}
            _ => panic!("{end:?}"),
        }
    }
    let gone = url("/echo");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let (end, _) = world.run(request("g.1", "POST", &gone, trust)).await;
    assert!(error(end.kind).contains("localhost refuses the connection"));
}
