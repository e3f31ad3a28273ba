//! Carries out one SQL statement on a SQLite file.
//!
//! SQLite blocks, so it has a thread of its own; a timeout or a person ends the statement through its interrupt handle.
//! A statement is one transaction: what is interrupted or fails has changed nothing.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, InterruptHandle, OpenFlags, params_from_iter};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::exec::outputs::READ_LIMIT;
use crate::model::{Millis, Secret, SqlAnswer, TaskEndKind, format_bytes};

/// The longest wait for somebody else's lock.
const BUSY: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum SqlError {
    #[error("the option {0:?} is not known: write ?mode=ro, ?mode=rw or ?mode=rwc")]
    Option(String),
    #[error("there is no database {0}; add ?mode=rwc to have it made")]
    Missing(String),
    #[error("the database {path} cannot be opened: {why}")]
    Unusable { path: String, why: String },
    #[error("{}", super::OPEN)]
    Open,
    #[error("a bound value must be null, true, false, a number or a text")]
    Bind,
    #[error("there is more than one statement; write one step for each")]
    Several,
    #[error("the answer is longer than {}", format_bytes(READ_LIMIT as u64))]
    TooLong,
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// What became of it: the answer, or how it ended.
pub async fn carry_out(
    database: Secret,
    query: String,
    binds: Vec<Value>,
    timeout: Option<Millis>,
    stop: oneshot::Receiver<()>,
) -> Result<SqlAnswer, TaskEndKind> {
    let (handle_out, handle_in) = oneshot::channel();
    let busy = timeout.map_or(BUSY, |t| t.std().min(BUSY));
    let mut work = tokio::task::spawn_blocking(move || run(&database, &query, &binds, busy, handle_out));
    let (result, ended) = tokio::select! {
        result = &mut work => (result, None),
        ended = super::ending(timeout, stop) => {
            interrupt(handle_in, &mut work).await;
            (work.await, Some(ended))
        }
    };
    let Ok(result) = result else {
        return Err(TaskEndKind::Unknown { why: "the query broke down within runbook".into() });
    };
    // An answer was there before it could be interrupted: that is the truth.
    result.map_err(|error| match ended {
        Some(ended) => ended.kind(),
        None => TaskEndKind::Errored { error: error.to_string() },
    })
}

/// Interrupts until the thread has noticed: an interrupt before the statement runs is lost.
async fn interrupt<T>(handle: oneshot::Receiver<InterruptHandle>, work: &mut tokio::task::JoinHandle<T>) {
    let Ok(handle) = handle.await else { return };
    while !work.is_finished() {
        handle.interrupt();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn run(
    database: &Secret,
    query: &str,
    binds: &[Value],
    busy: Duration,
    handle: oneshot::Sender<InterruptHandle>,
) -> Result<SqlAnswer, SqlError> {
    let database = String::from_utf8_lossy(database.expose()).into_owned();
    let connection = open(database.strip_prefix("sqlite:").unwrap_or(&database))?;
    connection.busy_timeout(busy)?;
    let _ = handle.send(connection.get_interrupt_handle());
    let binds: Vec<SqlValue> = binds.iter().map(bind).collect::<Result<_, _>>()?;
    let mut statement = connection.prepare(query).map_err(|e| match e {
        rusqlite::Error::MultipleStatement => SqlError::Several,
        other => SqlError::Sqlite(other),
    })?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let changes = !statement.readonly();
    let mut rows = Vec::new();
    let mut size = 0;
    let mut cursor = statement.query(params_from_iter(binds))?;
    while let Some(row) = cursor.next()? {
        let mut values = Vec::with_capacity(columns.len());
        for at in 0..columns.len() {
            let value = to_json(row.get_ref(at)?, &mut size);
            values.push(value);
        }
        if size > READ_LIMIT {
            // What a statement changed is kept when it is merely dropped; an interrupted one is rolled back.
            connection.get_interrupt_handle().interrupt();
            let _ = cursor.next();
            return Err(SqlError::TooLong);
        }
        rows.push(values);
    }
    drop(cursor);
    if !connection.is_autocommit() {
        return Err(SqlError::Open);
    }
    let affected = if changes { connection.changes() } else { 0 };
    Ok(SqlAnswer { columns, rows, affected, notices: Vec::new() })
}

fn open(rest: &str) -> Result<Connection, SqlError> {
    let (path, mode) = match rest.split_once('?') {
        None => (rest, "rw"),
        Some((path, option)) => match option.strip_prefix("mode=") {
            Some(mode @ ("ro" | "rw" | "rwc")) => (path, mode),
            _ => return Err(SqlError::Option(option.to_owned())),
        },
    };
    let access = match mode {
        "ro" => OpenFlags::SQLITE_OPEN_READ_ONLY,
        "rwc" => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        _ => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    if mode != "rwc" && !Path::new(path).exists() {
        return Err(SqlError::Missing(path.to_owned()));
    }
    Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|e| SqlError::Unusable { path: path.to_owned(), why: e.to_string() })
}

fn bind(value: &Value) -> Result<SqlValue, SqlError> {
    match value {
        Value::Null => Ok(SqlValue::Null),
        Value::Bool(b) => Ok(SqlValue::Integer(i64::from(*b))),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(i), _) => Ok(SqlValue::Integer(i)),
            (None, Some(f)) => Ok(SqlValue::Real(f)),
            (None, None) => Err(SqlError::Bind),
        },
        Value::String(text) => Ok(SqlValue::Text(text.clone())),
        Value::Array(_) | Value::Object(_) => Err(SqlError::Bind),
    }
}

/// Bytes that JSON has no type for come as `{"base64": "..."}`.
fn to_json(value: ValueRef<'_>, size: &mut usize) -> Value {
    *size += 16;
    let bytes = |bytes: &[u8]| json!({ "base64": STANDARD.encode(bytes) });
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(i) => i.into(),
        // JSON has no infinity.
        ValueRef::Real(f) => {
            serde_json::Number::from_f64(f).map_or_else(|| f.to_string().into(), Value::Number)
        }
        ValueRef::Text(text) => {
            *size += text.len();
            std::str::from_utf8(text).map_or_else(|_| bytes(text), Value::from)
        }
        ValueRef::Blob(blob) => {
            *size += blob.len();
            bytes(blob)
        }
    }
}
