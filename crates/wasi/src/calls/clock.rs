//! Clocks.
//!
//! A guest without the capability sees clocks that stand still, not an error, since some language runtimes die of
//! one at start. The monotonic clock counts from the making of the context, so that it does not tell the host's uptime.
//! Both clocks of processor time say what the guest's thread has spent since the making of the context: a guest
//! has one thread, and what others of the host's process do is not its business.

use std::thread::{self, ThreadId};
use std::time::{Duration, Instant, SystemTime};

use super::{Answer, Call};
use crate::deterministic::{EPOCH, STEP};
use crate::types::timestamp;
use crate::{Caps, Errno};

/// Which clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    Realtime,
    Monotonic,
    /// Of the process or of the thread.
    Processor,
}

impl Clock {
    pub(super) fn from_cell(id: u32) -> Result<Clock, Errno> {
        match id {
            0 => Ok(Clock::Realtime),
            1 => Ok(Clock::Monotonic),
            2 | 3 => Ok(Clock::Processor),
            _ => Err(Errno::INVAL),
        }
    }
}

/// The processor time of the threads that a guest runs on, one after the other.
pub(crate) struct ProcessorTime {
    thread: ThreadId,
    /// What that thread had spent when it was last looked at.
    seen: u64,
    /// What the guest has been told of.
    total: u64,
}

impl ProcessorTime {
    /// Begins on this thread.
    pub(crate) fn start() -> Self {
        Self { thread: thread::current().id(), seen: thread_time(), total: 0 }
    }

    /// Nanoseconds so far. What a thread spent before it was seen here for the first time does not count, nor what
    /// was spent on one between the last look at it and the change to another: it never goes back.
    fn now(&mut self) -> u64 {
        let (thread, seen) = (thread::current().id(), thread_time());
        if thread == self.thread {
            self.total = self.total.saturating_add(seen.saturating_sub(self.seen));
        }
        (self.thread, self.seen) = (thread, seen);
        self.total
    }
}

/// What the host's thread has spent since it began.
fn thread_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    timestamp(time.tv_sec, u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Where a clock that is denied stands: the first second of 2000, and one second after start.
const STILL: [u64; 2] = [EPOCH, 1_000_000_000];

/// The resolution of a clock that stands still.
const STILL_RESOLUTION: u64 = 1_000_000_000;

impl Call<'_> {
    pub(crate) fn clock_res_get(&mut self, id: u32, out: u32) -> Answer {
        let clock = Clock::from_cell(id)?;
        let resolution = if self.granted() {
            let host = rustix::time::clock_getres(match clock {
                Clock::Realtime => rustix::time::ClockId::Realtime,
                Clock::Monotonic => rustix::time::ClockId::Monotonic,
                Clock::Processor => rustix::time::ClockId::ThreadCPUTime,
            });
            let nanos = timestamp(host.tv_sec, u64::try_from(host.tv_nsec).unwrap_or(1));
            let own = if self.ctx.deterministic.is_some() { STEP } else { nanos.max(1) };
            own.max(self.ctx.clocks.granularity)
        } else {
            STILL_RESOLUTION
        };
        self.write_u64(out, resolution)?;
        Ok(())
    }

    pub(crate) fn clock_time_get(&mut self, id: u32, _precision: u64, out: u32) -> Answer {
        let clock = Clock::from_cell(id)?;
        self.granted();
        let now = self.clock_now(clock);
        self.write_u64(out, now)?;
        Ok(())
    }

    /// What the guest sees of a clock.
    pub(super) fn clock_now(&mut self, clock: Clock) -> u64 {
        if !self.ctx.caps.contains(Caps::CLOCK) {
            return match clock {
                Clock::Realtime => STILL[0],
                Clock::Monotonic | Clock::Processor => STILL[1],
            };
        }
        let nanos = self.fine_now(clock);
        self.ctx.coarse(nanos)
    }

    /// What a clock says before it is made coarse.
    pub(super) fn fine_now(&mut self, clock: Clock) -> u64 {
        if let Some(run) = &mut self.ctx.deterministic {
            let begin = match clock {
                Clock::Realtime => EPOCH,
                Clock::Monotonic => STILL[1],
                Clock::Processor => 0,
            };
            return begin.saturating_add(run.read_clock());
        }
        match clock {
            Clock::Realtime => SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
            Clock::Monotonic => self.ctx.monotonic(Instant::now()),
            Clock::Processor => self.ctx.clocks.processor.now(),
        }
    }
}
