//! Descriptors: what the guest holds, and the table of them.
//!
//! A descriptor's rights are fixed when it is made and only shrink. Numbers are given out lowest first. How many there
//! may be is for the ledger, and checked before the table is asked. Closing a descriptor drops the host's descriptor at that moment.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::readdir::DirReader;
use crate::stream::{Input, Output};
use crate::{Errno, FdFlags, Rights};

/// What a descriptor stands for.
pub(crate) enum Object {
    Input(Input),
    Output(Output),
    File(OwnedFd),
    Dir(Dir),
    Socket(Socket),
}

/// A directory, opened through the grant of this index.
pub(crate) struct Dir {
    pub(crate) fd: OwnedFd,
    pub(crate) grant: usize,
    /// Whether this is the preopen itself.
    pub(crate) preopen: bool,
    pub(crate) reader: Option<Box<DirReader>>,
}

/// A socket handed over by the embedder, or accepted from one.
pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    pub(crate) listening: bool,
}

/// One open descriptor.
pub(crate) struct Descriptor {
    pub(crate) object: Object,
    pub(crate) base: Rights,
    pub(crate) inheriting: Rights,
    pub(crate) flags: FdFlags,
    /// The grant that it was opened through.
    pub(crate) grant: Option<usize>,
}

impl Descriptor {
    pub(crate) fn nonblocking(&self) -> bool {
        self.flags.contains(FdFlags::NONBLOCK)
    }

    /// The host's descriptor behind it, if there is one.
    pub(crate) fn host_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.object {
            Object::Input(Input::Host(h)) | Object::Output(Output::Host(h)) => Some(h.fd.as_fd()),
            Object::File(f) => Some(f.as_fd()),
            Object::Dir(d) => Some(d.fd.as_fd()),
            Object::Socket(s) => Some(s.fd.as_fd()),
            _ => None,
        }
    }

    /// The host's descriptor that can be waited for; `None` if it is always ready.
    pub(crate) fn waitable(&self) -> Option<BorrowedFd<'_>> {
        match &self.object {
            Object::Input(Input::Host(h)) | Object::Output(Output::Host(h)) if h.kind.waits() => {
                Some(h.fd.as_fd())
            }
            Object::Output(Output::Terminal(t)) => Some(t.terminal.fd.as_fd()),
            Object::Socket(s) => Some(s.fd.as_fd()),
            _ => None,
        }
    }
}

/// The table of open descriptors.
#[derive(Default)]
pub(crate) struct Table {
    slots: Vec<Option<Descriptor>>,
    free: BTreeSet<u32>,
}

impl Table {
    /// How many are open.
    pub(crate) fn open_count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds one under the lowest free number.
    pub(crate) fn insert(&mut self, d: Descriptor) -> Result<u32, Errno> {
        if let Some(n) = self.free.pop_first() {
            if let Some(slot) = self.slots.get_mut(n as usize) {
                *slot = Some(d);
            }
            return Ok(n);
        }
        let n = u32::try_from(self.slots.len()).map_err(|_| Errno::MFILE)?;
        self.slots.push(Some(d));
        Ok(n)
    }

    /// Adds one after all others, for what is there at start.
    pub(crate) fn insert_at_end(&mut self, d: Descriptor) {
        self.slots.push(Some(d));
    }

    /// Leaves the next number empty, as for a standard stream that the guest does not get.
    pub(crate) fn skip(&mut self) {
        if let Ok(n) = u32::try_from(self.slots.len()) {
            self.slots.push(None);
            self.free.insert(n);
        }
    }

    pub(crate) fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.slots.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::BADF)
    }

    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.slots.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::BADF)
    }

    /// All that are open.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Descriptor> {
        self.slots.iter().flatten()
    }

    pub(crate) fn remove(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        let d = self.slots.get_mut(fd as usize).and_then(Option::take).ok_or(Errno::BADF)?;
        self.free.insert(fd);
        Ok(d)
    }

    /// Moves `from` onto `to`, which must be open too and is closed.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) -> Result<(), Errno> {
        self.get(from)?;
        self.get(to)?;
        if from != to {
            let d = self.remove(from)?;
            *self.get_mut(to)? = d;
        }
        Ok(())
    }
}
