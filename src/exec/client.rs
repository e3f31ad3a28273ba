//! The runner's side: hands tasks out, brings their events together.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::attach::{self, Trace};
use super::far::{Content, Orders};
use super::link::{self, Joined, Link};
use super::notes::Notes;
use super::orphan::{self, Orphan};
use super::outputs::OutputFolder;
use super::protocol::{Bytes, EndedTask, FromKeeper, StartTask, ToKeeper};
use super::redact::Redactor;
use super::{Abroad, InFlight};
use super::{ExecConfig, ExecEvent, Finding, TaskSpec, http, outputs, procfs, sql};
use crate::model::{
    Host, Millis, Op, ProcessOp, Reach, Secret, SecretText, TaskEnd, TaskEndKind, TaskId, TaskOutput, Want,
};

/// How long a living keeper may take to answer a runner that joins.
const ANSWER: Duration = Duration::from_secs(10);
/// How long hosts may take to say how a task stands, before it is called running.
const ANSWER_ABROAD: Duration = Duration::from_secs(60);

/// What the keeper was told to carry out.
struct Kept {
    want: Want,
    /// To be handed to another keeper, should this one die before it has begun. Absent once that was done, and for
    /// what an earlier process has handed over.
    order: Option<Box<StartTask>>,
    /// To ask its host what became of it, should the way there break. Once.
    far: Option<Box<Abroad>>,
}

impl Kept {
    fn joined(want: Want) -> Self {
        Self { want, order: None, far: None }
    }
}

/// The end of a task that the keeper does not carry out.
type Answer = (TaskId, TaskEnd, TaskOutput);

/// The tasks of one run. To be used within a tokio runtime with I/O and time.
pub struct Exec {
    config: ExecConfig,
    outputs: OutputFolder,
    redactor: Redactor,
    link: Option<Link>,
    /// What the keeper carries out.
    kept: BTreeMap<TaskId, Kept>,
    /// Queries and requests; to send (or to drop) ends them.
    others: BTreeMap<TaskId, oneshot::Sender<()>>,
    /// Commands that outlived their keeper; to send ends them, `true` by force.
    orphans: BTreeMap<TaskId, mpsc::UnboundedSender<bool>>,
    ready: VecDeque<ExecEvent>,
    /// What was made ready and is not told to start yet.
    held: Option<TaskId>,
    /// What the keeper has made ready although nobody has decided that it starts.
    ahead: Option<Box<StartTask>>,
    /// Tasks of which their hosts say that they run.
    runs: Vec<TaskId>,
    /// Tasks of which nobody knows how they ended: what there is of them on other hosts must stay.
    doubtful: Vec<TaskId>,
    answers: mpsc::UnboundedReceiver<Answer>,
    answer: mpsc::UnboundedSender<Answer>,
    http: http::Clients,
}

impl Exec {
    /// For a new run. Starts nothing yet: the keeper is started with the first process.
    pub fn new(config: ExecConfig) -> Self {
        let (answer, answers) = mpsc::unbounded_channel();
        Self {
            redactor: Redactor::new(config.secrets.values()),
            outputs: OutputFolder::of(&config.run_dir),
            config,
            link: None,
            kept: BTreeMap::new(),
            others: BTreeMap::new(),
            orphans: BTreeMap::new(),
            ready: VecDeque::new(),
            held: None,
            ahead: None,
            runs: Vec::new(),
            doubtful: Vec::new(),
            answers,
            answer,
            http: http::Clients::default(),
        }
    }

