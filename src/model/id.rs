//! Names of runs, steps and tasks. Each is checked when it is made, so that a name can be part of a path.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("a name has 1 to 63 characters, this one has {0}")]
    Length(usize),
    #[error("{0:?} is not allowed in a name: use a-z, 0-9 and -")]
    Character(char),
    #[error("a name starts with a letter or a digit")]
    Start,
    #[error("{0:?} is not a run id")]
    Run(String),
    #[error("{0:?} is not a task id")]
    Task(String),
}

/// Reads a text where it stands, without a copy of it.
struct Parsed<T>(fn(&str) -> Result<T, IdError>);

impl<T> Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

/// Checks a single name as a person types it (step, phase, playbook): `[a-z0-9][a-z0-9-]{0,62}`.
pub fn check_name(name: &str) -> Result<(), IdError> {
    if name.is_empty() || name.len() > 63 {
        return Err(IdError::Length(name.chars().count()));
    }
    if !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        let other = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-'));
        return Err(IdError::Character(other.unwrap_or_default()));
    }
    if name.starts_with('-') {
        return Err(IdError::Start);
    }
    Ok(())
}

/// A step's id within the whole plan. Steps inside `playbook:` and `any_of:` carry their parent's id
/// before a slash: `restore/pick`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StepId(Arc<str>);

impl StepId {
    /// Parses a full id; every part between slashes is a checked name.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        for part in text.split('/') {
            check_name(part)?;
        }
        Ok(Self(text.into()))
    }

    /// The id of a step inside the group `self`.
    pub fn child(&self, name: &str) -> Result<Self, IdError> {
        check_name(name)?;
        Ok(Self(format!("{}/{name}", self.0).into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StepId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(Parsed(Self::parse))
    }
}

/// A run's id: `<playbook>-<UTC start as YYYYMMDDTHHMMSSZ>-<4 of a-z0-9>`. It is the name of the run's folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    pub fn new(playbook: &str, start: super::Timestamp, random: [u8; 4]) -> Self {
        const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let tail: String = random.iter().map(|b| ALPHABET[usize::from(*b) % 36] as char).collect();
        Self(format!("{playbook}-{}-{tail}", start.compact()))
    }

    /// Accepts exactly the shape that [`RunId::new`] makes; anything else (`../x`, an absolute path) is refused.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let refuse = || IdError::Run(text.to_owned());
        let (rest, tail) = text.rsplit_once('-').ok_or_else(refuse)?;
        let (name, stamp) = rest.rsplit_once('-').ok_or_else(refuse)?;
        let stamp_ok = stamp.len() == 16
            && stamp.bytes().enumerate().all(|(i, b)| match i {
                8 => b == b'T',
                15 => b == b'Z',
                _ => b.is_ascii_digit(),
            });
        let tail_ok = tail.len() == 4 && tail.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if check_name(name).is_err() || !stamp_ok || !tail_ok {
            return Err(refuse());
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The playbook's name in it.
    pub fn playbook(&self) -> &str {
        self.0.rsplitn(3, '-').nth(2).unwrap_or_default()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(Parsed(Self::parse))
    }
}

/// What a task is for. A task is one command (or query, or request) of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskKind {
    /// The `unless` check before the start.
    Unless,
    /// The step's action, attempt k.
    Attempt,
    /// The remedy between attempt k and k+1.
    Remedy,
    /// Check number `check` (from 0) of `verify` after attempt k, poll number `poll` (from 1).
    Verify { check: u16, poll: u32 },
    /// The read-only `check` after an unknown outcome of attempt k.
    Check,
    /// The step's undo, try k.
    Undo,
}

/// One task of a run. `attempt` counts from 1 (0 for `unless`); `rerun` is 0 unless the same attempt had to be
/// started again after an unknown outcome (an idempotent step), so that no output file is ever overwritten.
///
/// Its text form is also the stem of its output files:
/// `STEP.2`, `STEP.2r1`, `STEP.unless`, `STEP.2.remedy`, `STEP.2.verify0.7`, `STEP.2.check`, `STEP.1.undo`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    pub step: StepId,
    pub kind: TaskKind,
    pub attempt: u32,
    pub rerun: u32,
}

impl TaskId {
    pub fn new(step: StepId, kind: TaskKind, attempt: u32) -> Self {
        Self { step, kind, attempt, rerun: 0 }
    }

