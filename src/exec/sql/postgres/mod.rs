//! Carries out one SQL statement on a PostgreSQL server.
//!
//! - `target`: where it is · `wire`, `tls`: the link · `login`: the session · `values`: to and from JSON · `fault`: errors
//!
//! What is reported is what can be known. The server is told to keep what the statement did (`Sync`) only after it has
//! said that it is done, and only when the server has confirmed that is the statement answered. Until the statement is
//! sent, nothing has happened. From then on a lost link leaves a doubt: what is part of a transaction is rolled back
//! unless the `Sync` was sent, but a function may do what no transaction takes back.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use fallible_iterator::FallibleIterator;
use postgres_protocol::IsNull;
use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend;
use serde_json::Value;
use tokio::sync::oneshot;

mod fault;
mod login;
mod target;
mod tls;
mod values;
mod wire;

pub use target::{Target, is_postgres};

use super::Ended;
use crate::exec::outputs::READ_LIMIT;
use crate::model::{Millis, SqlAnswer, TaskEndKind, format_bytes, format_millis};
use fault::{Fault, Said};
use login::Session;
use wire::{Broken, Wire};

/// How long a server that was asked to end a statement may take to say that it has.
const ENDING: Duration = Duration::from_secs(10);
/// The pause between two such requests: one that comes before the statement began is lost.
const AGAIN: Duration = Duration::from_millis(500);
/// The server's own limit lies so much behind ours: it is for the case that nobody is here to ask it.
const LATER: Millis = Millis::secs(15);
/// Notices that are kept.
const NOTICES: usize = 100;

/// How far a statement has come.
struct Progress {
    phase: AtomicU8,
    key: OnceLock<(i32, i32)>,
    /// Nothing can have changed, so nothing leaves a doubt.
    read_only: bool,
}

/// The statement is on its way: from now on it may take effect.
const SENT: u8 = 1;
/// The server was told to keep it.
const COMMITTING: u8 = 2;

impl Progress {
    fn new(read_only: bool) -> Self {
        Self { phase: AtomicU8::new(0), key: OnceLock::new(), read_only }
    }

    fn reach(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    /// What a lost link means here.
    fn doubt(&self, why: &str) -> Fault {
        match self.phase() {
            _ if self.read_only => Fault::sure(why),
            0 => Fault::sure(why),
            SENT => Fault::unsure(format!(
                "{why}, before the statement was done; what belongs to a transaction was rolled back, anything else may \
                 have taken effect"
            )),
            _ => Fault::unsure(format!("{why}, before it confirmed the statement; it may have taken effect")),
        }
    }
}

/// What became of it: the answer, or how it ended.
pub async fn carry_out(
    target: Target,
    query: String,
    binds: Vec<Value>,
    timeout: Option<Millis>,
    stop: oneshot::Receiver<()>,
) -> Result<SqlAnswer, TaskEndKind> {
    let progress = Progress::new(target.read_only);
    let work = ask(&target, &query, &binds, timeout, &progress);
    tokio::pin!(work);
    let (result, ended) = tokio::select! {
        result = &mut work => (result, None),
        ended = super::ending(timeout, stop) => (end(&target, &progress, work.as_mut()).await, Some(ended)),
    };
    let fault = match result {
        // It was done before it could be ended: that is the truth.
        Ok(answer) => return Ok(answer),
        Err(fault) => fault,
    };
    if fault.unsure {
        let why = match (&ended, timeout) {
            (Some(Ended::Timeout), Some(limit)) => {
                format!("no answer within {}: {}", format_millis(limit), fault.why)
            }
            (Some(_), _) => format!("ended by a person: {}", fault.why),
            (None, _) => fault.why,
        };
        return Err(TaskEndKind::Unknown { why });
    }
    Err(match ended {
        Some(ended) if fault.ended => ended.kind(),
        _ => TaskEndKind::Errored { error: fault.why },
    })
}

/// Asks the server to end the statement, and waits for what it makes of it.
async fn end(
    target: &Target,
    progress: &Progress,
    mut work: std::pin::Pin<&mut impl Future<Output = Result<SqlAnswer, Fault>>>,
) -> Result<SqlAnswer, Fault> {
    let ended = |fault: Fault| Fault { ended: true, ..fault };
    if progress.phase() == 0 {
        return Err(ended(Fault::sure("it was not sent")));
    }
    let Some(key) = progress.key.get().copied() else {
        return Err(ended(progress.doubt("the server gave no way to end a statement")));
    };
    // It never comes to an end by itself.
    let ask_again = async {
        loop {
            // The answer to it comes by the other link.
            let _ = wire::cancel(target, key).await;
            tokio::time::sleep(AGAIN).await;
        }
    };
    let deaf = || Err(ended(progress.doubt("the server did not say that it ended it")));
    tokio::select! {
        result = &mut work => result,
        () = ask_again => deaf(),
        () = tokio::time::sleep(ENDING) => deaf(),
    }
}

async fn ask(
    target: &Target,
    query: &str,
    binds: &[Value],
    timeout: Option<Millis>,
    progress: &Progress,
) -> Result<SqlAnswer, Fault> {
    let Session { wire, key } =
        tokio::time::timeout(target.connect, session(target, timeout)).await.map_err(|_| {
            Fault::sure(format!("the server could not be reached within {} s", target.connect.as_secs()))
        })??;
    if let Some(key) = key {
        // It is set once.
        let _ = progress.key.set(key);
    }
    let mut talk = Talk { wire, progress, notices: Vec::new() };
    let answer = talk.statement(query, binds).await;
    talk.wire.leave().await;
    answer
}

/// With a limit that the server keeps by itself, should this program be killed. A pooler in between may not take that.
async fn session(target: &Target, timeout: Option<Millis>) -> Result<Session, Fault> {
    let mut options = vec![target.options.clone()];
    if target.read_only {
        options.push("-c default_transaction_read_only=on".into());
    }
    let bare = options.join(" ");
    if let Some(timeout) = timeout {
        options
            .push(format!("-c statement_timeout={}", timeout.saturating_add(LATER).0.min(i32::MAX as u64)));
    }
    match login::log_in(target, options.join(" ").trim()).await {
        Err(fault) if fault.startup => login::log_in(target, bare.trim()).await,
        other => other,
    }
}

struct Talk<'a> {
    wire: Wire,
    progress: &'a Progress,
    notices: Vec<String>,
}

