//! The context: everything that one guest is granted, and what it holds open.
//!
//! A context is made by its builder and then only loses: no call adds a capability, a grant or a right to it.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::sys::fs::Stat;

use crate::audit::AuditHook;
use crate::calls::clock::ProcessorTime;
use crate::descriptor::{Descriptor, Table};
use crate::deterministic::{Deterministic, EPOCH};
use crate::path::{Identity, Root, identity};
use crate::types::{Filestat, timestamp};
use crate::{Caps, FileType, Ledger, Refusal, Resource, Rights, WasiCtxBuilder};

/// Limits that a context brings along. Counted is in the ledger alone ([`crate::WasiHost::ledger`]), which takes them
/// over at the first call; what the ledger's owner has set himself is never raised by them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) descriptors: Option<u32>,
    pub(crate) output: Option<u64>,
    pub(crate) inodes: Option<u64>,
    pub(crate) file_size: Option<u64>,
}

/// A preopened directory.
pub(crate) struct Grant {
    /// What the guest calls it.
    pub(crate) name: String,
    pub(crate) caps: Caps,
    pub(crate) writable: bool,
    pub(crate) same_device: bool,
    pub(crate) root: OwnedFd,
    pub(crate) identity: Identity,
}

impl Grant {
    /// Rights on its directories.
    pub(crate) fn directory_rights(&self) -> Rights {
        let mut r = Rights::empty();
        if self.caps.contains(Caps::READ) {
            r |= Rights::PATH_OPEN
                | Rights::FD_READDIR
                | Rights::PATH_FILESTAT_GET
                | Rights::PATH_READLINK;
            r |= Rights::FD_FILESTAT_GET;
        }
        if self.caps.contains(Caps::WRITE) {
            r |= Rights::PATH_OPEN | Rights::PATH_CREATE_FILE | Rights::PATH_FILESTAT_SET_SIZE;
            r |= Rights::FD_FILESTAT_GET
                | Rights::FD_FILESTAT_SET_TIMES
                | Rights::FD_SYNC
                | Rights::FD_DATASYNC;
            r |= Rights::FD_FDSTAT_SET_FLAGS;
        }
        if self.caps.contains(Caps::PATH) {
            r |= Rights::PATH_OPEN | Rights::PATH_FILESTAT_GET | Rights::PATH_READLINK;
            if self.writable {
                r |= Rights::PATH_CREATE_DIRECTORY
                    | Rights::PATH_REMOVE_DIRECTORY
                    | Rights::PATH_UNLINK_FILE;
                r |= Rights::PATH_LINK_SOURCE | Rights::PATH_LINK_TARGET | Rights::PATH_SYMLINK;
                r |= Rights::PATH_RENAME_SOURCE
                    | Rights::PATH_RENAME_TARGET
                    | Rights::PATH_FILESTAT_SET_TIMES;
            }
        }
        r
    }

    /// Rights on its regular files.
    pub(crate) fn file_rights(&self) -> Rights {
        let either = Rights::FD_SEEK
            | Rights::FD_TELL
            | Rights::FD_ADVISE
            | Rights::FD_FILESTAT_GET
            | Rights::POLL_FD_READWRITE;
        let mut r = Rights::empty();
        if self.caps.contains(Caps::READ) {
            r |= either | Rights::FD_READ;
        }
        if self.caps.contains(Caps::WRITE) {
            r |= either
                | Rights::FD_WRITE
                | Rights::FD_ALLOCATE
                | Rights::FD_DATASYNC
                | Rights::FD_SYNC;
            r |= Rights::FD_FILESTAT_SET_SIZE
                | Rights::FD_FILESTAT_SET_TIMES
                | Rights::FD_FDSTAT_SET_FLAGS;
        }
        r
    }

    /// All that can be done with it, in one number that can be compared.
    pub(crate) fn strength(&self) -> Rights {
        self.directory_rights() | self.file_rights()
    }
}

