//! Who waits on a shared memory, and waking them (`memory.atomic.wait` and `notify`).
//!
//! Each shared memory has queues of its own, one for each address that somebody waits on. A thread that
//! waits is in one queue, so that there are never more entries than threads of the host. Comparing the
//! memory with what is expected and joining the queue happen under the lock that notifying takes, so
//! that no notification is lost in between. A waiter that is stopped or out of time takes itself out
//! under the same lock; one that was taken out by a notification has been woken, whatever else
//! happened since.
//!
//! Sleeping is parking the thread, and is left at every wake-up to look again, so that stray ones do no
//! harm. Whoever interrupts the store unparks it, too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

use palisade_core::TrapCode;

use crate::interrupt::InterruptHandle;

/// How a wait ended. The numbers are what guests see.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum WaitResult {
    /// Somebody notified.
    Ok = 0,
    /// The memory did not hold the expected value.
    Mismatch = 1,
    /// The time was over.
    TimedOut = 2,
}

/// A thread that waits.
#[derive(Debug)]
struct Waiter {
    thread: Thread,
    woken: AtomicBool,
}

type Queues = BTreeMap<u64, VecDeque<Arc<Waiter>>>;

/// The queues of one memory, by address.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    queues: Mutex<Queues>,
}

impl Parking {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits at `address`, if `expected` says that the memory is as expected, until notified, until
    /// `until`, or until `interrupt` asks for an end, which is the error.
    pub(crate) fn wait(
        &self,
        address: u64,
        expected: impl FnOnce() -> bool,
        until: Option<Instant>,
        interrupt: Option<&InterruptHandle>,
    ) -> Result<WaitResult, TrapCode> {
        let waiter = Arc::new(Waiter { thread: thread::current(), woken: AtomicBool::new(false) });
        {
            let mut queues = self.lock();
            if !expected() {
                return Ok(WaitResult::Mismatch);
            }
            queues.entry(address).or_default().push_back(waiter.clone());
        }
        // From here on an interruption unparks this thread; one from before is seen below.
        let _unparked = interrupt.map(InterruptHandle::unpark_current);
        loop {
            if waiter.woken.load(Acquire) {
                return Ok(WaitResult::Ok);
            }
            if let Some(code) = interrupt.and_then(InterruptHandle::pending) {
                // Whoever was woken in between says so; the guest ends at the next place that looks.
                let woken = !self.leave(address, &waiter);
                return if woken { Ok(WaitResult::Ok) } else { Err(code) };
            }
            let Some(until) = until else {
                thread::park();
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let woken = !self.leave(address, &waiter);
                return Ok(if woken { WaitResult::Ok } else { WaitResult::TimedOut });
            }
            thread::park_timeout(left);
        }
    }

    /// Takes a waiter out of its queue; `false` if a notification was faster.
    fn leave(&self, address: u64, waiter: &Arc<Waiter>) -> bool {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(&address) else { return false };
        let Some(at) = queue.iter().position(|other| Arc::ptr_eq(other, waiter)) else {
            return false;
        };
        queue.remove(at);
        if queue.is_empty() {
            queues.remove(&address);
        }
        true
    }

    /// Wakes up to `count` of those that wait at `address`, the longest waiting first, and tells how
    /// many there were.
    pub(crate) fn notify(&self, address: u64, count: u32) -> u32 {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(&address) else { return 0 };
        let some = queue.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        for waiter in queue.drain(..some) {
            waiter.woken.store(true, Release);
            waiter.thread.unpark();
        }
        if queue.is_empty() {
            queues.remove(&address);
        }
        // No more than `count`.
        some as u32
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Lets other threads run until `done`.
    fn until(mut done: impl FnMut() -> bool) {
        while !done() {
            thread::yield_now();
        }
    }

    #[test]
    fn the_longest_waiting_are_woken_first_and_no_more_than_asked_for() {
        let parking = Parking::default();
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for i in 0..4 {
                let (parking, order) = (&parking, &order);
                scope.spawn(move || {
                    assert_eq!(parking.wait(8, || true, None, None), Ok(WaitResult::Ok));
                    order.lock().expect("the order").push(i);
                });
                until(|| parking.waiting() == i + 1);
            }
            assert_eq!((parking.notify(8, 0), parking.notify(9, u32::MAX)), (0, 0));
            for i in 0..2 {
                assert_eq!(parking.notify(8, 1), 1);
                until(|| order.lock().expect("the order").len() == i + 1);
            }
            assert_eq!((parking.notify(8, u32::MAX), parking.notify(8, u32::MAX)), (2, 0));
        });
        let order = order.into_inner().expect("the order");
        assert_eq!(order[..2], [0, 1]);
        assert!(parking.lock().is_empty());
    }

    #[test]
    fn what_is_not_expected_or_out_of_time_leaves_nothing_behind() {
        let parking = Parking::default();
        assert_eq!(parking.wait(0, || false, None, None), Ok(WaitResult::Mismatch));
        let now = Some(Instant::now());
        assert_eq!(parking.wait(0, || true, now, None), Ok(WaitResult::TimedOut));
        let soon = Instant::now().checked_add(Duration::from_micros(50));
        assert_eq!(parking.wait(0, || true, soon, None), Ok(WaitResult::TimedOut));
        assert!(parking.lock().is_empty());
    }

    #[test]
    fn an_interruption_ends_a_wait_before_or_during_it() {
        let handle = InterruptHandle::new(0x1000);
        handle.interrupt(TrapCode::Interrupted);
        let parking = Parking::default();
        let wait = || parking.wait(0, || true, None, Some(&handle));
        assert_eq!(wait(), Err(TrapCode::Interrupted));
        handle.clear();
        thread::scope(|scope| {
            let waiting = scope.spawn(wait);
            until(|| parking.waiting() == 1);
            handle.interrupt(TrapCode::DeadlineExceeded);
            assert_eq!(waiting.join().expect("no panic"), Err(TrapCode::DeadlineExceeded));
        });
        assert!(parking.lock().is_empty());
    }

    #[test]
    fn p2_racing_notifications_timeouts_and_interruptions_lose_nobody() {
        let parking = Parking::default();
        let handle = InterruptHandle::new(0x1000);
        thread::scope(|scope| {
            let waiters: Vec<_> = (0..6_u64)
                .map(|i| {
                    let (parking, handle) = (&parking, &handle);
                    scope.spawn(move || {
                        let mut woken = 0_u64;
                        for round in 0..400_u64 {
                            let until =
                                Instant::now().checked_add(Duration::from_micros(round % 7));
                            let interrupt = (i % 2 == 0).then_some(handle);
                            match parking.wait(i % 2, || true, until, interrupt) {
                                Ok(WaitResult::Ok) => woken += 1,
                                Ok(WaitResult::Mismatch) => panic!("a mismatch"),
                                _ => {}
                            }
                        }
                        woken
                    })
                })
                .collect();
            let mut notified = 0;
            while !waiters.iter().all(thread::ScopedJoinHandle::is_finished) {
                notified += u64::from(parking.notify(0, 1)) + u64::from(parking.notify(1, 2));
                handle.interrupt(TrapCode::Interrupted);
                handle.clear();
            }
            let woken: u64 = waiters.into_iter().map(|w| w.join().expect("no panic")).sum();
            // Somebody may be woken and interrupted at once, and says then that it was woken.
            assert_eq!(woken, notified);
        });
        assert!(parking.lock().is_empty());
    }
}