/// What comes in answer to a statement.
#[derive(Default)]
struct Rows {
    columns: Vec<String>,
    types: Vec<u32>,
    rows: Vec<Vec<Value>>,
    size: usize,
}

impl Talk<'_> {
    async fn statement(&mut self, query: &str, binds: &[Value]) -> Result<SqlAnswer, Fault> {
        let mut rows = Rows::default();
        let parameters = self.prepare(query, &mut rows).await?;
        let values = bound(binds, &parameters)?;
        let gives_rows = !rows.types.is_empty();
        let tag = self.execute(values, &mut rows).await?;
        self.commit().await?;
        Ok(SqlAnswer {
            columns: rows.columns,
            affected: values::affected(&tag, gives_rows),
            rows: rows.rows,
            notices: std::mem::take(&mut self.notices),
        })
    }

    /// The next message that belongs to the statement; an error of the server is an error here.
    async fn next(&mut self) -> Result<Message, Fault> {
        loop {
            let message = self.wire.next().await.map_err(|broken| match broken {
                Broken::TooLong => too_long(),
                Broken::Io(_) => self.progress.doubt("the connection was lost"),
            })?;
            match message {
                Message::NoticeResponse(body) => {
                    if self.notices.len() < NOTICES {
                        self.notices.push(Said::read(body.fields()).to_string());
                    }
                }
                Message::ParameterStatus(_) | Message::NotificationResponse(_) => {}
                Message::ErrorResponse(body) => return Err(self.judge(&Said::read(body.fields()))),
                message => return Ok(message),
            }
        }
    }

    /// An error takes back what the statement did. But a session that is ended while it commits may be past it.
    fn judge(&self, said: &Said) -> Fault {
        match said.is_fatal() && self.progress.phase() == COMMITTING {
            true => self.progress.doubt(&format!("the server ended the session ({said})")),
            false => said.fault(),
        }
    }

    async fn send(&mut self) -> Result<(), Fault> {
        let sent = self.wire.send().await;
        sent.map_err(|_| self.progress.doubt("the connection was lost"))
    }

    /// Has the statement read, and learns the types of its parameters and columns. Nothing happens yet.
    async fn prepare(&mut self, query: &str, rows: &mut Rows) -> Result<Vec<u32>, Fault> {
        let out = &mut self.wire.output;
        let written = frontend::parse("", query, [], out).and_then(|()| frontend::describe(b'S', "", out));
        written.map_err(|_| Fault::sure("the statement holds a NUL byte"))?;
        frontend::flush(out);
        self.send().await?;
        let mut parameters = Vec::new();
        loop {
            match self.next().await? {
                Message::ParseComplete => {}
                Message::ParameterDescription(body) => {
                    parameters = body.parameters().collect().map_err(|_| out_of_turn())?;
                }
                Message::RowDescription(body) => {
                    let mut fields = body.fields();
                    while let Some(field) = fields.next().map_err(|_| out_of_turn())? {
                        rows.columns.push(field.name().to_owned());
                        rows.types.push(field.type_oid());
                    }
                    return Ok(parameters);
                }
                Message::NoData => return Ok(parameters),
                _ => return Err(out_of_turn()),
            }
        }
    }

    /// Gives what the server calls the statement's success: `UPDATE 3`.
    async fn execute(&mut self, values: Vec<Option<String>>, rows: &mut Rows) -> Result<String, Fault> {
        let out = &mut self.wire.output;
        let text = |value: Option<String>, out: &mut bytes::BytesMut| match value {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        };
        let written = frontend::bind("", "", [], values, text, [], out);
        written.map_err(|_| Fault::sure("the values are too many or too long"))?;
        frontend::execute("", 0, out).map_err(|e| Fault::sure(e.to_string()))?;
        frontend::flush(out);
        self.progress.reach(SENT);
        self.send().await?;
        loop {
            match self.next().await? {
                Message::BindComplete => {}
                Message::DataRow(body) => rows.add(&body)?,
                Message::CommandComplete(body) => return Ok(body.tag().unwrap_or_default().to_owned()),
                Message::EmptyQueryResponse => return Err(Fault::sure("there is no statement in the query")),
                Message::CopyInResponse(_) | Message::CopyOutResponse(_) => {
                    return Err(Fault::sure(
                        "copy from stdin and to stdout need a program: use `run` with psql",
                    ));
                }
                _ => return Err(self.progress.doubt("the server does not speak like a PostgreSQL server")),
            }
        }
    }

    async fn commit(&mut self) -> Result<(), Fault> {
        frontend::sync(&mut self.wire.output);
        self.progress.reach(COMMITTING);
        self.send().await?;
        match self.next().await? {
            Message::ReadyForQuery(body) if body.status() == b'I' => Ok(()),
            Message::ReadyForQuery(_) => Err(Fault::sure(super::OPEN)),
            _ => Err(self.progress.doubt("the server does not speak like a PostgreSQL server")),
        }
    }
}

