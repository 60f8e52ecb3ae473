//! Settings of the process: its threads, dumps, privileges, and descriptors that it never asked for.
//!
//! Everything but the count of threads and the closing of descriptors goes through rustix.

use std::io;
use std::os::fd::RawFd;

use rustix::process::{DumpableBehavior, Resource, Rlimit};

use crate::Error;

/// Whether the calling thread is the only one.
pub(crate) fn single_threaded() -> Result<bool, Error> {
    // The kernel refuses to "unshare" a thread from its group exactly if there are others, and does nothing if not.
    // SAFETY: with this flag alone the call has no effect on memory, files or namespaces.
    let alone = unsafe { libc::unshare(libc::CLONE_THREAD) };
    if alone == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::EINVAL) {
        return Ok(false);
    }
    // A filter around this process may refuse that call; then the list of threads tells.
    match std::fs::read_dir("/proc/self/task") {
        Ok(tasks) => Ok(tasks.count() == 1),
        Err(_) => Err(Error::ThreadsUnknown(error)),
    }
}

/// Nobody attaches to the process or reads its memory through `/proc`, and it leaves no core dump.
pub(crate) fn no_dumps() -> Result<(), Error> {
    let failed = |what| move |e: rustix::io::Errno| Error::Process { what, source: e.into() };
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(failed("the process cannot be closed to others"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none)
        .map_err(failed("core dumps cannot be switched off"))
}

/// No program that this process could start gains privileges.
pub(crate) fn no_new_privileges() -> Result<(), Error> {
    rustix::thread::set_no_new_privs(true).map_err(|e| Error::Process {
        what: "new privileges cannot be renounced",
        source: e.into(),
    })
}

/// Closes the descriptors from 3 on that would survive an `exec`: since everything that Rust opens is marked not to,
/// they were there when the process started, and belong to nobody in it.
pub(crate) fn close_inherited() -> Result<(), Error> {
    let failed = |source| Error::Process { what: "inherited descriptors cannot be closed", source };
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
        .map_err(failed)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // SAFETY: asking for flags changes nothing, whatever the number stands for.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
            // SAFETY: no owner in this process has this descriptor: the caller of `Builder::close_inherited` said
            // that all of the process's own are marked close-on-exec, and this one is not.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}
