//! How another thread stops a guest.
//!
//! An [`InterruptHandle`] writes to the store's [`Interrupts`], which engines look at at every function
//! entry and loop head, and makes an event descriptor readable, which blocking host calls wait on
//! beside whatever else they wait for. A thread that waits on a shared memory for a guest of the store is
//! unparked. A request stays pending until it is cleared, and the first reason wins. Both words and the descriptor change under one lock, so that they always agree;
//! engines read the words without it. The lock makes this unfit for signal handlers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};

use palisade_core::TrapCode;

use crate::layout::Interrupts;
use crate::native::POLL_BYTES;
use crate::sys::event;
use crate::sys::region::{Region, page_size};

/// Stops the guests of one store, from any thread. Outlives the store without harm.
#[derive(Clone, Debug)]
pub struct InterruptHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    interrupts: Arc<Interrupts>,
    /// What `stack_limit` is when nothing is pending.
    stack_end: usize,
    /// What machine code reads from, to fail when a request is pending.
    poll: Option<PollRegion>,
    /// Made when somebody first wants to wait on it.
    event: OnceLock<OwnedFd>,
    /// The thread to unpark, if a guest of the store sleeps.
    lock: Mutex<Option<Thread>>,
}

impl InterruptHandle {
    /// The handle of a store whose value stack ends at `stack_end`.
    pub(crate) fn new(stack_end: usize) -> Self {
        let interrupts = Arc::new(Interrupts {
            stack_limit: AtomicUsize::new(stack_end),
            reason: AtomicU32::new(0),
            attention: AtomicU32::new(0),
        });
        let (event, lock) = (OnceLock::new(), Mutex::new(None));
        let inner = Inner { interrupts, stack_end, poll: None, event, lock };
        Self { inner: Arc::new(inner) }
    }

    /// The same, with a region for machine code to read from.
    pub(crate) fn with_polls(stack_end: usize) -> io::Result<Self> {
        let mut handle = Self::new(stack_end);
        if let Some(inner) = Arc::get_mut(&mut handle.inner) {
            inner.poll = Some(PollRegion::new()?);
        }
        Ok(handle)
    }

    /// Where the region begins that machine code reads from; null if there is none.
    pub(crate) fn poll_region(&self) -> *const u8 {
        self.inner.poll.as_ref().map_or(std::ptr::null(), PollRegion::start)
    }

    /// What engines read.
    pub(crate) fn interrupts(&self) -> &Arc<Interrupts> {
        &self.inner.interrupts
    }

    /// Asks the running guest, or the next one, to end with this code. Keeps an earlier request.
    pub fn interrupt(&self, code: TrapCode) {
        let sleeping = self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let words = &self.inner.interrupts;
        if words.reason.load(Relaxed) != 0 {
            return;
        }
        // The reason first: whoever sees the limit must find it.
        words.reason.store(code as u32, Release);
        self.inner.call_for(Interrupts::STOP);
        if let Some(event) = self.inner.event.get() {
            event::raise(event.as_fd());
        }
        if let Some(thread) = &*sleeping {
            thread.unpark();
        }
    }

    /// Asks the running guest, or the next one, where it is: its store's [`crate::sample::Sampler`] is called the next
    /// time that it looks whether it is to stop. A guest that waits goes on waiting. `false` if an earlier request has not
    /// been answered.
    pub fn request_sample(&self) -> bool {
        let _guard = self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.inner.interrupts.attention.load(Relaxed);
        // A guest that is to end is not asked any more.
        if before == 0 {
            self.inner.call_for(Interrupts::SAMPLE);
        }
        before & Interrupts::SAMPLE == 0
    }

    /// Answers a request for a sample: whether one is to be taken. The guest goes on if it is not to end; machine code does
    /// so only if it may, since what it reads from is not closed for something else.
    pub(crate) fn take_sample(&self, may_open: bool) -> bool {
        let _guard = self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let words = &self.inner.interrupts;
        let attention = words.attention.load(Relaxed);
        if attention & Interrupts::STOP != 0 {
            words.attention.store(Interrupts::STOP, Release);
            return false;
        }
        if attention == 0 || (may_open && !self.inner.let_go_on()) {
            return false;
        }
        words.attention.store(0, Release);
        words.stack_limit.store(self.inner.stack_end, Release);
        true
    }

