//! Starts the commands of a task.
//!
//! `std::process::Command` without `pre_exec` stays on the fast path of `posix_spawn`. The keeper's own descriptors are
//! all close-on-exec, its signal mask is empty and it ignores no signal but SIGPIPE, which `Command` resets: so the
//! children start clean without any code between fork and exec. Only two limits are not theirs: see `start`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::libc;
use nix::unistd::{AccessFlags, access};

use crate::exec::descriptors::{give_limit_back, limit_given, with_limit_given};
use crate::exec::mark;
use crate::exec::protocol::StartTask;

/// The processes of a task, just started.
pub(super) struct Started {
    pub pids: Vec<i32>,
    pub stdin: Option<PipeWriter>,
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

/// Every process carries `mark`. `extra` is added to the environment after the task's own; `without` is not
/// handed on. With `hold_writers` the outputs
/// do not end with the processes, but when `Started::writers` are dropped.
pub(super) fn spawn(
    task: &StartTask,
    extra: &[(&str, OsString)],
    without: &[OsString],
    mark: u64,
    hold_writers: bool,
) -> Result<Started, Failure> {
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
    let (stdout, stdout_writer) = io::pipe().map_err(broken)?;
    let (stderr, stderr_writer) = io::pipe().map_err(broken)?;
    let mut writers = Vec::new();
    if hold_writers {
        writers.extend([&stdout_writer, &stderr_writer].into_iter().filter_map(|w| w.try_clone().ok()));
    }
    let mut stdout_writer = Some(stdout_writer);
    let mut started = Started { pids: Vec::new(), stdin: None, stdout, stderr, writers };
    let mut previous: Option<PipeReader> = None;
    for (at, argv) in task.commands.iter().enumerate() {
        let is_last = at + 1 == task.commands.len();
        let result = (|| {
            let mut command = Command::new(&argv[0]);
            command.args(&argv[1..]).current_dir(&task.workdir);
            command.process_group(started.pids.first().copied().unwrap_or(0));
            for name in without {
                command.env_remove(name);
            }
            for (name, value) in &task.env {
                command.env(name, OsString::from_vec(value.0.clone()));
            }
            for (name, value) in extra {
                command.env(name, value);
            }
            let null = || File::options().read(true).write(true).open("/dev/null");
            let stdin = match previous.take() {
                Some(reader) => OwnedFd::from(reader),
                None if at == 0 && task.stdin.is_some() => {
                    let (reader, writer) = io::pipe()?;
                    started.stdin = Some(writer);
                    OwnedFd::from(reader)
                }
                None => OwnedFd::from(null()?),
            };
            let stdout = match stdout_writer.take_if(|_| is_last) {
                Some(writer) => writer,
                None => {
                    let (reader, writer) = io::pipe()?;
                    previous = Some(reader);
                    writer
                }
            };
            start(
                &mut command,
                mark,
                [stdin, OwnedFd::from(stdout), OwnedFd::from(stderr_writer.try_clone()?)],
            )
        })();
        match result {
            Ok(child) => started.pids.push(i32::try_from(child.id()).unwrap_or(0)),
            Err(e) => {
                let why = explain(&e, &argv[0], task);
                return Err(match started.pids.is_empty() {
                    true => Failure::NotStarted(why),
                    false => Failure::Partly { why, started },
                });
            }
        }
    }
    Ok(started)
}

/// Starts it with these as stdin, stdout and stderr, with its task's mark, and with the limit of descriptors that this
/// program was given.
fn start(command: &mut Command, mark: u64, descriptors: [OwnedFd; 3]) -> io::Result<Child> {
    let all_below =
        |limit| descriptors.iter().all(|fd| u64::try_from(fd.as_raw_fd()).is_ok_and(|fd| fd < limit));
    // The C library's `posix_spawn` refuses a descriptor above the limit of the moment.
    let fast = limit_given().is_none_or(all_below);
    let [stdin, stdout, stderr] = descriptors;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    if fast {
        return mark::with(mark, || with_limit_given(|| command.spawn()));
    }
    give_limit_back(command);
    mark::with(mark, || command.spawn())
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