    /// For a resumed run: joins the keeper if it lives, else reads what it noted, and says for each task in flight
    /// what became of it.
    pub async fn attach(
        config: ExecConfig,
        in_flight: Vec<InFlight>,
    ) -> io::Result<(Self, Vec<(TaskId, Finding)>)> {
        let mut exec = Self::new(config);
        // Before joining: an end may come along with the keeper's answer.
        exec.kept.extend(in_flight.iter().map(|flight| (flight.task.clone(), Kept::joined(flight.want))));
        let running = exec.join().await?;
        let boot_id = procfs::boot_id();
        // Read after the keeper has answered: what does not run by then has all its notes.
        let notes = Notes::read(&exec.config.run_dir, &boot_id)?;
        let mut findings = Vec::new();
        let mut asked = Vec::new();
        for InFlight { task, want, abroad } in in_flight {
            if running.contains(&task) {
                findings.push((task, Finding::Running));
                continue;
            }
            exec.kept.remove(&task);
            match abroad.filter(|_| attach::must_ask(&notes, &task)) {
                Some(abroad) => {
                    exec.ask(&task, want, abroad);
                    asked.push(task);
                }
                None => {
                    let finding = exec.find(&notes, &task, want, &boot_id);
                    findings.push((task, finding));
                }
            }
        }
        exec.hear_answers(asked, &mut findings).await;
        Ok((exec, findings))
    }

    /// Masks the run's secrets in texts that come from elsewhere.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// The tasks that a living keeper runs.
    async fn join(&mut self) -> io::Result<Vec<TaskId>> {
        loop {
            let mut link = match Link::join(&self.config.run_dir).await? {
                Joined::Dead => return Ok(Vec::new()),
                Joined::Alive(link) => link,
            };
            link.send(&self.hello());
            let messages = match tokio::time::timeout(ANSWER, link.turn()).await {
                Ok(Ok(messages)) => messages,
                // It ended just now.
                Ok(Err(_)) => continue,
                Err(_) => return Err(io::Error::other("the run's keeper does not answer")),
            };
            let mut running = Vec::new();
            for message in messages {
                match message {
                    FromKeeper::Joined { running: tasks } => running = tasks,
                    other => self.hear(other),
                }
            }
            self.link = Some(link);
            return Ok(running);
        }
    }

    /// What the hosts say of the tasks; what still runs there, or is not answered in time, goes on.
    async fn hear_answers(&mut self, mut asked: Vec<TaskId>, findings: &mut Vec<(TaskId, Finding)>) {
        let deadline = tokio::time::Instant::now() + ANSWER_ABROAD;
        let mut later = Vec::new();
        loop {
            let runs = std::mem::take(&mut self.runs);
            asked.retain(|task| !runs.contains(task));
            findings.extend(runs.into_iter().map(|task| (task, Finding::Running)));
            while let Some(event) = self.ready.pop_front() {
                match event {
                    ExecEvent::Ended { task, end, output } if asked.contains(&task) => {
                        asked.retain(|other| *other != task);
                        let finding = match end.kind {
                            // Nothing was started by asking: what never began is told so.
                            TaskEndKind::NotStarted { .. } => Finding::NeverStarted,
                            TaskEndKind::Unknown { why } if !end.gone => Finding::Unknown { why },
                            _ => Finding::Ended { end, output },
                        };
                        findings.push((task, finding));
                    }
                    other => later.push(other),
                }
            }
            // A word that a task runs is no event: each turn is looked at.
            if asked.is_empty() || tokio::time::timeout_at(deadline, self.turn()).await.is_err() {
                break;
            }
        }
        findings.extend(asked.into_iter().map(|task| (task, Finding::Running)));
        later.into_iter().rev().for_each(|event| self.ready.push_front(event));
    }

    /// Asks the task's host what became of it; its end follows.
    fn ask(&mut self, task: &TaskId, want: Want, abroad: Abroad) {
        let orders = Orders { run_dir: &self.config.run_dir, task, host: &abroad.host };
        let start = StartTask {
            task: task.clone(),
            commands: vec![orders.argv()],
            workdir: self.way_folder(&abroad.host, &abroad.root),
            env: Vec::new(),
            stdin: Some(Bytes(orders.ask(abroad.age))),
            timeout: abroad.timeout,
            grace: abroad.grace,
            want,
            sensitive: abroad.sensitive,
            far: Some(Box::new(orders.far(true))),
        };
        self.hand_over(start, false, false, None);
    }

