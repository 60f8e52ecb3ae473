//! [`GuestProfiler`]: where guests spend their time, by functions of WebAssembly, in every engine.
//!
//! One thread asks, at an interval, every store that is being profiled; the store's own thread looks at its own calls
//! when the guest next looks whether it is to stop, notes them, and goes on ([`palisade_vm::sample`]). So no signals are
//! needed, guests do the same with and without it, and every sample is taken at a poll: at the head of a loop, or where
//! functions begin and call. What a guest does between two polls is found at the second one. A request that waited for longer
//! than the interval tells that there was no poll: the guest was in a host function, in an operator with much to do, or
//! waiting. That time is shown as such, beneath the function that came next.
//!
//! Memory is bounded, for all stores together: calls are a tree of which each branch is kept once ([`stacks`]); what finds no room
//! is counted. Of a store that is gone, nothing stays but its samples.

mod firefox;
mod folded;
mod stacks;
mod text;

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use palisade_vm::sample::{Sampler, each_frame};
use palisade_vm::sys::outside::thread_cpu_nanos;
use palisade_vm::{InterruptHandle, StoreInner};

use crate::error::{Error, Result};
use crate::store::StoreOpaque;
use stacks::{FrameKey, Room, Stacks};

/// The shortest interval.
const SHORTEST: Duration = Duration::from_micros(50);

/// The most calls of a sample; what lies further out is left out.
const MOST_DEPTH: usize = 2048;

/// Of how many stores that are gone the samples are kept apart. Those of more are counted, not kept.
const MOST_GONE: usize = 1024;

/// Finds out where guests spend their time. See [`Store::set_profiler`](crate::Store::set_profiler).
///
/// Dropping it ends the sampling.
pub struct GuestProfiler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What was found out: to be written as a file.
pub struct GuestProfile {
    tracks: Vec<Track>,
    interval: Duration,
    started: SystemTime,
    /// From the start to the end.
    length: Duration,
    /// Samples that could not be noted, and those of stores that are gone beyond [`MOST_GONE`].
    lost: u64,
    /// Samples that the last folded file had no room for.
    unwritten: AtomicU64,
}

struct Shared {
    interval: Duration,
    began: Instant,
    started: SystemTime,
    state: Mutex<State>,
    ended: Condvar,
    room: Arc<Room>,
    /// See [`GuestProfile::lost`].
    lost: AtomicU64,
}

#[derive(Default)]
struct State {
    over: bool,
    /// The stores that there are.
    asked: Vec<(InterruptHandle, Arc<Part>)>,
    /// Stores that are gone, of which something was found.
    gone: Vec<Track>,
}

/// What is known of one store.
struct Track {
    name: String,
    stacks: Stacks,
}

/// What the thread that asks and a store share.
struct Part {
    name: String,
    /// Requests in a row that found an earlier one waiting. Locked for a moment only.
    missed: Mutex<u32>,
    /// `None` when the sampling has ended. Locked while a sample is noted, and for a moment when all ends; never while anything is
    /// written.
    stacks: Mutex<Option<Stacks>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GuestProfiler {
    /// Starts asking at this interval. It is a thread of its own, which a process that locks itself in starts after that.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn start(interval: Duration) -> Result<Self> {
        let shared = Arc::new(Shared {
            interval: interval.max(SHORTEST),
            began: Instant::now(),
            started: SystemTime::now(),
            state: Mutex::default(),
            ended: Condvar::new(),
            room: Arc::default(),
            lost: AtomicU64::new(0),
        });
        let asking = shared.clone();
        let thread = std::thread::Builder::new()
            .name("palisade-sampler".to_owned())
            .stack_size(128 << 10)
            .spawn(move || asking.ask())
            .map_err(|error| Error::msg(format!("the sampler's thread: {error}")))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Ends the sampling: what was found.
    pub fn finish(mut self) -> GuestProfile {
        self.stop();
        let (asked, mut tracks) = {
            let mut state = lock(&self.shared.state);
            (std::mem::take(&mut state.asked), std::mem::take(&mut state.gone))
        };
        // Taken out, so that a store that goes on neither changes what is written nor waits for it.
        tracks.extend(asked.iter().filter_map(|(_, part)| part.track()));
        GuestProfile {
            tracks,
            interval: self.shared.interval,
            started: self.shared.started,
            length: self.shared.began.elapsed(),
            lost: self.shared.lost.load(Relaxed),
            unwritten: AtomicU64::new(0),
        }
    }

    fn stop(&mut self) {
        lock(&self.shared.state).over = true;
        self.shared.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked asks nobody any more.
            let _ = thread.join();
        }
    }

