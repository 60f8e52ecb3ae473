//! Sockets that the embedder handed over, and connections accepted from them.
//!
//! There is no call in preview 1 that makes a socket, and none here.

use crate::sys::event::PollFlags;
use crate::sys::net::{RecvFlags, Shutdown, SocketFlags, accept_with, shutdown};

use super::io::{Buffer, Read, clip, total};
use super::{Answer, Call};
use crate::descriptor::{Descriptor, Object, Socket};
use crate::host::{Fail, check_stop, wait};
use crate::types::{FromCell, RiFlags, SdFlags};
use crate::{Errno, FdFlags, Rights};

impl Call<'_> {
    fn socket(&self, fd: u32) -> Result<(&Descriptor, &Socket), Errno> {
        let d = self.ctx.table.get(fd)?;
        match &d.object {
            Object::Socket(s) => Ok((d, s)),
            _ => Err(Errno::NOTSOCK),
        }
    }

    pub(crate) fn sock_accept(&mut self, fd: u32, flags: u32, out: u32) -> Answer {
        let (_, listener) = self.socket(fd)?;
        let listening = listener.listening;
        let flags = FdFlags::from_cell(flags)?;
        if !FdFlags::NONBLOCK.contains(flags) || !listening {
            return Err(Errno::INVAL.into());
        }
        self.require(fd, None)?;
        self.check_out(out, 4)?;
        self.check_descriptors(fd)?;
        let accepted = loop {
            check_stop(self.host)?;
            let d = self.ctx.table.get(fd)?;
            let Object::Socket(s) = &d.object else { return Err(Errno::NOTSOCK.into()) };
            match accept_with(&s.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) => break fd,
                Err(crate::sys::io::Errno::INTR) => {}
                Err(crate::sys::io::Errno::AGAIN) if !d.nonblocking() => {
                    let fd = std::os::fd::AsFd::as_fd(&s.fd);
                    wait(self.host, &[(fd, PollFlags::IN)], None)?;
                }
                Err(e) => return Err(e.into()),
            }
        };
        let (d, _) = self.socket(fd)?;
        let new = Descriptor {
            object: Object::Socket(Socket { fd: accepted, listening: false }),
            base: Rights::CONNECTION & d.inheriting,
            inheriting: Rights::empty(),
            flags,
            grant: None,
        };
        let number = self.insert(new)?;
        self.write_u32(out, number)?;
        Ok(())
    }

    pub(crate) fn sock_recv(
        &mut self,
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        ri_flags: u32,
        out: u32,
        ro_flags_out: u32,
    ) -> Answer {
        let (_, s) = self.socket(fd)?;
        let listening = s.listening;
        let flags = RiFlags::from_cell(ri_flags)?;
        self.require(fd, None)?;
        if listening {
            return Err(Errno::NOTCONN.into());
        }
        self.check_out(out, 4)?;
        self.check_out(ro_flags_out, 2)?;
        let list = clip(&self.buffers(iovs, iovs_len)?, 0, 64 << 20);
        let n = self.receive(fd, &list, flags)?;
        self.charge_bytes(n)?;
        self.write_u32(out, u32::try_from(n).unwrap_or(u32::MAX))?;
        self.write(ro_flags_out, &[0, 0])?;
        Ok(())
    }

    fn receive(&mut self, fd: u32, list: &[Buffer], flags: RiFlags) -> Result<u64, Fail> {
        let peek = flags.contains(RiFlags::PEEK);
        let how = Read::Socket(if peek { RecvFlags::PEEK } else { RecvFlags::empty() });
        let all = flags.contains(RiFlags::WAITALL) && !peek;
        let mut done = 0;
        while let Some(first) = clip(list, done, u64::MAX).first().copied() {
            match self.read_stream(fd, first, how) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Fail::Errno(_)) if done > 0 => break,
                Err(e) => return Err(e),
            }
            if !all {
                break;
            }
        }
        Ok(done)
    }

    pub(crate) fn sock_send(
        &mut self,
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        si_flags: u32,
        out: u32,
    ) -> Answer {
        let (_, s) = self.socket(fd)?;
        let listening = s.listening;
        if si_flags != 0 {
            return Err(Errno::INVAL.into());
        }
        self.require(fd, None)?;
        if listening {
            return Err(Errno::NOTCONN.into());
        }
        self.check_out(out, 4)?;
        let list = clip(&self.buffers(iovs, iovs_len)?, 0, 64 << 20);
        let n = if total(&list) == 0 { 0 } else { self.write_stream(fd, &list, true)? };
        self.write_u32(out, u32::try_from(n).unwrap_or(u32::MAX))?;
        Ok(())
    }

    pub(crate) fn sock_shutdown(&mut self, fd: u32, how: u32) -> Answer {
        self.socket(fd)?;
        let how = match SdFlags::from_cell(how)? {
            both if both == SdFlags::all() => Shutdown::Both,
            SdFlags::RD => Shutdown::Read,
            SdFlags::WR => Shutdown::Write,
            _ => return Err(Errno::INVAL.into()),
        };
        self.require(fd, None)?;
        let (_, s) = self.socket(fd)?;
        Ok(shutdown(&s.fd, how)?)
    }
}
