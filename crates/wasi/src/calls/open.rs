//! `path_open`.
//!
//! What a path leads to is found out with a handle that has no effect on the object, then opened, then compared with
//! what was found: only regular files (none of `/proc`) and directories open, a FIFO or a device is never touched, and
//! a path that changes in between is looked at again. A file is truncated only after all that, never by the opening itself.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType as HostType, Mode, OFlags, PROC_SUPER_MAGIC, fstat, fstatfs};

use super::{Answer, Call};
use crate::audit::Denial;
use crate::descriptor::{Descriptor, Dir, Object};
use crate::host::{Fail, check_stop};
use crate::path::{GuestPath, PathError, Root, identity};
use crate::types::{FromCell, LookupFlags, OpenFlags, rights_from_cell};
use crate::{Errno, FdFlags, Rights};

/// How often a path that changes while it is opened is looked at again.
const ATTEMPTS: u32 = 64;

/// What `path_open` was asked for, checked.
struct Request {
    path: GuestPath,
    follow: bool,
    open: OpenFlags,
    flags: FdFlags,
    /// Rights asked for.
    asked: Rights,
    /// Rights that what is opened can have.
    available: Rights,
}

/// What was opened.
struct Opened {
    object: OwnedFd,
    directory: bool,
    /// Rights to leave out, since the host did not open the object that far.
    without: Rights,
}

/// Why an attempt did not open anything.
enum Miss {
    Path(PathError),
    /// Neither a regular file nor a directory.
    Special,
    /// The path changed meanwhile.
    Changed,
}

impl<E: Into<PathError>> From<E> for Miss {
    fn from(e: E) -> Miss {
        Miss::Path(e.into())
    }
}

impl Request {
    fn wants_dir(&self) -> bool {
        self.open.contains(OpenFlags::DIRECTORY) || self.path.must_be_dir()
    }

    fn reads(&self) -> bool {
        self.asked.intersects(Rights::FD_READ)
    }

    /// Asked in a way that has to fail if the host does not allow it.
    fn must_write(&self) -> bool {
        self.asked.intersects(Rights::FD_WRITE | Rights::FD_ALLOCATE)
            || self.open.contains(OpenFlags::TRUNC)
    }

    /// Some guests ask for this right with every file, even one that they only read.
    fn may_resize(&self) -> bool {
        self.asked.contains(Rights::FD_FILESTAT_SET_SIZE)
            && self.available.contains(Rights::FD_FILESTAT_SET_SIZE)
    }

    fn common_flags(&self) -> OFlags {
        let mut flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        if !self.follow {
            flags |= OFlags::NOFOLLOW;
        }
        if self.flags.contains(FdFlags::DSYNC) {
            flags |= OFlags::DSYNC;
        }
        if self.flags.intersects(FdFlags::SYNC | FdFlags::RSYNC) {
            flags |= OFlags::SYNC;
        }
        flags
    }

    fn access(&self, write: bool) -> OFlags {
        match (write, self.reads()) {
            (true, true) => OFlags::RDWR,
            (true, false) => OFlags::WRONLY,
            (false, _) => OFlags::RDONLY,
        }
    }
}

