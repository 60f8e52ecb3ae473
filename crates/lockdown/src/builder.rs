//! From grants to a lock.
//!
//! One order, and each step's reason: filters are made first, since that may fail without harm; threads are counted
//! before anything is bound; Landlock comes before seccomp, whose filter would refuse it.

use std::os::fd::{AsFd, BorrowedFd};

use crate::{Error, Report, Rights, Support, filter, paths, process};

/// What runs the guest, so what the process must be able to do.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Profile {
    /// The interpreter alone: no memory ever becomes executable.
    #[default]
    Interpreter,
    /// A compiler too: memory that is not writable may become executable. Writable and executable at once stays
    /// refused.
    Compiler,
}

/// What the filter has to let through.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Needs {
    pub(crate) profile: Profile,
    /// The rights on all directories together; `None` without any directory.
    pub(crate) paths: Option<Rights>,
    pub(crate) threads: bool,
    pub(crate) sockets: bool,
}

/// The lock on this process.
#[derive(Copy, Clone, Debug)]
pub struct Lockdown {}

impl Lockdown {
    /// A lock for the interpreter, with no directory, that lets threads start.
    #[must_use]
    pub fn builder<'fd>() -> Builder<'fd> {
        Builder {
            profile: Profile::Interpreter,
            directories: Vec::new(),
            threads: true,
            sockets: false,
            close_inherited: false,
        }
    }
}

/// Puts a lock together.
#[derive(Debug)]
pub struct Builder<'fd> {
    profile: Profile,
    directories: Vec<(BorrowedFd<'fd>, Rights)>,
    threads: bool,
    sockets: bool,
    close_inherited: bool,
}

impl<'fd> Builder<'fd> {
    /// What runs the guest. Default the interpreter.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Lets the process reach what lies beneath an open directory, as far as `rights` go. Best the very descriptor
    /// that the guest's files are opened through.
    #[must_use]
    pub fn directory(mut self, directory: &'fd impl AsFd, rights: Rights) -> Self {
        self.directories.push((directory.as_fd(), rights));
        self
    }

    /// Whether threads may be started after the lock. Default yes: compilers and deadlines need them.
    #[must_use]
    pub fn threads(mut self, allowed: bool) -> Self {
        self.threads = allowed;
        self
    }

    /// Whether connections may be accepted on a listening socket that is open already, and shut down. Default no.
    /// New sockets are never made.
    #[must_use]
    pub fn sockets(mut self, allowed: bool) -> Self {
        self.sockets = allowed;
        self
    }

    /// Closes descriptors from 3 on that are not marked close-on-exec. Only for programs that mark all of their own,
    /// as everything opened through Rust's standard library is: then these are what the process was started
    /// with, and whoever breaks out would find them. Default no.
    #[must_use]
    pub fn close_inherited(mut self, close: bool) -> Self {
        self.close_inherited = close;
        self
    }

    /// Locks the process, for good.
    ///
    /// # Errors
    ///
    /// If the kernel has what is needed and it fails all the same, or if other threads would stay outside; the
    /// process may be locked in part then. What the kernel lacks is in the report instead.
    pub fn enforce(self) -> Result<Report, Error> {
        let support = Support::probe();
        let needs = Needs {
            profile: self.profile,
            paths: self.directories.iter().map(|(_, rights)| *rights).reduce(|all, one| all | one),
            threads: self.threads,
            sockets: self.sockets,
        };
        let filters = filter::compile(&needs)?;
        let abi = support.landlock_abi;
        if (1..paths::BINDS_THREADS).contains(&abi) && !process::single_threaded()? {
            return Err(Error::Threads { abi });
        }
        if self.close_inherited {
            process::close_inherited()?;
        }
        process::no_dumps()?;
        process::no_new_privileges()?;
        let files = paths::restrict(&self.directories)?;
        let abi = if files { abi } else { 0 };
        let seccomp = filter::install(&filters)?;
        if !seccomp && !files && !process_alone() {
            // Then nothing has bound the others, not even to renounce privileges.
            return Err(Error::Threads { abi });
        }
        Ok(Report {
            landlock_abi: abi,
            files: abi >= 1,
            refer: abi >= 2,
            truncate: abi >= 3,
            tcp: abi >= 4,
            devices: abi >= 5,
            scopes: abi >= 6,
            seccomp,
            no_new_privs: true,
            no_core_dumps: true,
        })
    }
}

fn process_alone() -> bool {
    process::single_threaded().unwrap_or(false)
}