    /// Where a process that leads to a host starts: the shared connection is found from the run's folder, and a program of
    /// the playbook from the playbook's.
    fn way_folder(&self, host: &Host, root: &Path) -> PathBuf {
        match host.reach {
            Reach::Ssh(_) => self.config.run_dir.clone(),
            _ => root.to_owned(),
        }
    }

    fn find(&mut self, notes: &Notes, task: &TaskId, want: Want, boot_id: &str) -> Finding {
        match attach::trace(notes, task, boot_id) {
            Trace::NeverStarted => Finding::NeverStarted,
            Trace::Ended(ended) => {
                let end = ended.end.clone();
                let output = self.load(*ended, want);
                Finding::Ended { end, output }
            }
            Trace::Unknown { why } => Finding::Unknown { why },
            Trace::Orphan(orphan) => {
                self.watch(task.clone(), orphan);
                Finding::Running
            }
        }
    }

    /// Waits for the end of a command whose keeper is dead. Its exit code is lost; that it is over is still worth
    /// knowing, before anything is decided about it.
    fn watch(&mut self, task: TaskId, orphan: Orphan) {
        let (order, orders) = mpsc::unbounded_channel();
        self.orphans.insert(task.clone(), order);
        let (answer, run_dir) = (self.answer.clone(), self.config.run_dir.clone());
        tokio::spawn(async move {
            let end = orphan::watch(&run_dir, &task, orphan, orders).await;
            // The run may be over: then nobody waits for it any more.
            let _ = answer.send((task, end, TaskOutput::none()));
        });
    }

    fn load(&self, ended: EndedTask, want: Want) -> TaskOutput {
        outputs::load(&self.outputs, ended, want, &self.redactor)
    }

    fn hello(&self) -> ToKeeper {
        let secrets = self.config.secrets.values().map(|s| Bytes(s.expose().to_vec())).collect();
        ToKeeper::Hello { secrets, output_cap: self.config.output_cap }
    }

    /// Starts a task. Whatever goes wrong comes as its `Ended`.
    pub fn begin(&mut self, spec: TaskSpec) {
        self.hand_out(spec, false);
    }

    /// Whether [`Exec::ready`] is of use for it: a command here, for a keeper that has nothing else to do.
    pub fn may_be_ready(&self, op: &Op) -> bool {
        matches!(op, Op::Process(op) if op.host.is_none()) && self.link.is_some() && self.kept.is_empty()
    }

    /// Whether [`Exec::look_ahead`] is of use: one task is under way.
    pub fn may_look_ahead(&self) -> bool {
        self.link.is_some() && self.kept.len() == 1
    }

    /// Lets the keeper make ready what will probably be the next to start; nothing is to be undone if it is not. A pipeline is
    /// left alone: whether its programs are there is looked at once, and that must not be early.
    pub fn look_ahead(&mut self, spec: TaskSpec) {
        let plain = matches!(&spec.op, Op::Process(op) if op.host.is_none() && op.commands.len() == 1);
        let Some(Ok((start, _))) = plain.then(|| self.order(spec)) else { return };
        let ready = ToKeeper::Ready(Box::new(start));
        if let Some(link) = &mut self.link {
            link.send(&ready);
        }
        if let ToKeeper::Ready(start) = ready {
            self.ahead = Some(start);
        }
    }

    /// What was foreseen is decided: as [`Exec::ready`], without a word to the keeper. False if it is not ready after all.
    pub fn came_true(&mut self, task: &TaskId) -> bool {
        let Some(order) = self.ahead.take().filter(|order| order.task == *task) else { return false };
        let kept = Kept { want: order.want, order: Some(order), far: None };
        self.held = Some(task.clone());
        self.kept.insert(task.clone(), kept);
        true
    }

    /// The first half of [`Exec::begin`], for a task whose records are not synced yet: the keeper makes ready what nobody can
    /// see. [`Exec::go`] or [`Exec::withdraw`] must follow at once.
    pub fn ready(&mut self, spec: TaskSpec) {
        self.held = Some(spec.task.clone());
        self.hand_out(spec, true);
    }

