//! Paths of the guest and their resolution beneath a directory.
//!
//! There is one way from a path to an object: `openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_MAGICLINKS`, so that
//! the kernel itself refuses whatever leaves the directory, however links and renames race with it. Where the
//! kernel lacks or forbids that call, resolution fails; nothing weaker takes its place. Operations that need a
//! parent and a name get the parent that way and a single plain name, which cannot lead anywhere.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};

use crate::Errno;

/// The longest path that is accepted, in bytes.
pub(crate) const PATH_MAX: u32 = 4096;

/// How often a resolution that the kernel gave up because of a race is tried again.
const RETRIES: u32 = 256;

/// How a path failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathError {
    /// It leads out of the directory.
    Outside,
    /// Anything else.
    Errno(Errno),
}

impl From<Errno> for PathError {
    fn from(e: Errno) -> PathError {
        PathError::Errno(e)
    }
}

impl From<crate::sys::io::Errno> for PathError {
    fn from(e: crate::sys::io::Errno) -> PathError {
        PathError::Errno(e.into())
    }
}

/// A path as the guest named it: valid UTF-8, no NUL, not empty, relative.
#[derive(Clone, Debug)]
pub(crate) struct GuestPath {
    text: String,
    trimmed: usize,
}

impl GuestPath {
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<GuestPath, PathError> {
        if bytes.len() > PATH_MAX as usize {
            return Err(Errno::NAMETOOLONG.into());
        }
        if bytes.contains(&0) {
            return Err(Errno::INVAL.into());
        }
        let text = String::from_utf8(bytes).map_err(|_| Errno::ILSEQ)?;
        if text.is_empty() {
            return Err(Errno::NOENT.into());
        }
        if text.starts_with('/') {
            return Err(PathError::Outside);
        }
        let trimmed = text.trim_end_matches('/').len();
        Ok(GuestPath { text, trimmed })
    }

    /// Without trailing slashes.
    pub(crate) fn trimmed(&self) -> &str {
        self.text.get(..self.trimmed).unwrap_or_default()
    }

    /// Whether a trailing slash demands a directory.
    pub(crate) fn must_be_dir(&self) -> bool {
        self.trimmed < self.text.len()
    }

    /// The directory part and the last component.
    fn split(&self) -> (&str, &str) {
        match self.trimmed().rsplit_once('/') {
            Some((parent, name)) => (parent, name),
            None => (".", self.trimmed()),
        }
    }
}

/// Where resolution starts and how far it may go.
#[derive(Clone, Copy)]
pub(crate) struct Root<'a> {
    pub(crate) dir: BorrowedFd<'a>,
    /// Stay on the file system of the directory.
    pub(crate) same_device: bool,
}

/// The parent of an entry and the entry's plain name.
pub(crate) struct Entry<'p> {
    pub(crate) parent: OwnedFd,
    pub(crate) name: &'p str,
}

/// What the last component turned out to be.
pub(crate) enum Last<'p> {
    /// A plain name in a directory.
    Entry(Entry<'p>),
    /// `.` or `..`, leading to a directory within; there is no entry to change.
    Dots,
}

