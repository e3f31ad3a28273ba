//! Starts the commands of a task.
//!
//! By `posix_spawn` ([`Launch`]), and for a task with a PATH of its own, in which its programs are to be found, by
//! `std::process::Command`. The keeper's own descriptors are all close-on-exec, it blocks SIGCHLD and ignores SIGPIPE, both of
//! which either way takes back: so the children start clean without any code between fork and exec. Only two limits are not
//! theirs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::libc;
use nix::unistd::{AccessFlags, access};

use super::launch::{Descriptors, Given, Launch};
use super::task::set_nonblocking;
use crate::exec::descriptors::{give_limit_back, with_limit_given};
use crate::exec::mark;
use crate::exec::protocol::StartTask;

/// The processes of a task, just started.
pub(super) struct Started {
    pub pids: Vec<i32>,
    pub stdin: Option<PipeWriter>,
    /// Both are read without blocking.
    pub stdout: PipeReader,
    pub stderr: PipeReader,
    /// The keeper's own writing ends of both, if asked for.
    pub writers: Vec<PipeWriter>,
}

pub(super) enum Failure {
    /// Nothing ran.
    NotStarted(String),
    /// A later command of the pipeline could not be started; these were.
    Partly { why: String, started: Started },
}

/// What a task's commands are given beside what the task itself says.
pub(super) struct Beside<'a> {
    /// What the keeper was given.
    pub given: &'a Given,
    /// Set after the task's own variables.
    pub extra: &'a [(&'a str, OsString)],
    /// Not handed on.
    pub without: &'a [OsString],
    /// Every process carries it.
    pub mark: u64,
}

/// What a task's first command finds when it starts.
pub(super) struct Prepared {
    stdin: Option<(PipeReader, PipeWriter)>,
    stdout: (PipeReader, PipeWriter),
    stderr: (PipeReader, PipeWriter),
    /// Of a task with one command.
    launch: Option<Launch>,
}

impl Prepared {
    /// Looks for the program anew.
    pub(super) fn look_again(&mut self, given: &Given) {
        if let Some(launch) = &mut self.launch {
            launch.find(given);
        }
    }
}

/// Makes all ready that can be made without anybody seeing it.
pub(super) fn prepare(task: &StartTask, beside: &Beside<'_>) -> Result<Prepared, Failure> {
    let broken = |e: io::Error| Failure::NotStarted(format!("no pipe could be made: {e}"));
    if task.commands.is_empty() || task.commands.iter().any(Vec::is_empty) {
        return Err(Failure::NotStarted("there is no command to run".into()));
    }
    if task.commands.len() > 1 {
        // Half a pipeline is worse than none: look before the first command is started.
        for argv in &task.commands {
            check_program(&argv[0], task).map_err(Failure::NotStarted)?;
        }
    }
    let stdin = task.stdin.is_some().then(io::pipe).transpose().map_err(broken)?;
    let (stdout, stderr) = (io::pipe().map_err(broken)?, io::pipe().map_err(broken)?);
    for (reader, _) in [&stdout, &stderr] {
        set_nonblocking(reader.as_fd()).map_err(broken)?;
    }
    let mut prepared = Prepared { stdin, stdout, stderr, launch: None };
    if let [argv] = task.commands.as_slice() {
        let stdin = prepared.stdin.as_ref().map(|(reader, _)| reader.as_fd());
        let descriptors =
            Descriptors { stdin, stdout: prepared.stdout.1.as_fd(), stderr: prepared.stderr.1.as_fd() };
        prepared.launch = launch(task, argv, 0, beside, &descriptors)
            .map_err(|e| Failure::NotStarted(explain(&e, &argv[0], task)))?;
    }
    Ok(prepared)
}

/// Starts all commands of the task, one feeding the next. With `hold_writers` the outputs do not end with the processes, but
/// when `Started::writers` are dropped.
pub(super) fn spawn(
    task: &StartTask,
    prepared: Prepared,
    beside: &Beside<'_>,
    hold_writers: bool,
) -> Result<Started, Failure> {
    let Prepared { stdin, stdout: (stdout, stdout_writer), stderr: (stderr, stderr_writer), mut launch } =
        prepared;
    let (mut previous, stdin) = stdin.unzip();
    let mut started = Started { pids: Vec::new(), stdin, stdout, stderr, writers: Vec::new() };
    for (at, argv) in task.commands.iter().enumerate() {
        let result = (|| {
            let stdin = previous.take();
            let between = match at + 1 == task.commands.len() {
                true => None,
                false => {
                    let (reader, writer) = io::pipe()?;
                    previous = Some(reader);
                    Some(writer)
                }
            };
            let descriptors = Descriptors {
                stdin: stdin.as_ref().map(AsFd::as_fd),
                stdout: between.as_ref().unwrap_or(&stdout_writer).as_fd(),
                stderr: stderr_writer.as_fd(),
            };
            let group = started.pids.first().copied().unwrap_or(0);
            start(task, argv, group, beside, &descriptors, launch.take())
        })();
        match result {
            Ok(pid) => started.pids.push(pid),
            Err(e) => {
                let why = explain(&e, &argv[0], task);
                return Err(match started.pids.is_empty() {
                    true => Failure::NotStarted(why),
                    false => Failure::Partly { why, started },
                });
            }
        }
    }
    if hold_writers {
        started.writers.extend([stdout_writer, stderr_writer]);
    }
    Ok(started)
}

