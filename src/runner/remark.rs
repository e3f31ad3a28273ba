//! Words that change nothing of what runs: notes, who leads, who has taken notice.

use crate::engine::{Input, State};
use crate::journal::{Journal, StateDir};
use crate::model::{Event, Person, Record, RunId, Via};

use super::clock::RunClock;
use super::control::{Reply, Request};
use super::drive::{Driver, Stopped};
use super::error::RunError;
use super::facts::Identity;
use super::load::{fold, read_plan};

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
                let reply = reply_to(&event);
                let records = self.answer(vec![Input::Note(event)])?;
                Ok(if records.is_empty() { Reply::refused("the run takes no word now") } else { reply })
            }
            Err(why) => Ok(Reply::refused(why)),
        }
    }
}

/// Records a remark in a run that nobody drives, also after its end.
pub fn remark_undriven(state_dir: &StateDir, run: &RunId, said: Request) -> Result<Reply, RunError> {
    let dir = state_dir.run(run)?;
    let _lock = dir.try_lock()?;
    let (contents, _) = crate::journal::read(&dir)?;
    let plan = read_plan(&dir, run, &contents)?;
    let mut state = fold(&plan, run, &contents.records)?;
    let uid = nix::unistd::getuid().as_raw();
    let by = Person { name: Identity::current().operator, uid: Some(uid), via: Via::Command };
    if let Some(reply) = said_before(&state, &said, &by) {
        return Ok(reply);
    }
    let event = match event_of(said, by) {
        Ok(event) => event,
        Err(why) => return Ok(Reply::refused(why)),
    };
    let reply = reply_to(&event);
    let now = RunClock::after(state.last_t, state.last_at).now();
    let (seq, epoch) = (state.seq + 1, state.epoch.max(1));
    let record = Record { seq, epoch, t: now.t.max(state.last_t), at: now.at, event };
    state.apply(&plan, &record).map_err(|why| RunError::Fold { run: run.clone(), why })?;
    let (mut journal, _, _) = Journal::open(&dir)?;
    journal.append(&[record])?;
    Ok(reply)
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