    /// The second half: what was made ready starts. False if there is nothing.
    pub fn go(&mut self) -> bool {
        // One that could not even be made ready has its end already.
        let held = self.held.take().filter(|task| self.kept.contains_key(task));
        let Some((task, link)) = held.zip(self.link.as_mut()) else { return false };
        link.send(&ToKeeper::Go { task });
        true
    }

    /// It does not start after all.
    pub fn withdraw(&mut self) {
        if let Some(task) = self.held.take() {
            self.kept.remove(&task);
            let is_its =
                |event: &ExecEvent| matches!(event, ExecEvent::Ended { task: other, .. } if *other == task);
            self.ready.retain(|event| !is_its(event));
        }
    }

    /// With `hold` it does not start yet.
    fn hand_out(&mut self, spec: TaskSpec, hold: bool) {
        let (task, timeout) = (spec.task.clone(), spec.timeout);
        match spec.op {
            Op::Process(_) => match self.order(spec) {
                Ok((start, abroad)) => self.hand_over(start, hold, true, abroad.map(Box::new)),
                Err(error) => self.not_started(task, error),
            },
            Op::Http(op) => match http::Request::new(&op, &self.config.secrets) {
                Ok(request) => {
                    let (clients, redactor) = (self.http.clone(), self.redactor.clone());
                    self.answer_later(task, async move |stop| {
                        http::carry_out(clients, request, timeout, redactor, stop).await
                    });
                }
                Err(error) => self.not_started(task, error),
            },
            Op::Sql(op) => match sql::Statement::new(op, |text| self.resolve(text)) {
                Ok(statement) => {
                    let redactor = self.redactor.clone();
                    self.answer_later(task, async move |stop| {
                        statement.carry_out(timeout, redactor, stop).await
                    });
                }
                Err(error) => self.not_started(task, error),
            },
        }
    }

    /// The text with its secrets in it.
    fn resolve(&self, text: &SecretText) -> Result<Secret, String> {
        text.resolve(|name| self.config.secrets.get(name)).map_err(|error| error.to_string())
    }

    /// What the keeper is told of a process, and what it takes to ask its host about it, if that is another one.
    fn order(&self, spec: TaskSpec) -> Result<(StartTask, Option<Abroad>), String> {
        let TaskSpec { task, op, timeout, grace, want, sensitive, env, root } = spec;
        let Op::Process(op) = op else { return Err("it is no process".to_owned()) };
        let resolve = |text: &SecretText| self.resolve(text).map(|secret| Bytes(secret.expose().to_vec()));
        let mut env: Vec<(String, Bytes)> =
            env.into_iter().map(|(n, v)| (n, Bytes(v.into_bytes()))).collect();
        for (name, value) in &op.env {
            env.push((name.clone(), resolve(value)?));
        }
        if let Some((name, _)) = env.iter().find(|(name, _)| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(format!("{name:?} cannot be the name of a variable"));
        }
        let stdin = op.stdin.as_ref().map(resolve).transpose()?;
        let Some(host) = op.host.clone() else {
            let ProcessOp { commands, workdir, .. } = op;
            let start =
                StartTask { task, commands, workdir, env, stdin, timeout, grace, want, sensitive, far: None };
            return Ok((start, None));
        };
        if let Some(why) = host.reach.problem() {
            return Err(format!("{}: {why}", host.name));
        }
        // This run's folder is not there.
        env.retain(|(name, _)| name != "RUNBOOK_DIR");
        let orders = Orders { run_dir: &self.config.run_dir, task: &task, host: &host };
        let content = Content { op: &op, env: &env, stdin: stdin.as_ref(), sensitive };
        let start = StartTask {
            commands: vec![orders.argv()],
            workdir: self.way_folder(&host, &root),
            env: Vec::new(),
            stdin: Some(Bytes(orders.start(&content)?)),
            timeout,
            grace,
            want,
            sensitive,
            far: Some(Box::new(orders.far(false))),
            task: task.clone(),
        };
        Ok((start, Some(Abroad { host, root, sensitive, timeout, grace, age: Millis::ZERO })))
    }