impl Call<'_> {
    #[allow(clippy::too_many_arguments)] // the specification's signature
    pub(crate) fn path_open(
        &mut self,
        fd: u32,
        dirflags: u32,
        path: u32,
        path_len: u32,
        oflags: u32,
        base: u64,
        inheriting: u64,
        fdflags: u32,
        out: u32,
    ) -> Answer {
        self.dir(fd)?;
        let lookup = LookupFlags::from_cell(dirflags)?;
        let open = OpenFlags::from_cell(oflags)?;
        let flags = FdFlags::from_cell(fdflags)?;
        let (asked, inheriting) = (rights_from_cell(base)?, rights_from_cell(inheriting)?);
        let path = self.path(fd, path, path_len)?;
        self.check_out(out, 4)?;
        let creating = OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::TRUNC;
        if open.contains(OpenFlags::DIRECTORY) && open.intersects(creating) {
            return Err(Errno::INVAL.into());
        }
        let (needed, inherited) = needed_rights(open, flags, asked);
        self.require_rights(fd, Some(&path), needed, inherited)?;
        self.ctx.table.check_room()?;

        let available = self.ctx.table.get(fd)?.inheriting;
        let exclusive = open.contains(OpenFlags::CREAT | OpenFlags::EXCL);
        let follow = lookup.contains(LookupFlags::SYMLINK_FOLLOW) && !exclusive;
        let request = Request { path, follow, open, flags, asked, available };
        let opened = self.open_request(fd, &request)?;

        let (_, parent) = self.dir(fd)?;
        let grant = parent.grant;
        let granted = asked & available & !opened.without;
        let (object, mask) = if opened.directory {
            let dir = Dir { fd: opened.object, grant, preopen: false, reader: None };
            (Object::Dir(dir), Rights::DIRECTORY)
        } else {
            (Object::File(opened.object), Rights::REGULAR)
        };
        let inheriting = if opened.directory { inheriting & available } else { Rights::empty() };
        let d = Descriptor { object, base: granted & mask, inheriting, flags, grant: Some(grant) };
        let number = self.ctx.table.insert(d)?;
        self.write_u32(out, number)?;
        Ok(())
    }

    fn open_request(&mut self, fd: u32, request: &Request) -> Result<Opened, Fail> {
        for _ in 0..ATTEMPTS {
            check_stop(self.host)?;
            let (_, dir) = self.dir(fd)?;
            let root = self.ctx.root(&dir.fd, dir.grant);
            let room = self.ctx.check_inodes();
            let mut created = false;
            let attempt = attempt(&root, request, room, &mut created);
            self.ctx.inodes_used += u64::from(created);
            match attempt {
                Ok(opened) => return Ok(opened),
                Err(Miss::Changed) => {}
                Err(Miss::Path(e)) => return Err(self.path_fail(fd, &request.path, e)),
                Err(Miss::Special) => {
                    let shown = request.path.trimmed().to_owned();
                    return Err(self.deny(fd, Some(shown), Denial::Special));
                }
            }
        }
        Err(Errno::AGAIN.into())
    }
}

/// The rights that a request needs: on the directory, and inheritable.
fn needed_rights(open: OpenFlags, flags: FdFlags, asked: Rights) -> (Rights, Rights) {
    let mut needed = Rights::PATH_OPEN;
    if open.contains(OpenFlags::CREAT) {
        needed |= Rights::PATH_CREATE_FILE;
    }
    if open.contains(OpenFlags::TRUNC) {
        needed |= Rights::PATH_FILESTAT_SET_SIZE;
    }
    let mut inherited = asked & Rights::ACCESS;
    if flags.contains(FdFlags::APPEND) {
        inherited |= Rights::FD_WRITE;
    }
    if flags.contains(FdFlags::DSYNC) {
        inherited |= Rights::FD_DATASYNC;
    }
    if flags.intersects(FdFlags::SYNC | FdFlags::RSYNC) {
        inherited |= Rights::FD_SYNC;
    }
    (needed, inherited)
}

fn attempt(
    root: &Root<'_>,
    r: &Request,
    room: Result<(), Errno>,
    created: &mut bool,
) -> Result<Opened, Miss> {
    let mut probe = OFlags::PATH;
    if !r.follow {
        probe |= OFlags::NOFOLLOW;
    }
    let found = match root.open(r.path.trimmed(), probe, Mode::empty()) {
        Err(PathError::Errno(Errno::NOENT)) if r.open.contains(OpenFlags::CREAT) => {
            return create(root, r, room, created);
        }
        other => other?,
    };
    if r.open.contains(OpenFlags::CREAT | OpenFlags::EXCL) {
        return Err(Errno::EXIST.into());
    }
    let stat = fstat(&found)?;
    match HostType::from_raw_mode(stat.st_mode) {
        HostType::Directory => open_directory(root, r, found),
        HostType::Symlink if r.wants_dir() => Err(Errno::NOTDIR.into()),
        HostType::Symlink => Err(Errno::LOOP.into()),
        _ if r.wants_dir() => Err(Errno::NOTDIR.into()),
        HostType::RegularFile if of_processes(&found)? => Err(Miss::Special),
        HostType::RegularFile => open_regular(root, r, &found),
        _ => Err(Miss::Special),
    }
}

/// Whether a file is one of `/proc`. Such files are regular in name only: they are memory and environment of
/// processes, the one that runs the guest among them, and switches of the kernel.
#[allow(clippy::unnecessary_cast)] // the types differ between machines
fn of_processes(file: &OwnedFd) -> Result<bool, Errno> {
    Ok(fstatfs(file)?.f_type as u64 == PROC_SUPER_MAGIC as u64)
}