    /// The stem of the task's output files: its text with `/` written as `+`, which no name can contain.
    pub fn file_stem(&self) -> String {
        self.to_string().replace('/', "+")
    }

    pub fn parse(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::Task(text.to_owned());
        let mut parts = text.split('.');
        let step = StepId::parse(parts.next().ok_or_else(bad)?)?;
        let count = parts.next().ok_or_else(bad)?;
        let (count, rerun) = match count.split_once('r') {
            Some((count, rerun)) => (count, number(rerun).filter(|n| *n > 0).ok_or_else(bad)?),
            None => (count, 0),
        };
        let kind = match (count, parts.next(), parts.next()) {
            ("unless", None, None) => TaskKind::Unless,
            (_, None, None) => TaskKind::Attempt,
            (_, Some("remedy"), None) => TaskKind::Remedy,
            (_, Some("check"), None) => TaskKind::Check,
            (_, Some("undo"), None) => TaskKind::Undo,
            (_, Some(v), Some(poll)) => {
                let check = v.strip_prefix("verify").and_then(number).and_then(|n| u16::try_from(n).ok());
                TaskKind::Verify { check: check.ok_or_else(bad)?, poll: number(poll).ok_or_else(bad)? }
            }
            _ => return Err(bad()),
        };
        let attempt = if kind == TaskKind::Unless { 0 } else { number(count).ok_or_else(bad)? };
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self { step, kind, attempt, rerun })
    }
}

/// A number in the one way in which it is written (not `+1`, not `01`): one task has one name, and so one set of files.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.step)?;
        match self.kind {
            TaskKind::Unless => f.write_str("unless")?,
            _ => write!(f, "{}", self.attempt)?,
        }
        if self.rerun > 0 {
            write!(f, "r{}", self.rerun)?;
        }
        match self.kind {
            TaskKind::Unless | TaskKind::Attempt => Ok(()),
            TaskKind::Remedy => f.write_str(".remedy"),
            TaskKind::Check => f.write_str(".check"),
            TaskKind::Undo => f.write_str(".undo"),
            TaskKind::Verify { check, poll } => write!(f, ".verify{check}.{poll}"),
        }
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TaskId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(Parsed(Self::parse))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// One task has one name, and so one set of files.
        #[test]
        fn whatever_is_a_task_id_is_written_as_it_was_read(
            text in "[a-z]{1,3}(/[a-z])?\\.(unless|[0-9+]{0,3}|429496729[0-9])(r[0-9]{0,2})?(\\.(remedy|check|undo|verify(6553)?[0-9+]{0,2}\\.[0-9]{0,3}))?",
        ) {
            if let Ok(task) = TaskId::parse(&text) {
                prop_assert_eq!(task.to_string(), text);
            }
        }
    }

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for bad in ["", "..", "a/b", "A", "a_b", "-a", "a.b", "ä", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for bad in ["../x", "/etc/passwd", "x", "db-20260101T000000Z-abc", "db-20260101T000000Z-ab/d"] {
            assert!(RunId::parse(bad).is_err(), "{bad:?}");
        }
        let run = RunId::parse("db-corruption-20260101T000000Z-ab1d").unwrap();
        assert_eq!(run.playbook(), "db-corruption");
    }

    #[test]
    fn a_task_id_reads_back_as_written() {
        let step = StepId::parse("restore/pick").unwrap();
        for kind in [
            TaskKind::Unless,
            TaskKind::Attempt,
            TaskKind::Remedy,
            TaskKind::Verify { check: 3, poll: 17 },
            TaskKind::Check,
            TaskKind::Undo,
        ] {
            for rerun in [0, 2] {
                let attempt = if kind == TaskKind::Unless { 0 } else { 4 };
                let task = TaskId { step: step.clone(), kind, attempt, rerun };
                assert_eq!(TaskId::parse(&task.to_string()).as_ref(), Ok(&task));
                assert!(!task.file_stem().contains('/'));
            }
        }
        for bad in [
            "a.01",
            "a.+1",
            "a.1r0",
            "a.1r",
            "a.unlessr",
            "a.1.verify+0.2",
            "a.1.verify0.02",
            "a.",
            "a..check",
        ] {
            assert!(TaskId::parse(bad).is_err(), "{bad}");
        }
        assert!(TaskId::parse("a.1.verify.2").is_err());
        assert!(TaskId::parse("a.1.undo.2").is_err());
    }
}