impl Root<'_> {
    /// Opens a path beneath. The only place of this crate that resolves a path of the guest.
    pub(crate) fn open(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, PathError> {
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if self.same_device {
            resolve |= ResolveFlags::NO_XDEV;
        }
        for _ in 0..RETRIES {
            match openat2(self.dir, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Ok(fd) => return Ok(fd),
                Err(crate::sys::io::Errno::AGAIN | crate::sys::io::Errno::INTR) => {}
                Err(crate::sys::io::Errno::XDEV) => return Err(PathError::Outside),
                Err(crate::sys::io::Errno::NOSYS) => return Err(Errno::NOTSUP.into()),
                Err(e) => return Err(e.into()),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// A handle that can be looked at and started from, but neither read nor written.
    pub(crate) fn handle(
        &self,
        path: &GuestPath,
        follow: bool,
    ) -> Result<(OwnedFd, Stat), PathError> {
        let mut flags = OFlags::PATH;
        if !follow {
            flags |= OFlags::NOFOLLOW;
        }
        let fd = self.open(path.trimmed(), flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        if path.must_be_dir() && FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Errno::NOTDIR.into());
        }
        Ok((fd, stat))
    }

    /// The parent of a path and its last component.
    pub(crate) fn last<'p>(&self, path: &'p GuestPath) -> Result<Last<'p>, PathError> {
        let dir = OFlags::PATH | OFlags::DIRECTORY;
        let (parent, name) = path.split();
        if name == "." || name == ".." {
            self.open(path.trimmed(), dir, Mode::empty())?;
            return Ok(Last::Dots);
        }
        let parent = self.open(parent, dir, Mode::empty())?;
        Ok(Last::Entry(Entry { parent, name }))
    }
}

impl Entry<'_> {
    /// What the entry is, itself, no link followed.
    pub(crate) fn kind(&self) -> Result<FileType, Errno> {
        let stat = crate::sys::fs::statat(
            &self.parent,
            self.name,
            crate::sys::fs::AtFlags::SYMLINK_NOFOLLOW,
        )?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }
}

/// Identity of an object on the host.
pub(crate) type Identity = (u64, u64);

/// The identity in a `stat`.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // the field's type differs between machines
pub(crate) fn identity(stat: &Stat) -> Identity {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// The most directories that [`ancestors`] walks through.
const DEEPEST: usize = 65_536;

/// Calls `see` with the identity of `dir` and of each directory above it, up to the root, until it answers true.
/// The guest learns nothing of what is met on the way; only grants are compared with it.
pub(crate) fn ancestors(
    dir: BorrowedFd<'_>,
    mut see: impl FnMut(Identity) -> bool,
) -> Result<bool, Errno> {
    let mut here: OwnedFd = crate::sys::io::fcntl_dupfd_cloexec(dir, 0)?;
    let mut id = identity(&fstat(&here)?);
    for _ in 0..DEEPEST {
        if see(id) {
            return Ok(true);
        }
        let up = parent(here.as_fd())?;
        let up_id = identity(&fstat(&up)?);
        if up_id == id {
            return Ok(false);
        }
        here = up;
        id = up_id;
    }
    Err(Errno::LOOP)
}

/// The directory above. By `openat2` as everything else, since a locked process can make no other call; a kernel that
/// lacks it has no such lock.
fn parent(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(dir, "..", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        Err(rustix::io::Errno::NOSYS) => {
            Ok(crate::sys::fs::openat(dir, "..", flags, Mode::empty())?)
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(s: &str) -> Result<GuestPath, PathError> {
        GuestPath::parse(s.as_bytes().to_vec())
    }

    #[test]
    fn paths_are_judged_before_the_kernel_sees_them() {
        assert_eq!(parse("/x").err(), Some(PathError::Outside));
        assert_eq!(parse("/").err(), Some(PathError::Outside));
        assert_eq!(parse("").err(), Some(PathError::Errno(Errno::NOENT)));
        assert_eq!(parse("a\0b").err(), Some(PathError::Errno(Errno::INVAL)));
        assert_eq!(GuestPath::parse(vec![0xff]).err(), Some(PathError::Errno(Errno::ILSEQ)));
        assert_eq!(parse(&"a".repeat(4097)).err(), Some(PathError::Errno(Errno::NAMETOOLONG)));
    }

    #[test]
    fn the_last_component_is_plain() {
        for (text, parent, name, dir) in [
            ("a", ".", "a", false),
            ("a/", ".", "a", true),
            ("a/b//", "a", "b", true),
            ("a//b", "a/", "b", false),
            ("a/..", "a", "..", false),
            ("./", ".", ".", true),
        ] {
            let p = parse(text).expect("valid");
            assert_eq!((p.split(), p.must_be_dir()), ((parent, name), dir), "{text}");
        }
    }
}
