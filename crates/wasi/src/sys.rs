//! The system calls of this crate: those of `rustix`, by the same names, each of which a test can make fail.
//!
//! Every other file takes them from here, so that the n-th request of a call can be refused wherever it comes from
//! (row X11). In a product the look that comes before each of them is nothing.

use rustix::io::Result;

/// An error if a test wants the next request to fail.
#[inline(always)]
pub(crate) fn check() -> Result<()> {
    #[cfg(feature = "faults")]
    palisade::faults::check().map_err(|_| rustix::io::Errno::NOMEM)?;
    Ok(())
}

/// Wraps functions that take what they take and may fail.
macro_rules! wrap {
    ($from:path: $( $(#[$cfg:meta])* fn $name:ident $(<$life:lifetime>)? ($($arg:ident: $ty:ty),*) -> $result:ty; )*) => {
        $(
            $(#[$cfg])*
            #[inline(always)]
            pub(crate) fn $name $(<$life>)? ($($arg: $ty),*) -> Result<$result> {
                use $from as real;
                super::check()?;
                real::$name($($arg),*)
            }
        )*
    };
}

/// Files and directories.
pub(crate) mod fs {
    use std::num::NonZeroU64;
    use std::os::fd::{AsFd, OwnedFd};

    pub(crate) use rustix::fs::*;
    use rustix::io::Result;
    use rustix::path::Arg;

    wrap! { rustix::fs:
        fn fstat(fd: impl AsFd) -> Stat;
        fn fstatfs(fd: impl AsFd) -> StatFs;
        fn statat(dir: impl AsFd, path: impl Arg, flags: AtFlags) -> Stat;
        fn openat(dir: impl AsFd, path: impl Arg, flags: OFlags, mode: Mode) -> OwnedFd;
        fn openat2(dir: impl AsFd, path: impl Arg, flags: OFlags, mode: Mode, resolve: ResolveFlags) -> OwnedFd;
        fn ftruncate(fd: impl AsFd, size: u64) -> ();
        fn fallocate(fd: impl AsFd, mode: FallocateFlags, at: u64, len: u64) -> ();
        fn fadvise(fd: impl AsFd, at: u64, len: Option<NonZeroU64>, advice: Advice) -> ();
        fn fsync(fd: impl AsFd) -> ();
        fn fdatasync(fd: impl AsFd) -> ();
        fn seek(fd: impl AsFd, to: SeekFrom) -> u64;
        fn tell(fd: impl AsFd) -> u64;
        fn mkdirat(dir: impl AsFd, path: impl Arg, mode: Mode) -> ();
        fn unlinkat(dir: impl AsFd, path: impl Arg, flags: AtFlags) -> ();
        fn readlinkat(dir: impl AsFd, path: impl Arg, buffer: impl Into<Vec<u8>>) -> std::ffi::CString;
        fn symlinkat(target: impl Arg, dir: impl AsFd, path: impl Arg) -> ();
        fn linkat(from: impl AsFd, name: impl Arg, to: impl AsFd, new: impl Arg, flags: AtFlags) -> ();
        fn renameat(from: impl AsFd, name: impl Arg, to: impl AsFd, new: impl Arg) -> ();
        fn utimensat(dir: impl AsFd, path: impl Arg, times: &Timestamps, flags: AtFlags) -> ();
        fn futimens(fd: impl AsFd, times: &Timestamps) -> ();
        fn fcntl_getfl(fd: impl AsFd) -> OFlags;
        fn fcntl_setfl(fd: impl AsFd, flags: OFlags) -> ();
    }
}

/// Reading, writing, duplicating.
pub(crate) mod io {
    use std::io::{IoSlice, IoSliceMut};
    use std::os::fd::{AsFd, OwnedFd, RawFd};

    pub(crate) use rustix::io::*;

    wrap! { rustix::io:
        fn readv(fd: impl AsFd, bufs: &mut [IoSliceMut<'_>]) -> usize;
        fn write(fd: impl AsFd, buf: &[u8]) -> usize;
        fn writev(fd: impl AsFd, bufs: &[IoSlice<'_>]) -> usize;
        fn pwritev(fd: impl AsFd, bufs: &[IoSlice<'_>], at: u64) -> usize;
        fn preadv2(fd: impl AsFd, bufs: &mut [IoSliceMut<'_>], at: u64, flags: ReadWriteFlags) -> usize;
        fn pwritev2(fd: impl AsFd, bufs: &[IoSlice<'_>], at: u64, flags: ReadWriteFlags) -> usize;
        fn ioctl_fionread(fd: impl AsFd) -> u64;
        fn fcntl_dupfd_cloexec(fd: impl AsFd, least: RawFd) -> OwnedFd;
    }

    /// As `rustix` has it, into a slice.
    #[inline(always)]
    pub(crate) fn read(fd: impl AsFd, buf: &mut [u8]) -> Result<usize> {
        super::check()?;
        rustix::io::read(fd, buf)
    }

    /// As `rustix` has it, into a slice.
    #[inline(always)]
    pub(crate) fn pread(fd: impl AsFd, buf: &mut [u8], at: u64) -> Result<usize> {
        super::check()?;
        rustix::io::pread(fd, buf, at)
    }
}

/// Sockets.
pub(crate) mod net {
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::io::Result;
    pub(crate) use rustix::net::*;

    wrap! { rustix::net:
        fn send(fd: impl AsFd, buf: &[u8], flags: SendFlags) -> usize;
        fn accept_with(fd: impl AsFd, flags: SocketFlags) -> OwnedFd;
        fn shutdown(fd: impl AsFd, how: Shutdown) -> ();
    }

    /// As `rustix` has it, into a slice.
    #[inline(always)]
    pub(crate) fn recv(fd: impl AsFd, buf: &mut [u8], flags: RecvFlags) -> Result<(usize, usize)> {
        super::check()?;
        rustix::net::recv(fd, buf, flags)
    }
}

/// Waiting.
pub(crate) mod event {
    pub(crate) use rustix::event::*;
    use rustix::io::Result;

    wrap! { rustix::event:
        fn poll<'a>(fds: &mut [PollFd<'a>], timeout: Option<&Timespec>) -> usize;
    }
}

/// Random bytes.
pub(crate) mod rand {
    use rustix::io::Result;
    pub(crate) use rustix::rand::*;

    /// As `rustix` has it, into a slice.
    #[inline(always)]
    pub(crate) fn getrandom(buf: &mut [u8], flags: GetRandomFlags) -> Result<usize> {
        super::check()?;
        rustix::rand::getrandom(buf, flags)
    }
}
