//! The run's own clock: never goes back, counts the time the machine slept, spans the processes that drive a run.

use nix::time::{ClockId, clock_gettime};

use crate::engine::Clock;
use crate::model::{Event, Millis, Timestamp};

/// A jump of less than this is the clock's ordinary correction and not worth a record.
const WORTH_TELLING: u64 = 2_000;

/// The wall clock, now.
pub fn wall_now() -> Timestamp {
    Timestamp(read(ClockId::CLOCK_REALTIME))
}

fn read(id: ClockId) -> i64 {
    // These clocks exist on every Linux this program runs on; 0 would only shorten a wait.
    clock_gettime(id).map_or(0, |t| t.tv_sec() * 1000 + t.tv_nsec() / 1_000_000)
}

pub struct RunClock {
    /// The run's time at `base_boot`.
    base_t: Millis,
    base_boot: i64,
    /// BOOTTIME less MONOTONIC, and REALTIME less BOOTTIME, when last looked at.
    slept: i64,
    wall_offset: i64,
}

impl RunClock {
    /// For a run whose last record was made at `last_t`/`last_at`; zeros for a new run.
    pub fn after(last_t: Millis, last_at: Timestamp) -> Self {
        let boot = read(ClockId::CLOCK_BOOTTIME);
        let lost = if last_at == Timestamp(0) { Millis::ZERO } else { wall_now().since(last_at) };
        Self {
            base_t: last_t.saturating_add(lost),
            base_boot: boot,
            slept: boot - read(ClockId::CLOCK_MONOTONIC),
            wall_offset: read(ClockId::CLOCK_REALTIME) - boot,
        }
    }

    pub fn now(&self) -> Clock {
        let boot = read(ClockId::CLOCK_BOOTTIME);
        let passed = u64::try_from(boot - self.base_boot).unwrap_or(0);
        Clock { t: self.base_t.saturating_add(Millis(passed)), at: wall_now() }
    }

    /// A jump since this was last asked: the machine slept, or somebody set the wall clock.
    pub fn jump(&mut self) -> Option<Event> {
        let boot = read(ClockId::CLOCK_BOOTTIME);
        let slept = boot - read(ClockId::CLOCK_MONOTONIC);
        let wall_offset = read(ClockId::CLOCK_REALTIME) - boot;
        let (sleep, wall) = (slept - self.slept, wall_offset - self.wall_offset);
        (self.slept, self.wall_offset) = (slept, wall_offset);
        if sleep.unsigned_abs() >= WORTH_TELLING {
            let why = "the machine was suspended".into();
            return Some(Event::Gap { length: Millis(sleep.unsigned_abs()), why });
        }
        if wall.unsigned_abs() >= WORTH_TELLING {
            let way = if wall > 0 { "forward" } else { "back" };
            let why = format!("the wall clock was set {way}");
            return Some(Event::Gap { length: Millis(wall.unsigned_abs()), why });
        }
        None
    }
}