    /// With `again`, another keeper gets it if this one dies before it has begun.
    fn hand_over(&mut self, start: StartTask, hold: bool, again: bool, far: Option<Box<Abroad>>) {
        if self.link.is_none() {
            match Link::start(&self.config.keeper_binary, &self.config.run_dir) {
                Ok(mut link) => {
                    link.send(&self.hello());
                    self.link = Some(link);
                    // Before descriptors can be short. If it fails, the first output that is looked for says so.
                    let _ = self.outputs.find();
                }
                Err(e) => {
                    let error = format!("the process that starts commands could not be started: {e}");
                    return self.not_started(start.task, error);
                }
            }
        }
        let (task, want) = (start.task.clone(), start.want);
        self.ahead = None;
        let start = Box::new(start);
        let message = if hold { ToKeeper::Ready(start) } else { ToKeeper::Start(start) };
        if let Some(link) = &mut self.link {
            link.send(&message);
        }
        let order = match message {
            ToKeeper::Start(start) | ToKeeper::Ready(start) if again => Some(start),
            _ => None,
        };
        self.kept.insert(task, Kept { want, order, far });
    }

    fn not_started(&mut self, task: TaskId, error: String) {
        let error = self.redactor.redact_text(&error);
        let end = TaskEnd::new(TaskEndKind::NotStarted { error }, Millis::ZERO);
        self.ready.push_back(ExecEvent::Ended { task, end, output: TaskOutput::none() });
    }