/// A preopened directory, as [`WasiCtx::granted_directories`] shows it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct GrantedDirectory<'a> {
    /// The directory, open.
    pub fd: BorrowedFd<'a>,
    /// What may be done beneath it.
    pub caps: Caps,
    /// Whether anything may be changed beneath it; if not, [`Caps::PATH`] is for looking alone.
    pub writable: bool,
}

/// Two preopened directories of which one lies within the other, or that are the same, with different rights.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overlap {
    /// The guest's name of the outer one.
    pub outer: String,
    /// The guest's name of the inner one; each path is judged by the one it is named through.
    pub inner: String,
    /// Whether something may be done through the outer one that may not be done through the inner one.
    pub outer_allows_more: bool,
    /// Whether something may be done through the inner one that may not be done through the outer one.
    pub inner_allows_more: bool,
}

/// How devices and inodes are shown.
pub(crate) enum Identities {
    /// As keyed hashes: equal for the same object in the same context, and telling nothing else.
    Hashed(RandomState),
    /// As they are.
    Raw,
}

/// How the clocks run.
pub(crate) struct Clocks {
    /// When the context was made; the monotonic clock counts from a second before it, so that the host's uptime
    /// does not show, and it is never 0.
    pub(crate) start: Instant,
    pub(crate) processor: ProcessorTime,
    /// Times are rounded down to a multiple of this, in nanoseconds.
    pub(crate) granularity: u64,
}

/// What one guest is granted and holds open. Not shared between guests.
pub struct WasiCtx {
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) env: Vec<Vec<u8>>,
    /// Whether the host's environment was to be seen but is not granted.
    pub(crate) env_withheld: bool,
    pub(crate) caps: Caps,
    pub(crate) grants: Vec<Grant>,
    pub(crate) table: Table,
    pub(crate) limits: Limits,
    /// Whether the ledger has the limits and knows of the descriptors that were open from the start.
    pub(crate) entered: bool,
    /// From this number on, descriptors are the host's own: see [`WasiCtxBuilder::host_descriptors`].
    pub(crate) fd_ceiling: u64,
    pub(crate) identities: Identities,
    pub(crate) clocks: Clocks,
    /// What takes the host's place, if runs are to be alike.
    pub(crate) deterministic: Option<Deterministic>,
    pub(crate) overlaps: Vec<Overlap>,
    pub(crate) audit: Option<AuditHook>,
    /// Whether the hook is told of what is allowed, too.
    pub(crate) audit_allowed: bool,
    /// Whether the guest looked for preopened directories and there were none.
    pub(crate) missed_directories: bool,
    /// Sizes beyond this, and beyond the ledger's limit, are refused before the kernel sees them, since it answers
    /// some with a signal.
    pub(crate) file_ceiling: u64,
}

impl WasiCtx {
    /// A builder with the library's default: standard streams, clocks, random bytes and `proc_exit`.
    #[must_use]
    pub fn builder() -> WasiCtxBuilder {
        WasiCtxBuilder::new()
    }

    /// Preopened directories that overlap with different rights; worth a warning at start.
    #[must_use]
    pub fn overlapping_preopens(&self) -> &[Overlap] {
        &self.overlaps
    }

