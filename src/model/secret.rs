//! Secrets: values that reach a command or a server and nothing else.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::{Deserialize, Serialize};

/// RFC 3986, 2.3: everything but the unreserved characters is encoded.
pub const URL_COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A secret's value. It has neither `Debug` nor `Serialize` nor `Display`, so that it cannot slip into a log, the
/// plan or the journal; its memory is overwritten when it is dropped (best effort: copies made by a library or by
/// the kernel are out of reach).
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    pub fn new(value: Vec<u8>) -> Self {
        Self(value.into_boxed_slice())
    }

    /// The value itself. Every use is a place to review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        for byte in &mut self.0 {
            // Volatile, or the compiler drops the writes to memory that is about to be freed.
            // SAFETY: `byte` is a valid, aligned, exclusive reference.
            unsafe { std::ptr::write_volatile(byte, 0) };
        }
    }
}

/// What stands in the place of a secret in outputs, logs and on the screen.
pub const MASK: &str = "***";

/// The name of a secret as declared in the playbook.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretName(pub String);

/// A piece of a text that may contain secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Piece {
    Plain(String),
    /// The value as it is.
    Secret(SecretName),
    /// The value as it stands between the quotes of a JSON string.
    JsonSecret(SecretName),
    /// The value percent-encoded as a component of a URL.
    UrlSecret(SecretName),
}

/// Why a text could not be made whole. Never shows a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("secret {} was not read", .0.0)]
    Missing(SecretName),
    #[error("secret {} is not UTF-8 and cannot stand in JSON", .0.0)]
    NotText(SecretName),
}

/// A rendered text in which secrets still stand by name. Only the code that hands the text to a process or a server
/// puts the values in; what is recorded or shown is this form.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub Vec<Piece>);

impl SecretText {
    pub fn plain(text: impl Into<String>) -> Self {
        Self(vec![Piece::Plain(text.into())])
    }

    /// The text with each secret's value, looked up by `get`.
    pub fn resolve<'a>(
        &self,
        get: impl Fn(&SecretName) -> Option<&'a Secret>,
    ) -> Result<Secret, ResolveError> {
        let mut out = Vec::new();
        let value = |name: &SecretName| get(name).ok_or_else(|| ResolveError::Missing(name.clone()));
        for piece in &self.0 {
            match piece {
                Piece::Plain(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Secret(name) => out.extend_from_slice(value(name)?.expose()),
                Piece::JsonSecret(name) => {
                    let text = std::str::from_utf8(value(name)?.expose());
                    let text = text.map_err(|_| ResolveError::NotText(name.clone()))?;
                    let quoted = serde_json::Value::from(text).to_string();
                    out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
                }
                Piece::UrlSecret(name) => {
                    let encoded = percent_encode(value(name)?.expose(), URL_COMPONENT).to_string();
                    out.extend_from_slice(encoded.as_bytes());
                }
            }
        }
        Ok(Secret::new(out))
    }
}

/// Whether a URL's password can be read in it: there is one, and nothing of it is `hidden`.
pub fn shows_password(url: &str, hidden: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let who = place.split('/').next().and_then(|place| place.rsplit_once('@')).map_or("", |(who, _)| who);
    let in_front = who.split_once(':').map(|(_, password)| password);
    let behind = query.split('&').find_map(|pair| pair.strip_prefix("password="));
    [in_front, behind]
        .into_iter()
        .flatten()
        .any(|password| !password.is_empty() && !password.contains(hidden))
}

/// For people: the plain text, each secret as `‹secret NAME›`.
impl fmt::Display for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Plain(text) => f.write_str(text)?,
                Piece::Secret(name) | Piece::JsonSecret(name) | Piece::UrlSecret(name) => {
                    write!(f, "‹secret {}›", name.0)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_can_be_read_is_seen() {
        for (url, shown) in [
            ("postgres://u:hunter2@h/d", true),
            ("postgres://u:{{ secrets.p }}@h/d", false),
            ("postgres://u:a{{ secrets.p }}@h/d", false),
            ("postgres://u@h/d?password=x", true),
            ("postgres://u@h/d?a=b&password={{ secrets.p }}", false),
            ("postgres://u:@h:5432/d?mode=ro", false),
            ("postgres://h/d@e:f@g", false),
            ("sqlite:a:b@c", false),
        ] {
            assert_eq!(shows_password(url, "{{"), shown, "{url}");
        }
    }

    #[test]
    fn a_secret_is_written_as_its_place_asks() {
        let secret = Secret::new(br#"a"b/\c"#.to_vec());
        let name = SecretName("pw".into());
        let resolve =
            |piece: Piece| SecretText(vec![piece]).resolve(|_| Some(&secret)).map(|s| s.expose().to_vec());
        assert_eq!(resolve(Piece::Secret(name.clone())), Ok(br#"a"b/\c"#.to_vec()));
        assert_eq!(resolve(Piece::JsonSecret(name.clone())), Ok(br#"a\"b/\\c"#.to_vec()));
        assert_eq!(resolve(Piece::UrlSecret(name.clone())), Ok(b"a%22b%2F%5Cc".to_vec()));
        let binary = Secret::new(vec![0xff]);
        let text = SecretText(vec![Piece::JsonSecret(name.clone())]);
        assert_eq!(text.resolve(|_| Some(&binary)).err(), Some(ResolveError::NotText(name.clone())));
        assert_eq!(text.resolve(|_| None).err(), Some(ResolveError::Missing(name)));
        assert_eq!(text.to_string(), "‹secret pw›");
    }
}
