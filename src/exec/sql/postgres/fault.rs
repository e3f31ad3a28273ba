//! What went wrong with a statement, and whether that leaves a doubt.

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

/// Why there is no answer.
#[derive(Debug)]
pub struct Fault {
    pub why: String,
    /// It may have taken effect all the same.
    pub unsure: bool,
    /// The server ended it because it was asked to.
    pub ended: bool,
    /// The server does not take what the session was to be started with.
    pub startup: bool,
}

impl Fault {
    /// The statement has surely changed nothing, as far as the server keeps it together.
    pub fn sure(why: impl Into<String>) -> Self {
        Self { why: why.into(), unsure: false, ended: false, startup: false }
    }

    pub fn unsure(why: impl Into<String>) -> Self {
        Self { unsure: true, ..Self::sure(why) }
    }
}

/// What a server says: an error or a notice.
#[derive(Debug, Default)]
pub struct Said {
    pub severity: String,
    pub code: String,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<String>,
}

impl Said {
    pub fn read(mut fields: ErrorFields<'_>) -> Self {
        let mut said = Self::default();
        while let Ok(Some(field)) = fields.next() {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                // The severity in English, whatever the server speaks; old servers have only the other one.
                b'V' => said.severity = value,
                b'S' if said.severity.is_empty() => said.severity = value,
                b'C' => said.code = value,
                b'M' => said.message = value,
                b'D' => said.detail = Some(value),
                b'H' => said.hint = Some(value),
                b'P' => said.position = Some(value),
                _ => {}
            }
        }
        said
    }

    /// The session ended with it.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    /// The statement was ended because somebody asked for it.
    pub fn is_cancel(&self) -> bool {
        self.code == "57014"
    }

    pub fn fault(&self) -> Fault {
        let startup = self.code == "08P01" && self.message.contains("startup parameter");
        Fault { ended: self.is_cancel(), startup, ..Fault::sure(self.to_string()) }
    }
}

/// `ERROR 23505: duplicate key value ... (Key (id)=(1) already exists.)`
impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.code, self.message)?;
        if let Some(position) = &self.position {
            write!(f, " at character {position}")?;
        }
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "; hint: {hint}"),
            None => Ok(()),
        }
    }
}
