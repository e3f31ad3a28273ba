//! Carries out one HTTP request.
//!
//! What is reported is what can be known. A request that reached no server has surely done nothing. One that changes
//! something (any method but GET, HEAD, OPTIONS) and was sent, but never answered, may have taken effect: `Unknown`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::oneshot;

use super::outputs::READ_LIMIT;
use super::redact::Redactor;
use crate::model::{
    HttpAnswer, HttpAuth, HttpOp, Millis, Secret, SecretName, SecretText, TaskEndKind, TaskOutput,
    format_bytes, format_millis,
};
use crate::text::fault::explain;

/// How long a server may take to accept a connection, where the step's own limit is not shorter.
const CONNECT: Millis = Millis::secs(60);

/// What clients differ in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Trust {
    ca_file: Option<PathBuf>,
    /// Shorter than the step's limit, so that a request that reached nobody is known as such.
    connect: Millis,
}

/// Made at the first request of each kind: reading the system's certificates takes time and memory.
#[derive(Clone, Default)]
pub(super) struct Clients(Arc<Mutex<BTreeMap<Trust, reqwest::Client>>>);

impl Clients {
    fn get(&self, trust: &Trust) -> Result<reqwest::Client, String> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(trust) {
            return Ok(client.clone());
        }
        let client = build(trust)?;
        clients.insert(trust.clone(), client.clone());
        Ok(client)
    }
}

