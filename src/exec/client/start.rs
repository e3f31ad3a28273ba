//! From a task to an order for the keeper, at once or in two halves.

use tokio::sync::oneshot;

use super::{Exec, Kept};
use crate::exec::far::{Content, Orders};
use crate::exec::link::Link;
use crate::exec::protocol::{Bytes, StartTask, ToKeeper};
use crate::exec::{Abroad, ExecEvent, TaskSpec, http, sql};
use crate::model::{Millis, Op, ProcessOp, Secret, SecretText, TaskEnd, TaskEndKind, TaskId, TaskOutput};

impl Exec {
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
    pub(super) fn hand_over(&mut self, start: StartTask, hold: bool, again: bool, far: Option<Box<Abroad>>) {
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
}
