//! Reading and writing, and the lists of buffers that both take.
//!
//! A list is copied in and checked as a whole first: at most 1,024 buffers, a total below 2^32, every buffer inside the
//! memory. Files are read and written in place, at most 64 MiB a call, as a short count; the caller goes on. Streams
//! are written completely, waiting as long as they must, unless the descriptor does not block.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};

use crate::sys::event::PollFlags;
use crate::sys::io::{
    Errno as HostErrno, ReadWriteFlags, preadv2, pwritev, pwritev2, readv, writev,
};
use crate::sys::net::{RecvFlags, SendFlags};

use super::{Answer, Call};
use crate::descriptor::{Object, Table};
use crate::host::{Fail, Halt, after, check_stop, wait};
use crate::stream::{HostKind, Input, Output, UNREADY};
use crate::{Errno, FdFlags, GuestMemory};

/// One buffer of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buffer {
    pub(super) addr: u32,
    pub(super) len: u32,
}

/// The most buffers of one call.
const BUFFERS_MAX: u32 = 1024;

/// The most bytes of one call.
const BYTES_MAX: u64 = 64 << 20;

/// Bytes that are read from or written to a file at a time; in between it is asked whether to stop.
const STEP: u64 = 4 << 20;

/// Bytes copied at a time out of or into a shared memory.
const COPY: u64 = 64 << 10;

/// Bytes that a pipe or terminal surely takes without waiting, once it is ready.
const ATOMIC: u64 = 4096;

/// "At the current position, and move it".
const CURRENT: u64 = u64::MAX;

