//! `fd_readdir`.

use std::os::fd::AsFd;

use super::{Answer, Call};
use crate::Errno;
use crate::descriptor::Object;
use crate::host::{Fail, check_stop};
use crate::path::identity;
use crate::{Resource, types};

impl Call<'_> {
    /// Entries from a cookie on, until the buffer is full; the last one is cut off where the buffer ends, so a count
    /// smaller than the buffer says that the directory ends there. Names are the host's bytes, whatever they are.
    pub(crate) fn fd_readdir(
        &mut self,
        fd: u32,
        buf: u32,
        buf_len: u32,
        cookie: u64,
        out: u32,
    ) -> Answer {
        self.dir(fd)?;
        self.require(fd, None)?;
        self.check_out(out, 4)?;
        self.check_out(buf, u64::from(buf_len))?;
        let mut used = 0u32;
        let mut next = cookie;
        while used < buf_len {
            check_stop(self.host)?;
            let fresh = cookie == 0 && used == 0;
            let Some((after, entry)) = self.entry(fd, next, fresh)? else { break };
            self.host.charge_fuel(1)?;
            self.host.ledger().charge(Resource::EntriesRead, 1)?;
            next = after;
            let room = (buf_len - used) as usize;
            let part = entry.get(..entry.len().min(room)).unwrap_or_default();
            self.charge_bytes(part.len() as u64)?;
            let at = u64::from(buf) + u64::from(used);
            self.memory()?.write(at, part)?;
            used = used.saturating_add(u32::try_from(part.len()).unwrap_or(u32::MAX));
        }
        self.write_u32(out, used)?;
        Ok(())
    }

    /// The entry at a cookie, as the guest gets it, and the next cookie.
    fn entry(&mut self, fd: u32, cookie: u64, fresh: bool) -> Result<Option<(u64, Vec<u8>)>, Fail> {
        let kept = self.ctx.deterministic.as_ref().map(|run| run.kept());
        let Object::Dir(dir) = &mut self.ctx.table.get_mut(fd)?.object else {
            return Err(Errno::NOTDIR.into());
        };
        let here = identity(&crate::sys::fs::fstat(&dir.fd)?);
        let reader = dir.reader.get_or_insert_default();
        let entry = match kept {
            Some(kept) => {
                let host = &mut *self.host;
                // What was read is paid for, whatever comes of it; what is kept, when the call has ended.
                let mut pay = |entries: u64, bytes: u64| -> Result<(), Fail> {
                    check_stop(host)?;
                    host.charge_fuel(entries)?;
                    host.ledger().charge(Resource::EntriesRead, entries)?;
                    Ok(host.ledger().check(Resource::HostBytes, bytes)?)
                };
                reader.sorted_entry(dir.fd.as_fd(), cookie, fresh, kept, &mut pay)?.cloned()
            }
            None => reader.entry(dir.fd.as_fd(), cookie, fresh)?.cloned(),
        };
        let Some(entry) = entry else { return Ok(None) };
        // What lies above a grant is nobody's business: the parent of its root is the root.
        let at_root = self.ctx.grants.iter().any(|g| g.identity == here);
        let ino = if at_root && entry.name == b".." { here.1 } else { entry.ino };
        let shown = self.ctx.shown_inode((here.0, ino));
        let name_len = u32::try_from(entry.name.len()).map_err(|_| Errno::OVERFLOW)?;
        let mut bytes = types::dirent(entry.next, shown, name_len, entry.file_type).to_vec();
        bytes.extend_from_slice(&entry.name);
        Ok(Some((entry.next, bytes)))
    }
}