fn build(trust: &Trust) -> Result<reqwest::Client, String> {
    // An error means that somebody has chosen a provider before; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("runbook/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(trust.connect.std())
        .redirect(reqwest::redirect::Policy::custom(redirect));
    if let Some(file) = &trust.ca_file {
        let wrong = |why: String| format!("`ca_file` {}: {why}", file.display());
        let pem = std::fs::read(file).map_err(|e| wrong(e.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| wrong("these are no certificates in PEM".into()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|e| format!("TLS could not be set up: {}", explain(&e, "TLS").why))
}

/// Redirects are followed on the same host only. Another host is not the one the playbook names: it would be given the
/// request's headers, which may hold secrets, and its answer would pass for the answer of the first. Nor is one followed
/// out of TLS.
fn redirect(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    const MOST: usize = 10;
    let host = |url: &reqwest::Url| url.host_str().map(str::to_owned);
    let same = attempt.previous().last().is_some_and(|before| {
        let after = attempt.url();
        host(before) == host(after)
            && match (before.scheme(), after.scheme()) {
                // The one change of port that means no other server.
                ("http", "https") => true,
                (one, other) => {
                    one == other && before.port_or_known_default() == after.port_or_known_default()
                }
            }
    });
    match attempt.previous().len() {
        n if n > MOST => attempt.error("too many redirects"),
        _ if same => attempt.follow(),
        _ => attempt.stop(),
    }
}

/// A request with nothing left to resolve.
pub(super) struct Request {
    method: Method,
    url: reqwest::Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    ca_file: Option<PathBuf>,
    /// The request as a person may see it.
    shown: String,
    /// What the run's own redactor does not know: a user and a password, joined.
    own: Vec<Secret>,
}

impl Request {
    pub fn new(op: &HttpOp, secrets: &BTreeMap<SecretName, Secret>) -> Result<Self, String> {
        let resolve =
            |text: &SecretText| text.resolve(|name| secrets.get(name)).map_err(|error| error.to_string());
        let shown = format!("{} {}", op.method, op.url);
        let method = Method::from_bytes(op.method.as_bytes())
            .map_err(|_| format!("{:?} is no HTTP method", op.method))?;
        let url = resolve(&op.url)?;
        let url =
            std::str::from_utf8(url.expose()).map_err(|_| format!("{}: the URL is not UTF-8", op.url))?;
        let url = reqwest::Url::parse(url).map_err(|e| format!("{}: not a URL: {e}", op.url))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{}: a URL starts with http:// or https://", op.url));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &op.headers {
            let bad = |_| format!("the header {name:?} has a name or value that HTTP does not allow");
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|e| bad(e.to_string()))?;
            let value = resolve(value)?;
            let mut value = HeaderValue::from_bytes(value.expose()).map_err(|e| bad(e.to_string()))?;
            value.set_sensitive(true);
            headers.append(key, value);
        }
        let mut own = Vec::new();
        if let Some(auth) = &op.auth {
            if url.scheme() == "http" && !is_this_machine(&url) {
                return Err(format!("{}: `auth` goes over https only: this network could read it", op.url));
            }
            let value = match auth {
                HttpAuth::Bearer(token) => [b"Bearer ", resolve(token)?.expose().trim_ascii()].concat(),
                HttpAuth::Basic { user, password } => {
                    let (user, password) = (resolve(user)?, resolve(password)?);
                    if user.expose().contains(&b':') {
                        return Err(
                            "the user of `basic` holds a colon, which would begin the password".into()
                        );
                    }
                    let both = Secret::new([user.expose(), b":", password.expose()].concat());
                    let encoded = STANDARD.encode(both.expose());
                    let value = format!("Basic {encoded}").into_bytes();
                    // Its end as well, which depends on where a text ends.
                    own = vec![both, Secret::new(encoded.into_bytes())];
                    value
                }
            };
            let mut value = HeaderValue::from_bytes(&value)
                .map_err(|_| "`auth` holds what a header cannot, such as a line break".to_owned())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let body = op.body.as_ref().map(resolve).transpose()?.map(|b| b.expose().to_vec());
        Ok(Self { method, url, headers, body, ca_file: op.ca_file.clone(), shown, own })
    }

    /// Whether doing it twice could do harm.
    fn changes_something(&self) -> bool {
        ![Method::GET, Method::HEAD, Method::OPTIONS].contains(&self.method)
    }
}

fn is_this_machine(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

pub(super) async fn carry_out(
    clients: Clients,
    mut request: Request,
    timeout: Option<Millis>,
    redactor: Redactor,
    stop: oneshot::Receiver<()>,
) -> (TaskEndKind, TaskOutput) {
    let risky = request.changes_something();
    let shown = request.shown.clone();
    let own = Redactor::new(&std::mem::take(&mut request.own));
    let clean = |text: &str| {
        // The whole first: a part of it is a secret of the run.
        redactor.redact_text(&own.redact_text(text))
    };
    let connect = timeout.map_or(CONNECT, |t| Millis(t.0 / 4 * 3).min(CONNECT).max(Millis(1)));
    let limit = async {
        match timeout {
            Some(timeout) => super::boot::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    // It may have been sent by then, and nobody waits for what the server says.
    let cut_off = |why: String, otherwise| match risky {
        true => TaskEndKind::Unknown { why: format!("{shown}: {why}; the server may still carry it out") },
        false => otherwise,
    };
    let exchange = tokio::select! {
        exchange = exchange(clients, request, connect) => exchange,
        () = limit => {
            let limit = timeout.map(format_millis).unwrap_or_default();
            Err(cut_off(format!("no answer within {limit}"), TaskEndKind::TimedOut))
        }
        _ = stop => Err(cut_off("ended by a person before there was an answer".into(), TaskEndKind::Cancelled)),
    };
    match exchange {
        Ok(answer) => {
            let output = TaskOutput { http: Some(mask(answer, clean)), ..TaskOutput::none() };
            (TaskEndKind::Answered, output)
        }
        Err(kind) => (kind.map_text(clean), TaskOutput::none()),
    }
}

async fn exchange(clients: Clients, request: Request, connect: Millis) -> Result<HttpAnswer, TaskEndKind> {
    let risky = request.changes_something();
    let Request { method, url, headers, body, ca_file, shown, own: _ } = request;
    let errored = |why: String| TaskEndKind::Errored { error: format!("{shown}: {why}") };
    let client = clients.get(&Trust { ca_file, connect }).map_err(errored)?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let mut builder = client.request(method, url).headers(headers);
    if let Some(body) = body {
        builder = builder.body(body);
    }
    match builder.send().await {
        Ok(response) => Ok(read(response).await),
        Err(e) => {
            let why = words(&e, &host);
            if risky && !e.is_connect() && !e.is_builder() {
                let why = format!(
                    "{shown}: it was sent but not answered ({why}); the server may have carried it out"
                );
                return Err(TaskEndKind::Unknown { why });
            }
            Err(errored(why))
        }
    }
}

async fn read(mut response: reqwest::Response) -> HttpAnswer {
    let status = response.status().as_u16();
    let mut headers = BTreeMap::new();
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str().to_owned())
            .and_modify(|all: &mut String| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    let mut body = Vec::new();
    let body = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break String::from_utf8(body).map_err(|_| "the answer is not UTF-8".to_owned()),
            Err(e) => break Err(format!("the answer broke off: {}", explain(&e, "the server").why)),
        }
        if body.len() > READ_LIMIT {
            break Err(format!("the answer is longer than {}", format_bytes(READ_LIMIT as u64)));
        }
    };
    HttpAnswer { status, headers, body }
}

/// The cause in a person's words. Never holds the URL: it may hold a secret.
fn words(error: &reqwest::Error, host: &str) -> String {
    if error.is_redirect() {
        return "too many redirects".into();
    }
    explain(error, host).why
}

fn mask(answer: HttpAnswer, clean: impl Fn(&str) -> String) -> HttpAnswer {
    HttpAnswer {
        status: answer.status,
        headers: answer.headers.into_iter().map(|(name, value)| (name, clean(&value))).collect(),
        body: answer.body.map(|body| clean(&body)),
    }
}
