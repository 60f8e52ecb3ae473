//! The second wall: a process that is about to run a guest locks itself in.
//!
//! The first wall is the runtime: a guest reaches nothing that it was not given. This crate is for the day when the
//! first one has a hole. It makes the kernel hold the process to what the guest was given, for good:
//!
//! - **Landlock** closes every file but those beneath the granted directories, each with the granted rights, TCP, and
//!   signals and abstract sockets of others.
//! - **seccomp** lets through only the system calls that the runtime makes. Nothing opens a path but `openat2`, and that
//!   only if a directory was granted; nothing starts a program, or a process; no memory is ever writable and executable.
//! - No new privileges, no core dumps, nobody attaches.
//!
//! Invariants: nothing here loosens anything, and nothing can be taken back. A lock binds the whole process, or
//! [`Builder::enforce`] is an error. What the kernel lacks is in the [`Report`], never passed over.
//!
//! The lock is for processes that run one guest. It must come before any other thread starts (see
//! [`Error::Threads`]), and after everything has been opened that the process itself will need.
//!
//! ```no_run
//! use palisade_lockdown::{Lockdown, Profile, Rights};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let data = std::fs::File::open("./data")?;
//! let report = Lockdown::builder()
//!     .profile(Profile::Interpreter)
//!     .directory(&data, Rights::READ)
//!     .enforce()?;
//! for gap in report.missing() {
//!     eprintln!("the kernel lacks: {gap}");
//! }
//! // From here on this process reads beneath ./data, and touches no other file.
//! # Ok(())
//! # }
//! ```

#![cfg(target_os = "linux")]

mod builder;
mod error;
#[cfg(target_arch = "x86_64")]
mod filter;
#[cfg(not(target_arch = "x86_64"))]
#[path = "filter_absent.rs"]
mod filter;
mod paths;
mod process;
mod report;
mod rights;
#[cfg(target_arch = "x86_64")]
mod syscalls;

pub use builder::{Builder, Lockdown, Profile};
pub use error::Error;
pub use report::{Report, Support};
pub use rights::Rights;