    /// The preopened directories, open, with the capabilities that hold in each. For a lock around the process, which
    /// should be made of the very same grants.
    pub fn granted_directories(&self) -> impl Iterator<Item = GrantedDirectory<'_>> {
        self.grants.iter().map(|grant| {
            let mut caps = grant.caps & Caps::FILES;
            if !grant.writable {
                caps.remove(Caps::WRITE);
            }
            GrantedDirectory { fd: grant.root.as_fd(), caps, writable: grant.writable }
        })
    }

    /// How many descriptors are open.
    #[must_use]
    pub fn open_descriptors(&self) -> usize {
        self.table.open_count()
    }

    /// Whether the guest looked for preopened directories, and none was granted.
    #[must_use]
    pub fn missed_directories(&self) -> bool {
        self.missed_directories
    }

    /// The capabilities granted.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.caps
    }

    pub(crate) fn shown_device(&self, dev: u64) -> u64 {
        if let Some(run) = &self.deterministic {
            return run.device(dev);
        }
        match &self.identities {
            Identities::Hashed(key) => key.hash_one(("device", dev)),
            Identities::Raw => dev,
        }
    }

    pub(crate) fn shown_inode(&self, id: Identity) -> u64 {
        if let Some(run) = &self.deterministic {
            return run.file(id);
        }
        match &self.identities {
            Identities::Hashed(key) => key.hash_one(id),
            Identities::Raw => id.1,
        }
    }

    /// What the guest is told of an object. How many links it has is told only where the guest may make links.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // the fields' types differ between machines
    pub(crate) fn filestat(&self, stat: &Stat, show_links: bool) -> Filestat {
        let id = identity(stat);
        let time = |seconds: i64, nanos: u64| match self.deterministic {
            Some(_) => EPOCH,
            None => self.coarse(timestamp(seconds, nanos)),
        };
        let file_type = FileType::from(crate::sys::fs::FileType::from_raw_mode(stat.st_mode));
        // The size of a directory, and its links, are how a file system works inside.
        let inner = self.deterministic.is_some() && file_type == FileType::Directory;
        Filestat {
            dev: self.shown_device(id.0),
            ino: self.shown_inode(id),
            file_type,
            nlink: if show_links && !inner { stat.st_nlink as u64 } else { 1 },
            size: if inner { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) },
            atim: time(stat.st_atime as i64, stat.st_atime_nsec as u64),
            mtim: time(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            ctim: time(stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }

    /// Whether the guest may make links in this grant, and so may know how many there are.
    pub(crate) fn shows_links(&self, grant: Option<usize>) -> bool {
        grant.and_then(|g| self.grants.get(g)).is_some_and(|g| g.caps.contains(Caps::PATH))
    }

    /// Where resolution starts for a directory opened through a grant.
    pub(crate) fn root<'a>(&self, dir: &'a OwnedFd, grant: usize) -> Root<'a> {
        Root {
            dir: dir.as_fd(),
            same_device: self.grants.get(grant).is_some_and(|g| g.same_device),
        }
    }

    /// Enters what the context brings along into the ledger of whoever calls it first.
    pub(crate) fn enter(&mut self, ledger: &mut Ledger) -> Result<(), Refusal> {
        if self.entered {
            return Ok(());
        }
        let own = [
            (Resource::Descriptors, self.limits.descriptors.map(u64::from)),
            (Resource::OutputBytes, self.limits.output),
            (Resource::FilesCreated, self.limits.inodes),
            (Resource::FileBytes, self.limits.file_size),
        ];
        for (what, limit) in own {
            if let Some(limit) = limit {
                ledger.narrow_limit(what, limit);
            }
        }
        ledger.charge(Resource::Descriptors, self.table.open_count() as u64)?;
        self.entered = true;
        Ok(())
    }

    /// Whether calls on a descriptor are not to wait. What is ready at which moment is an accident, so that where runs
    /// are to be alike they always wait.
    pub(crate) fn nonblocking(&self, d: &Descriptor) -> bool {
        d.nonblocking() && self.deterministic.is_none()
    }

    /// Rounds a time down to what the guest may see.
    pub(crate) fn coarse(&self, nanos: u64) -> u64 {
        match self.clocks.granularity {
            0 | 1 => nanos,
            g => nanos - nanos % g,
        }
    }

    /// Nanoseconds of the monotonic clock at `now`.
    pub(crate) fn monotonic(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.clocks.start) + Duration::from_secs(1);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Debug for WasiCtx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let preopens: Vec<&str> = self.grants.iter().map(|g| g.name.as_str()).collect();
        f.debug_struct("WasiCtx")
            .field("caps", &self.caps)
            .field("preopens", &preopens)
            .field("open_descriptors", &self.table.open_count())
            .finish_non_exhaustive()
    }
}
