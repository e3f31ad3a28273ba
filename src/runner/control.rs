//! A person's words from another terminal, or from another user's: sockets, and the kernel says who speaks.
//!
//! One JSON object a line each way. The socket in the run's folder is for its owner and root, who alone come that far.
//! A second one has a name and no file, so that other users of the machine reach it; they see only the questions that
//! they may answer, and can do nothing but answer them.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::journal::RunDir;
use crate::model::{Binding, Person, Question, RunId, StepId, Via};

use super::error::RunError;
use super::facts::user_name;

const SOCKET: &str = "control.sock";
/// Before the run's id in the name of the socket without a file.
const NAMED: &str = "runbook/run/";
/// The longest request, in bytes: an answer may bring a file as evidence.
const LONGEST: u64 = 24 << 20;
/// The largest evidence that is sent, in bytes.
pub const LARGEST_EVIDENCE: u64 = 16 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// End the run. With `force`, running commands are killed at once.
    Cancel {
        force: bool,
    },
    /// What is asked, as far as it may be shown to whoever wants to know.
    Questions,
    Answer(Box<Answering>),
    /// Write something down.
    Note {
        text: String,
    },
    /// Somebody else leads from here on.
    HandOver {
        to: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Take notice of the incident.
    Acknowledge,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answering {
    pub step: StepId,
    pub binding: Binding,
    pub reply: crate::model::Reply,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// A file that shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// As the person named it.
    pub name: String,
    pub base64: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    pub ok: bool,
    pub message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Open>,
}

/// An open question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    pub step: StepId,
    pub title: String,
    pub binding: Binding,
    pub question: Question,
    /// Who has agreed so far.
    pub agreed: Vec<String>,
}

impl Reply {
    pub fn ok(message: impl Into<String>) -> Self {
        Self { ok: true, message: message.into(), questions: Vec::new() }
    }

    pub fn refused(message: impl Into<String>) -> Self {
        Self { ok: false, message: message.into(), questions: Vec::new() }
    }
}

/// A request, who made it, and where the reply goes.
#[derive(Debug)]
pub struct Heard {
    pub by: Person,
    /// The run's owner, or root.
    pub owner: bool,
    pub request: Request,
    pub reply: oneshot::Sender<Reply>,
}

/// The socket's path through an open folder, because a socket's path may only have 107 bytes.
fn short_path(dir: &std::fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))
}

fn open_dir(dir: &RunDir) -> Result<std::fs::File, RunError> {
    std::fs::File::open(dir.path()).map_err(RunError::io(dir.path().display().to_string()))
}

fn address(run: &str) -> std::io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("{NAMED}{run}"))
}

/// Listens for the time the run is driven.
pub struct Listener {
    heard: mpsc::Receiver<Heard>,
    /// One more for each request whose reply is not written yet.
    busy: Arc<()>,
    path: PathBuf,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Listener {
    /// The caller holds the run's writer lock, so a socket that is there already is a dead process's.
    pub fn bind(dir: &RunDir) -> Result<Self, RunError> {
        let folder = open_dir(dir)?;
        let short = short_path(&folder);
        let path = dir.path().join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(RunError::io(path.display().to_string())(e));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&short).map_err(RunError::io(path.display().to_string()))?;
        let (say, heard) = mpsc::channel(16);
        // Keeps the folder open, through which the socket is named.
        let busy = Arc::new(());
        let mut tasks = vec![tokio::spawn(accept(listener, (say.clone(), busy.clone()), Some(folder)))];
        // Somebody else may have taken the name, to keep others from answering: then they are told so by their own
        // program, which finds that it is not the owner's, and the owner's terminals still reach the run.
        match bind_named(dir.id()) {
            Ok(named) => tasks.push(tokio::spawn(accept(named, (say, busy.clone()), None))),
            Err(error) => tracing::warn!("other users cannot answer: {error}"),
        }
        Ok(Self { heard, busy, path, tasks })
    }

    /// Lets the last replies be written: the answer that ends a run is answered, too.
    pub async fn finish(&mut self) {
        const STEP: Duration = Duration::from_millis(5);
        // Whoever asked between the end and here is told that the run is over.
        self.heard.close();
        while self.heard.try_recv().is_ok() {}
        for _ in 0..100 {
            // This one, and one for each accepting task.
            if Arc::strong_count(&self.busy) <= 1 + self.tasks.len() {
                return;
            }
            tokio::time::sleep(STEP).await;
        }
    }

    pub async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }
}