    /// Lets a store be asked from now on.
    pub(crate) fn attach(&self, store: &mut StoreOpaque, name: &str) {
        let stacks = Mutex::new(Some(Stacks::new(self.shared.room.clone())));
        let part = Arc::new(Part { name: name.to_owned(), missed: Mutex::default(), stacks });
        let sampler = Taker { shared: self.shared.clone(), part: part.clone(), last: None };
        store.vm_mut().sampler = Some(Box::new(sampler));
        lock(&self.shared.state).asked.push((store.interrupt_handle(), part));
    }
}

impl Part {
    /// Ends the sampling of the store: what was found.
    fn track(&self) -> Option<Track> {
        let mut stacks = lock(&self.stacks).take()?;
        stacks.close();
        Some(Track { name: self.name.clone(), stacks })
    }
}

impl Drop for GuestProfiler {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for GuestProfiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestProfiler")
            .field("interval", &self.shared.interval)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// What the thread does.
    fn ask(&self) {
        let mut state = lock(&self.state);
        let mut next = Instant::now() + self.interval;
        while !state.over {
            let wait = next.saturating_duration_since(Instant::now());
            let woken = self.ended.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            let now = Instant::now();
            if now < next {
                continue;
            }
            // What was slept over is not made up for.
            next = (next + self.interval).max(now);
            for (handle, part) in &state.asked {
                // Locked before, so that who answers finds what was counted until then.
                let mut missed = lock(&part.missed);
                if !handle.request_sample() {
                    *missed = missed.saturating_add(1);
                }
            }
        }
    }
}

/// What a store calls.
struct Taker {
    shared: Arc<Shared>,
    part: Arc<Part>,
    /// When the last sample was taken, and what the thread had worked until then, in nanoseconds.
    last: Option<(u64, u64)>,
}

impl Drop for Taker {
    /// The store is gone, or has another profiler: of it stays what was found, if anything was.
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        let at = state.asked.iter().position(|(_, part)| Arc::ptr_eq(part, &self.part));
        let Some((handle, part)) = at.map(|at| state.asked.remove(at)) else { return };
        let mut track = part.track();
        if state.gone.len() < MOST_GONE {
            state.gone.extend(track.take_if(|track| track.stacks.all() > 0));
        }
        self.shared.lost.fetch_add(track.as_ref().map_or(0, |track| track.stacks.all()), Relaxed);
        // What is left of the store goes when nobody waits for that.
        drop(state);
        drop((handle, part, track));
    }
}

impl Sampler for Taker {
    unsafe fn sample(&mut self, store: *mut StoreInner) {
        let missed = std::mem::take(&mut *lock(&self.part.missed));
        // Whoever holds this ends the sampling; a guest does not wait for that.
        let Ok(mut stacks) = self.part.stacks.try_lock() else {
            self.shared.lost.fetch_add(u64::from(missed) + 1, Relaxed);
            return;
        };
        let Some(stacks) = stacks.as_mut() else { return };
        let now = u64::try_from(self.shared.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let worked = thread_cpu_nanos();
        let (time, cpu) = match self.last.replace((now, worked)) {
            Some((at, before)) => (now.saturating_sub(at), worked.saturating_sub(before)),
            None => (0, 0),
        };
        let mut path: Vec<FrameKey> = Vec::with_capacity(64);
        let (mut cut, mut known) = (false, true);
        // SAFETY: the caller's word: the store is live, on this thread, and stands at a poll; activations are the
        // interpreter's, which noted where they were left.
        unsafe {
            let ctx = (*store).ctx();
            each_frame(
                ctx,
                |exit, visit| palisade_interp::activation_frames(exit, visit),
                &mut |kind, frame| {
                    cut = path.len() == MOST_DEPTH;
                    if cut {
                        return false;
                    }
                    let key = stacks.key(kind, &frame);
                    known = key.is_some();
                    path.extend(key);
                    known
                },
            );
        }
        if cut {
            path.push(FrameKey::CUT);
        }
        path.reverse();
        let found = known.then(|| stacks.intern(&path)).flatten();
        if missed > 0 {
            // Who waits does not work.
            let waited = cpu.saturating_mul(2) < time;
            let leaf = if waited { FrameKey::WAITING } else { FrameKey::NO_POLL };
            let inner = found.and_then(|node| stacks.child(node, leaf));
            let interval = u64::try_from(self.shared.interval.as_nanos()).unwrap_or(u64::MAX);
            stacks.add(now.saturating_sub(interval), cpu, inner, missed);
            stacks.add(now, 0, found, 1);
        } else {
            stacks.add(now, cpu, found, 1);
        }
    }
}

impl GuestProfile {
    #[cfg(test)]
    fn of(tracks: Vec<Track>) -> Self {
        Self {
            tracks,
            interval: Duration::from_micros(500),
            started: SystemTime::UNIX_EPOCH,
            length: Duration::from_millis(3),
            lost: 0,
            unwritten: AtomicU64::new(0),
        }
    }

