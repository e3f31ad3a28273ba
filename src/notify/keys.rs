//! The secrets that channels need, put in at the last moment.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{Secret, SecretName, SecretText};
use crate::text::Redactor;

/// What could be read of the secrets, and why the others could not: a channel whose secret is missing fails alone.
#[derive(Clone, Default)]
pub struct Keys {
    known: BTreeMap<SecretName, Secret>,
    problems: BTreeMap<SecretName, String>,
    redactor: Redactor,
}

impl Keys {
    /// `known` may hold more than the channels need: all of them are taken out of whatever is sent, shown or recorded.
    pub fn new(known: BTreeMap<SecretName, Secret>, problems: BTreeMap<SecretName, String>) -> Self {
        let redactor = Redactor::new(known.values());
        Self { known, problems, redactor }
    }

    pub(super) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    pub(super) fn resolve(&self, text: &SecretText) -> Result<Secret, String> {
        text.resolve(|name| self.known.get(name)).map_err(|error| match &error {
            crate::model::ResolveError::Missing(name) => match self.problems.get(name) {
                Some(why) => format!("secret {}: {why}", name.0),
                None => error.to_string(),
            },
            crate::model::ResolveError::NotText(_) => error.to_string(),
        })
    }

    /// The same for what must be text: `what` says what it is for.
    pub(super) fn resolve_text(&self, text: &SecretText, what: &str) -> Result<String, String> {
        let secret = self.resolve(text)?;
        std::str::from_utf8(secret.expose()).map(str::to_owned).map_err(|_| format!("{what} is not UTF-8"))
    }
}

/// Names only.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("known", &self.known.keys().collect::<Vec<_>>())
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}
