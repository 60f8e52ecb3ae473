//! `poll_oneoff`: waiting for clocks and descriptors.
//!
//! All subscriptions are copied in once, then judged; what is wrong with one is reported as its event, and counts as
//! ready. The wait itself ends at the deadline and when the guest is to be stopped, however long it was to be.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use crate::sys::event::PollFlags;

use super::clock::Clock;
use super::{Answer, Call};
use crate::descriptor::Object;
use crate::host::{Fail, after, wait};
use crate::stream::{HostKind, Input};
use crate::types;
use crate::{Caps, Errno, Rights};

/// The most subscriptions of one call.
const SUBSCRIPTIONS_MAX: u32 = 4096;

const SUBSCRIPTION_SIZE: u32 = 48;
const EVENT_SIZE: u32 = 32;

const CLOCK: u8 = 0;
const FD_READ: u8 = 1;
const FD_WRITE: u8 = 2;

/// One subscription, judged.
struct Subscription {
    userdata: u64,
    kind: u8,
    what: What,
}

enum What {
    /// Ready, or wrong, without waiting.
    Now { error: Errno, nbytes: u64 },
    /// A moment; `None` never comes.
    At(Option<Instant>),
    /// A moment of the clock of a deterministic run, in nanoseconds since the start.
    AtStep(u64),
    /// A descriptor that may have to be waited for.
    Descriptor { fd: u32, events: PollFlags },
}