    /// Lets requests from now on unpark the current thread, until the guard is dropped. A request from
    /// before is to be looked for after this.
    pub(crate) fn unpark_current(&self) -> Unparked<'_> {
        let mut sleeping = self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner);
        *sleeping = Some(thread::current());
        Unparked { handle: self }
    }

    /// Takes the request back, so that guests can run again.
    pub fn clear(&self) {
        self.clear_if(|_| true);
    }

    /// Takes the request back if it is this one.
    pub(crate) fn clear_if(&self, which: impl FnOnce(u32) -> bool) {
        let _guard = self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let words = &self.inner.interrupts;
        let reason = words.reason.load(Relaxed);
        if reason == 0 || !which(reason) {
            return;
        }
        // Whoever finds the region closed and no reason tries again. Opening it first would let a guest go on
        // although it was not yet forgiven: harmless, and a system that refuses leaves the request as it was.
        if self.inner.poll.as_ref().is_some_and(|poll| poll.open().is_err()) {
            return;
        }
        words.reason.store(0, Release);
        words.attention.store(0, Release);
        words.stack_limit.store(self.inner.stack_end, Release);
        if let Some(event) = self.inner.event.get() {
            event::lower(event.as_fd());
        }
    }

    /// Opens the region that machine code reads from, if no request is pending: somebody else had closed it.
    pub(crate) fn reopen_polls(&self) {
        let _guard = self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.inner.interrupts.attention.load(Relaxed) == 0 {
            self.inner.let_go_on();
        }
    }

    /// What is asked for, if anything is.
    pub fn pending(&self) -> Option<TrapCode> {
        self.inner.interrupts.pending()
    }

    /// A descriptor that is readable exactly while a request is pending. To be polled, not to be
    /// read. Fails when the process has no descriptors left.
    pub fn event_fd(&self) -> io::Result<BorrowedFd<'_>> {
        let _guard = self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = self.inner.event.get() {
            return Ok(event.as_fd());
        }
        let made = event::new()?;
        if self.inner.interrupts.reason.load(Relaxed) != 0 {
            event::raise(made.as_fd());
        }
        Ok(self.inner.event.get_or_init(|| made).as_fd())
    }
}

impl Inner {
    /// Lets the guest look up, for one of the bits of [`Interrupts::attention`]. The lock is held.
    fn call_for(&self, bit: u32) {
        let words = &self.interrupts;
        words.attention.fetch_or(bit, Release);
        words.stack_limit.store(0, Release);
        if let Some(poll) = &self.poll {
            poll.close();
        }
    }

    /// Opens the region that machine code reads from. A system that refuses leaves the guests of the store stopped, until
    /// somebody clears that. The lock is held.
    fn let_go_on(&self) -> bool {
        let opened = self.poll.as_ref().is_none_or(|poll| poll.open().is_ok());
        if !opened {
            let words = &self.interrupts;
            words.reason.store(TrapCode::Interrupted as u32, Release);
            words.attention.store(Interrupts::STOP, Release);
            words.stack_limit.store(0, Release);
        }
        opened
    }
}

/// Pages that machine code can read exactly while no request is pending.
///
/// Between inaccessible pages, and marked so that the system never joins it with its neighbours: to change the access
/// of all of it takes no memory, and does not fail for the lack of any.
#[derive(Debug)]
struct PollRegion(Region);

impl PollRegion {
    fn new() -> io::Result<Self> {
        let (page, len) = (page_size(), POLL_BYTES as usize);
        let region = Region::reserve(len + 2 * page)?;
        region.make_readable(page, page + len)?;
        region.keep_apart(page, page + len);
        Ok(Self(region))
    }

    fn start(&self) -> *const u8 {
        self.0.base().wrapping_add(page_size())
    }

    fn open(&self) -> io::Result<()> {
        self.0.make_readable(page_size(), page_size() + POLL_BYTES as usize)
    }

    fn close(&self) {
        let (from, to) = (page_size(), page_size() + POLL_BYTES as usize);
        // Takes nothing of the system (see above). If it fails all the same, pages that are taken away cannot be
        // read either.
        if self.0.make_inaccessible(from, to).is_err() {
            let closed = self.0.close(from, to);
            debug_assert!(closed.is_ok(), "{closed:?}");
        }
    }
}

/// See [`InterruptHandle::unpark_current`].
pub(crate) struct Unparked<'a> {
    handle: &'a InterruptHandle,
}

