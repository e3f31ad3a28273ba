//! Posts one message, and judges the answer.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{StatusCode, Url};

use super::deliver::Tried;
use super::{Keys, clean, pause, webhook};
use crate::model::{Secret, SecretText};
use crate::planted::{self, Bug};
use crate::text::{fault, neutral};

/// Bytes of an answer that are read.
const READ: usize = 4096;
/// Characters of an answer that are kept.
const KEPT: usize = 200;
const REDIRECTS: usize = 5;

/// Made at the first use: reading the system's certificates takes time.
pub struct Client {
    ca_file: Option<PathBuf>,
    /// Shorter than a try, so that one that reached nobody is known as such.
    connect: Duration,
    made: OnceLock<reqwest::Client>,
}

impl Client {
    /// `timeout`: of one try.
    pub fn new(ca_file: Option<PathBuf>, timeout: Duration) -> Self {
        Self { ca_file, connect: timeout * 3 / 4, made: OnceLock::new() }
    }

    fn get(&self) -> Result<&reqwest::Client, String> {
        if let Some(client) = self.made.get() {
            return Ok(client);
        }
        // An error means that somebody has chosen a provider before; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("runbook/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect)
            .redirect(reqwest::redirect::Policy::custom(redirect));
        if let Some(file) = &self.ca_file {
            let pem = read_ca(file)?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|_| format!("{}: these are no certificates in PEM", file.display()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| fault::explain(&error, "TLS").why)?;
        Ok(self.made.get_or_init(|| client))
    }
}

pub fn read_ca(file: &std::path::Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("`ca_file` {}: {error}", file.display()))
}

/// Followed on the same host only, as with `http` steps; and only where the POST stays a POST: after a 302 the message
/// would become a GET without it, and a login page's 200 would pass for a delivery.
fn redirect(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let place =
        |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    let same = attempt.previous().last().is_some_and(|before| place(before) == place(attempt.url()));
    let kept = [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT].contains(&attempt.status());
    if same && kept && attempt.previous().len() <= REDIRECTS { attempt.follow() } else { attempt.stop() }
}

/// A message on its way to a URL.
pub struct Post {
    url: Url,
    headers: HeaderMap,
    body: Vec<u8>,
    /// Each try is signed anew, as the signature holds the time.
    sign: Option<Secret>,
    host: String,
}

impl Post {
    /// `id` is the notice's: the same in every try.
    pub fn json(url: &SecretText, body: &serde_json::Value, id: &str, keys: &Keys) -> Result<Self, String> {
        let whole = keys.resolve_text(url, "the URL")?;
        // The parser's words are about the text: it may be a secret, and they could quote it.
        let url = Url::parse(whole.trim()).map_err(|_| format!("{url} is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("a URL begins with https:// or http://".into());
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(HeaderName::from_static("idempotency-key"), id);
        }
        Ok(Self { url, headers, body: body.to_string().into_bytes(), sign: None, host })
    }

    pub fn header(&mut self, name: &str, value: &SecretText, keys: &Keys) -> Result<(), String> {
        let bad = || format!("the header {name:?} has a name or value that HTTP does not allow");
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_bytes(keys.resolve(value)?.expose()).map_err(|_| bad())?;
        value.set_sensitive(true);
        self.headers.append(key, value);
        Ok(())
    }

    pub fn sign(&mut self, key: Secret) {
        self.sign = Some(key);
    }

    pub async fn attempt(&self, client: &Client) -> Tried {
        let client = match client.get() {
            Ok(client) => client,
            Err(why) => return Tried::never(why),
        };
        let mut request = client.post(self.url.clone()).headers(self.headers.clone()).body(self.body.clone());
        if let Some(key) = &self.sign {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_secs());
            request = request.header(webhook::SIGNATURE, webhook::signature(key.expose(), now, &self.body));
        }
        match request.send().await {
            Ok(response) => self.judge(response).await,
            Err(error) => {
                let fault = fault::explain(&error, &self.host);
                match fault.hopeless || error.is_builder() {
                    true => Tried::never(fault.why),
                    false => Tried::Later {
                        why: fault.why,
                        answered: None,
                        unsure: !error.is_connect(),
                        wait: None,
                    },
                }
            }
        }
    }

    async fn judge(&self, response: reqwest::Response) -> Tried {
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = wait.filter(|_| !planted::is(Bug::IgnoreRetryAfter));
        let wait = wait.and_then(|value| pause::retry_after(value, SystemTime::now()));
        let said = beginning(response).await;
        let name =
            status.canonical_reason().map_or_else(|| status.as_u16().to_string(), |_| status.to_string());
        let answered = if said.is_empty() { name.clone() } else { format!("{name}: {said}") };
        if status.is_success() {
            return Tried::Delivered { answered: Some(answered) };
        }
        let why = if status.is_redirection() {
            format!(
                "{} answered {name}: it leads elsewhere, and only a 307 or 308 on the same host is followed",
                self.host
            )
        } else {
            format!("{} answered {answered}", self.host)
        };
        let again = status.is_server_error()
            || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS]
                .contains(&status);
        let answered = Some(answered);
        if again {
            Tried::Later { why, answered, unsure: false, wait }
        } else {
            Tried::Never { why, answered }
        }
    }
}

/// The beginning of the answer on one line. The status has said what counts, so that nothing here is an error.
async fn beginning(mut response: reqwest::Response) -> String {
    let mut body = Vec::new();
    while body.len() < READ
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(READ);
    clean::clip(neutral::line(body.trim_ascii()).trim_end(), KEPT)
}
