//! What can be asked of and done to a descriptor, other than moving data.

use std::num::NonZeroU64;
use std::os::fd::AsFd;

use crate::sys::fs::{
    Advice, FallocateFlags, SeekFrom, fadvise, fallocate, fstat, ftruncate, seek,
};

use super::{Answer, Call};
use crate::descriptor::Object;
use crate::host::{Fail, check_stop};
use crate::stream::{HostFd, HostKind, Input, Output};
use crate::types::{self, Filestat, FromCell, rights_from_cell};
use crate::{Errno, FdFlags, FileType, Resource, Rights};

/// Bytes allocated between two looks at whether to stop.
const ALLOCATE_STEP: u64 = 64 << 20;

impl Call<'_> {
    pub(crate) fn fd_close(&mut self, fd: u32) -> Answer {
        self.ctx.table.remove(fd)?;
        self.host.ledger().release(Resource::Descriptors, 1);
        Ok(())
    }

    /// As other implementations do it now: any open descriptor may be replaced, preopens and standard streams too.
    pub(crate) fn fd_renumber(&mut self, from: u32, to: u32) -> Answer {
        self.ctx.table.renumber(from, to)?;
        if from != to {
            self.host.ledger().release(Resource::Descriptors, 1);
        }
        Ok(())
    }

    pub(crate) fn fd_fdstat_get(&mut self, fd: u32, out: u32) -> Answer {
        let d = self.ctx.table.get(fd)?;
        let file_type = match &d.object {
            Object::Input(i) => i.file_type(),
            Object::Output(o) => o.file_type(),
            Object::File(_) => FileType::RegularFile,
            Object::Dir(_) => FileType::Directory,
            Object::Socket(_) => FileType::SocketStream,
        };
        let bytes = types::fdstat(file_type, d.flags, d.base, d.inheriting);
        self.write(out, &bytes)?;
        Ok(())
    }

    /// Flags live in the descriptor alone: the host's own are shared with others and are never changed.
    pub(crate) fn fd_fdstat_set_flags(&mut self, fd: u32, flags: u32) -> Answer {
        self.ctx.table.get(fd)?;
        let flags = FdFlags::from_cell(flags)?;
        self.require(fd, None)?;
        let d = self.ctx.table.get_mut(fd)?;
        let settable = match d.object {
            Object::File(_) | Object::Dir(_) => FdFlags::APPEND | FdFlags::NONBLOCK,
            _ => FdFlags::NONBLOCK,
        };
        if !settable.contains(flags ^ d.flags) {
            return Err(Errno::INVAL.into());
        }
        d.flags = flags;
        Ok(())
    }

    pub(crate) fn fd_fdstat_set_rights(&mut self, fd: u32, base: u64, inheriting: u64) -> Answer {
        let d = self.ctx.table.get_mut(fd)?;
        let (base, inheriting) = (rights_from_cell(base)?, rights_from_cell(inheriting)?);
        if !d.base.contains(base) || !d.inheriting.contains(inheriting) {
            return Err(Errno::NOTCAPABLE.into());
        }
        d.base = base;
        d.inheriting = inheriting;
        Ok(())
    }

    pub(crate) fn fd_filestat_get(&mut self, fd: u32, out: u32) -> Answer {
        self.ctx.table.get(fd)?;
        self.require(fd, None)?;
        let d = self.ctx.table.get(fd)?;
        let links = self.ctx.shows_links(d.grant);
        let stat = match &d.object {
            Object::File(f) => self.ctx.filestat(&fstat(f)?, links),
            Object::Dir(dir) => self.ctx.filestat(&fstat(&dir.fd)?, links),
            Object::Input(Input::Host(h)) | Object::Output(Output::Host(h))
                if h.kind == HostKind::Regular =>
            {
                self.ctx.filestat(&fstat(&h.fd)?, false)
            }
            Object::Input(i) => Filestat::bare(i.file_type()),
            Object::Output(o) => Filestat::bare(o.file_type()),
            Object::Socket(_) => Filestat::bare(FileType::SocketStream),
        };
        self.write(out, &stat.encode())?;
        Ok(())
    }

    /// The regular file behind a descriptor that was opened by path.
    fn file(&self, fd: u32) -> Result<std::os::fd::BorrowedFd<'_>, Errno> {
        match &self.ctx.table.get(fd)?.object {
            Object::File(f) => Ok(f.as_fd()),
            Object::Dir(_) => Err(Errno::BADF),
            _ => Err(Errno::INVAL),
        }
    }

    pub(crate) fn fd_filestat_set_size(&mut self, fd: u32, size: u64) -> Answer {
        self.file(fd)?;
        self.require(fd, None)?;
        self.check_size(size)?;
        Ok(ftruncate(self.file(fd)?, size)?)
    }

    /// In steps, each charged before it is made, so that a terabyte costs what it should and can be stopped.
    pub(crate) fn fd_allocate(&mut self, fd: u32, offset: u64, len: u64) -> Answer {
        self.file(fd)?;
        self.require(fd, None)?;
        if len == 0 {
            return Err(Errno::INVAL.into());
        }
        let end = offset.checked_add(len).ok_or(Errno::FBIG)?;
        self.check_size(end)?;
        if self.charge_output(len).is_err() {
            return Err(Errno::NOSPC.into());
        }
        let mut at = offset;
        while at < end {
            check_stop(self.host)?;
            let step = (end - at).min(ALLOCATE_STEP);
            self.charge_bytes(step)?;
            match fallocate(self.file(fd)?, FallocateFlags::empty(), at, step) {
                Ok(()) => at += step,
                Err(crate::sys::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    pub(crate) fn fd_advise(&mut self, fd: u32, offset: u64, len: u64, advice: u32) -> Answer {
        let advice = match advice {
            0 => Advice::Normal,
            1 => Advice::Sequential,
            2 => Advice::Random,
            3 => Advice::WillNeed,
            4 => Advice::DontNeed,
            5 => Advice::NoReuse,
            _ => {
                self.ctx.table.get(fd)?;
                return Err(Errno::INVAL.into());
            }
        };
        self.positioned(fd)?;
        self.require(fd, None)?;
        let end = offset.checked_add(len).ok_or(Errno::INVAL)?;
        if i64::try_from(end).is_err() {
            return Err(Errno::INVAL.into());
        }
        Ok(fadvise(self.file(fd)?, offset, NonZeroU64::new(len), advice)?)
    }

    pub(crate) fn fd_sync(&mut self, fd: u32) -> Answer {
        self.sync(fd, true)
    }

    pub(crate) fn fd_datasync(&mut self, fd: u32) -> Answer {
        self.sync(fd, false)
    }

    fn sync(&mut self, fd: u32, metadata: bool) -> Answer {
        self.ctx.table.get(fd)?;
        self.require(fd, None)?;
        let target = match &self.ctx.table.get(fd)?.object {
            Object::File(f) => f.as_fd(),
            Object::Dir(d) => d.fd.as_fd(),
            Object::Output(Output::Host(HostFd { fd, kind: HostKind::Regular })) => fd.as_fd(),
            // Nothing is held back that could be brought to a disk.
            _ => return Ok(()),
        };
        let done = if metadata {
            crate::sys::fs::fsync(target)
        } else {
            crate::sys::fs::fdatasync(target)
        };
        Ok(done?)
    }

    pub(crate) fn fd_seek(&mut self, fd: u32, offset: u64, whence: u32, out: u32) -> Answer {
        self.ctx.table.get(fd)?;
        let delta = offset as i64;
        let to = match whence {
            0 => SeekFrom::Start(offset),
            1 => SeekFrom::Current(delta),
            2 => SeekFrom::End(delta),
            _ => return Err(Errno::INVAL.into()),
        };
        self.positioned(fd)?;
        let told = self.ctx.table.get(fd)?.base.contains(Rights::FD_TELL);
        if !(whence == 1 && delta == 0 && told) {
            self.require(fd, None)?;
        }
        self.check_out(out, 8)?;
        if whence == 0 && delta < 0 {
            return Err(Errno::INVAL.into());
        }
        let position = self.seek(fd, to)?;
        self.write_u64(out, position)?;
        Ok(())
    }

    pub(crate) fn fd_tell(&mut self, fd: u32, out: u32) -> Answer {
        self.positioned(fd)?;
        self.require(fd, None)?;
        self.check_out(out, 8)?;
        let position = self.seek(fd, SeekFrom::Current(0))?;
        self.write_u64(out, position)?;
        Ok(())
    }

    fn seek(&self, fd: u32, to: SeekFrom) -> Result<u64, Fail> {
        match &self.ctx.table.get(fd)?.object {
            Object::File(f) => Ok(seek(f, to)?),
            Object::Input(Input::Host(h)) => Ok(seek(&h.fd, to)?),
            _ => Err(Errno::SPIPE.into()),
        }
    }

    pub(crate) fn fd_prestat_get(&mut self, fd: u32, out: u32) -> Answer {
        self.ctx.missed_directories |= self.ctx.grants.is_empty();
        let len = u32::try_from(self.preopen_name(fd)?.len()).map_err(|_| Errno::OVERFLOW)?;
        self.write(out, &types::prestat_dir(len))?;
        Ok(())
    }

    pub(crate) fn fd_prestat_dir_name(&mut self, fd: u32, path: u32, path_len: u32) -> Answer {
        let name = self.preopen_name(fd)?.to_owned();
        if (path_len as usize) < name.len() {
            return Err(Errno::NAMETOOLONG.into());
        }
        self.charge_bytes(name.len() as u64)?;
        self.write(path, name.as_bytes())?;
        Ok(())
    }

    /// The guest's name of a preopen; `BADF` for everything else, which is how guests find the last one.
    fn preopen_name(&self, fd: u32) -> Result<&str, Errno> {
        match &self.ctx.table.get(fd)?.object {
            Object::Dir(d) if d.preopen => {
                self.ctx.grants.get(d.grant).map(|g| g.name.as_str()).ok_or(Errno::BADF)
            }
            _ => Err(Errno::BADF),
        }
    }
}