fn open_directory(root: &Root<'_>, r: &Request, found: OwnedFd) -> Result<Opened, Miss> {
    if r.open.intersects(OpenFlags::CREAT | OpenFlags::TRUNC) {
        return Err(Errno::ISDIR.into());
    }
    if r.must_write() && !r.open.contains(OpenFlags::DIRECTORY) {
        return Err(Errno::ISDIR.into());
    }
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY;
    if !r.follow {
        flags |= OFlags::NOFOLLOW;
    }
    let listed = (r.asked & r.available).contains(Rights::FD_READDIR);
    let object = match root.open(r.path.trimmed(), flags, Mode::empty()) {
        // A directory that may not be listed can still be started from.
        Err(PathError::Errno(Errno::ACCES | Errno::PERM)) if !listed => found,
        other => same(other, &found)?,
    };
    Ok(Opened { object, directory: true, without: Rights::empty() })
}

/// A descriptor for a file that nobody wants to read or write, where the host does not let it be read.
fn without_reading(
    r: &Request,
    open: impl Fn(bool) -> Result<OwnedFd, Miss>,
    found: &OwnedFd,
) -> Result<OwnedFd, Miss> {
    if r.available.contains(Rights::FD_WRITE) {
        return open(true);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(found, 0)?)
}

fn open_regular(root: &Root<'_>, r: &Request, found: &OwnedFd) -> Result<Opened, Miss> {
    let open = |write| {
        let flags = r.common_flags() | r.access(write);
        same(root.open(r.path.trimmed(), flags, Mode::empty()), found)
    };
    let (object, without) = if r.must_write() {
        (open(true)?, Rights::empty())
    } else if r.may_resize() {
        match open(true) {
            Err(Miss::Path(PathError::Errno(
                Errno::ACCES | Errno::PERM | Errno::ROFS | Errno::TXTBSY,
            ))) => (open(false)?, Rights::FD_FILESTAT_SET_SIZE),
            other => (other?, Rights::empty()),
        }
    } else {
        match open(false) {
            // The process may be held to what the guest may do: writing alone, or looking alone.
            Err(Miss::Path(PathError::Errno(Errno::ACCES | Errno::PERM))) if !r.reads() => {
                (without_reading(r, open, found)?, Rights::empty())
            }
            other => (other?, Rights::empty()),
        }
    };
    if r.open.contains(OpenFlags::TRUNC) {
        rustix::fs::ftruncate(&object, 0)?;
    }
    Ok(Opened { object, directory: false, without })
}

/// What was opened, if it is the very object that was found.
fn same(opened: Result<OwnedFd, PathError>, found: &OwnedFd) -> Result<OwnedFd, Miss> {
    let opened = match opened {
        // It was there a moment ago.
        Err(PathError::Errno(
            Errno::NOENT | Errno::NXIO | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP,
        )) => {
            return Err(Miss::Changed);
        }
        other => other?,
    };
    let (is, was) = (fstat(opened.as_fd())?, fstat(found)?);
    let kinds = (HostType::from_raw_mode(is.st_mode), HostType::from_raw_mode(was.st_mode));
    if identity(&is) != identity(&was) || kinds.0 != kinds.1 {
        return Err(Miss::Changed);
    }
    Ok(opened)
}

fn create(
    root: &Root<'_>,
    r: &Request,
    room: Result<(), Errno>,
    created: &mut bool,
) -> Result<Opened, Miss> {
    if r.path.must_be_dir() {
        return Err(Errno::ISDIR.into());
    }
    room?;
    // What is created is writable, whatever else; a process that is held to the guest's rights may not read it.
    let unread = !r.reads() && r.available.contains(Rights::FD_WRITE);
    let access = r.access(r.must_write() || r.may_resize() || unread);
    let mut flags = r.common_flags() | access | OFlags::CREATE;
    if r.open.contains(OpenFlags::EXCL) {
        flags |= OFlags::EXCL;
    }
    let object = root.open(r.path.trimmed(), flags, Mode::from_raw_mode(0o666))?;
    if HostType::from_raw_mode(fstat(&object)?.st_mode) != HostType::RegularFile
        || of_processes(&object)?
    {
        return Err(Miss::Changed);
    }
    *created = true;
    Ok(Opened { object, directory: false, without: Rights::empty() })
}