    /// How many intervals samples stand for, all together.
    pub fn samples(&self) -> u64 {
        self.tracks.iter().map(|track| track.stacks.total()).sum::<u64>() + self.lost
    }

    /// How many of them were left out, since there was no room for more; those that the last
    /// [`GuestProfile::write_folded`] left out included.
    pub fn dropped(&self) -> u64 {
        let dropped: u64 = self.tracks.iter().map(|track| track.stacks.dropped()).sum();
        dropped + self.lost + self.unwritten.load(Relaxed)
    }

    /// Writes it in the form that the Firefox Profiler opens (<https://profiler.firefox.com>): JSON.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write_firefox(&self, out: &mut impl Write) -> io::Result<()> {
        firefox::write(self, out)
    }

    /// Writes it as text from which flame graphs are drawn: a line for each stack, functions from the outermost inwards with
    /// `;` between them, and the number of its samples. At most 256 MiB: of the stacks of a store those with the fewest samples are left
    /// out beyond that, and counted in [`GuestProfile::dropped`].
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write_folded(&self, out: &mut impl Write) -> io::Result<()> {
        let left_out = folded::write(self, out)?;
        self.unwritten.store(left_out, Relaxed);
        Ok(())
    }
}

impl fmt::Debug for GuestProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestProfile").field("samples", &self.samples()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Instance, Module, Store};

    /// Asks nobody while a test runs: tests ask themselves.
    fn profiler() -> GuestProfiler {
        GuestProfiler::start(Duration::from_secs(3600)).unwrap()
    }

    /// How many stores are asked, and of how many that are gone something is kept.
    fn sizes(profiler: &GuestProfiler) -> (usize, usize) {
        let state = lock(&profiler.shared.state);
        (state.asked.len(), state.gone.len())
    }

    /// The store that was attached last.
    fn last(profiler: &GuestProfiler) -> (InterruptHandle, Arc<Part>) {
        lock(&profiler.shared.state).asked.last().cloned().unwrap()
    }

    #[test]
    fn of_a_store_that_is_gone_only_samples_are_kept_and_not_without_end() {
        let (engine, profiler) = (Engine::default(), profiler());
        let mut kept = Store::new(&engine, ());
        kept.set_profiler(Some((&profiler, "kept")));
        for _ in 0..3 {
            let mut store = Store::new(&engine, ());
            store.set_profiler(Some((&profiler, "nothing found")));
            assert_eq!(sizes(&profiler), (2, 0));
        }
        assert_eq!(sizes(&profiler), (1, 0));
        for i in 0..MOST_GONE + 3 {
            let mut store = Store::new(&engine, ());
            store.set_profiler(Some((&profiler, "found")));
            let (_, part) = last(&profiler);
            let mut stacks = lock(&part.stacks);
            let stacks = stacks.as_mut().unwrap();
            let node = stacks.intern(&[FrameKey::WAITING]);
            stacks.add(i as u64, 0, node, 2);
        }
        assert_eq!(sizes(&profiler), (1, MOST_GONE));
        // Another profiler, or none, is the same as a store that is gone.
        kept.set_profiler(None);
        assert_eq!(sizes(&profiler), (0, MOST_GONE));
        let profile = profiler.finish();
        assert_eq!(profile.tracks.len(), MOST_GONE);
        assert_eq!((profile.samples(), profile.dropped()), (2 * (MOST_GONE as u64 + 3), 6));
    }

    #[test]
    fn a_guest_waits_for_nobody_who_looks_at_its_samples() {
        let engine = Engine::default();
        let module = Module::new(
            &engine,
            "(module (func (export \"f\") (local i32)
               (loop (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000))))))",
        )
        .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        let profiler = profiler();
        store.set_profiler(Some((&profiler, "guest")));
        let (handle, part) = last(&profiler);
        let held = lock(&part.stacks);
        assert!(handle.request_sample());
        run.call(&mut store, ()).unwrap();
        drop(held);
        assert_eq!(profiler.shared.lost.load(Relaxed), 1);
        assert!(handle.request_sample(), "the first request was answered");
        run.call(&mut store, ()).unwrap();
        let profile = profiler.finish();
        assert_eq!((profile.samples(), profile.dropped()), (2, 1));
        // What comes after the end is nobody's.
        assert!(handle.request_sample());
        run.call(&mut store, ()).unwrap();
        assert_eq!(profile.samples(), 2);
        assert!(lock(&part.stacks).is_none());
    }
}