impl Call<'_> {
    /// Copies a list of buffers in and checks it.
    pub(super) fn buffers(&mut self, addr: u32, count: u32) -> Result<Vec<Buffer>, Fail> {
        if count > BUFFERS_MAX {
            return Err(Errno::INVAL.into());
        }
        let bytes = self.copy_in(addr, count * 8)?;
        let memory = self.memory()?;
        let mut total = 0u64;
        let mut list = Vec::with_capacity(count as usize);
        for chunk in bytes.chunks_exact(8) {
            let [a0, a1, a2, a3, l0, l1, l2, l3] = chunk else { continue };
            let buffer = Buffer {
                addr: u32::from_le_bytes([*a0, *a1, *a2, *a3]),
                len: u32::from_le_bytes([*l0, *l1, *l2, *l3]),
            };
            total += u64::from(buffer.len);
            if total > u64::from(u32::MAX) {
                return Err(Errno::INVAL.into());
            }
            memory.check(u64::from(buffer.addr), u64::from(buffer.len))?;
            if buffer.len > 0 {
                list.push(buffer);
            }
        }
        Ok(list)
    }

    pub(crate) fn fd_read(&mut self, fd: u32, iovs: u32, iovs_len: u32, out: u32) -> Answer {
        self.data_descriptor(fd)?;
        self.require(fd, None)?;
        self.check_out(out, 4)?;
        let list = clip(&self.buffers(iovs, iovs_len)?, 0, BYTES_MAX);
        let n = self.read_from(fd, &list)?;
        self.charge_bytes(n)?;
        self.write_u32(out, count(n))?;
        Ok(())
    }

    pub(crate) fn fd_pread(
        &mut self,
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        offset: u64,
        out: u32,
    ) -> Answer {
        self.positioned(fd)?;
        self.require(fd, None)?;
        self.check_out(out, 4)?;
        let list = clip(&self.buffers(iovs, iovs_len)?, 0, BYTES_MAX);
        if i64::try_from(offset).is_err() {
            return Err(Errno::INVAL.into());
        }
        let n = self.read_file(fd, &list, Some(offset))?;
        self.charge_bytes(n)?;
        self.write_u32(out, count(n))?;
        Ok(())
    }

    pub(crate) fn fd_write(&mut self, fd: u32, iovs: u32, iovs_len: u32, out: u32) -> Answer {
        self.data_descriptor(fd)?;
        self.require(fd, None)?;
        self.check_out(out, 4)?;
        let list = clip(&self.buffers(iovs, iovs_len)?, 0, BYTES_MAX);
        let n = self.write_to(fd, &list)?;
        self.write_u32(out, count(n))?;
        Ok(())
    }

    pub(crate) fn fd_pwrite(
        &mut self,
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        offset: u64,
        out: u32,
    ) -> Answer {
        self.positioned(fd)?;
        self.require(fd, None)?;
        self.check_out(out, 4)?;
        let list = clip(&self.buffers(iovs, iovs_len)?, 0, BYTES_MAX);
        if i64::try_from(offset).is_err() {
            return Err(Errno::INVAL.into());
        }
        let n = self.write_file(fd, &list, Some(offset))?;
        self.write_u32(out, count(n))?;
        Ok(())
    }

    /// `BADF` for what holds no data.
    pub(super) fn data_descriptor(&self, fd: u32) -> Result<(), Errno> {
        match self.ctx.table.get(fd)?.object {
            Object::Dir(_) => Err(Errno::BADF),
            _ => Ok(()),
        }
    }

    /// `SPIPE` for what has no position that the guest may use.
    pub(super) fn positioned(&self, fd: u32) -> Result<(), Errno> {
        match &self.ctx.table.get(fd)?.object {
            Object::Dir(_) => Err(Errno::BADF),
            Object::File(_) => Ok(()),
            Object::Input(Input::Host(h)) if h.kind == HostKind::Regular => Ok(()),
            _ => Err(Errno::SPIPE),
        }
    }

    fn read_from(&mut self, fd: u32, list: &[Buffer]) -> Result<u64, Fail> {
        let Some(first) = list.first().copied() else { return Ok(0) };
        let d = self.ctx.table.get_mut(fd)?;
        match &mut d.object {
            Object::Input(Input::Null) => Ok(0),
            Object::Input(Input::Bytes { data, at }) => {
                let rest = data.get(*at..).unwrap_or_default();
                let memory = self.host.memory().ok_or(Errno::FAULT)?;
                let n = scatter(memory, list, rest)?;
                *at += n;
                Ok(n as u64)
            }
            Object::Input(Input::Host(h)) if h.kind == HostKind::Regular => {
                self.read_file(fd, list, None)
            }
            Object::File(_) => self.read_file(fd, list, None),
            Object::Input(Input::Host(h)) => {
                let how = if h.kind == HostKind::Socket {
                    Read::Socket(RecvFlags::empty())
                } else {
                    Read::Stream
                };
                let whole = matches!(h.kind, HostKind::Pipe | HostKind::Socket);
                if whole && self.ctx.deterministic.is_some() {
                    return self.read_whole(fd, first, how);
                }
                self.read_stream(fd, first, how)
            }
            Object::Socket(s) if s.listening => Err(Errno::NOTCONN.into()),
            Object::Socket(_) => self.read_stream(fd, first, Read::Socket(RecvFlags::empty())),
            Object::Output(_) | Object::Dir(_) => Err(Errno::BADF.into()),
        }
    }

    /// Buffer by buffer, so that buffers that overlap each other do no harm.
    fn read_file(&mut self, fd: u32, list: &[Buffer], offset: Option<u64>) -> Result<u64, Fail> {
        let mut done = 0u64;
        for buffer in list {
            let mut within = 0u64;
            while within < u64::from(buffer.len) {
                let at = u64::from(buffer.addr) + within;
                let len = (u64::from(buffer.len) - within).min(STEP);
                let position = offset.map_or(CURRENT, |o| o.saturating_add(done));
                if offset.is_some() && i64::try_from(position).is_err() {
                    return Ok(done);
                }
                check_stop(self.host)?;
                let file = regular(&self.ctx.table, fd)?;
                let memory = self.host.memory().ok_or(Errno::FAULT)?;
                let n = match fill(memory, at, len, |b| read_at(file, b, position)) {
                    Ok(n) => n,
                    Err(Fail::Errno(Errno::INTR)) => continue,
                    Err(_) if done > 0 => return Ok(done),
                    Err(e) => return Err(e),
                };
                if n == 0 {
                    return Ok(done);
                }
                done += n;
                within += n;
            }
        }
        Ok(done)
    }

    /// The first buffer only: a short read, which is what a stream gives anyway.
    pub(super) fn read_stream(&mut self, fd: u32, buffer: Buffer, how: Read) -> Result<u64, Fail> {
        let (at, len) = (u64::from(buffer.addr), u64::from(buffer.len));
        let mut nowait = true;
        loop {
            check_stop(self.host)?;
            let d = self.ctx.table.get(fd)?;
            let nonblocking = self.ctx.nonblocking(d);
            let stream = d.waitable().ok_or(Errno::BADF)?;
            if !nowait {
                let until = nonblocking.then(std::time::Instant::now);
                let events = wait(self.host, &[(stream, PollFlags::IN)], until)?;
                if events.iter().all(|e| e.is_empty()) {
                    return Err(Errno::AGAIN.into());
                }
            }
            let memory = self.host.memory().ok_or(Errno::FAULT)?;
            match fill(memory, at, len, |b| how.attempt(stream, b, nowait)) {
                Ok(n) => return Ok(n),
                Err(Fail::Errno(Errno::INTR)) => {}
                Err(Fail::Errno(Errno::NOTSUP | Errno::INVAL | Errno::NOSYS)) if nowait => {
                    nowait = false
                }
                Err(Fail::Errno(Errno::AGAIN)) if !nonblocking && nowait => {
                    wait(self.host, &[(stream, PollFlags::IN)], None)?;
                }
                // Ready a moment ago: somebody else was faster, or a terminal has room, but not for this.
                Err(Fail::Errno(Errno::AGAIN)) if !nonblocking => {
                    wait(self.host, &[], after(UNREADY))?;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Until the buffer is full or the stream ends: how much a stream has at a moment is an accident, what it has in all
    /// is not.
    fn read_whole(&mut self, fd: u32, buffer: Buffer, how: Read) -> Result<u64, Fail> {
        let mut done = 0u64;
        while done < u64::from(buffer.len) {
            let Some(rest) = clip(&[buffer], done, u64::MAX).first().copied() else { break };
            match self.read_stream(fd, rest, how) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Fail::Errno(_)) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_to(&mut self, fd: u32, list: &[Buffer]) -> Result<u64, Fail> {
        let d = self.ctx.table.get(fd)?;
        let append = d.flags.contains(FdFlags::APPEND);
        match &d.object {
            Object::File(f) if append => {
                let size = crate::sys::fs::fstat(f)?.st_size;
                self.write_bytes(fd, list, Place::End(u64::try_from(size).unwrap_or(0)))
            }
            Object::File(_) => self.write_file(fd, list, None),
            Object::Output(Output::Host(h)) if h.kind == HostKind::Regular => {
                self.write_file(fd, list, None)
            }
            Object::Output(Output::Null) => {
                self.charge_write(total(list))?;
                Ok(total(list))
            }
            Object::Output(Output::Buffer(b)) => {
                let room = b.room() as u64;
                self.write_buffer(fd, &clip(list, 0, room), total(list))
            }
            Object::Output(Output::Host(h)) => {
                let socket = h.kind == HostKind::Socket;
                self.write_stream(fd, list, socket)
            }
            Object::Output(Output::Terminal(_)) => self.write_terminal(fd, list),
            Object::Socket(s) if s.listening => Err(Errno::NOTCONN.into()),
            Object::Socket(_) => self.write_stream(fd, list, true),
            Object::Input(_) | Object::Dir(_) => Err(Errno::BADF.into()),
        }
    }

    pub(super) fn charge_write(&mut self, bytes: u64) -> Result<(), Halt> {
        self.charge_bytes(bytes)?;
        self.charge_output(bytes)
    }

    fn write_file(&mut self, fd: u32, list: &[Buffer], offset: Option<u64>) -> Result<u64, Fail> {
        let place = match offset {
            Some(o) => Place::At(o),
            None => self.next_place(fd)?,
        };
        self.write_bytes(fd, list, place)
    }

    /// Where the next write to a file lands, which matters only where there is a ceiling to compare it with; asking
    /// always keeps one path. A stream that was redirected to the end of a file (`>>`) stands elsewhere than it writes.
    fn next_place(&self, fd: u32) -> Result<Place, Errno> {
        let file = regular(&self.ctx.table, fd)?;
        if crate::sys::fs::fcntl_getfl(file)?.contains(crate::sys::fs::OFlags::APPEND) {
            let size = crate::sys::fs::fstat(file)?.st_size;
            return Ok(Place::End(u64::try_from(size).unwrap_or(0)));
        }
        Ok(Place::Here(crate::sys::fs::tell(file).unwrap_or(0)))
    }

    fn write_bytes(&mut self, fd: u32, list: &[Buffer], place: Place) -> Result<u64, Fail> {
        let room = self.largest_file().saturating_sub(place.start());
        if room == 0 && total(list) > 0 {
            // So that the ledger knows what was refused.
            let _ = self.check_size(place.start().saturating_add(total(list)));
            return Err(Errno::FBIG.into());
        }
        let list = clip(list, 0, room);
        self.charge_write(total(&list))?;
        self.check_size(place.start().saturating_add(total(&list)))?;
        let mut done = 0;
        while done < total(&list) {
            check_stop(self.host)?;
            let part = clip(&list, done, STEP);
            let file = regular(&self.ctx.table, fd)?;
            let memory = self.host.memory().ok_or(Errno::FAULT)?;
            let written = drain(memory, &part, |b| match place {
                Place::Here(_) => writev(file, b),
                Place::At(offset) => pwritev(file, b, offset.saturating_add(done)),
                Place::End(_) => pwritev2(file, b, CURRENT, ReadWriteFlags::APPEND),
            });
            match written {
                Err(Fail::Errno(Errno::INTR)) => {}
                Ok(0) => break,
                Ok(n) => done += n,
                // What is written is written.
                Err(Fail::Errno(_)) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_buffer(&mut self, fd: u32, list: &[Buffer], wanted: u64) -> Result<u64, Fail> {
        if list.is_empty() && wanted > 0 {
            return Err(Errno::NOSPC.into());
        }
        self.charge_write(total(list))?;
        let Object::Output(Output::Buffer(buffer)) = &self.ctx.table.get(fd)?.object else {
            return Err(Errno::BADF.into());
        };
        let memory = self.host.memory().ok_or(Errno::FAULT)?;
        let mut done = 0;
        while done < total(list) {
            let n = drain(memory, &clip(list, done, u64::MAX), |b| {
                Ok(b.iter().map(|s| buffer.push(s)).sum())
            })?;
            if n == 0 {
                break;
            }
            done += n;
        }
        Ok(done)
    }

    /// All of it, waiting in between; a part of it where waiting is not wanted.
    pub(super) fn write_stream(
        &mut self,
        fd: u32,
        list: &[Buffer],
        socket: bool,
    ) -> Result<u64, Fail> {
        let wanted = total(list);
        self.charge_write(wanted)?;
        let mut done = 0u64;
        let mut nowait = true;
        while done < wanted {
            check_stop(self.host)?;
            let d = self.ctx.table.get(fd)?;
            let nonblocking = self.ctx.nonblocking(d);
            let stream = d.waitable().ok_or(Errno::BADF)?;
            if !nowait {
                let until = nonblocking.then(std::time::Instant::now);
                let events = wait(self.host, &[(stream, PollFlags::OUT)], until)?;
                if events.iter().all(|e| e.is_empty()) {
                    return if done > 0 { Ok(done) } else { Err(Errno::AGAIN.into()) };
                }
            }
            let part = clip(list, done, if nowait { u64::MAX } else { ATOMIC });
            let memory = self.host.memory().ok_or(Errno::FAULT)?;
            match drain(memory, &part, |b| attempt_write(stream, b, socket, nowait)) {
                Ok(n) => done += n,
                Err(Fail::Errno(Errno::INTR)) => {}
                Err(Fail::Errno(Errno::NOTSUP | Errno::INVAL | Errno::NOSYS))
                    if nowait && !socket =>
                {
                    nowait = false
                }
                Err(Fail::Errno(Errno::AGAIN)) if !nonblocking && nowait => {
                    wait(self.host, &[(stream, PollFlags::OUT)], None)?;
                }
                // Ready a moment ago: somebody else was faster, or a terminal has room, but not for this.
                Err(Fail::Errno(Errno::AGAIN)) if !nonblocking => {
                    wait(self.host, &[], after(UNREADY))?;
                }
                Err(Fail::Errno(_)) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
}

/// The descriptor of a regular file, the guest's or behind a standard stream.
fn regular(table: &Table, fd: u32) -> Result<BorrowedFd<'_>, Errno> {
    match &table.get(fd)?.object {
        Object::File(f) => Ok(f.as_fd()),
        Object::Input(Input::Host(h)) | Object::Output(Output::Host(h)) => Ok(h.fd.as_fd()),
        _ => Err(Errno::SPIPE),
    }
}

/// Where a write to a file starts.
#[derive(Clone, Copy)]
enum Place {
    Here(u64),
    At(u64),
    End(u64),
}

impl Place {
    fn start(self) -> u64 {
        match self {
            Place::Here(n) | Place::At(n) | Place::End(n) => n,
        }
    }
}

/// How to read from a stream.
#[derive(Clone, Copy)]
pub(super) enum Read {
    Stream,
    Socket(RecvFlags),
}

impl Read {
    fn attempt(self, fd: BorrowedFd<'_>, buf: &mut [u8], nowait: bool) -> Result<usize, HostErrno> {
        match self {
            Read::Socket(flags) => {
                crate::sys::net::recv(fd, buf, flags | RecvFlags::DONTWAIT).map(|(n, _)| n)
            }
            Read::Stream if nowait => {
                preadv2(fd, &mut [IoSliceMut::new(buf)], CURRENT, ReadWriteFlags::NOWAIT)
            }
            Read::Stream => crate::sys::io::read(fd, buf),
        }
    }
}

fn read_at(file: BorrowedFd<'_>, buf: &mut [u8], position: u64) -> Result<usize, HostErrno> {
    match position {
        CURRENT => readv(file, &mut [IoSliceMut::new(buf)]),
        offset => crate::sys::io::pread(file, buf, offset),
    }
}

fn attempt_write(
    fd: BorrowedFd<'_>,
    bufs: &[IoSlice<'_>],
    socket: bool,
    nowait: bool,
) -> Result<usize, HostErrno> {
    if socket {
        let first = bufs.first().map_or(&[][..], |b| b);
        return crate::sys::net::send(fd, first, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
    if nowait { pwritev2(fd, bufs, CURRENT, ReadWriteFlags::NOWAIT) } else { writev(fd, bufs) }
}

/// A length as it is reported; no call moves more than fits.
fn count(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The bytes in a list, at most 2^32.
pub(super) fn total(list: &[Buffer]) -> u64 {
    list.iter().map(|b| u64::from(b.len)).sum()
}

/// What is left of a list after `skip` bytes, and `most` bytes of that at the most.
pub(super) fn clip(list: &[Buffer], skip: u64, most: u64) -> Vec<Buffer> {
    let (mut skip, mut most) = (skip, most);
    let mut out = Vec::with_capacity(list.len());
    for b in list {
        let len = u64::from(b.len);
        let from = skip.min(len);
        skip -= from;
        let take = (len - from).min(most);
        most -= take;
        if take > 0 {
            // Both are parts of a 32-bit length inside a 32-bit memory.
            out.push(Buffer { addr: b.addr.wrapping_add(from as u32), len: take as u32 });
        }
    }
    out
}

/// Lets `read` fill guest memory in place, or through a copy where the memory is shared.
fn fill(
    memory: &mut dyn GuestMemory,
    at: u64,
    len: u64,
    read: impl FnOnce(&mut [u8]) -> Result<usize, HostErrno>,
) -> Result<u64, Fail> {
    if let Some(slice) = memory.slice_mut(at, len) {
        return Ok(read(slice?)? as u64);
    }
    let mut copy = vec![0; usize::try_from(len.min(COPY)).map_err(|_| Errno::FAULT)?];
    let n = read(&mut copy)?.min(copy.len());
    memory.write(at, copy.get(..n).unwrap_or_default())?;
    Ok(n as u64)
}

/// Lets `write` take guest memory in place, or a first part of it from a copy where the memory is shared.
fn drain(
    memory: &dyn GuestMemory,
    list: &[Buffer],
    write: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, HostErrno>,
) -> Result<u64, Fail> {
    let mut slices = Vec::with_capacity(list.len());
    for b in list {
        match memory.slice(u64::from(b.addr), u64::from(b.len)) {
            Some(slice) => slices.push(IoSlice::new(slice?)),
            None => return drain_copy(memory, list, write),
        }
    }
    Ok(write(&slices)? as u64)
}

fn drain_copy(
    memory: &dyn GuestMemory,
    list: &[Buffer],
    write: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, HostErrno>,
) -> Result<u64, Fail> {
    let mut copy = Vec::new();
    for b in clip(list, 0, COPY) {
        let from = copy.len();
        copy.resize(from + b.len as usize, 0);
        memory.read(u64::from(b.addr), copy.get_mut(from..).unwrap_or_default())?;
    }
    Ok(write(&[IoSlice::new(&copy)])? as u64)
}

/// Copies `data` into the buffers, as far as either goes.
fn scatter(memory: &mut dyn GuestMemory, list: &[Buffer], data: &[u8]) -> Result<usize, Errno> {
    let mut done = 0usize;
    for b in list {
        let rest = data.get(done..).unwrap_or_default();
        let part = rest.get(..rest.len().min(b.len as usize)).unwrap_or_default();
        memory.write(u64::from(b.addr), part)?;
        done += part.len();
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_skips_and_shortens() {
        let list = [Buffer { addr: 10, len: 5 }, Buffer { addr: 100, len: 7 }];
        assert_eq!(clip(&list, 0, 100), list);
        assert_eq!(clip(&list, 5, 100), list[1..]);
        assert_eq!(clip(&list, 6, 2), [Buffer { addr: 101, len: 2 }]);
        assert_eq!(clip(&list, 12, 2), []);
        assert_eq!(clip(&list, 2, 4), [Buffer { addr: 12, len: 3 }, Buffer { addr: 100, len: 1 }]);
        assert_eq!(total(&list), 12);
    }
}
