//! Secrets: values that reach a command or a server and nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};

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

/// The name of a secret as declared in the playbook.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretName(pub String);

/// A piece of a text that may contain secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Piece {
    Plain(String),
    Secret(SecretName),
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

    /// The text with each secret's value, looked up by `get`; the missing secret's name as an error.
    pub fn resolve<'a>(&self, get: impl Fn(&SecretName) -> Option<&'a Secret>) -> Result<Secret, SecretName> {
        let mut out = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Plain(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Secret(name) => {
                    out.extend_from_slice(get(name).ok_or_else(|| name.clone())?.expose());
                }
            }
        }
        Ok(Secret::new(out))
    }

    pub fn has_secret(&self) -> bool {
        self.0.iter().any(|p| matches!(p, Piece::Secret(_)))
    }
}

/// For people: the plain text, each secret as `‹secret NAME›`.
impl fmt::Display for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Plain(text) => f.write_str(text)?,
                Piece::Secret(name) => write!(f, "‹secret {}›", name.0)?,
            }
        }
        Ok(())
    }
}
