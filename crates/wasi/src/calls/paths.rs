//! What can be asked of and done to directory entries by path.
//!
//! Entries are changed through their parent, resolved beneath the grant, and one plain name. `.` and `..` as a last
//! component lead to a directory, never to an entry that could be changed. A trailing slash demands a directory
//! and never makes a link be followed.

use std::os::fd::AsFd;

use crate::sys::fs::{AtFlags, FileType as HostType, Mode};

use super::{Answer, Call};
use crate::audit::Denial;
use crate::descriptor::Object;
use crate::host::{Fail, check_stop};
use crate::path::{Entry, GuestPath, Last, PATH_MAX, ancestors, identity};
use crate::types::{FromCell, LookupFlags};
use crate::{Errno, Rights};

impl Call<'_> {
    /// The entry that a path names, or `dots` where it names none.
    fn entry_of<'p>(
        &mut self,
        fd: u32,
        path: &'p GuestPath,
        dots: Errno,
    ) -> Result<Entry<'p>, Fail> {
        let (_, dir) = self.dir(fd)?;
        match self.ctx.root(&dir.fd, dir.grant).last(path) {
            Ok(Last::Entry(entry)) => Ok(entry),
            Ok(Last::Dots) => Err(dots.into()),
            Err(e) => Err(self.path_fail(fd, path, e)),
        }
    }

    fn path_and_rights(&mut self, fd: u32, addr: u32, len: u32) -> Result<GuestPath, Fail> {
        self.dir(fd)?;
        let path = self.path(fd, addr, len)?;
        self.require(fd, Some(&path))?;
        Ok(path)
    }

    pub(crate) fn path_create_directory(&mut self, fd: u32, path: u32, path_len: u32) -> Answer {
        let path = self.path_and_rights(fd, path, path_len)?;
        let entry = self.entry_of(fd, &path, Errno::EXIST)?;
        self.check_files()?;
        crate::sys::fs::mkdirat(&entry.parent, entry.name, Mode::from_raw_mode(0o777))?;
        self.created_file();
        Ok(())
    }

    pub(crate) fn path_remove_directory(&mut self, fd: u32, path: u32, path_len: u32) -> Answer {
        let path = self.path_and_rights(fd, path, path_len)?;
        let dots = if path.trimmed().ends_with("..") { Errno::NOTEMPTY } else { Errno::INVAL };
        let entry = self.entry_of(fd, &path, dots)?;
        Ok(crate::sys::fs::unlinkat(&entry.parent, entry.name, AtFlags::REMOVEDIR)?)
    }

    pub(crate) fn path_unlink_file(&mut self, fd: u32, path: u32, path_len: u32) -> Answer {
        let path = self.path_and_rights(fd, path, path_len)?;
        let entry = self.entry_of(fd, &path, Errno::ISDIR)?;
        if path.must_be_dir() {
            return Err(match entry.kind()? {
                HostType::Directory => Errno::ISDIR,
                _ => Errno::NOTDIR,
            }
            .into());
        }
        Ok(crate::sys::fs::unlinkat(&entry.parent, entry.name, AtFlags::empty())?)
    }

    pub(crate) fn path_filestat_get(
        &mut self,
        fd: u32,
        flags: u32,
        path: u32,
        path_len: u32,
        out: u32,
    ) -> Answer {
        self.dir(fd)?;
        let lookup = LookupFlags::from_cell(flags)?;
        let path = self.path_and_rights(fd, path, path_len)?;
        self.check_out(out, 64)?;
        let follow = lookup.contains(LookupFlags::SYMLINK_FOLLOW);
        let (_, dir) = self.dir(fd)?;
        let links = self.ctx.shows_links(Some(dir.grant));
        let found = self.ctx.root(&dir.fd, dir.grant).handle(&path, follow);
        let (_, stat) = found.map_err(|e| self.path_fail(fd, &path, e))?;
        let stat = self.ctx.filestat(&stat, links);
        self.write(out, &stat.encode())?;
        Ok(())
    }

    /// The target as it is stored, cut off where the buffer ends.
    pub(crate) fn path_readlink(
        &mut self,
        fd: u32,
        path: u32,
        path_len: u32,
        buf: u32,
        buf_len: u32,
        out: u32,
    ) -> Answer {
        let path = self.path_and_rights(fd, path, path_len)?;
        self.check_out(buf, u64::from(buf_len))?;
        self.check_out(out, 4)?;
        let (_, dir) = self.dir(fd)?;
        let found = self.ctx.root(&dir.fd, dir.grant).handle(&path, false);
        let (link, stat) = found.map_err(|e| self.path_fail(fd, &path, e))?;
        if HostType::from_raw_mode(stat.st_mode) != HostType::Symlink {
            return Err(Errno::INVAL.into());
        }
        let target = crate::sys::fs::readlinkat(&link, "", Vec::new())?;
        let target = target.as_bytes();
        let part = target.get(..target.len().min(buf_len as usize)).unwrap_or_default();
        self.charge_bytes(part.len() as u64)?;
        self.write(buf, part)?;
        self.write_u32(out, u32::try_from(part.len()).unwrap_or(u32::MAX))?;
        Ok(())
    }

    /// An absolute target is refused: it would mean something else to whoever follows it outside. A relative one may
    /// point anywhere, since links move; following it is decided when it is followed.
    pub(crate) fn path_symlink(
        &mut self,
        old_path: u32,
        old_path_len: u32,
        fd: u32,
        new_path: u32,
        new_path_len: u32,
    ) -> Answer {
        self.dir(fd)?;
        let target = self.link_target(fd, old_path, old_path_len)?;
        let path = self.path_and_rights(fd, new_path, new_path_len)?;
        let entry = self.entry_of(fd, &path, Errno::EXIST)?;
        new_entry_slash(&path, &entry)?;
        self.check_files()?;
        crate::sys::fs::symlinkat(target.as_str(), &entry.parent, entry.name)?;
        self.created_file();
        Ok(())
    }

    fn link_target(&mut self, fd: u32, addr: u32, len: u32) -> Result<String, Fail> {
        if len >= PATH_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        let bytes = self.copy_in(addr, len)?;
        if bytes.contains(&0) {
            return Err(Errno::INVAL.into());
        }
        let target = String::from_utf8(bytes).map_err(|_| Errno::ILSEQ)?;
        if target.is_empty() {
            return Err(Errno::NOENT.into());
        }
        if target.starts_with('/') {
            return Err(self.deny(fd, Some(target), Denial::Outside));
        }
        Ok(target)
    }

    /// Checks both ends of a link or a renaming and that nothing gets to where the guest may do more with it.
    fn both_ends(
        &mut self,
        old_fd: u32,
        old: &GuestPath,
        new_fd: u32,
        new: &GuestPath,
    ) -> Result<(), Fail> {
        let info = self.info();
        self.require_rights(old_fd, Some(old), info.rights, Rights::empty())?;
        self.require_rights(new_fd, Some(new), info.target_rights, Rights::empty())
    }

    /// Denies unless whatever can be done with an object in the directory `new` could be done where it comes from.
    /// The grant that the target is named through counts, and each grant that the target lies within; and each open
    /// directory that it lies within, since a directory keeps its descriptor's rights wherever it is moved.
    fn no_stronger(
        &mut self,
        old_fd: u32,
        new_fd: u32,
        path: &GuestPath,
        new: &Entry<'_>,
    ) -> Result<(), Fail> {
        let (from, to) = (self.dir(old_fd)?.1.grant, self.dir(new_fd)?.1.grant);
        let source = self.ctx.grants.get(from).ok_or(Errno::BADF)?.strength();
        let mut stronger = self.ctx.grants.get(to).is_none_or(|g| !source.contains(g.strength()));
        let mut roots = Vec::new();
        for g in self.ctx.grants.iter().filter(|g| !source.contains(g.strength())) {
            roots.push(g.identity);
        }
        // Where no grant is stronger, no descriptor is either.
        if !stronger && !roots.is_empty() {
            for d in self.ctx.table.iter().filter(|d| !source.contains(d.base | d.inheriting)) {
                if let Object::Dir(dir) = &d.object {
                    roots.push(identity(&crate::sys::fs::fstat(&dir.fd)?));
                }
            }
            let (mut steps, mut stop) = (0u64, Ok(()));
            let met = ancestors(new.parent.as_fd(), |id| {
                steps += 1;
                if steps.is_multiple_of(256) {
                    stop = check_stop(self.host);
                }
                stop.is_err() || roots.contains(&id)
            });
            stop?;
            // How deep a directory lies on the host is the host's business where runs are to be alike.
            if self.ctx.deterministic.is_none() {
                self.host.charge_fuel(steps)?;
            }
            stronger = met.unwrap_or(true);
        }
        if stronger {
            return Err(self.deny(new_fd, Some(path.trimmed().to_owned()), Denial::Stronger));
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // the specification's signature
    pub(crate) fn path_link(
        &mut self,
        old_fd: u32,
        old_flags: u32,
        old_path: u32,
        old_path_len: u32,
        new_fd: u32,
        new_path: u32,
        new_path_len: u32,
    ) -> Answer {
        self.dir(old_fd)?;
        self.dir(new_fd)?;
        let lookup = LookupFlags::from_cell(old_flags)?;
        let old = self.path(old_fd, old_path, old_path_len)?;
        let new = self.path(new_fd, new_path, new_path_len)?;
        self.both_ends(old_fd, &old, new_fd, &new)?;
        if lookup.contains(LookupFlags::SYMLINK_FOLLOW) {
            return Err(Errno::INVAL.into());
        }
        let from = self.entry_of(old_fd, &old, Errno::PERM)?;
        let to = self.entry_of(new_fd, &new, Errno::EXIST)?;
        self.no_stronger(old_fd, new_fd, &new, &to)?;
        match from.kind()? {
            HostType::Directory => return Err(Errno::PERM.into()),
            _ if old.must_be_dir() => return Err(Errno::NOTDIR.into()),
            _ => new_entry_slash(&new, &to)?,
        }
        self.check_files()?;
        crate::sys::fs::linkat(&from.parent, from.name, &to.parent, to.name, AtFlags::empty())?;
        self.created_file();
        Ok(())
    }

    pub(crate) fn path_rename(
        &mut self,
        fd: u32,
        old_path: u32,
        old_path_len: u32,
        new_fd: u32,
        new_path: u32,
        new_path_len: u32,
    ) -> Answer {
        self.dir(fd)?;
        self.dir(new_fd)?;
        let old = self.path(fd, old_path, old_path_len)?;
        let new = self.path(new_fd, new_path, new_path_len)?;
        self.both_ends(fd, &old, new_fd, &new)?;
        let from = self.entry_of(fd, &old, Errno::BUSY)?;
        let to = self.entry_of(new_fd, &new, Errno::BUSY)?;
        self.no_stronger(fd, new_fd, &new, &to)?;
        if (old.must_be_dir() || new.must_be_dir()) && from.kind()? != HostType::Directory {
            return Err(Errno::NOTDIR.into());
        }
        Ok(crate::sys::fs::renameat(&from.parent, from.name, &to.parent, to.name)?)
    }
}

/// A slash after the name of a new entry that is no directory: an error, which one depends on what is there.
fn new_entry_slash(path: &GuestPath, entry: &Entry<'_>) -> Result<(), Errno> {
    if !path.must_be_dir() {
        return Ok(());
    }
    Err(match entry.kind() {
        Ok(HostType::Directory) => Errno::EXIST,
        Ok(_) => Errno::NOTDIR,
        Err(e) => e,
    })
}
