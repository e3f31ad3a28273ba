//! A command that takes the message on its standard input: a telephone call, a text message, whatever there is.
//!
//! It gets the subject, an empty line and the text on its standard input, and in its environment `RUNBOOK_NOTICE` (the JSON
//! that a webhook gets), `RUNBOOK_NOTICE_ID`, `RUNBOOK_NOTICE_ACTION`, `RUNBOOK_NOTICE_SUBJECT`, `RUNBOOK_RUN` and
//! `RUNBOOK_DRILL` (1 or 0). Exit 0 means that the message is on its way. Every other end is tried again, but for a command
//! that cannot be started (126, 127): the notice's id lets it know what it has done already.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::deliver::Tried;
use super::{Keys, clean, webhook};
use crate::model::{CommandChannel, Notice, NoticeAction, changes_a_shell};
use crate::text::neutral;

/// Bytes of each output that are kept.
const READ: usize = 64 << 10;
/// Characters of what it said that are recorded.
const KEPT: usize = 200;
/// Something that it left behind may hold its output open.
const LINGER: Duration = Duration::from_millis(250);

pub struct Call {
    argv: Vec<String>,
    env: Vec<(OsString, OsString)>,
    workdir: PathBuf,
    stdin: Vec<u8>,
}

impl Call {
    pub fn new(channel: &CommandChannel, notice: &Notice, keys: &Keys) -> Result<Self, String> {
        let action = match notice.action {
            NoticeAction::Trigger => "trigger",
            NoticeAction::Acknowledge => "acknowledge",
            NoticeAction::Resolve => "resolve",
            NoticeAction::Info => "info",
        };
        let own = [
            ("RUNBOOK_NOTICE", webhook::body(notice)?.to_string()),
            ("RUNBOOK_NOTICE_ID", notice.id.clone()),
            ("RUNBOOK_NOTICE_ACTION", action.to_owned()),
            ("RUNBOOK_NOTICE_SUBJECT", notice.subject.clone()),
            ("RUNBOOK_RUN", notice.run.to_string()),
            ("RUNBOOK_DRILL", u8::from(notice.drill).to_string()),
        ];
        let mut env: Vec<(OsString, OsString)> =
            own.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        for (name, value) in &channel.env {
            let value = keys.resolve(value)?.expose().to_vec();
            if value.contains(&0) {
                return Err(format!("the variable {name} would hold a NUL byte"));
            }
            env.push((name.into(), OsString::from_vec(value)));
        }
        let stdin = format!("{}\n\n{}", notice.subject, clean::body(notice)).into_bytes();
        Ok(Self { argv: channel.argv.clone(), env, workdir: channel.workdir.clone(), stdin })
    }

    pub async fn attempt(&self) -> Tried {
        let Some((program, arguments)) = self.argv.split_first() else {
            return Tried::never("there is no command");
        };
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| changes_a_shell(name)) {
            command.env_remove(name);
        }
        let spawned = command
            .args(arguments)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.workdir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) => return Tried::never(format!("{program} cannot be started: {error}")),
        };
        let group = Group::of(&child);
        let (status, said) = self.converse(child).await;
        group.over();
        match status {
            Ok(status) => judge(program, status, said),
            Err(error) => Tried::later(format!("nobody knows how {program} ended: {error}")),
        }
    }

    /// Gives it the message and waits for its end; with what it said.
    async fn converse(&self, mut child: Child) -> (std::io::Result<ExitStatus>, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let status = {
            let mut talk = pin!(async {
                let (stdin, stdout, stderr) = pipes;
                let write = async {
                    if let Some(mut stdin) = stdin {
                        // It need not read what it does not want to know.
                        let _ = stdin.write_all(&self.stdin).await;
                    }
                };
                tokio::join!(write, read(stdout, &mut out), read(stderr, &mut err));
            });
            tokio::select! {
                status = child.wait() => {
                    // What it left behind has its own life.
                    let _ = tokio::time::timeout(LINGER, &mut talk).await;
                    status
                }
                () = &mut talk => child.wait().await,
            }
        };
        let said = [err, out].into_iter().find_map(|bytes| last_line(&bytes));
        (status, said.unwrap_or_default())
    }
}

fn judge(program: &str, status: ExitStatus, said: String) -> Tried {
    if status.success() {
        return Tried::Delivered { answered: Some(said).filter(|s| !s.is_empty()) };
    }
    let colon = if said.is_empty() { "" } else { ": " };
    let why = format!("{program} ended with {status}{colon}{said}");
    match status.code() {
        Some(126 | 127) => Tried::never(why),
        _ => Tried::Later { why, answered: None, unsure: false, wait: None },
    }
}

async fn read(pipe: Option<impl AsyncReadExt + Unpin>, into: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0; 8192];
    while let Ok(n) = pipe.read(&mut chunk).await
        && n > 0
    {
        into.extend_from_slice(&chunk[..n]);
        // The last line is what counts.
        if into.len() > 2 * READ {
            into.drain(..into.len() - READ);
        }
    }
}

fn last_line(bytes: &[u8]) -> Option<String> {
    let line = bytes.trim_ascii().rsplit(|b| *b == b'\n').next()?;
    let text = clean::clip(&neutral::line(neutral::last_segment(line)), KEPT);
    Some(text).filter(|text| !text.is_empty())
}

/// The command's process group, ended when a try is broken off: by its timeout or because nobody waits any more.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// The command is over and its number may be another's.
    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It may have ended just now.
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }
}
