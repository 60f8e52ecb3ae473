//! A range of address space: reserved without access, opened piece by piece from its start, given
//! back when dropped.
//!
//! Fresh pages are zero: that is the kernel's promise for anonymous mappings, and no region is ever
//! reused. Everything is a whole number of host pages in here; callers know sizes in bytes.

use std::io;
use std::ptr::NonNull;

use super::fault;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mprotect,
    mremap, munmap,
};

/// The size of the host's pages.
pub(crate) fn page_size() -> usize {
    rustix::param::page_size()
}

/// `bytes` rounded up to whole host pages; `None` if that is more than there can be.
pub(crate) fn round_up(bytes: usize) -> Option<usize> {
    let rounded = bytes.checked_next_multiple_of(page_size())?;
    // Pointer offsets are signed.
    isize::try_from(rounded).ok().map(|_| rounded)
}

fn too_large() -> io::Error {
    io::Error::from(io::ErrorKind::OutOfMemory)
}

/// A mapping of our own.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a region is an address range and owns it; nothing in it depends on the thread.
unsafe impl Send for Region {}
// SAFETY: shared access gives out the address alone; what is done with it is the user's to justify.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves address space, inaccessible and not counted as memory: the kernel counts private
    /// pages when they become writable, and refuses then what it does not have. (`NORESERVE` would
    /// take that check away, and is not needed.)
    pub(crate) fn reserve(bytes: usize) -> io::Result<Self> {
        Self::map(bytes, ProtFlags::empty())
    }

    /// Maps zero pages, readable and writable, which take memory when first touched.
    pub(crate) fn zeroed(bytes: usize) -> io::Result<Self> {
        Self::map(bytes, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn map(bytes: usize, protection: ProtFlags) -> io::Result<Self> {
        fault::check()?;
        let len = round_up(bytes.max(1)).ok_or_else(too_large)?;
        // SAFETY: no address is asked for, so that no existing mapping is touched.
        let base =
            unsafe { mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::PRIVATE)? };
        let base = NonNull::new(base.cast()).ok_or_else(too_large)?;
        Ok(Self { base, len })
    }

    /// The first byte.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// How many bytes the range has, accessible or not.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Opens the bytes from `from` to `to` for reading and writing. Both are rounded to whole pages,
    /// outwards.
    pub(crate) fn open(&self, from: usize, to: usize) -> io::Result<()> {
        let from = from - from % page_size();
        let to = round_up(to).filter(|&to| to <= self.len).ok_or_else(too_large)?;
        if from >= to {
            return Ok(());
        }
        fault::check()?;
        // SAFETY: `from..to` lies within our own mapping, as just checked, and access only widens.
        unsafe {
            let at = self.base().add(from).cast();
            mprotect(at, to - from, MprotectFlags::READ | MprotectFlags::WRITE)?;
        }
        Ok(())
    }

    /// Makes the pages between `from` and `to`, which are open, executable, and no longer writable. Both are rounded
    /// to whole pages, outwards.
    pub(crate) fn make_executable(&self, from: usize, to: usize) -> io::Result<()> {
        self.protect(from, to, MprotectFlags::READ | MprotectFlags::EXEC)
    }

    /// Makes the pages between `from` and `to` readable, and nothing else.
    pub(crate) fn make_readable(&self, from: usize, to: usize) -> io::Result<()> {
        self.protect(from, to, MprotectFlags::READ)
    }

    /// Makes the pages between `from` and `to` inaccessible; what is on them stays.
    pub(crate) fn make_inaccessible(&self, from: usize, to: usize) -> io::Result<()> {
        self.protect(from, to, MprotectFlags::empty())
    }

    fn protect(&self, from: usize, to: usize, access: MprotectFlags) -> io::Result<()> {
        let from = from - from % page_size();
        let to = round_up(to).filter(|&to| to <= self.len).ok_or_else(too_large)?;
        fault::check()?;
        // SAFETY: `from..to` lies within our own mapping, as just checked; that nobody needs the access that is
        // taken away is what each caller is for.
        unsafe { Ok(mprotect(self.base().add(from).cast(), to - from, access)?) }
    }

    /// Gives the pages between `from` and `to` back to the system: they are reserved again, without access, and
    /// zero when they are opened next. Both are rounded to whole pages, outwards.
    pub(crate) fn close(&self, from: usize, to: usize) -> io::Result<()> {
        let from = from - from % page_size();
        let to = round_up(to).filter(|&to| to <= self.len).ok_or_else(too_large)?;
        if from >= to {
            return Ok(());
        }
        fault::check()?;
        // SAFETY: `from..to` lies within our own mapping, as just checked, and is replaced as a whole; callers
        // own what is there.
        unsafe {
            let at = self.base().add(from).cast();
            let flags = MapFlags::PRIVATE | MapFlags::FIXED;
            mmap_anonymous(at, to - from, ProtFlags::empty(), flags)?;
        }
        Ok(())
    }

    /// Keeps the pages between `from` and `to` apart from all neighbours in the system's books, so that changing
    /// the access of all of them at once never needs a new entry there. A system that does not take the advice may
    /// need one.
    pub(crate) fn keep_apart(&self, from: usize, to: usize) {
        // SAFETY: the range lies within our own mapping; the advice is about core dumps alone.
        let _ = unsafe { madvise(self.base().add(from).cast(), to - from, Advice::LinuxDontDump) };
    }

    /// Gives the pages between `from` and `to`, which are open, back to the system: they are zero afterwards.
    /// Both are rounded to whole pages, outwards.
    ///
    /// # Safety
    ///
    /// Nobody refers to anything on those pages.
    pub(crate) unsafe fn discard(&self, from: usize, to: usize) {
        let from = from - from % page_size();
        let Some(to) = round_up(to).filter(|&to| to <= self.len) else { return };
        if from >= to {
            return;
        }
        // SAFETY: `from..to` lies within our own mapping, which is private and anonymous; that nobody needs
        // what is there is the caller's word.
        unsafe {
            let at = self.base().add(from);
            // Fails for pages that are locked in memory. Zero they must be all the same.
            if madvise(at.cast(), to - from, Advice::LinuxDontNeed).is_err() {
                std::ptr::write_bytes(at, 0, to - from);
            }
        }
    }

    /// Lets the system use large pages between `from` and `to`, if it likes. Both are rounded to whole pages,
    /// outwards.
    pub(crate) fn prefer_large_pages(&self, from: usize, to: usize) {
        let from = from - from % page_size();
        let Some(to) = round_up(to).filter(|&to| to <= self.len && from < to) else { return };
        // SAFETY: `from..to` lies within our own mapping, and the advice changes no contents. It is not
        // needed: a system without large pages refuses it.
        let _ = unsafe { madvise(self.base().add(from).cast(), to - from, Advice::LinuxHugepage) };
    }

    /// Makes a region from [`Region::zeroed`] longer, perhaps elsewhere; the new part is zero. On
    /// failure nothing has changed.
    pub(crate) fn lengthen(&mut self, bytes: usize) -> io::Result<()> {
        fault::check()?;
        let len = round_up(bytes).ok_or_else(too_large)?;
        if len <= self.len {
            return Ok(());
        }
        // SAFETY: the whole of our own mapping is moved, and its address replaced at once; that
        // nobody keeps the old one is the caller's `&mut`.
        let base = unsafe { mremap(self.base().cast(), self.len, len, MremapFlags::MAYMOVE)? };
        self.base = NonNull::new(base.cast()).ok_or_else(too_large)?;
        self.len = len;
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the range is our own mapping, whole, and nothing may refer to it any more.
        // Fails only for ranges that are no mapping.
        let _ = unsafe { munmap(self.base().cast(), self.len) };
    }
}