fn bind_named(run: &RunId) -> std::io::Result<UnixListener> {
    let listener = std::os::unix::net::UnixListener::bind_addr(&address(run.as_str())?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Where requests go, and what counts those that are not replied to.
type Way = (mpsc::Sender<Heard>, Arc<()>);

async fn accept(listener: UnixListener, way: Way, _folder: Option<std::fs::File>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, way.clone()));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        // Nobody can be waiting for it any more; a leftover is removed by the next bind.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(stream: UnixStream, (say, busy): Way) {
    // Only a request under way counts.
    let busy = Arc::downgrade(&busy);
    let Ok(peer) = stream.peer_cred() else { return };
    let (read, mut write) = stream.into_split();
    let mut lines = tokio::io::BufReader::new(tokio::io::AsyncReadExt::take(read, LONGEST)).lines();
    loop {
        let Ok(Some(line)) = lines.next_line().await else { return };
        let _busy = busy.upgrade();
        let reply = match serde_json::from_str::<Request>(&line) {
            Ok(request) => {
                let (answer, answered) = oneshot::channel();
                let uid = peer.uid();
                let by = Person { name: user_name(uid), uid: Some(uid), via: Via::Socket };
                let owner = uid == 0 || uid == nix::unistd::getuid().as_raw();
                let over = || Reply::refused("the run is over");
                match say.send(Heard { by, owner, request, reply: answer }).await {
                    Ok(()) => answered.await.unwrap_or_else(|_| over()),
                    Err(_) => over(),
                }
            }
            Err(error) => Reply::refused(format!("not understood: {error}")),
        };
        let mut text = serde_json::to_vec(&reply).unwrap_or_default();
        text.push(b'\n');
        // Whoever asked may have gone; the run goes on.
        if write.write_all(&text).await.is_err() {
            return;
        }
    }
}

/// A way to the process that drives a run.
pub struct Line {
    stream: BufReader<std::os::unix::net::UnixStream>,
    what: String,
}

impl Line {
    /// To a run of one's own. `None` if no process drives it.
    pub fn open(dir: &RunDir) -> Result<Option<Self>, RunError> {
        let what = dir.path().join(SOCKET).display().to_string();
        let folder = open_dir(dir)?;
        Self::over(std::os::unix::net::UnixStream::connect(short_path(&folder)), what)
    }

    /// To somebody else's run on this machine.
    pub fn open_named(run: &str) -> Result<Option<Self>, RunError> {
        let what = format!("run {run}");
        let address = address(run).map_err(RunError::io(what.clone()))?;
        Self::over(std::os::unix::net::UnixStream::connect_addr(&address), what)
    }

    fn over(
        stream: std::io::Result<std::os::unix::net::UnixStream>,
        what: String,
    ) -> Result<Option<Self>, RunError> {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        let stream = match stream {
            Ok(stream) => stream,
            Err(e) if matches!(e.kind(), NotFound | ConnectionRefused) => return Ok(None),
            Err(e) => return Err(RunError::io(what)(e)),
        };
        let patience = Some(std::time::Duration::from_secs(10));
        stream.set_read_timeout(patience).map_err(RunError::io(what.clone()))?;
        Ok(Some(Self { stream: BufReader::new(stream), what }))
    }

    /// Whose process it is at the other end.
    pub fn owner(&self) -> Option<String> {
        let peer =
            nix::sys::socket::getsockopt(self.stream.get_ref(), nix::sys::socket::sockopt::PeerCredentials);
        peer.ok().map(|peer| user_name(peer.uid()))
    }

    pub fn ask(&mut self, request: &Request) -> Result<Reply, RunError> {
        let problem = || RunError::io(self.what.clone());
        let mut line = serde_json::to_vec(request).unwrap_or_default();
        line.push(b'\n');
        let written = self.stream.get_mut().write_all(&line);
        written.map_err(problem())?;
        let mut answer = String::new();
        let read = self.stream.read_line(&mut answer);
        if read.map_err(problem())? == 0 {
            let why = "the run's process ended before it replied; see the log for whether it had heard";
            return Err(problem()(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, why)));
        }
        serde_json::from_str(&answer).map_err(|e| problem()(e.into()))
    }
}

/// Runs of this machine that other users can speak to, by the names of their sockets.
pub fn named_runs() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let prefix = format!("@{NAMED}");
    let names = table.lines().filter_map(|line| line.split_whitespace().last()?.strip_prefix(&prefix));
    let mut runs: Vec<String> = names.filter(|n| RunId::parse(n).is_ok()).map(str::to_owned).collect();
    runs.sort();
    runs.dedup();
    runs
}
