//! A person's words from another terminal: a socket in the run's folder. The kernel says who speaks.
//!
//! One JSON object a line each way. The run's folder is 0700, so only its owner and root come this far.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::journal::RunDir;

use super::error::RunError;
use super::facts::user_name;

const SOCKET: &str = "control.sock";
/// The longest request, in bytes.
const LONGEST: u64 = 64 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// End the run. With `force`, running commands are killed at once.
    Cancel { force: bool },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    pub ok: bool,
    pub message: String,
}

/// A request and who made it.
#[derive(Debug)]
pub struct Heard {
    pub by: String,
    pub request: Request,
}

/// The socket's path through an open folder, because a socket's path may only have 107 bytes.
fn short_path(dir: &std::fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))
}

fn open_dir(dir: &RunDir) -> Result<std::fs::File, RunError> {
    std::fs::File::open(dir.path()).map_err(RunError::io(dir.path().display().to_string()))
}

/// Listens for the time the run is driven.
pub struct Listener {
    heard: mpsc::Receiver<Heard>,
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
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
        let task = tokio::spawn(async move {
            // Keeps the folder open, through which the socket is named.
            let _folder = folder;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, say.clone()));
            }
        });
        Ok(Self { heard, path, task })
    }

    pub async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        // Nobody can be waiting for it any more; a leftover is removed by the next bind.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(stream: UnixStream, say: mpsc::Sender<Heard>) {
    let Ok(peer) = stream.peer_cred() else { return };
    let (read, mut write) = stream.into_split();
    let mut lines = tokio::io::BufReader::new(tokio::io::AsyncReadExt::take(read, LONGEST)).lines();
    let Ok(Some(line)) = lines.next_line().await else { return };
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            let heard = Heard { by: user_name(peer.uid()), request };
            match say.send(heard).await {
                Ok(()) => Reply { ok: true, message: "the run was told".into() },
                Err(_) => Reply { ok: false, message: "the run is over".into() },
            }
        }
        Err(error) => Reply { ok: false, message: format!("not understood: {error}") },
    };
    let mut text = serde_json::to_vec(&reply).unwrap_or_default();
    text.push(b'\n');
    // Whoever asked may have gone; the run goes on.
    let _ = write.write_all(&text).await;
}

/// Tells the process that drives a run. `None` if no process does.
pub fn tell(dir: &RunDir, request: &Request) -> Result<Option<Reply>, RunError> {
    let what = || dir.path().join(SOCKET).display().to_string();
    let folder = open_dir(dir)?;
    let mut stream = match std::os::unix::net::UnixStream::connect(short_path(&folder)) {
        Ok(stream) => stream,
        Err(e)
            if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(RunError::io(what())(e)),
    };
    let patience = Some(std::time::Duration::from_secs(10));
    stream.set_read_timeout(patience).map_err(RunError::io(what()))?;
    let mut line = serde_json::to_vec(request).unwrap_or_default();
    line.push(b'\n');
    stream.write_all(&line).map_err(RunError::io(what()))?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).map_err(RunError::io(what()))?;
    let reply = serde_json::from_str(&answer).map_err(|e| RunError::io(what())(e.into()))?;
    Ok(Some(reply))
}
