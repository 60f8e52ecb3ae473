//! Deadlines: one thread for the whole process that interrupts the stores whose time has come.
//!
//! The thread is started with the first deadline and ends some time after the last. Handles are
//! interrupted under the timer's lock, so that a deadline that has been disarmed never fires later.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palisade_core::TrapCode;

use crate::interrupt::InterruptHandle;

/// How long the thread waits for more work before it ends.
const LINGER: Duration = Duration::from_secs(2);

/// When, and a number that tells equal times apart.
type Key = (Instant, u64);

struct State {
    entries: BTreeMap<Key, InterruptHandle>,
    next: u64,
    running: bool,
}

static STATE: Mutex<State> =
    Mutex::new(State { entries: BTreeMap::new(), next: 0, running: false });
static WAKE: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A deadline that is set. Dropping it disarms it.
#[derive(Debug)]
pub(crate) struct Armed {
    key: Key,
}

impl Armed {
    /// When it is.
    pub(crate) fn at(&self) -> Instant {
        self.key.0
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        lock().entries.remove(&self.key);
    }
}

/// Interrupts `handle` at `at`, at once if that has passed. Fails if the thread cannot be started.
pub(crate) fn arm(at: Instant, handle: &InterruptHandle) -> io::Result<Armed> {
    let mut state = lock();
    let key = (at, state.next);
    state.next += 1;
    if at <= Instant::now() {
        handle.interrupt(TrapCode::DeadlineExceeded);
        return Ok(Armed { key });
    }
    if !state.running {
        crate::sys::fault::check()?;
        std::thread::Builder::new()
            .name("palisade-timer".to_owned())
            .stack_size(128 << 10)
            .spawn(run)?;
        state.running = true;
    }
    let is_first = state.entries.first_key_value().is_none_or(|(first, _)| key < *first);
    state.entries.insert(key, handle.clone());
    drop(state);
    if is_first {
        WAKE.notify_one();
    }
    Ok(Armed { key })
}

fn run() {
    let mut state = lock();
    loop {
        let now = Instant::now();
        let wait = match state.entries.first_entry() {
            Some(entry) if entry.key().0 <= now => {
                entry.remove().interrupt(TrapCode::DeadlineExceeded);
                continue;
            }
            Some(entry) => entry.key().0.duration_since(now),
            None => LINGER,
        };
        let (woken, timeout) =
            WAKE.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
        state = woken;
        if timeout.timed_out() && wait == LINGER && state.entries.is_empty() {
            state.running = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::event::{is_raised, wait};

    #[test]
    fn fires_when_the_time_has_come() {
        let handle = InterruptHandle::new(1);
        let event = handle.event_fd().expect("a descriptor");
        let armed = arm(Instant::now() + Duration::from_millis(5), &handle).expect("a thread");
        wait(event);
        assert_eq!(handle.pending(), Some(TrapCode::DeadlineExceeded));
        drop(armed);
    }

    #[test]
    fn a_time_that_has_passed_fires_at_once() {
        let handle = InterruptHandle::new(1);
        let _armed = arm(Instant::now(), &handle).expect("no thread needed");
        assert_eq!(handle.pending(), Some(TrapCode::DeadlineExceeded));
    }

    #[test]
    fn an_earlier_deadline_overtakes_and_a_disarmed_one_does_not_fire() {
        let late = InterruptHandle::new(1);
        let never = InterruptHandle::new(1);
        let early = InterruptHandle::new(1);
        let start = Instant::now();
        let _late = arm(start + Duration::from_secs(3600), &late).expect("a thread");
        drop(arm(start + Duration::from_millis(1), &never).expect("a thread"));
        never.clear();
        let event = early.event_fd().expect("a descriptor");
        let _early = arm(start + Duration::from_millis(10), &early).expect("a thread");
        wait(event);
        assert_eq!((late.pending(), never.pending()), (None, None));
        assert!(!is_raised(never.event_fd().expect("a descriptor")));
    }

    #[test]
    fn many_stores_at_the_same_instant() {
        let at = Instant::now() + Duration::from_millis(5);
        let handles: Vec<_> = (0..50).map(|_| InterruptHandle::new(1)).collect();
        let armed: Vec<_> = handles.iter().map(|h| arm(at, h).expect("a thread")).collect();
        for handle in &handles {
            wait(handle.event_fd().expect("a descriptor"));
        }
        drop(armed);
    }
}