    /// Lets `work` go on beside everything else; its end comes through `answers`.
    fn answer_later<F>(&mut self, task: TaskId, work: impl FnOnce(oneshot::Receiver<()>) -> F)
    where
        F: Future<Output = (TaskEndKind, TaskOutput)> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        self.others.insert(task.clone(), stop);
        let answer = self.answer.clone();
        let work = work(stopped);
        tokio::spawn(async move {
            let began = std::time::Instant::now();
            let (kind, output) = work.await;
            let duration = Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
            // The run may be over: then nobody waits for it any more.
            let _ = answer.send((task, TaskEnd::new(kind, duration), output));
        });
    }

    /// Ends a task's process tree: TERM, grace, KILL; with `force` KILL at once. Its `Ended` follows.
    pub fn stop(&mut self, task: &TaskId, force: bool) {
        if let Some(stop) = self.others.remove(task) {
            let _ = stop.send(());
        } else if let Some(order) = self.orphans.get(task) {
            // It may just have ended.
            let _ = order.send(force);
        } else if let Some(link) = &mut self.link {
            link.send(&ToKeeper::Stop { task: task.clone(), force });
        }
    }

    /// Lets every running process rest, before this process is stopped by its terminal. Requests and queries, which are
    /// this process's own, rest with it.
    pub fn pause(&mut self) {
        if let Some(link) = &mut self.link {
            link.send(&ToKeeper::Pause);
        }
    }

    /// Lets them go on.
    pub fn unpause(&mut self) {
        if let Some(link) = &mut self.link {
            link.send(&ToKeeper::Continue);
        }
    }

    /// The next event; pending for ever if nothing runs. May be dropped at any await without losing one.
    pub async fn next(&mut self) -> ExecEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            self.turn().await;
        }
    }

    /// Waits for something to happen, and takes it in.
    async fn turn(&mut self) {
        let turn = async {
            match &mut self.link {
                Some(link) => link.turn().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            messages = turn => match messages {
                Ok(messages) => messages.into_iter().for_each(|m| self.hear(m)),
                Err(e) => self.lose(&e),
            },
            // `self` keeps a sender, so the channel never closes.
            Some((task, end, output)) = self.answers.recv() => {
                self.others.remove(&task);
                self.orphans.remove(&task);
                self.ready.push_back(ExecEvent::Ended { task, end, output });
            }
        }
    }

    fn hear(&mut self, message: FromKeeper) {
        match message {
            FromKeeper::Joined { .. } => {}
            FromKeeper::Runs { task } => self.runs.push(task),
            FromKeeper::Output { task, stream, bytes } => {
                self.ready.push_back(ExecEvent::Output { task, stream, bytes });
            }
            FromKeeper::Ended(ended) => {
                if let Some(Kept { want, far, .. }) = self.kept.remove(&ended.task) {
                    // The way broke: over another one, if there is one, the host tells how it goes on.
                    if let (true, Some(mut abroad)) = (ended.severed, far) {
                        abroad.age = ended.end.duration;
                        abroad.timeout =
                            abroad.timeout.map(|t| t.saturating_sub(abroad.age).max(Millis::secs(1)));
                        self.ask(&ended.task, want, *abroad);
                        return;
                    }
                    self.note_doubt(&ended);
                    let (task, end) = (ended.task.clone(), ended.end.clone());
                    let output = self.load(*ended, want);
                    self.ready.push_back(ExecEvent::Ended { task, end, output });
                }
            }
        }
    }

    fn note_doubt(&mut self, ended: &EndedTask) {
        if matches!(ended.end.kind, TaskEndKind::Unknown { .. }) {
            self.doubtful.push(ended.task.clone());
        }
    }

    /// All ends are recorded, and nothing more will be begun: what tasks left on other hosts is cleared away once the
    /// keeper goes, but for what is in doubt.
    pub fn recorded(&mut self) {
        if let Some(link) = &mut self.link {
            link.send(&ToKeeper::Clean { keep: std::mem::take(&mut self.doubtful) });
        }
    }

    /// The keeper is gone. What it noted still counts; the rest nobody can know.
    fn lose(&mut self, error: &io::Error) {
        let mut link = self.link.take();
        self.ahead = None;
        let kept = std::mem::take(&mut self.kept);
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "the process that starts commands was ended from outside".to_owned()
            }
            _ => format!("the process that starts commands cannot be reached: {error}"),
        };
        if let Some(link) = &mut link {
            link.hang_up();
        }
        let lingers = link::keeper_lingers(&self.config.run_dir);
        if !lingers && let Some(link) = &mut link {
            link.reap();
        }
        let boot_id = procfs::boot_id();
        let notes = Notes::read(&self.config.run_dir, &boot_id).ok();
        self.ready.push_back(ExecEvent::KeeperLost { why: why.clone() });
        let (mut orders, mut asks) = (Vec::new(), Vec::new());
        for (task, Kept { want, order, far }) in kept {
            let unknown =
                |why: String| (TaskEnd::new(TaskEndKind::Unknown { why }, Millis::ZERO), TaskOutput::none());
            if let Some(abroad) = far
                && notes.as_ref().is_none_or(|notes| attach::must_ask(notes, &task))
                && !lingers
            {
                asks.push((task, want, abroad));
                continue;
            }
            let trace = notes.as_ref().map(|notes| attach::trace(notes, &task, &boot_id));
            let (end, output) = match trace {
                Some(Trace::Ended(ended)) => (ended.end.clone(), self.load(*ended, want)),
                // It surely has not begun: nothing is repeated. Once, so that what kills each keeper comes to an end.
                Some(Trace::NeverStarted) if !lingers && let Some(order) = order => {
                    orders.push(order);
                    continue;
                }
                // A keeper that lives may still find the order.
                Some(Trace::NeverStarted) if !lingers => {
                    let error = format!("{why} before this command was started");
                    (TaskEnd::new(TaskEndKind::NotStarted { error }, Millis::ZERO), TaskOutput::none())
                }
                // Before it has ended, nobody may ask whether it took effect, let alone start it again.
                Some(Trace::Orphan(orphan)) => {
                    self.watch(task, orphan);
                    continue;
                }
                Some(Trace::Unknown { why }) if !lingers => unknown(why),
                _ => unknown(why.clone()),
            };
            self.ready.push_back(ExecEvent::Ended { task, end, output });
        }
        for order in orders {
            let far = None;
            self.hand_over(*order, false, false, far);
        }
        for (task, want, abroad) in asks {
            self.ask(&task, want, *abroad);
        }
    }
}
