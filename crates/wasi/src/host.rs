//! What the embedder supplies for the length of one call: memory, ledger, and the means to stop.
//!
//! Every wait of this crate goes through [`wait`], which ends when the descriptor is ready, when its time is up,
//! at the deadline, or when the guest is to be stopped. There is no other place that sleeps.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::{Errno, GuestMemory};

/// Why a guest ends instead of getting an answer. None of these is an errno: the guest cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Halt {
    /// The guest ended itself with this status.
    #[error("the guest exited with status {0}")]
    Exit(u32),
    /// No fuel left.
    #[error("out of fuel: raise it with --fuel")]
    OutOfFuel,
    /// The deadline passed, in a host call or before it.
    #[error("the deadline passed: raise it with --timeout")]
    Deadline,
    /// The embedder asked the guest to stop.
    #[error("interrupted")]
    Interrupted,
    /// More bytes than the output limit allows were to be written.
    #[error("output limit reached: raise it with --max-output")]
    OutputLimit,
    /// Any other limit of the embedder's ledger, named.
    #[error("limit reached: {0}")]
    Limit(&'static str),
    /// Something that cannot happen did; it is a bug of the runtime or of the embedding, never of the guest.
    #[error("internal error in WASI: {0}")]
    Internal(&'static str),
}

/// The ledger refuses more output. Nothing was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("output limit reached")]
pub struct OutputLimit;

/// The embedder's side of a call.
pub trait WasiHost {
    /// The memory that the guest exports as `memory`, if it has one. Without one every address faults.
    fn memory(&mut self) -> Option<&mut dyn GuestMemory>;

    /// Takes `units` of fuel, or says how the guest ends. Called before the work wherever its size is known.
    fn charge_fuel(&mut self, units: u64) -> Result<(), Halt>;

    /// Counts bytes about to be written to streams and files. A refusal counts nothing.
    fn charge_output(&mut self, bytes: u64) -> Result<(), OutputLimit> {
        let _ = bytes;
        Ok(())
    }

    /// When the guest has to end, waiting included.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// A descriptor that becomes readable when the guest is to be stopped. Without one, waits look at
    /// [`WasiHost::interrupted`] every 20 ms.
    fn interrupt_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Whether, and why, the guest is to be stopped now.
    fn interrupted(&self) -> Option<Halt> {
        None
    }
}

/// Why a function of this crate does not succeed: an answer for the guest, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fail {
    Errno(Errno),
    Halt(Halt),
}

impl From<Errno> for Fail {
    fn from(e: Errno) -> Fail {
        Fail::Errno(e)
    }
}

impl From<Halt> for Fail {
    fn from(h: Halt) -> Fail {
        Fail::Halt(h)
    }
}

impl From<rustix::io::Errno> for Fail {
    fn from(e: rustix::io::Errno) -> Fail {
        Fail::Errno(e.into())
    }
}

/// How often a wait looks up when the host has no descriptor to wake it.
const TICK: Duration = Duration::from_millis(20);

/// The longest single sleep; longer waits are made of several.
const LONGEST: Duration = Duration::from_secs(3600);

/// Ends the call if the guest is to be stopped or its time is up.
pub(crate) fn check_stop(host: &dyn WasiHost) -> Result<(), Halt> {
    if let Some(halt) = host.interrupted() {
        return Err(halt);
    }
    match host.deadline() {
        Some(d) if Instant::now() >= d => Err(Halt::Deadline),
        _ => Ok(()),
    }
}

/// Waits until one of `fds` has an event, or until `until`. Answers with the events of each, all empty when the
/// time was up. `None` for `until` waits for as long as the deadline allows.
pub(crate) fn wait(
    host: &dyn WasiHost,
    fds: &[(BorrowedFd<'_>, PollFlags)],
    until: Option<Instant>,
) -> Result<Vec<PollFlags>, Fail> {
    loop {
        check_stop(host)?;
        let now = Instant::now();
        let ends = [until, host.deadline()].into_iter().flatten().min();
        let mut timeout = ends.map_or(LONGEST, |e| e.saturating_duration_since(now)).min(LONGEST);
        let wake = host.interrupt_fd();
        if wake.is_none() {
            timeout = timeout.min(TICK);
        }
        let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(fds.len() + 1);
        polled.extend(fds.iter().map(|(fd, events)| PollFd::from_borrowed_fd(*fd, *events)));
        if let Some(fd) = wake {
            polled.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        // Below an hour, so both parts fit.
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
            Err(e) => return Err(e.into()),
        }
        if wake.is_some() && polled.pop().is_some_and(|p| !p.revents().is_empty()) {
            return Err(host.interrupted().unwrap_or(Halt::Interrupted).into());
        }
        let events: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        let timed_out = until.is_some_and(|u| Instant::now() >= u);
        if timed_out || events.iter().any(|e| !e.is_empty()) {
            return Ok(events);
        }
    }
}

/// The moment `timeout` from now; `None` if the clock cannot express it, that is, never.
pub(crate) fn after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
