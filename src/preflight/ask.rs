//! What a command says when it is asked for its version: a little, soon, or nothing.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::model::changes_a_shell;

/// Bytes that are read.
const READ: u64 = 64 << 10;
/// Between two looks whether it has ended.
const NAP: Duration = Duration::from_millis(5);

/// Everything that it says on both outputs. Whatever it started is ended with it. It has no input, and no terminal to
/// ask at.
pub(super) fn words(argv: &[String], limit: Duration) -> Result<String, String> {
    let Some((program, arguments)) = argv.split_first() else { return Err("there is no command".into()) };
    let until = Instant::now() + limit;
    let failed = |error: std::io::Error| super::plain(&error);
    let (mut reader, writer) = std::io::pipe().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    for (name, _) in std::env::vars_os().filter(|(name, _)| changes_a_shell(name)) {
        command.env_remove(name);
    }
    crate::exec::give_limit_back(&mut command);
    let mut child = command.spawn().map_err(failed)?;
    // It holds the writing end, which would keep the pipe open.
    drop(command);
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let read = reader.by_ref().take(READ).read_to_end(&mut said);
        // Nobody listens any more when it comes too late.
        let _ = sender.send(read.map(|_| said));
    });
    let said = receiver.recv_timeout(until.saturating_duration_since(Instant::now()));
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until && said.is_ok() {
        std::thread::sleep(NAP);
    }
    // Its group may be gone with it.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
    match said {
        Ok(Ok(said)) => Ok(String::from_utf8_lossy(&said).into_owned()),
        Ok(Err(error)) => Err(super::plain(&error)),
        Err(_) => Err(format!("no answer within {} s", limit.as_secs_f32())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(script: &str, limit: Duration) -> Result<String, String> {
        words(&["sh".to_owned(), "-c".to_owned(), script.to_owned()], limit)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn both_outputs_are_heard_and_the_exit_code_is_not() {
        assert_eq!(ask("echo out; echo err >&2; exit 3", LONG).as_deref(), Ok("out\nerr\n"));
        assert_eq!(
            words(&["no-such-command-here".to_owned()], LONG),
            Err("no such file or folder".to_owned())
        );
    }

    #[test]
    fn one_that_talks_without_end_or_hangs_is_ended() {
        let said = ask(
            "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
            LONG,
        );
        assert_eq!(said.map(|said| said.len()), Ok(64 << 10));
        let began = Instant::now();
        let said = ask("sleep 3600 & sleep 3600", Duration::from_millis(300));
        assert_eq!(said, Err("no answer within 0.3 s".to_owned()));
        assert!(began.elapsed() < LONG);
    }
}
