//! Reading a directory piece by piece, from any position.
//!
//! Cookies are the kernel's own positions. One block of entries is kept, so that a guest that reads entry by
//! entry, or starts again at the entry that did not fit, costs no system call per entry, and a directory of
//! a million entries is read in linear time. A position that is not in the block costs one seek.

use std::os::fd::BorrowedFd;

use crate::deterministic::Kept;
use crate::host::Fail;
use crate::sys::fs::{RawDir, SeekFrom, seek};
use crate::{Errno, FileType};

/// Size of a block of entries.
const BLOCK: usize = 32 * 1024;

/// One entry, with the position it was read at and the one after it.
#[derive(Clone, Debug)]
pub(crate) struct DirEntry {
    at: u64,
    pub(crate) next: u64,
    pub(crate) ino: u64,
    pub(crate) file_type: FileType,
    pub(crate) name: Vec<u8>,
}

impl DirEntry {
    /// What keeping it takes, an allocation for its name included.
    fn bytes(&self) -> u64 {
        (size_of::<Self>() + self.name.capacity() + 16) as u64
    }
}

/// The block that was read last.
#[derive(Default)]
pub(crate) struct DirReader {
    entries: Vec<DirEntry>,
    /// Index that probably comes next.
    hint: usize,
    /// Where the host's descriptor stands; `None` if that is not known.
    position: Option<u64>,
    /// Where the block is the whole directory, sorted: what that takes.
    sorted: Option<Kept>,
}

/// The most entries of a directory that is sorted.
const SORTED_MAX: usize = 1 << 18;

impl DirReader {
    /// The entry at a cookie; `None` at the end, and for a cookie that no directory has given out.
    pub(crate) fn entry(
        &mut self,
        fd: BorrowedFd<'_>,
        cookie: u64,
        fresh: bool,
    ) -> Result<Option<&DirEntry>, Errno> {
        if fresh {
            self.entries.clear();
        }
        if let Some(i) = self.find(cookie) {
            self.hint = i + 1;
            return Ok(self.entries.get(i));
        }
        if !self.fill(fd, cookie)? {
            return Ok(None);
        }
        self.hint = 1;
        Ok(self.entries.first())
    }

    /// The entry at a cookie, where they are sorted by their names and cookies count them. They are read as a whole when
    /// reading starts at the beginning; what is read goes to `pay`, block by block: how many entries more, and how
    /// many bytes are kept by then. `kept` counts those for as long as they are.
    pub(crate) fn sorted_entry(
        &mut self,
        fd: BorrowedFd<'_>,
        cookie: u64,
        fresh: bool,
        kept: Kept,
        pay: &mut dyn FnMut(u64, u64) -> Result<(), Fail>,
    ) -> Result<Option<&DirEntry>, Fail> {
        if fresh || self.sorted.is_none() {
            // What was kept until now is gone before anything is read.
            (self.entries, self.sorted) = (Vec::new(), None);
            let mut all = Vec::new();
            let (mut at, mut bytes) = (0, 0u64);
            self.position = None;
            while self.fill(fd, at)? {
                at = self.entries.last().map_or(at, |entry| entry.next);
                bytes = self.entries.iter().fold(bytes, |sum, entry| sum + entry.bytes());
                pay(self.entries.len() as u64, bytes)?;
                all.append(&mut self.entries);
                if all.len() > SORTED_MAX {
                    return Err(Errno::OVERFLOW.into());
                }
            }
            all.shrink_to_fit();
            all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            for (i, entry) in all.iter_mut().enumerate() {
                (entry.at, entry.next) = (i as u64, i as u64 + 1);
            }
            (self.entries, self.sorted) = (all, Some(kept.counted(bytes)));
        }
        Ok(usize::try_from(cookie).ok().and_then(|at| self.entries.get(at)))
    }

    fn find(&self, cookie: u64) -> Option<usize> {
        if self.entries.get(self.hint).is_some_and(|e| e.at == cookie) {
            return Some(self.hint);
        }
        self.entries.iter().position(|e| e.at == cookie)
    }

    /// Reads the block that starts at `cookie`. False at the end.
    fn fill(&mut self, fd: BorrowedFd<'_>, cookie: u64) -> Result<bool, Errno> {
        self.entries.clear();
        if self.position != Some(cookie) || cookie == 0 {
            self.position = None;
            if i64::try_from(cookie).is_err() || seek(fd, SeekFrom::Start(cookie)).is_err() {
                return Ok(false);
            }
        }
        crate::sys::check()?;
        let mut at = cookie;
        let mut storage: Vec<u8> = Vec::with_capacity(BLOCK);
        let mut dir = RawDir::new(fd, storage.spare_capacity_mut());
        while let Some(entry) = dir.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(crate::sys::io::Errno::INTR) => continue,
                // A directory that was removed while open reads as empty.
                Err(crate::sys::io::Errno::NOENT) => break,
                Err(e) => {
                    self.position = None;
                    return Err(e.into());
                }
            };
            let next = entry.next_entry_cookie();
            self.entries.push(DirEntry {
                at,
                next,
                ino: entry.ino(),
                file_type: entry.file_type().into(),
                name: entry.file_name().to_bytes().to_vec(),
            });
            at = next;
            if dir.is_buffer_empty() {
                break;
            }
        }
        self.position = Some(at);
        Ok(!self.entries.is_empty())
    }
}