impl Call<'_> {
    pub(crate) fn poll_oneoff(
        &mut self,
        subscriptions: u32,
        events: u32,
        count: u32,
        out: u32,
    ) -> Answer {
        if count == 0 || count > SUBSCRIPTIONS_MAX {
            return Err(Errno::INVAL.into());
        }
        self.check_out(events, u64::from(count) * u64::from(EVENT_SIZE))?;
        self.check_out(out, 4)?;
        self.host.charge_fuel(u64::from(count))?;
        let bytes = self.copy_in(subscriptions, count * SUBSCRIPTION_SIZE)?;
        let mut list = Vec::with_capacity(count as usize);
        for raw in bytes.chunks_exact(SUBSCRIPTION_SIZE as usize) {
            list.push(self.subscription(&Raw(raw))?);
        }
        let found = self.await_any(&list)?;
        self.charge_bytes(found.len() as u64)?;
        self.write(events, &found)?;
        self.write_u32(out, u32::try_from(found.len()).unwrap_or(0) / EVENT_SIZE)?;
        Ok(())
    }

    fn subscription(&mut self, raw: &Raw<'_>) -> Result<Subscription, Fail> {
        let kind = raw.u8(8);
        let what = match kind {
            CLOCK => self.clock_subscription(raw),
            FD_READ | FD_WRITE => self.fd_subscription(raw.u32(16), kind == FD_READ)?,
            _ => return Err(Errno::INVAL.into()),
        };
        Ok(Subscription { userdata: raw.u64(0), kind, what })
    }

    fn clock_subscription(&mut self, raw: &Raw<'_>) -> What {
        const ABSTIME: u16 = 1;
        let failed = |error| What::Now { error, nbytes: 0 };
        let clock = match Clock::from_cell(raw.u32(16)) {
            // Whoever waits spends no processor time: that moment never comes.
            Ok(Clock::Processor) => return failed(Errno::NOTSUP),
            Ok(clock) => clock,
            Err(e) => return failed(e),
        };
        let (timeout, flags) = (raw.u64(24), raw.u16(40));
        let relative = match flags {
            0 => timeout,
            ABSTIME => timeout.saturating_sub(self.clock_now(clock)),
            _ => return failed(Errno::INVAL),
        };
        if let Some(run) = &self.ctx.deterministic {
            return What::AtStep(run.passed().saturating_add(relative));
        }
        let relative = self.coarse_wait(clock, relative, (flags == ABSTIME).then_some(timeout));
        What::At(after(Duration::from_nanos(relative)))
    }

    /// Waits end only where coarse clocks change: the end of one would be a finer clock otherwise.
    fn coarse_wait(&mut self, clock: Clock, relative: u64, moment: Option<u64>) -> u64 {
        let grain = self.ctx.clocks.granularity;
        if grain <= 1 || relative == 0 {
            return relative;
        }
        let now = self.fine_now(clock);
        let seen = self.ctx.caps.contains(Caps::CLOCK);
        let target = moment.filter(|_| seen).unwrap_or(now.saturating_add(relative));
        let target = target.checked_next_multiple_of(grain).unwrap_or(u64::MAX);
        target.saturating_sub(now)
    }

    fn fd_subscription(&mut self, fd: u32, read: bool) -> Result<What, Fail> {
        let right = if read { Rights::FD_READ } else { Rights::FD_WRITE };
        let failed = |error| Ok(What::Now { error, nbytes: 0 });
        if let Err(e) = self.data_descriptor(fd) {
            return failed(e);
        }
        match self.require_rights(fd, None, Rights::POLL_FD_READWRITE | right, Rights::empty()) {
            Ok(()) => {}
            Err(Fail::Errno(e)) => return failed(e),
            Err(halt) => return Err(halt),
        }
        let d = self.ctx.table.get(fd)?;
        if d.waitable().is_some() && self.ctx.deterministic.is_some() {
            // When it is ready is an accident: reading and writing wait as long as they must.
            return Ok(What::Now { error: Errno::SUCCESS, nbytes: u64::from(read) });
        }
        if d.waitable().is_some() {
            let events = if read { PollFlags::IN } else { PollFlags::OUT };
            return Ok(What::Descriptor { fd, events });
        }
        Ok(What::Now { error: Errno::SUCCESS, nbytes: if read { self.ready_bytes(fd) } else { 0 } })
    }

    /// How much can be read without waiting. Of a file, only where its size and position may be known.
    fn ready_bytes(&self, fd: u32) -> u64 {
        let Ok(d) = self.ctx.table.get(fd) else { return 0 };
        let known = Rights::FD_FILESTAT_GET | Rights::FD_TELL;
        let left =
            |f: &std::os::fd::OwnedFd| match (crate::sys::fs::fstat(f), crate::sys::fs::tell(f)) {
                (Ok(stat), Ok(at)) => u64::try_from(stat.st_size).unwrap_or(0).saturating_sub(at),
                _ => 0,
            };
        match &d.object {
            Object::File(f) if d.base.contains(known) => left(f),
            Object::Input(Input::Bytes { data, at }) => (data.len() - at) as u64,
            Object::Input(Input::Host(h))
                if h.kind == HostKind::Regular && d.base.contains(known) =>
            {
                left(&h.fd)
            }
            Object::Input(Input::Host(h)) => crate::sys::io::ioctl_fionread(&h.fd).unwrap_or(0),
            Object::Socket(s) if !s.listening => crate::sys::io::ioctl_fionread(&s.fd).unwrap_or(0),
            _ => 0,
        }
    }

    /// Waits for the first of them and encodes the events of all that are ready then.
    fn await_any(&mut self, list: &[Subscription]) -> Result<Vec<u8>, Fail> {
        let immediate = list.iter().any(|s| matches!(s.what, What::Now { .. }));
        let steps =
            list.iter().filter_map(|s| if let What::AtStep(t) = s.what { Some(t) } else { None });
        let mut passed = 0;
        if let Some(run) = &mut self.ctx.deterministic {
            if let Some(first) = steps.min().filter(|_| !immediate) {
                run.pass_until(first);
            }
            passed = run.passed();
        }
        let immediate = immediate || self.ctx.deterministic.is_some();
        let first = list
            .iter()
            .filter_map(|s| if let What::At(Some(t)) = s.what { Some(t) } else { None })
            .min();
        let until = if immediate { Some(Instant::now()) } else { first };
        // Each descriptor once per direction: the host limits how many it polls by how many can be open.
        let mut places = BTreeMap::new();
        let mut fds = Vec::new();
        for s in list {
            if let What::Descriptor { fd, events } = s.what
                && let Entry::Vacant(place) = places.entry((fd, events.bits()))
            {
                place.insert(fds.len());
                fds.push((self.ctx.table.get(fd)?.waitable().ok_or(Errno::BADF)?, events));
            }
        }
        let ready = wait(self.host, &fds, until)?;
        let now = Instant::now();
        let mut out = Vec::new();
        for s in list {
            let event = match s.what {
                What::Now { error, nbytes } => Some((error, nbytes, false)),
                What::At(Some(t)) if t <= now => Some((Errno::SUCCESS, 0, false)),
                What::At(_) => None,
                What::AtStep(t) => (t <= passed).then_some((Errno::SUCCESS, 0, false)),
                What::Descriptor { fd, events } => {
                    let place = places.get(&(fd, events.bits()));
                    let flags =
                        place.and_then(|p| ready.get(*p)).copied().unwrap_or(PollFlags::empty());
                    let nbytes = if s.kind == FD_READ { self.ready_bytes(fd) } else { 0 };
                    let hangup = flags.intersects(PollFlags::HUP | PollFlags::ERR);
                    (!flags.is_empty()).then_some((Errno::SUCCESS, nbytes, hangup))
                }
            };
            if let Some((error, nbytes, hangup)) = event {
                out.extend_from_slice(&types::event(s.userdata, error, s.kind, nbytes, hangup));
            }
        }
        Ok(out)
    }
}

/// One subscription as the guest laid it out.
struct Raw<'a>(&'a [u8]);

impl Raw<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..at + N).and_then(|b| b.try_into().ok()).unwrap_or([0; N])
    }
    fn u8(&self, at: usize) -> u8 {
        u8::from_le_bytes(self.bytes(at))
    }
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }
    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }
    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }
}