#[cfg(test)]
pub(crate) use super::fault::fail_after;

#[cfg(test)]
mod tests {
    use super::*;

    /// The first `len` bytes of a region.
    ///
    /// # Safety
    ///
    /// They are open, and nobody else holds them.
    unsafe fn bytes(region: &mut Region, len: usize) -> &mut [u8] {
        // SAFETY: passed on to the caller.
        unsafe { std::slice::from_raw_parts_mut(region.base(), len) }
    }

    #[test]
    fn reservations_open_piece_by_piece_and_are_zero() {
        let page = page_size();
        let mut region = Region::reserve(64 << 30).expect("address space");
        region.open(0, 1).expect("room");
        region.open(1, page + 1).expect("room");
        region.open(5, 5).expect("nothing to do");
        assert!(region.open(0, (64 << 30) + 1).is_err());
        // SAFETY: two pages are open.
        let open = unsafe { bytes(&mut region, 2 * page) };
        assert!(open.iter().all(|&b| b == 0));
        open.fill(0xAA);
        drop(region);
        let mut again = Region::reserve(64 << 30).expect("address space");
        again.open(0, 2 * page).expect("room");
        // SAFETY: two pages are open.
        assert!(unsafe { bytes(&mut again, 2 * page) }.iter().all(|&b| b == 0));
    }

    #[test]
    fn lengthening_keeps_contents_and_adds_zeros() {
        let page = page_size();
        let mut region = Region::zeroed(page).expect("room");
        // SAFETY: a zeroed region is open as a whole.
        unsafe { bytes(&mut region, page) }.fill(7);
        region.lengthen(300 * page).expect("room");
        assert_eq!(region.len(), 300 * page);
        // SAFETY: as before.
        let (old, new) = unsafe { bytes(&mut region, 300 * page) }.split_at(page);
        assert!(old.iter().all(|&b| b == 7) && new.iter().all(|&b| b == 0));
        region.lengthen(1).expect("nothing to do");
        assert_eq!(region.len(), 300 * page);
        assert!(region.lengthen(usize::MAX).is_err());
        assert!(region.lengthen(1 << 60).is_err());
        assert_eq!(region.len(), 300 * page);
    }

    #[test]
    fn the_impossible_is_an_error() {
        assert!(Region::reserve(usize::MAX).is_err());
        assert!(Region::reserve(isize::MAX as usize).is_err());
        assert!(Region::zeroed(1 << 62).is_err());
    }
}
