//! Event descriptors: raised, lowered and waited for. Not a counter, not a lock.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// Makes one that is lowered.
pub(crate) fn new() -> io::Result<OwnedFd> {
    super::fault::check()?;
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Makes it readable.
pub(crate) fn raise(event: BorrowedFd<'_>) {
    // Fails only when its counter is full, and then it is readable.
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

/// Makes it unreadable.
pub(crate) fn lower(event: BorrowedFd<'_>) {
    // Fails only when it is unreadable already.
    let _ = rustix::io::read(event, &mut [0; 8]);
}

/// Whether it is readable.
#[cfg(test)]
pub(crate) fn is_raised(event: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::from_borrowed_fd(event, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll") == 1
}

/// Waits until it is readable.
#[cfg(test)]
pub(crate) fn wait(event: BorrowedFd<'_>) {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::from_borrowed_fd(event, PollFlags::IN)];
    while !matches!(poll(&mut fds, None), Ok(1)) {}
}
