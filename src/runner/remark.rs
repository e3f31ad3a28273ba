//! Words that change nothing of what runs: notes, who leads, who has taken notice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::{Act, Clock, Decision, Engine, Input, Outgoing, RunFacts, State};
use crate::journal::{StateDir, StateError};
use crate::model::{Cause, Channel, Event, Person, Record, RunId, SecretName, Via};
use crate::plan::{Plan, SecretSource};

use super::clock::{RunClock, wall_now};
use super::control::{Reply, Request};
use super::drive::{Driver, Stopped};
use super::error::RunError;
use super::facts::Identity;
use super::hear::open_undriven;
use super::load::{fold, read_plan};
use super::secrets;
use super::start::runtime;
use super::tell::{PATIENCE, Teller, Told};

/// The longest note, in bytes: a log is no place for files.
const LONGEST_NOTE: usize = 16 << 10;
/// The longest name, in bytes.
const LONGEST_NAME: usize = 200;

impl Driver<'_> {
    /// Records a remark from another terminal. What a run is told is its owner's; notice may also be taken by whoever
    /// holds a role in it.
    pub(super) fn remark(&mut self, said: Request, by: Person, owner: bool) -> Result<Reply, Stopped> {
        let may = owner || said == Request::Acknowledge && self.engine.plan().has_role(&by.name);
        if !may {
            let who = if said == Request::Acknowledge { ", or whoever holds a role in it," } else { "" };
            return Ok(Reply::refused(format!("only whoever owns the run{who} may say that")));
        }
        if let Some(reply) = said_before(self.engine.state(), &said, &by) {
            return Ok(reply);
        }
        match event_of(said, by) {
            Ok(event) => {
                let mut reply = reply_to(&event);
                let records = self.answer(vec![Input::Note(event)])?;
                if records.is_empty() {
                    return Ok(Reply::refused("the run takes no word now"));
                }
                let alerts = records.iter().filter_map(|record| match &record.event {
                    Event::Notice { cause: Cause::Acknowledged { .. }, channels, .. } => {
                        Some(channels.join(", "))
                    }
                    _ => None,
                });
                alerts.for_each(|alerts| reply.message.push_str(&format!("; {alerts} will be told")));
                Ok(reply)
            }
            Err(why) => Ok(Reply::refused(why)),
        }
    }
}

/// Records a remark in a run that nobody drives, also after its end. Whoever takes notice of a run that stands still has
/// its alerts acknowledged by this process: there is no other one to do it.
pub fn remark_undriven(state_dir: &StateDir, run: &RunId, said: Request) -> Result<Reply, RunError> {
    let uid = nix::unistd::getuid().as_raw();
    let by = Person { name: Identity::current().operator, uid: Some(uid), via: Via::Command };
    let event = match event_of(said.clone(), by.clone()) {
        Ok(event) => event,
        Err(why) => return Ok(Reply::refused(why)),
    };
    let still = Undriven { state_dir, run };
    let mut reply = reply_to(&event);
    let written = still.write(|engine, now| {
        let before = said_before(engine.state(), &said, &by);
        let news = before.is_none().then(|| event.clone());
        reply = before.unwrap_or_else(|| reply_to(&event));
        engine.record_remark(now, news)
    })?;
    let notices = written.acts.into_iter().filter_map(|act| match act {
        Act::Notify(out) => Some(*out),
        Act::Start(_) | Act::Stop { .. } => None,
    });
    let notices: Vec<Outgoing> = notices.collect();
    if notices.is_empty() {
        return Ok(reply);
    }
    let told = tell(&written.plan, &written.records, &written.head, &notices)?;
    for (_, channel, delivery) in &told {
        let word = match (delivery.delivered, delivery.unsure) {
            (true, _) => "was told".to_owned(),
            (false, unsure) => {
                let what = if unsure { "was perhaps told" } else { "was not told" };
                format!("{what}: {}", delivery.why.as_deref().unwrap_or("nobody knows why"))
            }
        };
        reply.message.push_str(&format!("; {channel} {word}"));
    }
    // Somebody may have taken the run up meanwhile: then its journal says that nobody knows of these.
    match still
        .write(|engine, now| Decision { records: engine.record_told(now, told.clone()), acts: Vec::new() })
    {
        Ok(_) | Err(RunError::State(StateError::Busy { .. })) => Ok(reply),
        Err(error) => Err(error),
    }
}

/// A run that no process drives.
struct Undriven<'a> {
    state_dir: &'a StateDir,
    run: &'a RunId,
}

/// What was written into its journal, and what is to be done now.
struct Written {
    plan: Arc<Plan>,
    /// All of them, the new ones last.
    records: Vec<Record>,
    acts: Vec<Act>,
    head: String,
}