impl Rows {
    fn add(&mut self, body: &DataRowBody) -> Result<(), Fault> {
        let mut row = Vec::with_capacity(self.types.len());
        let mut ranges = body.ranges();
        for oid in &self.types {
            let range = ranges.next().map_err(|_| out_of_turn())?.ok_or_else(out_of_turn)?;
            let text = range.and_then(|range| body.buffer().get(range));
            row.push(values::to_json(text, *oid, &mut self.size));
        }
        if self.size > READ_LIMIT {
            return Err(too_long());
        }
        self.rows.push(row);
        Ok(())
    }
}

fn bound(binds: &[Value], parameters: &[u32]) -> Result<Vec<Option<String>>, Fault> {
    if binds.len() != parameters.len() {
        let (has, given) = (parameters.len(), binds.len());
        return Err(Fault::sure(format!(
            "the statement has {has} parameters, and {given} values were given"
        )));
    }
    let value = |(at, (value, oid)): (usize, (&Value, &u32))| {
        values::bind(value, *oid).map_err(|why| Fault::sure(format!("value {}: {why}", at + 1)))
    };
    binds.iter().zip(parameters).enumerate().map(value).collect()
}

/// The link is dropped with it, and what was done is rolled back.
fn too_long() -> Fault {
    let limit = format_bytes(READ_LIMIT as u64);
    Fault::sure(format!("the answer is longer than {limit}; what the statement changed is rolled back"))
}

fn out_of_turn() -> Fault {
    Fault::sure("the server does not speak like a PostgreSQL server")
}