/// A start by `posix_spawn`. None: that cannot look for the program where the task wants it.
fn launch(
    task: &StartTask,
    argv: &[String],
    group: i32,
    beside: &Beside<'_>,
    descriptors: &Descriptors<'_>,
) -> io::Result<Option<Launch>> {
    let path_is_given =
        beside.without.iter().all(|name| name != "PATH") && task.env.iter().all(|(name, _)| name != "PATH");
    if !path_is_given {
        return Ok(None);
    }
    let own = task.env.iter().map(|(name, value)| (name.as_bytes(), value.0.as_slice()));
    let extra = beside.extra.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let variables = beside.given.with(beside.without, own.chain(extra))?;
    Launch::new(beside.given, argv, &task.workdir, variables, group, descriptors).map(Some)
}

/// Starts it with its task's mark, and with the limit of descriptors that this program was given.
fn start(
    task: &StartTask,
    argv: &[String],
    group: i32,
    beside: &Beside<'_>,
    descriptors: &Descriptors<'_>,
    ready: Option<Launch>,
) -> io::Result<i32> {
    let ready = match ready {
        Some(ready) => Some(ready),
        None => launch(task, argv, group, beside, descriptors)?,
    };
    if let Some(ready) = ready {
        return mark::with(beside.mark, || with_limit_given(|| ready.start()));
    }
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).current_dir(&task.workdir).process_group(group);
    for name in beside.without {
        command.env_remove(name);
    }
    for (name, value) in &task.env {
        command.env(name, OsStr::from_bytes(&value.0));
    }
    for (name, value) in beside.extra {
        command.env(name, value);
    }
    command.stdin(match descriptors.stdin {
        Some(stdin) => Stdio::from(stdin.try_clone_to_owned()?),
        None => Stdio::from(File::options().read(true).write(true).open("/dev/null")?),
    });
    command.stdout(descriptors.stdout.try_clone_to_owned()?);
    command.stderr(descriptors.stderr.try_clone_to_owned()?);
    give_limit_back(&mut command);
    let child = mark::with(beside.mark, || command.spawn())?;
    Ok(i32::try_from(child.id()).unwrap_or(0))
}

/// The search path that the command will see.
fn search_path(task: &StartTask) -> OsString {
    let own = task.env.iter().rev().find(|(name, _)| name == "PATH");
    match own {
        Some((_, value)) => OsString::from_vec(value.0.clone()),
        None => std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into()),
    }
}

fn find_program(program: &str, task: &StartTask) -> Option<PathBuf> {
    if program.contains('/') {
        let path = task.workdir.join(program);
        return path.exists().then_some(path);
    }
    std::env::split_paths(&search_path(task))
        .map(|dir| task.workdir.join(dir).join(program))
        .find(|p| p.is_file())
}

fn check_program(program: &str, task: &StartTask) -> Result<(), String> {
    match find_program(program, task) {
        None => Err(explain(&ErrorKind::NotFound.into(), program, task)),
        Some(path) if access(&path, AccessFlags::X_OK).is_err() => {
            Err(explain(&ErrorKind::PermissionDenied.into(), program, task))
        }
        Some(_) => Ok(()),
    }
}

/// What to say when the kernel refuses. The same error number may mean the program or the folder.
fn explain(error: &io::Error, program: &str, task: &StartTask) -> String {
    if let Some(text) = explain_workdir(&task.workdir) {
        return text;
    }
    if error.raw_os_error() == Some(libc::E2BIG) {
        return format!(
            "{program}: the arguments and the environment are too long for the kernel; pass the data on stdin or in a file"
        );
    }
    match error.kind() {
        ErrorKind::NotFound => match find_program(program, task) {
            Some(path) => format!(
                "{}: the interpreter in its first line, or its loader, does not exist",
                path.display()
            ),
            None if program.contains('/') => format!("{program}: there is no such program"),
            None => format!("{program}: no such program in PATH"),
        },
        ErrorKind::PermissionDenied => {
            let path = find_program(program, task).unwrap_or_else(|| program.into());
            format!("{}: may not be executed (permission denied)", path.display())
        }
        ErrorKind::InvalidInput => {
            format!("{program}: an argument or a variable holds a NUL byte, which no process can receive")
        }
        _ => format!("{program}: could not be started: {error}"),
    }
}

fn explain_workdir(workdir: &Path) -> Option<String> {
    let shown = workdir.display();
    match std::fs::metadata(workdir) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            Some(format!("the working folder {shown} does not exist"))
        }
        Err(e) => Some(format!("the working folder {shown} cannot be used: {e}")),
        Ok(meta) if !meta.is_dir() => Some(format!("the working folder {shown} is not a folder")),
        Ok(_) if access(workdir, AccessFlags::X_OK).is_err() => {
            Some(format!("the working folder {shown} may not be entered (permission denied)"))
        }
        Ok(_) => None,
    }
}
