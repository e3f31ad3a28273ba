//! The journal takes nothing new any more: nothing starts, and the outcomes of what runs are still recorded where the
//! disk allows it. What cannot be recorded is not lost: the keeper goes on without this process and notes it, and a
//! resume reads those notes.

use std::io::Write;

use crate::engine::Engine;
use crate::exec::ExecEvent;
use crate::journal;
use crate::model::{Event, Record};

use super::drive::{Driver, Signals};
use super::load;

/// Waits for what is in flight. A person who asks for the end again is not kept waiting: the commands stay with the
/// keeper.
pub(super) async fn wind_down(mut driver: Driver<'_>, lost: Vec<Record>, signals: &mut Signals) {
    // After a failed sync nobody knows what is in the file: to wait for what could not be recorded helps nobody.
    if !driver.journal.takes_outcomes() {
        return;
    }
    let Some(mut engine) = durable_engine(&driver) else { return };
    for record in lost {
        if matches!(record.event, Event::TaskEnded { .. })
            && !record_outcome(&mut driver, engine.record_again(record.event))
        {
            return;
        }
    }
    let waiting = engine.state().in_flight.len();
    if waiting > 0 {
        // Not by a reporter: they speak of records. A closed stderr changes nothing.
        let _ = writeln!(
            std::io::stderr(),
            "the journal cannot be written; nothing new starts, waiting for {waiting} running command(s) \
             (Ctrl-C leaves them to end by themselves)"
        );
    }
    while !engine.state().in_flight.is_empty() {
        let event = tokio::select! {
            event = driver.exec.next() => event,
            _ = signals.interrupt.recv() => return,
            _ = signals.terminate.recv() => return,
        };
        if let ExecEvent::Ended { task, end, output } = event {
            let records = engine.record_end(driver.clock.now(), task, end, &output);
            if !record_outcome(&mut driver, records) {
                return;
            }
        }
    }
}

/// The engine as the journal knows it: the one that drove the run is ahead by what could not be written.
fn durable_engine(driver: &Driver<'_>) -> Option<Engine> {
    let (contents, _) = journal::read(driver.dir).ok()?;
    let plan = driver.engine.plan().clone();
    let state = load::fold(&plan, driver.dir.id(), &contents.records).ok()?;
    Some(Engine::with_state(plan, state, driver.engine.facts().clone()))
}

/// False if not even this fits: then the keeper's notes have to do.
fn record_outcome(driver: &mut Driver<'_>, records: Vec<Record>) -> bool {
    records.is_empty() || driver.journal.append_outcomes(&records).is_ok()
}
