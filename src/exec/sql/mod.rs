//! Carries out one SQL statement: on a SQLite file or a PostgreSQL server.

use serde_json::Value;
use tokio::sync::oneshot;

mod postgres;
mod sqlite;

use super::redact::Redactor;
use crate::model::{Millis, Secret, SecretText, SqlAnswer, SqlOp, TaskEndKind, TaskOutput};

/// What both say to a `begin` in a step of its own.
const OPEN: &str = "the statement left a transaction open, which ends with the step: it is rolled back; write one statement that does it all";

/// Why a statement is being ended.
enum Ended {
    Timeout,
    Stop,
}

impl Ended {
    fn kind(&self) -> TaskEndKind {
        match self {
            Self::Timeout => TaskEndKind::TimedOut,
            Self::Stop => TaskEndKind::Cancelled,
        }
    }
}

/// Waits until the statement is to end.
async fn ending(timeout: Option<Millis>, stop: oneshot::Receiver<()>) -> Ended {
    let limit = async {
        match timeout {
            Some(timeout) => super::boot::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = limit => Ended::Timeout,
        _ = stop => Ended::Stop,
    }
}

/// A statement with nothing left to resolve.
pub(super) struct Statement {
    place: Place,
    query: String,
    binds: Vec<Value>,
}

enum Place {
    /// `sqlite:PATH`
    File(Secret),
    Server(Box<postgres::Target>),
}

impl Statement {
    pub fn new(op: SqlOp, resolve: impl Fn(&SecretText) -> Result<Secret, String>) -> Result<Self, String> {
        let SqlOp { database, password, ca_file, query, binds } = op;
        let whole = resolve(&database)?;
        let password = password.as_ref().map(&resolve).transpose()?;
        let place = if postgres::is_postgres(whole.expose()) {
            Place::Server(Box::new(postgres::Target::parse(&whole, password, ca_file)?))
        } else if !whole.expose().starts_with(b"sqlite:") {
            return Err(format!(
                "the database {database} is not known: write sqlite:PATH or postgres://USER@HOST/NAME"
            ));
        } else if password.is_some() || ca_file.is_some() {
            return Err("`password` and `ca_file` are for a server; a SQLite file has neither".into());
        } else {
            Place::File(whole)
        };
        Ok(Self { place, query, binds })
    }

    pub async fn carry_out(
        self,
        timeout: Option<Millis>,
        redactor: Redactor,
        stop: oneshot::Receiver<()>,
    ) -> (TaskEndKind, TaskOutput) {
        let Self { place, query, binds } = self;
        let result = match place {
            Place::File(path) => sqlite::carry_out(path, query, binds, timeout, stop).await,
            Place::Server(target) => postgres::carry_out(*target, query, binds, timeout, stop).await,
        };
        match result {
            Ok(answer) => {
                let output = TaskOutput { sql: Some(mask(answer, &redactor)), ..TaskOutput::none() };
                (TaskEndKind::Answered, output)
            }
            Err(end) => (end.map_text(|text| redactor.redact_text(text)), TaskOutput::none()),
        }
    }
}

fn mask(mut answer: SqlAnswer, redactor: &Redactor) -> SqlAnswer {
    if !redactor.is_idle() {
        answer.rows.iter_mut().flatten().for_each(|value| mask_value(value, redactor));
        answer.notices.iter_mut().for_each(|text| *text = redactor.redact_text(text));
    }
    answer
}

fn mask_value(value: &mut Value, redactor: &Redactor) {
    match value {
        Value::String(text) => *text = redactor.redact_text(text),
        Value::Array(items) => items.iter_mut().for_each(|item| mask_value(item, redactor)),
        Value::Object(fields) => {
            let masked = std::mem::take(fields).into_iter().map(|(name, mut field)| {
                mask_value(&mut field, redactor);
                (redactor.redact_text(&name), field)
            });
            *fields = masked.collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
