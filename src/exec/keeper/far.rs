//! What the keeper does more for a task on another host: it asks over there for the task's end, reads from what was said
//! in band how it ended, and keeps in mind where there is something to clear away.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::keep::{Keeper, now};
use super::task::{Ending, Moment, Outlet, Phase, Reason, Task};
use crate::exec::far::filter::{Filter, Frame};
use crate::exec::far::{Far, GONE};
use crate::exec::protocol::StartTask;
use crate::exec::tree::TOKEN;
use crate::exec::{mark, outputs};
use crate::model::{Millis, TaskEndKind, TaskId};

/// So long, beyond the grace, a host is given to end what it was asked to end.
const PATIENCE: Moment = 20_000;
/// So long hosts are given to be tidied up. Less than a runner that comes meanwhile waits for an answer of this keeper.
const TIDYING: Moment = 8_000;
/// So long is waited for the last word once a host has said that nothing is left.
const LAST_WORD: Moment = 5_000;
/// A way that does not end although all was said: something over there holds it open.
const LINGER: Moment = 1_000;

/// Asks a host for something beside the task's own way.
pub(super) struct Helper {
    pub pid: i32,
    /// Its exit code once it has ended; -1 for a signal.
    pub code: Option<i32>,
}

pub(super) struct FarTask {
    pub far: Far,
    argv: Vec<String>,
    workdir: PathBuf,
    pub helpers: Vec<Helper>,
    /// Until then it has to have answered.
    pub answer_by: Moment,
    /// Since when all has been said.
    said: Option<Moment>,
    /// Its way was ended from here although all had been said.
    pub lingered: bool,
}

impl FarTask {
    pub fn of(order: &StartTask, began: Moment) -> Option<Box<Self>> {
        let far = order.far.as_deref()?;
        Some(Box::new(Self {
            answer_by: began.saturating_add(far.patience.0),
            far: far.clone(),
            argv: order.commands.first()?.clone(),
            workdir: order.workdir.clone(),
            helpers: Vec::new(),
            said: None,
            lingered: false,
        }))
    }

    pub fn filter(&self) -> Filter {
        Filter::new(&self.far.token, &self.far.mark)
    }

    /// What the last one that was asked to end it has answered.
    fn answer(&self) -> Option<i32> {
        self.helpers.last().and_then(|helper| helper.code)
    }
}

impl Outlet {
    fn frames(&self) -> &[Frame] {
        self.filter.as_ref().map_or(&[], |filter| &filter.frames)
    }
}

impl Task {
    /// What is to be written may be written: the other side reads it.
    pub fn may_feed(&self) -> bool {
        self.far.is_none() || self.is_ready()
    }

    /// The other side has answered; before that, nothing was sent.
    fn is_ready(&self) -> bool {
        self.outlets[0].filter.as_ref().is_some_and(|filter| filter.is_ready)
    }

    /// Until when its host has to answer, if it has not.
    pub fn answer_by(&self) -> Option<Moment> {
        self.far.as_ref().filter(|_| !self.is_ready()).map(|far| far.answer_by)
    }

    /// Its way has had its time. Whatever it still says, nothing is sent by it any more.
    pub fn give_way_up(&mut self, now: Moment) {
        self.stdin = None;
        let phase = Phase::Killing { round_at: now, give_up_at: now + super::end::FORCE };
        self.ending = Some(Ending { reason: Reason::Unanswered, phase });
    }

    /// The word that says what became of it.
    pub fn last_word(&self) -> Option<&Frame> {
        const WORDS: [&str; 9] =
            ["exit", "signal", "refused", "taken", "never", "vanished", "anew", "lost", "gone"];
        self.outlets[0].frames().iter().rev().find(|frame| WORDS.contains(&frame.word.as_str()))
    }

    /// How long it took, as its host has measured it.
    pub fn took_there(&self) -> Option<Millis> {
        let took = self.outlets[0].frames().iter().find(|frame| frame.word == "took")?;
        Some(Millis::secs(took.rest.parse().ok()?))
    }

    pub fn runs_there(&self) -> bool {
        self.outlets[0].frames().iter().any(|frame| frame.word == "runs")
    }

    /// Its end is known, and all that it wrote has come.
    fn has_said_all(&self) -> bool {
        self.last_word().is_some() && self.outlets[1].frames().iter().any(|frame| frame.word == "end")
    }

    /// When a way that lingers is to be looked at.
    pub fn linger_until(&self) -> Option<Moment> {
        let said = self.far.as_ref()?.said?;
        self.reaped.is_none().then_some(said + LINGER)
    }

    /// Ends the way once nothing more can come by it.
    pub fn end_way(&mut self, now: Moment) {
        if self.far.is_none() || self.reaped.is_some() || !self.has_said_all() {
            return;
        }
        let main = self.mains.first().filter(|(_, status)| status.is_none()).map(|(pid, _)| *pid);
        let Some(far) = &mut self.far else { return };
        let said = *far.said.get_or_insert(now);
        if now >= said + LINGER
            && let Some(pid) = main
        {
            // Not reaped yet, so it is nobody else.
            let _ = kill(Pid::from_raw(pid), if far.lingered { Signal::SIGKILL } else { Signal::SIGTERM });
            far.lingered = true;
            far.said = Some(now);
        }
    }