impl Undriven<'_> {
    /// Writes what `decide` says; it is asked twice. The run is held for no longer than that: nobody waits for a channel to
    /// take it up.
    fn write(&self, mut decide: impl FnMut(&mut Engine, Clock) -> Decision) -> Result<Written, RunError> {
        let run = self.run;
        let dir = self.state_dir.run(run)?;
        let _lock = dir.try_lock()?;
        let (contents, _) = crate::journal::read(&dir)?;
        let plan = read_plan(&dir, run, &contents)?;
        let mut state = fold(&plan, run, &contents.records)?;
        let now = RunClock::after(state.last_t, state.last_at).now();
        let facts = RunFacts {
            id: run.to_string(),
            dir: dir.path().to_string_lossy().into_owned(),
            started_at: state.started_at.to_string(),
            operator: Identity::current().operator,
            environment: plan.environment.as_ref().map(|e| e.name.clone()),
        };
        let (mut records, mut head) = (contents.records, contents.head);
        let engine = |state: &State| Engine::with_state(plan.clone(), state.clone(), facts.clone());
        let mut decision = decide(&mut engine(&state), now);
        // A journal in which there is nothing to write stays as it is.
        if !decision.records.is_empty() {
            let mut journal = open_undriven(&dir, &plan, &mut state)?;
            decision = decide(&mut engine(&state), now);
            journal.append(&decision.records)?;
            journal.head().clone_into(&mut head);
            records.extend(decision.records);
        }
        Ok(Written { plan, records, acts: decision.acts, head })
    }
}

/// Sends notices and comes back when it is known what became of all of them, or after as long as a run that has ended
/// would wait. Nothing of a recovery hangs on it.
fn tell(plan: &Plan, records: &[Record], head: &str, notices: &[Outgoing]) -> Result<Vec<Told>, RunError> {
    let named = |channel: &&Channel| notices.iter().any(|out| out.channels.contains(&channel.name));
    let needed: Vec<&SecretName> = plan.channels.iter().filter(named).flat_map(Channel::secrets).collect();
    let sources = plan.secrets.iter().chain(&plan.channel_secrets);
    let sources: Vec<(SecretName, SecretSource)> =
        sources.filter(|(name, _)| needed.contains(&name)).cloned().collect();
    let keys = secrets::keys(&BTreeMap::new(), &sources).1;
    let mut open: BTreeSet<(u32, String)> = BTreeSet::new();
    for out in notices {
        open.extend(out.channels.iter().map(|channel| (out.number, channel.clone())));
    }
    Ok(runtime()?.block_on(async {
        let mut teller = Teller::start(plan, keys, records);
        let mut told: Vec<Told> = Vec::new();
        for out in notices {
            told.extend(teller.send(plan, out, head, wall_now()));
        }
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            told.iter().for_each(|(number, channel, _)| _ = open.remove(&(*number, channel.clone())));
            if open.is_empty() {
                return told;
            }
            match tokio::time::timeout_at(until, teller.next()).await {
                Ok(one) => told.push(one),
                Err(_) => {
                    told.extend(teller.leave(open.into_iter()));
                    return told;
                }
            }
        }
    }))
}

/// To take notice once is enough: nobody who may only do this can fill the journal with it.
fn said_before(state: &State, said: &Request, by: &Person) -> Option<Reply> {
    let again = *said == Request::Acknowledge && state.has_acknowledged(&by.name);
    again.then(|| Reply::ok(format!("{} has taken notice before", by.name)))
}

/// The record of what somebody says.
fn event_of(said: Request, by: Person) -> Result<Event, String> {
    let note = |text: String| match text.trim() {
        "" => Err("the note is empty".to_owned()),
        text if text.len() > LONGEST_NOTE => {
            Err(format!("the note is longer than {} KiB", LONGEST_NOTE >> 10))
        }
        text => Ok(text.to_owned()),
    };
    match said {
        Request::Note { text } => Ok(Event::Noted { text: note(text)?, by }),
        Request::HandOver { to, note: why } => {
            let to = to.trim().to_owned();
            if to.is_empty() || to.len() > LONGEST_NAME || to.chars().any(char::is_control) {
                return Err(format!("{to:?} is no name"));
            }
            Ok(Event::HandedOver { to, by, note: why.map(note).transpose()? })
        }
        Request::Acknowledge => Ok(Event::Acknowledged { by }),
        Request::Cancel { .. } | Request::Questions | Request::Answer(_) => {
            Err("that is no remark".to_owned())
        }
    }
}

fn reply_to(event: &Event) -> Reply {
    Reply::ok(match event {
        Event::HandedOver { to, .. } => format!("recorded: {to} leads from here on"),
        Event::Acknowledged { by } => format!("recorded: {} has taken notice", by.name),
        _ => "recorded".to_owned(),
    })
}
