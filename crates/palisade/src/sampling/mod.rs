//! [`GuestProfiler`]: where guests spend their time, by functions of WebAssembly, in every engine.
//!
//! One thread asks, at an interval, every store that is being profiled; the store's own thread looks at its own calls
//! when the guest next looks whether it is to stop, notes them, and goes on ([`palisade_vm::sample`]). So no signals are
//! needed, guests do the same with and without it, and every sample is taken at a poll: at the head of a loop, or where
//! functions begin and call. What a guest does between two polls is found at the second one. A request that waited for longer
//! than the interval tells that there was no poll: the guest was in a host function, in an operator with much to do, or
//! waiting. That time is shown as such, beneath the function that came next.
//!
//! Memory is bounded: calls are a tree of which each branch is kept once ([`stacks`]); what finds no room is counted.

mod firefox;
mod folded;
mod stacks;
mod text;

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use palisade_vm::sample::{Sampler, each_frame};
use palisade_vm::sys::outside::thread_cpu_nanos;
use palisade_vm::{InterruptHandle, StoreInner};

use crate::error::{Error, Result};
use crate::store::StoreOpaque;
use stacks::{FrameKey, Stacks};

/// The shortest interval.
const SHORTEST: Duration = Duration::from_micros(50);

/// The most calls of a sample; what lies further out is left out.
const MOST_DEPTH: usize = 2048;

/// Finds out where guests spend their time. See [`Store::set_profiler`](crate::Store::set_profiler).
///
/// Dropping it ends the sampling.
pub struct GuestProfiler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What was found out: to be written as a file.
pub struct GuestProfile {
    tracks: Vec<Arc<Track>>,
    interval: Duration,
    started: SystemTime,
    /// From the start to the end.
    length: Duration,
}

struct Shared {
    interval: Duration,
    began: Instant,
    started: SystemTime,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    over: bool,
    tracks: Vec<(InterruptHandle, Arc<Track>)>,
}

/// What is known of one store.
struct Track {
    name: String,
    state: Mutex<TrackState>,
}

#[derive(Default)]
struct TrackState {
    stacks: Stacks,
    /// Requests in a row that found an earlier one waiting.
    missed: u32,
    /// When the last sample was taken, and what the thread had worked until then, in nanoseconds.
    last: Option<(u64, u64)>,
    /// Whether the store is gone, or has another profiler.
    over: bool,
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
        let tracks = std::mem::take(&mut lock(&self.shared.state).tracks);
        GuestProfile {
            tracks: tracks.into_iter().map(|(_, track)| track).collect(),
            interval: self.shared.interval,
            started: self.shared.started,
            length: self.shared.began.elapsed(),
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
        let track = Arc::new(Track { name: name.to_owned(), state: Mutex::default() });
        let sampler = Taker { shared: self.shared.clone(), track: track.clone() };
        store.vm_mut().sampler = Some(Box::new(sampler));
        lock(&self.shared.state).tracks.push((store.interrupt_handle(), track));
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
            for (handle, track) in &state.tracks {
                let mut track = lock(&track.state);
                if !track.over && !handle.request_sample() {
                    track.missed = track.missed.saturating_add(1);
                }
            }
        }
    }
}

/// What a store calls.
struct Taker {
    shared: Arc<Shared>,
    track: Arc<Track>,
}

impl Drop for Taker {
    fn drop(&mut self) {
        lock(&self.track.state).over = true;
    }
}

impl Sampler for Taker {
    unsafe fn sample(&mut self, store: *mut StoreInner) {
        let mut state = lock(&self.track.state);
        let now = u64::try_from(self.shared.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let worked = thread_cpu_nanos();
        let (time, cpu) = match state.last.replace((now, worked)) {
            Some((at, before)) => (now.saturating_sub(at), worked.saturating_sub(before)),
            None => (0, 0),
        };
        let missed = std::mem::take(&mut state.missed);
        let mut path: Vec<FrameKey> = Vec::with_capacity(64);
        let mut cut = false;
        let stacks = &mut state.stacks;
        // SAFETY: the caller's word: the store is live, on this thread, and stands at a poll; activations are the
        // interpreter's, which noted where they were left.
        unsafe {
            let ctx = (*store).ctx();
            each_frame(
                ctx,
                |exit, visit| palisade_interp::activation_frames(exit, visit),
                &mut |kind, frame| {
                    cut = path.len() == MOST_DEPTH;
                    if !cut {
                        path.push(stacks.key(kind, &frame));
                    }
                    !cut
                },
            );
        }
        if cut {
            path.push(FrameKey::CUT);
        }
        path.reverse();
        let found = stacks.intern(&path);
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
    /// How many intervals samples stand for, all together.
    pub fn samples(&self) -> u64 {
        self.tracks.iter().map(|track| lock(&track.state).stacks.total()).sum()
    }

    /// How many of them were left out, since there was no room for more.
    pub fn dropped(&self) -> u64 {
        self.tracks.iter().map(|track| lock(&track.state).stacks.dropped()).sum()
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
    /// `;` between them, and the number of its samples.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write_folded(&self, out: &mut impl Write) -> io::Result<()> {
        folded::write(self, out)
    }
}

impl fmt::Debug for GuestProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestProfile").field("samples", &self.samples()).finish_non_exhaustive()
    }
}
