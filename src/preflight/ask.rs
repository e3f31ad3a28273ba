//! What a command says when it is asked for something, its version say: a little, soon, or nothing.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::model::changes_a_shell;

/// Bytes that are read.
const READ: u64 = 64 << 10;
/// Between two looks whether it has ended.
const NAP: Duration = Duration::from_millis(5);
/// For what one that was ended has said so far.
const LAST: Duration = Duration::from_millis(200);

/// A command, and what it is given.
pub(super) struct Question<'a> {
    pub argv: &'a [String],
    pub folder: &'a Path,
    pub input: Vec<u8>,
    /// Variables that it is not given.
    pub without: &'a [String],
}

/// What it said, of each output no more than so much.
pub(super) struct Heard {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// None: it was ended.
    pub status: Option<ExitStatus>,
    /// It did not come to an end within this.
    pub late: Option<Duration>,
}

/// Everything that it says on both outputs, one after the other. It has no input, and no terminal to ask at.
pub(super) fn words(argv: &[String], limit: Duration) -> Result<String, String> {
    let question = Question { argv, folder: Path::new("."), input: Vec::new(), without: &[] };
    let Heard { mut stdout, stderr, late, .. } = put(question, limit)?;
    if let Some(limit) = late {
        return Err(format!("no answer within {} s", limit.as_secs_f32()));
    }
    stdout.extend(stderr);
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// Asks. Whatever it started is ended with it.
pub(super) fn put(question: Question<'_>, limit: Duration) -> Result<Heard, String> {
    let Question { argv, folder, input, without } = question;
    let Some((program, arguments)) = argv.split_first() else { return Err("there is no command".into()) };
    let until = Instant::now() + limit;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).process_group(0);
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os().filter(|(name, _)| changes_a_shell(name)) {
        command.env_remove(name);
    }
    without.iter().for_each(|name| _ = command.env_remove(name));
    crate::exec::give_limit_back(&mut command);
    let mut child = command.spawn().map_err(|error| super::plain(&error))?;
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    if let Some(mut stdin) = child.stdin.take() {
        // It may have ended, and then reads nothing.
        std::thread::spawn(move || _ = stdin.write_all(&input));
    }
    let outputs = [child.stdout.take().map(read_all), child.stderr.take().map(read_all)];
    let mut said = outputs.each_ref().map(|output| {
        output.as_ref().and_then(|o| o.recv_timeout(until.saturating_duration_since(Instant::now())).ok())
    });
    let late = said.iter().any(Option::is_none).then_some(limit);
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until && late.is_none() {
        std::thread::sleep(NAP);
    }
    let status = child.try_wait().ok().flatten();
    // Its group may be gone with it.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
    for (said, output) in said.iter_mut().zip(&outputs).filter(|(said, _)| said.is_none()) {
        // Now it ends, unless somebody outside the group holds it.
        *said = output.as_ref().and_then(|o| o.recv_timeout(LAST).ok());
    }
    let [stdout, stderr] = said.map(Option::unwrap_or_default);
    Ok(Heard { stdout, stderr, status, late })
}

/// Reads to the end, or as much as is read, and says so once.
fn read_all(output: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        // What came before an error counts. Nobody listens any more when it comes too late.
        let _ = output.take(READ).read_to_end(&mut said);
        let _ = sender.send(said);
    });
    receiver
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
