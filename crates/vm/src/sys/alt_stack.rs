//! The stack of a thread's signal handlers: faults of a guest whose own stack is used up need one.
//!
//! Threads of Rust have one, a small one; others may have none. Where it is smaller than handlers of the embedder and
//! ours may need, it is replaced as long as the thread lives.

use std::cell::RefCell;
use std::io;

use super::region::{Region, page_size};

/// The size of ours, and what one of somebody else must have.
const BYTES: usize = 64 << 10;

/// A signal stack of ours, above an inaccessible page.
struct AltStack(Region);

impl AltStack {
    fn start(&self) -> *mut u8 {
        self.0.base().wrapping_add(page_size())
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        // SAFETY: plain structures of our own. The stack is not in use: this is no signal handler.
        unsafe {
            let mut now: libc::stack_t = std::mem::zeroed();
            // The one of before is not put back: who made it may have freed it by now.
            if libc::sigaltstack(std::ptr::null(), &mut now) == 0
                && now.ss_sp == self.start().cast()
            {
                let mut none: libc::stack_t = std::mem::zeroed();
                none.ss_flags = libc::SS_DISABLE;
                libc::sigaltstack(&none, std::ptr::null_mut());
            }
        }
    }
}

/// What was found out about this thread.
enum State {
    Unknown,
    /// The stack that it had is large enough.
    Theirs,
    Ours(#[expect(dead_code, reason = "kept for its drop")] AltStack),
}

thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State::Unknown) };
}

/// Whether [`ensure`] has seen to this thread.
pub(crate) fn is_there() -> bool {
    // While the thread ends, there is none.
    STATE.try_with(|state| !matches!(*state.borrow(), State::Unknown)).unwrap_or(false)
}

/// Sees to it that this thread has a signal stack of some size.
pub(crate) fn ensure() -> io::Result<()> {
    if is_there() {
        return Ok(());
    }
    // SAFETY: plain structures of our own.
    let large_enough = unsafe {
        let mut now: libc::stack_t = std::mem::zeroed();
        if libc::sigaltstack(std::ptr::null(), &mut now) != 0 {
            return Err(io::Error::last_os_error());
        }
        now.ss_flags & libc::SS_DISABLE == 0 && now.ss_size >= BYTES
    };
    let state = if large_enough { State::Theirs } else { State::Ours(make()?) };
    let kept = STATE.try_with(|place| *place.borrow_mut() = state);
    kept.map_err(|_| io::Error::other("the thread is ending"))
}

fn make() -> io::Result<AltStack> {
    let bytes = BYTES.max(4 * super::signals::frame_bytes()).next_multiple_of(page_size());
    let region = Region::reserve(page_size() + bytes)?;
    region.open(page_size(), page_size() + bytes)?;
    let stack = AltStack(region);
    let mut ours: libc::stack_t = empty();
    ours.ss_sp = stack.start().cast();
    ours.ss_size = bytes;
    // SAFETY: the bytes are open, and stay so until another stack, or none, was set.
    if unsafe { libc::sigaltstack(&ours, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stack)
}

fn empty() -> libc::stack_t {
    libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: 0, ss_size: 0 }
}
