//! What is known when the keeper is gone.

use std::io;

use super::{Exec, Kept};
use crate::exec::attach::{self, Trace};
use crate::exec::notes::Notes;
use crate::exec::{ExecEvent, link, procfs};
use crate::model::{Millis, TaskEnd, TaskEndKind, TaskOutput};

impl Exec {
    /// The keeper is gone. What it noted still counts; the rest nobody can know.
    pub(super) fn lose(&mut self, error: &io::Error) {
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
