//! Carries out one HTTP request.
//!
//! What is reported is what can be known. A request that reached no server has surely done nothing. One that changes
//! something (any method but GET, HEAD, OPTIONS) and was sent, but never answered, may have taken effect: `Unknown`.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::{Arc, OnceLock};

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::oneshot;

use super::outputs::READ_LIMIT;
use super::redact::Redactor;
use crate::model::{
    HttpAnswer, HttpOp, Millis, Secret, SecretName, SecretText, TaskEndKind, TaskOutput, format_bytes,
    format_millis,
};

/// Made at the first request: reading the system's certificates takes time and memory.
#[derive(Clone, Default)]
pub(super) struct Client(Arc<OnceLock<Result<reqwest::Client, String>>>);

impl Client {
    fn get(&self) -> Result<&reqwest::Client, String> {
        self.0
            .get_or_init(|| {
                // An error means that somebody has chosen a provider before; any will do.
                let _ = rustls::crypto::ring::default_provider().install_default();
                reqwest::Client::builder()
                    .user_agent(concat!("runbook/", env!("CARGO_PKG_VERSION")))
                    .redirect(reqwest::redirect::Policy::custom(redirect))
                    .build()
                    .map_err(|e| innermost(&e))
            })
            .as_ref()
            .map_err(Clone::clone)
    }
}

/// Redirects are followed on the same host only. Another host is not the one the playbook names: it would be given the
/// request's headers, which may hold secrets, and its answer would pass for the answer of the first.
fn redirect(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    const MOST: usize = 10;
    let place = |url: &reqwest::Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
    let same = attempt.previous().last().is_some_and(|before| {
        // From http to https on the same host is the one change of port that means no other server.
        let upgraded = (before.scheme(), attempt.url().scheme()) == ("http", "https");
        place(before) == place(attempt.url()) || upgraded && before.host_str() == attempt.url().host_str()
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
    /// The request as a person may see it.
    shown: String,
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
        let body = op.body.as_ref().map(resolve).transpose()?.map(|b| b.expose().to_vec());
        Ok(Self { method, url, headers, body, shown })
    }

    /// Whether doing it twice could do harm.
    fn changes_something(&self) -> bool {
        ![Method::GET, Method::HEAD, Method::OPTIONS].contains(&self.method)
    }
}

/// How the exchange went, when nobody interrupted it.
enum Exchange {
    Answered(HttpAnswer),
    Failed(TaskEndKind),
}

pub(super) async fn carry_out(
    client: Client,
    request: Request,
    timeout: Option<Millis>,
    redactor: Redactor,
    stop: oneshot::Receiver<()>,
) -> (TaskEndKind, TaskOutput) {
    let risky = request.changes_something();
    let shown = request.shown.clone();
    let limit = async {
        match timeout {
            Some(timeout) => super::boot::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let exchange = tokio::select! {
        exchange = exchange(client, request) => exchange,
        () = limit => Exchange::Failed(match timeout {
            Some(t) if risky => {
                let why = format!("{shown}: no answer within {}; the server may still carry it out", format_millis(t));
                TaskEndKind::Unknown { why }
            }
            _ => TaskEndKind::TimedOut,
        }),
        _ = stop => Exchange::Failed(TaskEndKind::Cancelled),
    };
    match exchange {
        Exchange::Answered(answer) => {
            let output = TaskOutput { http: Some(mask(answer, &redactor)), ..TaskOutput::none() };
            (TaskEndKind::Answered, output)
        }
        Exchange::Failed(kind) => {
            let clean = |text: String| redactor.redact_text(&text);
            let kind = match kind {
                TaskEndKind::Errored { error } => TaskEndKind::Errored { error: clean(error) },
                TaskEndKind::Unknown { why } => TaskEndKind::Unknown { why: clean(why) },
                other => other,
            };
            (kind, TaskOutput::none())
        }
    }
}

async fn exchange(client: Client, request: Request) -> Exchange {
    let risky = request.changes_something();
    let Request { method, url, headers, body, shown } = request;
    let errored = |why: String| Exchange::Failed(TaskEndKind::Errored { error: format!("{shown}: {why}") });
    let client = match client.get() {
        Ok(client) => client,
        Err(why) => return errored(format!("TLS could not be set up: {why}")),
    };
    let host = url.host_str().unwrap_or_default().to_owned();
    let mut builder = client.request(method, url).headers(headers);
    if let Some(body) = body {
        builder = builder.body(body);
    }
    match builder.send().await {
        Ok(response) => Exchange::Answered(read(response).await),
        Err(e) => {
            let why = explain(&e, &host);
            if risky && !e.is_connect() && !e.is_builder() {
                let why = format!(
                    "{shown}: it was sent but not answered ({why}); the server may have carried it out"
                );
                return Exchange::Failed(TaskEndKind::Unknown { why });
            }
            errored(why)
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
            Err(e) => break Err(format!("the answer broke off: {}", innermost(&e))),
        }
        if body.len() > READ_LIMIT {
            break Err(format!("the answer is longer than {}", format_bytes(READ_LIMIT as u64)));
        }
    };
    HttpAnswer { status, headers, body }
}

/// The cause in a person's words. Never holds the URL: it may hold a secret.
fn explain(error: &reqwest::Error, host: &str) -> String {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => return format!("{host} refuses the connection"),
                std::io::ErrorKind::ConnectionReset => return "the connection was reset".into(),
                std::io::ErrorKind::TimedOut => return format!("{host} could not be reached in time"),
                _ => {}
            }
        }
        let text = cause.to_string();
        if text.contains("dns error") || text.contains("failed to lookup address") {
            return format!("the name {host} cannot be resolved");
        }
        source = cause.source();
    }
    if error.is_redirect() {
        return "too many redirects".into();
    }
    innermost(error)
}

fn innermost(error: &reqwest::Error) -> String {
    let mut source = error.source();
    let mut text = None;
    while let Some(cause) = source {
        text = Some(cause.to_string());
        source = cause.source();
    }
    text.unwrap_or_else(|| {
        if error.is_builder() { "it is not a valid request".into() } else { "it failed".into() }
    })
}

fn mask(answer: HttpAnswer, redactor: &Redactor) -> HttpAnswer {
    if redactor.is_idle() {
        return answer;
    }
    HttpAnswer {
        status: answer.status,
        headers: answer
            .headers
            .into_iter()
            .map(|(name, value)| (name, redactor.redact_text(&value)))
            .collect(),
        body: answer.body.map(|body| redactor.redact_text(&body)),
    }
}
