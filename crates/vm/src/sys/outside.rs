//! What tools that look at this process from outside want of the system: the clock that they compare with, the number
//! of a thread, and a mapping by which a profiler learns the name of a file.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::region::page_size;

/// Nanoseconds of the clock that never goes back.
pub fn monotonic_nanos() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// Nanoseconds that this thread has worked.
pub fn thread_cpu_nanos() -> u64 {
    nanos(clock_gettime(ClockId::ThreadCPUTime))
}

fn nanos(time: Timespec) -> u64 {
    let whole = u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000);
    whole.saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// The number that the system has for this thread.
pub fn thread_number() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

/// A page of a file that is mapped executable, for whoever writes down which files are; there is nothing behind it.
///
/// The page lies so far beyond the end of the file that none of its bytes are ever in it: whatever touches it, to read or
/// to execute, gets a SIGBUS.
#[derive(Debug)]
pub struct ExecutableMark {
    page: NonNull<u8>,
}

// SAFETY: the mapping is this value's own, and nobody touches it.
unsafe impl Send for ExecutableMark {}
// SAFETY: as above.
unsafe impl Sync for ExecutableMark {}

impl ExecutableMark {
    /// Where in the file the page is: the file has to stay shorter than this, in bytes.
    pub const BEYOND: u64 = 64 << 30;

    /// Maps the page.
    ///
    /// # Errors
    ///
    /// The system refuses, as it does in a process that is locked in, and on file systems that execute nothing.
    pub fn map(file: BorrowedFd<'_>) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::EXEC;
        super::fault::check()?;
        // SAFETY: no address is asked for, so that no existing mapping is touched; nobody is told of this one.
        let page = unsafe {
            mmap(std::ptr::null_mut(), page_size(), access, MapFlags::PRIVATE, file, Self::BEYOND)?
        };
        let page = NonNull::new(page.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { page })
    }
}

impl Drop for ExecutableMark {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses.
        let unmapped = unsafe { munmap(self.page.as_ptr().cast(), page_size()) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
