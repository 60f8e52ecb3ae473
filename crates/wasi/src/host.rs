//! What the embedder supplies for the length of one call: memory, ledger, and the means to stop.
//!
//! Every wait of this crate goes through [`wait`], which ends when the descriptor is ready, when its time is up,
//! at the deadline, or when the guest is to be stopped. There is no other place that sleeps.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::sys::event::{PollFd, PollFlags, Timespec};

use crate::{Errno, GuestMemory, Ledger, Refusal, Resource};

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
    /// A limit of the embedder's ledger that a guest does not survive: that on output, waiting, bytes copied or
    /// directory entries.
    #[error("{0}")]
    Limit(Refusal),
    /// Something that cannot happen did; it is a bug of the runtime or of the embedding, never of the guest.
    #[error("internal error in WASI: {0}")]
    Internal(&'static str),
}

/// The embedder's side of a call.
pub trait WasiHost {
    /// The memory that the guest exports as `memory`, if it has one. Without one every address faults.
    fn memory(&mut self) -> Option<&mut dyn GuestMemory>;

    /// Takes `units` of fuel, or says how the guest ends. Called before the work wherever its size is known.
    fn charge_fuel(&mut self, units: u64) -> Result<(), Halt>;

    /// Where everything else is counted that a call uses up or makes: descriptors, output, files, time spent waiting,
    /// bytes copied, directory entries. The same one in every call with the same context.
    fn ledger(&mut self) -> &mut Ledger;

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

impl From<Refusal> for Fail {
    fn from(r: Refusal) -> Fail {
        Fail::Halt(Halt::Limit(r))
    }
}

impl From<crate::sys::io::Errno> for Fail {
    fn from(e: crate::sys::io::Errno) -> Fail {
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
/// time was up. `None` for `until` waits for as long as the deadline allows. The time goes into the ledger; when
/// what it allows is used up, the guest ends.
pub(crate) fn wait(
    host: &mut dyn WasiHost,
    fds: &[(BorrowedFd<'_>, PollFlags)],
    until: Option<Instant>,
) -> Result<Vec<PollFlags>, Fail> {
    let began = Instant::now();
    let room = host.ledger().room(Resource::WaitTime);
    let enough = began.checked_add(Duration::from_nanos(room)).filter(|_| room != u64::MAX);
    let waited = wait_until(&*host, fds, until, enough);
    let spent = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    match host.ledger().spend(Resource::WaitTime, spent) {
        // Nothing came, and there is no more time to wait for it.
        Err(refusal) if matches!(waited, Ok(None)) => Err(refusal.into()),
        _ => Ok(waited?.unwrap_or_default()),
    }
}

/// As [`wait`], without a word to the ledger; `None` at `enough`.
fn wait_until(
    host: &dyn WasiHost,
    fds: &[(BorrowedFd<'_>, PollFlags)],
    until: Option<Instant>,
    enough: Option<Instant>,
) -> Result<Option<Vec<PollFlags>>, Fail> {
    loop {
        check_stop(host)?;
        let now = Instant::now();
        let ends = [until, host.deadline(), enough].into_iter().flatten().min();
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
        match crate::sys::event::poll(&mut polled, Some(&timeout)) {
            Ok(_) => {}
            Err(crate::sys::io::Errno::INTR | crate::sys::io::Errno::AGAIN) => continue,
            Err(e) => return Err(e.into()),
        }
        if wake.is_some() && polled.pop().is_some_and(|p| !p.revents().is_empty()) {
            return Err(host.interrupted().unwrap_or(Halt::Interrupted).into());
        }
        let events: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        let now = Instant::now();
        if until.is_some_and(|u| now >= u) || events.iter().any(|e| !e.is_empty()) {
            return Ok(Some(events));
        }
        if enough.is_some_and(|e| now > e) {
            return Ok(None);
        }
    }
}

/// The moment `timeout` from now; `None` if the clock cannot express it, that is, never.
pub(crate) fn after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
