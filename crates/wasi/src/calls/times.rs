//! Setting times.

use std::os::fd::AsFd;

use crate::sys::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens, utimensat};

use super::{Answer, Call};
use crate::descriptor::Object;
use crate::types::{FromCell, FstFlags, LookupFlags};
use crate::{Errno, FileType};

impl Call<'_> {
    pub(crate) fn fd_filestat_set_times(
        &mut self,
        fd: u32,
        atim: u64,
        mtim: u64,
        fst_flags: u32,
    ) -> Answer {
        self.ctx.table.get(fd)?;
        let times = times(atim, mtim, fst_flags)?;
        self.require(fd, None)?;
        match &self.ctx.table.get(fd)?.object {
            Object::File(f) => Ok(futimens(f, &times)?),
            Object::Dir(d) => Ok(futimens(&d.fd, &times)?),
            _ => Err(Errno::INVAL.into()),
        }
    }

    #[allow(clippy::too_many_arguments)] // the specification's signature
    pub(crate) fn path_filestat_set_times(
        &mut self,
        fd: u32,
        flags: u32,
        path: u32,
        path_len: u32,
        atim: u64,
        mtim: u64,
        fst_flags: u32,
    ) -> Answer {
        self.dir(fd)?;
        let lookup = LookupFlags::from_cell(flags)?;
        let times = times(atim, mtim, fst_flags)?;
        let path = self.path(fd, path, path_len)?;
        self.require(fd, Some(&path))?;
        let follow = lookup.contains(LookupFlags::SYMLINK_FOLLOW);
        let (_, dir) = self.dir(fd)?;
        let found = self.ctx.root(&dir.fd, dir.grant).handle(&path, follow);
        let (handle, stat) = found.map_err(|e| self.path_fail(fd, &path, e))?;
        match FileType::from(crate::sys::fs::FileType::from_raw_mode(stat.st_mode)) {
            FileType::RegularFile | FileType::Directory | FileType::SymbolicLink => {}
            _ => {
                return Err(self.deny(fd, Some(path.trimmed().to_owned()), crate::Denial::Special));
            }
        }
        Ok(utimensat(handle.as_fd(), "", &times, AtFlags::EMPTY_PATH)?)
    }
}

fn times(atim: u64, mtim: u64, fst_flags: u32) -> Result<Timestamps, Errno> {
    let flags = FstFlags::from_cell(fst_flags)?;
    let one =
        |set: FstFlags, now: FstFlags, nanos: u64| match (flags.contains(set), flags.contains(now))
        {
            (true, true) => Err(Errno::INVAL),
            (false, true) => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }),
            (false, false) => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }),
            // Below 2^35 and below 10^9.
            (true, false) => Ok(Timespec {
                tv_sec: (nanos / 1_000_000_000) as i64,
                tv_nsec: (nanos % 1_000_000_000) as _,
            }),
        };
    Ok(Timestamps {
        last_access: one(FstFlags::ATIM, FstFlags::ATIM_NOW, atim)?,
        last_modification: one(FstFlags::MTIM, FstFlags::MTIM_NOW, mtim)?,
    })
}