    /// How it ended, and whether that is unknown only because the way broke.
    pub fn far_kind(&self, far: &FarTask) -> (TaskEndKind, bool) {
        let host = &far.far.host;
        let unknown = |why: String| TaskEndKind::Unknown { why };
        let ended = self.ending.as_ref().map(|ending| match ending.reason {
            Reason::Timeout => TaskEndKind::TimedOut,
            Reason::Stop | Reason::Unanswered | Reason::Incomplete => TaskEndKind::Cancelled,
        });
        if self.ending.as_ref().is_some_and(|ending| ending.reason == Reason::Unanswered) {
            return (unanswered(&far.far), false);
        }
        if let Some(frame) = self.last_word() {
            let number = frame.rest.parse().unwrap_or(-1);
            let kind = match (frame.word.as_str(), ended) {
                ("refused", _) => TaskEndKind::NotStarted { error: format!("{host}: {}", frame.rest) },
                ("never", _) => TaskEndKind::NotStarted {
                    error: format!(
                        "it never began on {host}: the link broke before, and it will not begin any more"
                    ),
                },
                ("taken", _) => return (unknown(format!("{host} says that it was begun before")), true),
                ("vanished", _) => unknown(format!(
                    "{host} knows nothing of it, and may have been made anew since; whether it ran cannot be known"
                )),
                ("anew", _) => unknown(format!(
                    "{host} knows nothing of it, and is younger than it; whether it ran before cannot be known"
                )),
                ("lost" | "gone", _) => {
                    unknown(format!("on {host}: {}; how it ended cannot be known", frame.rest))
                }
                (_, Some(ended)) => ended,
                ("signal", None) => TaskEndKind::Signaled { signal: number },
                (_, None) => TaskEndKind::Exited { code: number },
            };
            return (kind, false);
        }
        match ended {
            Some(ended) if !self.is_ready() && !far.far.asks => (ended, false),
            Some(ended) if far.answer() == Some(GONE) => (ended, false),
            Some(ended) => {
                let what = if ended == TaskEndKind::TimedOut { "its time was up" } else { "it was to end" };
                (unknown(format!("{what}, and {host} could not be reached: it may still run there")), false)
            }
            None if !self.is_ready() => {
                let error = self.way_error();
                let kind = match far.far.asks {
                    true => unknown(unasked(host, &error)),
                    false => TaskEndKind::NotStarted { error: format!("{host} cannot be reached: {error}") },
                };
                (kind, false)
            }
            None => {
                let why =
                    format!("the link to {host} broke: {}; how it ended is not known here", self.way_error());
                (unknown(why), true)
            }
        }
    }

    /// Whatever became of it, it surely does not run there any more.
    pub fn is_gone_there(&self) -> bool {
        self.last_word().is_some_and(|frame| matches!(frame.word.as_str(), "anew" | "gone"))
    }

    /// What the process that led there said last, and how it ended.
    fn way_error(&self) -> String {
        let noise = self.outlets[1].filter.as_ref().map(Filter::noise).unwrap_or_default();
        let last = noise.lines().rev().map(str::trim).find(|line| !line.is_empty());
        match (last, self.mains.first().and_then(|(_, status)| *status)) {
            (Some(line), _) => line.to_owned(),
            (None, Some(nix::sys::wait::WaitStatus::Exited(_, code))) => format!("exit {code}"),
            (None, _) => "its process was ended".to_owned(),
        }
    }

    /// Whether a task that was asked to end over there is over here, or has to be ended here.
    pub fn advance_far(&mut self, left: bool, now: Moment) {
        let end_known = self.last_word().is_some();
        let (Some(far), Some(ending)) = (&self.far, &mut self.ending) else { return };
        let Phase::Asked { kill_at, look_at } = &mut ending.phase else { return };
        let answer = far.answer();
        if !left && (end_known || answer.is_some()) {
            ending.phase = Phase::Over;
        } else if *kill_at <= now || answer.is_some_and(|code| code != GONE) {
            ending.phase = Phase::Killing { round_at: now, give_up_at: now + super::end::FORCE };
        } else {
            if answer.is_some() {
                *kill_at = (*kill_at).min(now + LAST_WORD);
            }
            *look_at = now + super::end::LOOK;
        }
    }
}

