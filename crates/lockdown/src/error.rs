//! Why a process could not be locked in.
//!
//! After an error the process may be locked in part. It must not run the guest.

use std::io;

/// Why a process could not be locked in. What the kernel merely lacks is no error, but in the [`crate::Report`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are other threads, and this kernel's Landlock (before ABI 8) binds the calling one alone.
    #[error(
        "other threads run already, and this kernel (Landlock ABI {abi}) cannot lock them in: lock before any thread starts"
    )]
    Threads {
        /// The kernel's version of Landlock.
        abi: u32,
    },
    /// Whether there are other threads cannot be found out.
    #[error("whether other threads run cannot be found out: {0}")]
    ThreadsUnknown(#[source] io::Error),
    /// A granted directory cannot be used for a rule.
    #[error("a granted directory cannot be part of the lock: {0}")]
    Directory(#[source] io::Error),
    /// The kernel has Landlock and refuses our rules.
    #[error("the kernel refuses the rules on files: {0}")]
    Landlock(String),
    /// The kernel has seccomp and refuses our filter.
    #[error("the kernel refuses the filter of system calls: {0}")]
    Filter(String),
    /// A setting of the process cannot be changed.
    #[error("{what}: {source}")]
    Process {
        /// Which.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}