impl Drop for Unparked<'_> {
    fn drop(&mut self) {
        let inner = &self.handle.inner;
        *inner.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Interrupts {
    /// The guest is to end, for the reason that there is.
    pub const STOP: u32 = 1;
    /// Somebody wants to know where the guest is.
    pub const SAMPLE: u32 = 2;

    /// Whether the guest is not to end, but to be looked at.
    #[inline]
    pub fn wants_sample(&self) -> bool {
        self.reason.load(Acquire) == 0 && self.attention.load(Acquire) & Self::SAMPLE != 0
    }

    /// The request that is pending, if one is.
    #[inline]
    pub fn pending(&self) -> Option<TrapCode> {
        match self.reason.load(Acquire) {
            0 => None,
            code => Some(
                u8::try_from(code).ok().and_then(TrapCode::from_u8).unwrap_or(TrapCode::Internal),
            ),
        }
    }

    /// The request that is pending, as the error to end with.
    #[inline]
    pub fn poll(&self) -> Result<(), TrapCode> {
        self.pending().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::event::is_raised;

    const END: usize = 0x1000;

    fn words(handle: &InterruptHandle) -> (u32, usize) {
        let words = handle.interrupts();
        (words.reason.load(Relaxed), words.stack_limit.load(Relaxed))
    }

    #[test]
    fn a_request_stays_until_cleared_and_the_first_wins() {
        let handle = InterruptHandle::new(END);
        assert_eq!((words(&handle), handle.pending()), ((0, END), None));
        handle.interrupt(TrapCode::DeadlineExceeded);
        handle.interrupt(TrapCode::Interrupted);
        assert_eq!(words(&handle), (TrapCode::DeadlineExceeded as u32, 0));
        assert_eq!(handle.pending(), Some(TrapCode::DeadlineExceeded));
        assert_eq!(handle.interrupts().poll(), Err(TrapCode::DeadlineExceeded));
        handle.clear_if(|code| code == TrapCode::Interrupted as u32);
        assert!(handle.pending().is_some());
        handle.clear();
        assert_eq!((words(&handle), handle.pending()), ((0, END), None));
        assert_eq!(handle.interrupts().poll(), Ok(()));
    }

    #[test]
    fn a_request_for_a_sample_is_answered_once_and_gives_way_to_an_end() {
        let handle = InterruptHandle::with_polls(END).expect("a region");
        let attention = || handle.interrupts().attention.load(Relaxed);
        assert!(handle.request_sample() && !handle.request_sample());
        assert_eq!((words(&handle), handle.pending()), ((0, 0), None));
        assert!(handle.interrupts().wants_sample());
        assert!(handle.take_sample(true) && !handle.take_sample(true));
        assert_eq!((words(&handle), attention()), ((0, END), 0));
        assert!(handle.request_sample());
        handle.interrupt(TrapCode::Interrupted);
        assert!(!handle.interrupts().wants_sample() && !handle.take_sample(true));
        assert_eq!((words(&handle).1, attention()), (0, Interrupts::STOP));
        assert!(handle.request_sample(), "not asked, and not waited for");
        assert_eq!(attention(), Interrupts::STOP);
        handle.clear();
        assert_eq!((words(&handle), attention()), ((0, END), 0));
        assert!(handle.request_sample());
        let event = handle.event_fd().expect("a descriptor");
        assert!(!is_raised(event), "nobody who waits is woken");
    }

    #[test]
    fn the_descriptor_follows_the_request() {
        let handle = InterruptHandle::new(END);
        handle.interrupt(TrapCode::Interrupted);
        let fd = handle.event_fd().expect("a descriptor");
        assert!(is_raised(fd), "made while a request was pending");
        handle.clear();
        assert!(!is_raised(fd));
        handle.interrupt(TrapCode::Interrupted);
        handle.interrupt(TrapCode::Interrupted);
        assert!(is_raised(fd));
        handle.clear();
        handle.clear();
        assert!(!is_raised(fd));
    }

    #[test]
    fn both_words_agree_after_racing_threads() {
        let handle = InterruptHandle::new(END);
        std::thread::scope(|scope| {
            for clears in [false, true, false, true] {
                let handle = handle.clone();
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        if clears {
                            handle.clear();
                        } else {
                            handle.interrupt(TrapCode::Interrupted);
                        }
                    }
                });
            }
        });
        let (reason, limit) = words(&handle);
        assert_eq!(reason == 0, limit == END);
        handle.clear();
        assert_eq!(words(&handle), (0, END));
    }
}
