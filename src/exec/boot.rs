//! CLOCK_BOOTTIME: it never goes back, nobody can set it, and it goes on while the machine sleeps. The runtime's own
//! clock stands still then.

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::model::Millis;

/// Milliseconds since the boot.
pub(super) fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    // It cannot fail for a clock that exists.
    time.map_or(0, |t| u64::try_from(t.num_milliseconds()).unwrap_or(0))
}

/// Waits so long, the time that the machine sleeps included.
pub async fn sleep(length: Millis) {
    // Without a descriptor for it there is still the other clock.
    if ring(length).await.is_err() {
        tokio::time::sleep(length.std()).await;
    }
}

async fn ring(length: Millis) -> io::Result<()> {
    let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
    // 0 would switch the timer off.
    let at = TimeSpec::milliseconds(i64::try_from(length.0.max(1)).unwrap_or(i64::MAX));
    timer.set(Expiration::OneShot(at), TimerSetTimeFlags::empty())?;
    // SAFETY: the descriptor is owned by the value handed over, and stays open and the same until that is dropped.
    let timer = unsafe { AsyncFd::register_with_interest(OwnedFd::from(timer), Interest::READABLE) }?;
    drop(timer.readable().await?);
    Ok(())
}
