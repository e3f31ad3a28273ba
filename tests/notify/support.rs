//! A receiver of HTTP that does what a test asks of it, certificates, and the notice that is sent.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use runbook::model::{
    Channel, ChannelKind, Delivery, Millis, Notice, NoticeAction, Piece, RunId, Secret, SecretName,
    SecretText, Severity, SlackChannel, Timestamp, WebhookChannel, dedup_key, notice_id,
};
use runbook::notify::Keys;

pub const SECRET: &str = "hush-Zq81xk-hush";

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST /path`
    pub line: String,
    /// In the order of their arrival, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// What the server does with a request.
#[derive(Clone)]
pub enum Answer {
    /// Status line, further headers, body.
    Say(&'static str, Vec<(String, String)>, String),
    /// The connection is closed without a word.
    HangUp,
    /// No answer until the server is dropped.
    Silence,
}

pub fn say(status: &'static str, body: &str) -> Answer {
    Answer::Say(status, Vec::new(), body.to_owned())
}

type Script = Box<dyn Fn(usize, &Request) -> Answer + Send + Sync>;

/// A server on the loopback. The script gets the number of the request, from 0, and the request.
pub struct Server {
    pub port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
    over: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(script: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let script: Arc<Script> = Arc::new(Box::new(script));
        let (all, end) = (Arc::clone(&seen), Arc::clone(&over));
        let acceptor = std::thread::spawn(move || {
            let mut workers = Vec::new();
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    break;
                }
                let (script, all, end) = (Arc::clone(&script), Arc::clone(&all), Arc::clone(&end));
                // A client that breaks off is what some tests are about.
                workers.push(std::thread::spawn(move || {
                    let _ = serve(&stream.unwrap(), &script, &all, &end);
                }));
            }
            for worker in workers {
                worker.join().unwrap();
            }
        });
        Self { port, seen, over, acceptor: Some(acceptor) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // To wake the acceptor.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let result = acceptor.join();
            if !std::thread::panicking() {
                result.unwrap();
            }
        }
    }
}

fn serve(
    stream: &TcpStream,
    script: &Script,
    all: &Mutex<Vec<Request>>,
    over: &AtomicBool,
) -> std::io::Result<()> {
    // So that a connection that is kept alive does not outlive the server.
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut reader = BufReader::new(stream);
    loop {
        let Some(request) = read_request(&mut reader, over)? else { return Ok(()) };
        let number = {
            let mut all = all.lock().unwrap();
            all.push(request.clone());
            all.len() - 1
        };
        match script(number, &request) {
            Answer::HangUp => return Ok(()),
            Answer::Silence => {
                while !over.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                return Ok(());
            }
            Answer::Say(status, headers, body) => {
                let headers: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
                let length = body.len();
                write!(
                    &mut &*stream,
                    "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
                )?;
            }
        }
    }
}

/// None: the client is gone, or the server is to end.
fn read_request(reader: &mut BufReader<&TcpStream>, over: &AtomicBool) -> std::io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match reader.read_until(b'\n', &mut head) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                if over.load(Ordering::SeqCst) {
                    return Ok(None);
                }
            }
            Err(e) => return Err(e),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().lines();
    let line = lines.next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|l| l.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(n, _)| n == "content-length").map_or(0, |(_, v)| v.parse().unwrap());
    let mut body = vec![0; length];
    let mut got = 0;
    while got < length {
        match reader.read(&mut body[got..]) {
            Ok(0) => return Ok(None),
            Ok(n) => got += n,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(Some(Request { line, headers, body: String::from_utf8(body).unwrap() }))
}

// ---- channels and notices ------------------------------------------------------------------------------------------

pub fn secret(name: &str) -> SecretText {
    SecretText(vec![Piece::Secret(SecretName(name.to_owned()))])
}

/// Secrets by name and value.
pub fn keys(known: &[(&str, &str)]) -> Keys {
    let known = known
        .iter()
        .map(|(name, value)| (SecretName((*name).to_owned()), Secret::new(value.as_bytes().to_vec())));
    Keys::new(known.collect(), BTreeMap::new())
}

/// A channel that is tried again for a long time, as tests of retries ask for; tests of giving up set it.
pub fn channel(name: &str, kind: ChannelKind) -> Channel {
    Channel {
        name: name.to_owned(),
        kind,
        timeout: Millis::secs(60),
        retry_for: Millis::secs(120),
        ca_file: None,
    }
}

pub fn slack(url: &str) -> Channel {
    channel("team", ChannelKind::Slack(SlackChannel { url: SecretText::plain(url) }))
}

pub fn webhook(url: &str) -> Channel {
    channel(
        "hook",
        ChannelKind::Webhook(WebhookChannel { url: SecretText::plain(url), headers: Vec::new(), sign: None }),
    )
}

pub fn notice(event: &str) -> Notice {
    let at = Timestamp::parse("2026-11-21T10:37:55.120Z").unwrap();
    let run = RunId::parse("db-corruption-20261121T103755Z-ab12").unwrap();
    Notice {
        id: notice_id(&run, event),
        action: NoticeAction::Trigger,
        dedup_key: dedup_key(&run),
        subject: "Database corruption: level 1".into(),
        text: "Step restore failed: <exit 1> & nothing else\nSecond line: äöü".into(),
        run,
        playbook: "db-corruption".into(),
        title: "Database corruption".into(),
        environment: Some("production".into()),
        severity: Some(Severity::Critical),
        drill: false,
        facts: vec![("step".into(), "restore".into()), ("elapsed".into(), "4m10s".into())],
        head: Some("c0ffee00".repeat(8)),
        at,
        host: "db1".into(),
        operator: "alice".into(),
        link: Some("https://example.org/runs/1".into()),
    }
}

pub fn send(channel: &Channel, notice: &Notice, keys: &Keys) -> Delivery {
    runtime().block_on(runbook::notify::send(channel, notice, keys))
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[track_caller]
pub fn assert_silent_about(secret: &str, texts: &[&dyn std::fmt::Debug]) {
    for text in texts {
        let text = format!("{text:?}");
        assert!(!text.contains(secret), "{text}");
    }
}

// ---- certificates --------------------------------------------------------------------------------------------------

/// A certificate that signs itself, for `name` (such as `DNS:localhost`), and its key, as `cert.pem` and `key.pem` in `dir`.
/// None: there is no openssl here, which is said.
pub fn certificate(dir: &Path, name: &str) -> Option<(PathBuf, PathBuf)> {
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=test", "-addext", &format!("subjectAltName={name}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output();
    let Ok(output) = output else {
        println!("SKIPPED: there is no openssl here; TLS of channels is not tested");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some((cert, key))
}