impl Keeper {
    /// Asks the host to end the task. False: there is nobody to ask, for nothing was sent.
    pub(super) fn ask_to_end(&mut self, at: usize, reason: Reason, force: bool) -> bool {
        let task = &self.tasks[at];
        let Some(far) = task.far.as_ref().filter(|_| task.is_ready()) else { return false };
        let grace = if force { 0 } else { task.grace.0.div_ceil(1000) };
        let stdin = [format!("G={grace}\n").as_bytes(), &far.far.stop.0].concat();
        let helper = self.spawn_helper(&far.argv, &far.workdir, &stdin);
        let task = &mut self.tasks[at];
        let reason = task.ending.as_ref().map_or(reason, |ending| ending.reason);
        let kill_at = now().saturating_add(grace.saturating_mul(1000)).saturating_add(PATIENCE);
        let phase = Phase::Asked { kill_at, look_at: now() + super::end::LOOK };
        task.ending = Some(Ending { reason, phase });
        if let Some(far) = &mut task.far {
            let failed = Helper { pid: -1, code: Some(-1) };
            far.helpers.push(helper.map_or(failed, |pid| Helper { pid, code: None }));
        }
        true
    }

    /// A process beside the tasks. What it is told fits into a pipe, so nobody has to feed it.
    pub(super) fn spawn_helper(&self, argv: &[String], workdir: &Path, stdin: &[u8]) -> io::Result<i32> {
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(stdin)?;
        drop(writer);
        let mut command = self.beside(argv, workdir)?;
        command.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null());
        self.spawn_beside(&mut command)
    }

    pub(super) fn beside(&self, argv: &[String], workdir: &Path) -> io::Result<Command> {
        let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(workdir).process_group(0).env(TOKEN, self.ways_token());
        for name in self.secret_names() {
            command.env_remove(name);
        }
        Ok(command)
    }

    pub(super) fn spawn_beside(&self, command: &mut Command) -> io::Result<i32> {
        crate::exec::give_limit_back(command);
        self.started_beside.set(true);
        let child = mark::with(mark::of(&self.ways_token()), || command.spawn())?;
        Ok(i32::try_from(child.id()).unwrap_or(-1))
    }

    /// Marks what leads to other hosts and is no task.
    pub(super) fn ways_token(&self) -> String {
        format!("{}/ways", self.run_dir.display())
    }

    /// Variables of this process that hold a secret: a process that only leads elsewhere has no use for them.
    pub(super) fn secret_names(&self) -> Vec<std::ffi::OsString> {
        let is_secret = |value: &std::ffi::OsStr| {
            use std::os::unix::ffi::OsStrExt;
            self.secrets.iter().any(|secret| secret.as_slice() == value.as_bytes())
        };
        std::env::vars_os().filter(|(_, value)| is_secret(value)).map(|(name, _)| name).collect()
    }

    /// What was said in band of `$RUNBOOK_OUTPUT`, and what an asked host has given again, take their places.
    pub(super) fn keep_far(&self, id: &TaskId, far: &FarTask, kv: &[u8], whole: bool) {
        let published = outputs::published_path(&self.run_dir, id);
        if !kv.is_empty() {
            // What cannot be written here cannot be read here either, and then says so.
            let _ = write_anew(&published, kv);
        }
        if far.far.asks {
            for extension in ["out", "err"] {
                let old = self.run_dir.join("output").join(format!("{}.{extension}", id.file_stem()));
                let new = old.with_extension(format!("{extension}.new"));
                let _ = if whole { fs::rename(&new, &old) } else { fs::remove_file(&new) };
            }
        }
    }

    /// Where there will be something to clear away.
    pub(super) fn remember_host(&mut self, order: &StartTask) {
        if let (Some(far), Some(argv)) = (&order.far, order.commands.first()) {
            let place = (argv.clone(), order.workdir.clone(), far.clean.0.clone());
            self.hosts.entry(far.host.clone()).or_insert(place);
        }
    }

    /// Takes the run's folders on other hosts away, as far as they can be reached now; what is in doubt stays.
    pub(super) fn clean_hosts(&mut self) {
        let Some(keep) = self.clean.take() else { return };
        let names: String = keep.iter().map(|task| format!(" {}", task.file_stem())).collect();
        let head = format!("KEEP='{names} '\n");
        let mut open: Vec<i32> = Vec::new();
        for (argv, workdir, clean) in std::mem::take(&mut self.hosts).into_values() {
            let stdin = [head.as_bytes(), &clean].concat();
            open.extend(self.spawn_helper(&argv, &workdir, &stdin));
        }
        let until = now() + TIDYING;
        while !open.is_empty() && now() < until {
            open.retain(|pid| crate::exec::procfs::stat(*pid).is_some_and(|stat| !stat.has_ended()));
            std::thread::sleep(Millis(10).std());
        }
    }
}

/// What becomes of a task whose host did not answer in time.
pub(super) fn unanswered(far: &Far) -> TaskEndKind {
    let error = format!("no answer within {}", far.patience);
    match far.asks {
        true => TaskEndKind::Unknown { why: unasked(&far.host, &error) },
        false => TaskEndKind::NotStarted { error: format!("{} cannot be reached: {error}", far.host) },
    }
}

/// Why nobody knows what became of a task.
pub(super) fn unasked(host: &str, error: &str) -> String {
    format!(
        "the link to {host} broke, and it cannot be asked what became of it: {error}; it may still run there"
    )
}

fn write_anew(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}
