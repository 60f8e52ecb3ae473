//! Linear memories: address space, current length, growth.
//!
//! A 32-bit memory lives in a reservation of its own that no 33-bit effective address can leave,
//! with room below and above for what a wrong compiler could still reach, and never moves. Where address
//! space is short it falls back to smaller reservations, and in the end to a mapping that moves when
//! it grows, like those of 64-bit memories whose maximum is large or absent. Engines therefore read the
//! base from [`VmMemoryDef`] after anything that may grow a memory.
//!
//! Bytes past the current length are either inaccessible or have never been written, so that growth
//! only ever shows zeros. Nothing in here asks limits: [`crate::store`] does, before it calls.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use palisade_core::{MemoryType, TrapCode};

use crate::error::VmError;
use crate::interrupt::InterruptHandle;
use crate::layout::VmMemoryDef;
use crate::owned::{Definition, Owned};
use crate::parking::{Parking, WaitResult};
use crate::racy;
use crate::store::MemoryReservation;
use crate::sys::region::Region;

/// All that a 32-bit index can name.
const SPACE_32: u64 = 1 << 32;

/// The least that lies inaccessible after a reserved memory.
const MIN_GUARD: u64 = 64 << 10;

/// The sizes in bytes that a memory type speaks of, computed without overflow.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sizes {
    /// Bytes at start.
    pub(crate) minimum: usize,
    /// The most bytes that it may have.
    pub(crate) maximum: usize,
}

impl Sizes {
    /// The sizes of a type; an error if its minimum cannot be had on any machine.
    pub(crate) fn of(ty: &MemoryType) -> Result<Self, VmError> {
        let too_large = || VmError::TooLarge { what: "a memory", asked: ty.minimum, unit: "pages" };
        if !matches!(ty.page_size_log2, 0 | 16) {
            return Err(VmError::InvalidType("the pages of a memory are of 1 or of 65536 bytes"));
        }
        if ty.maximum.is_some_and(|maximum| maximum < ty.minimum) {
            return Err(VmError::InvalidType("a memory's minimum is larger than its maximum"));
        }
        if ty.shared && ty.maximum.is_none() {
            return Err(VmError::InvalidType("a shared memory needs a maximum"));
        }
        let most = ty.absolute_max_pages();
        if ty.minimum > most {
            return Err(too_large());
        }
        let bytes =
            |pages: u64| pages.checked_mul(ty.page_size()).and_then(|b| usize::try_from(b).ok());
        let maximum = ty.maximum.unwrap_or(most).min(most);
        Ok(Self {
            minimum: bytes(ty.minimum).ok_or_else(too_large)?,
            maximum: bytes(maximum).ok_or_else(too_large)?,
        })
    }
}

/// Where the bytes of a memory are.
#[derive(Debug)]
pub(crate) enum Space {
    /// `room` bytes from `before` on can be opened; it never moves.
    Reserved { region: Region, before: usize, room: usize },
    /// A mapping that is made longer, and moves then; all of it is open.
    Movable { region: Region },
}

impl Space {
    /// Address space for a memory whose first `sizes.minimum` bytes are open.
    fn new(ty: &MemoryType, sizes: Sizes, plan: &MemoryReservation) -> io::Result<Self> {
        let mut reservations: [Option<(u64, u64, u64)>; 3] = [None; 3];
        if !ty.memory64 && ty.page_size_log2 == 16 {
            reservations[0] = Some((plan.before, SPACE_32, plan.after.max(MIN_GUARD)));
            reservations[1] = Some((0, SPACE_32, MIN_GUARD));
        }
        if ty.shared || sizes.maximum as u64 <= plan.growable {
            reservations[2] = Some((0, sizes.maximum as u64, MIN_GUARD));
        }
        let mut failure = None;
        for (before, room, after) in reservations.into_iter().flatten() {
            match Self::reserve(before, room, after, sizes.minimum) {
                Ok(space) => return Ok(space),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if ty.shared => Err(error),
            _ => Ok(Self::Movable { region: Region::zeroed(sizes.minimum)? }),
        }
    }

    fn reserve(before: u64, room: u64, after: u64, open: usize) -> io::Result<Self> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let page = crate::sys::region::page_size() as u64;
        let before = before.checked_next_multiple_of(page).ok_or_else(too_large)?;
        let total = before.checked_add(room).and_then(|b| b.checked_add(after));
        let total = total.and_then(|b| usize::try_from(b).ok()).ok_or_else(too_large)?;
        let (before, room) = (before as usize, room as usize);
        let region = Region::reserve(total)?;
        if open > 0 {
            region.open(before, before + open)?;
        }
        Ok(Self::Reserved { region, before, room })
    }

    /// The first byte of the memory.
    fn base(&self) -> *mut u8 {
        match self {
            Self::Reserved { region, before, .. } => region.base().wrapping_add(*before),
            Self::Movable { region } => region.base(),
        }
    }

    /// Start and end of all of it, if accesses may fault there; two zeros otherwise.
    fn reservation(&self) -> (usize, usize) {
        match self {
            Self::Reserved { region, .. } => {
                (region.base() as usize, region.base() as usize + region.len())
            }
            Self::Movable { .. } => (0, 0),
        }
    }

    /// Opens the bytes from `from` to `to` in a space that does not move.
    fn open(&self, from: usize, to: usize) -> io::Result<()> {
        match self {
            Self::Reserved { region, before, room } if to <= *room => {
                region.open(before + from, before + to)
            }
            _ => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }

    /// Opens the bytes from `from` to `to`. Unless that fails, everything before is as it was, and
    /// the base may be another.
    fn grow(&mut self, from: usize, to: usize, maximum: usize) -> io::Result<()> {
        match self {
            Self::Reserved { .. } => self.open(from, to),
            Self::Movable { region } if to <= region.len() => Ok(()),
            Self::Movable { region } => {
                // An eighth more than asked for: small steps must not move it each time.
                let ample = to.saturating_add(to / 8).min(maximum).max(to);
                region.lengthen(ample).or_else(|_| region.lengthen(to))
            }
        }
    }
}

/// A memory that several stores, on several threads, may hold. It never moves.
#[derive(Debug)]
pub struct SharedMemory {
    ty: MemoryType,
    maximum: usize,
    space: Space,
    def: Owned<VmMemoryDef>,
    growing: Mutex<()>,
    parking: Parking,
}

// SAFETY: `def` is written in one place after construction, its atomic length, under `growing`; the
// base never changes. The space is an address range of which only closed parts are opened.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Makes a shared memory of its minimum size. The ledgers of the stores that attach it count it.
    pub fn new(ty: MemoryType, plan: &MemoryReservation) -> Result<Arc<Self>, VmError> {
        let ty = MemoryType { shared: true, ..ty };
        let sizes = Sizes::of(&ty)?;
        let space = Space::new(&ty, sizes, plan)
            .map_err(VmError::system("a shared memory", sizes.minimum as u64))?;
        let def = VmMemoryDef { base: space.base(), len: AtomicUsize::new(sizes.minimum) };
        let def = Owned::new(def);
        let (growing, parking) = (Mutex::new(()), Parking::default());
        Ok(Arc::new(Self { ty, maximum: sizes.maximum, space, def, growing, parking }))
    }

    /// Its type, with the current size as the minimum.
    pub fn ty(&self) -> MemoryType {
        MemoryType { minimum: (self.len() >> self.ty.page_size_log2) as u64, ..self.ty }
    }

    /// How many bytes there are now. Other threads may make it more at any time.
    pub fn len(&self) -> usize {
        // SAFETY: the definition lives as long as `self`, and its length is atomic.
        unsafe { (*self.def.as_ptr()).len.load(Acquire) }
    }

    /// Whether there are no bytes now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first byte. Never changes; valid as long as `self`.
    pub fn base(&self) -> *mut u8 {
        self.space.base()
    }

    /// The bytes that there are now, to be read and written one by one.
    pub fn data(&self) -> &[AtomicU8] {
        // SAFETY: that many bytes are open and initialised, never move or go, and are accessed by
        // atomics alone.
        unsafe { std::slice::from_raw_parts(self.base().cast(), self.len()) }
    }

    /// The bytes from `offset` on, if all of them are inside.
    fn range(&self, offset: usize, len: usize) -> Option<*mut u8> {
        offset.checked_add(len).filter(|&end| end <= self.len())?;
        Some(self.base().wrapping_add(offset))
    }

    /// Copies out of the memory; `false`, with nothing copied, if the range is not all inside.
    /// Others may write meanwhile: the copy can be a mixture of old and new bytes.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> bool {
        let from = self.range(offset, buffer.len());
        // SAFETY: the range is inside, where it stays.
        from.map(|from| unsafe { racy::read(from, buffer) }).is_some()
    }

    /// Copies into the memory; `false`, with nothing written, if the range is not all inside.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        let to = self.range(offset, bytes.len());
        // SAFETY: the range is inside, where it stays.
        to.map(|to| unsafe { racy::write(bytes, to) }).is_some()
    }

    /// Adds `delta` pages and tells how many there were; `None` if that is more than the maximum. No
    /// store is asked, and none counts it.
    pub fn grow_pages(&self, delta: u64) -> Result<Option<u64>, VmError> {
        let log2 = self.ty.page_size_log2;
        let bytes = delta.checked_mul(1 << log2).and_then(|b| usize::try_from(b).ok());
        let Some(bytes) = bytes else { return Ok(None) };
        Ok(self.grow(bytes, |_, _| Ok(true))?.map(|old| old as u64 >> log2))
    }

    /// The place of an atomic access: aligned first, inside then.
    fn atomic_place(&self, address: u64, size: u64) -> Result<*mut u8, TrapCode> {
        check_atomic(address, size, self.len())?;
        Ok(self.base().wrapping_add(address as usize))
    }

    /// `memory.atomic.notify`: wakes up to `count` of those that wait at `address`, and tells how
    /// many there were.
    pub fn notify(&self, address: u64, count: u32) -> Result<u32, TrapCode> {
        self.atomic_place(address, 4)?;
        Ok(self.parking.notify(address, count))
    }

    /// `memory.atomic.wait32`: waits at `address` as long as it holds `expected`, until somebody
    /// notifies, until `until`, or until `interrupt` asks for an end.
    pub fn wait32(
        &self,
        address: u64,
        expected: u32,
        until: Option<Instant>,
        interrupt: Option<&InterruptHandle>,
    ) -> Result<WaitResult, TrapCode> {
        let at = self.atomic_place(address, 4)?;
        // SAFETY: the place is aligned and inside, where it stays.
        let same = || unsafe { AtomicU32::from_ptr(at.cast()) }.load(SeqCst) == expected;
        self.parking.wait(address, same, until, interrupt)
    }

    /// As [`SharedMemory::wait32`], for 64 bits.
    pub fn wait64(
        &self,
        address: u64,
        expected: u64,
        until: Option<Instant>,
        interrupt: Option<&InterruptHandle>,
    ) -> Result<WaitResult, TrapCode> {
        let at = self.atomic_place(address, 8)?;
        // SAFETY: the place is aligned and inside, where it stays.
        let same = || unsafe { AtomicU64::from_ptr(at.cast()) }.load(SeqCst) == expected;
        self.parking.wait(address, same, until, interrupt)
    }

    /// Adds `delta` bytes if `agree` allows going from the current length to the new one, and tells
    /// the old length; `None` if that is more than the maximum.
    fn grow(
        &self,
        delta: usize,
        agree: impl FnOnce(usize, usize) -> Result<bool, VmError>,
    ) -> Result<Option<usize>, VmError> {
        let _guard = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.len();
        let Some(new) = old.checked_add(delta).filter(|&new| new <= self.maximum) else {
            return Ok(None);
        };
        if !agree(old, new)? {
            return Ok(None);
        }
        self.space.open(old, new).map_err(VmError::system("a growing memory", delta as u64))?;
        // SAFETY: the definition lives as long as `self`, and its length is atomic.
        unsafe { (*self.def.as_ptr()).len.store(new, Release) };
        Ok(Some(old))
    }
}

/// Whether an atomic access of `size` bytes may be made: the traps are those of the operators,
/// alignment before bounds.
pub(crate) fn check_atomic(address: u64, size: u64, len: usize) -> Result<(), TrapCode> {
    if !address.is_multiple_of(size) {
        return Err(TrapCode::UnalignedAtomic);
    }
    match address.checked_add(size) {
        Some(end) if end <= len as u64 => Ok(()),
        _ => Err(TrapCode::MemoryOutOfBounds),
    }
}

/// A memory of a store.
#[derive(Debug)]
pub(crate) enum Memory {
    /// One that only this store holds.
    Own { ty: MemoryType, maximum: usize, space: Space, def: Definition<VmMemoryDef> },
    /// One that other stores may hold, too.
    Shared(Arc<SharedMemory>),
}

impl Memory {
    /// Makes a memory of its minimum size.
    pub(crate) fn new(ty: MemoryType, plan: &MemoryReservation) -> Result<Self, VmError> {
        if ty.shared {
            return SharedMemory::new(ty, plan).map(Self::Shared);
        }
        let sizes = Sizes::of(&ty)?;
        let space = Space::new(&ty, sizes, plan)
            .map_err(VmError::system("a memory", sizes.minimum as u64))?;
        let def = VmMemoryDef { base: space.base(), len: AtomicUsize::new(sizes.minimum) };
        Ok(Self::Own { ty, maximum: sizes.maximum, space, def: Definition::new(def) })
    }

    /// How many bytes of address space from the first byte on are the memory's own; 0 if it may move.
    pub(crate) fn reach(&self) -> u64 {
        let space = match self {
            Self::Own { space, .. } => space,
            Self::Shared(shared) => &shared.space,
        };
        match space {
            Space::Reserved { region, before, .. } => (region.len() - before) as u64,
            Space::Movable { .. } => 0,
        }
    }

    /// What engines see of it.
    pub(crate) fn def(&self) -> *mut VmMemoryDef {
        match self {
            Self::Own { def, .. } => def.as_ptr(),
            Self::Shared(shared) => shared.def.as_ptr(),
        }
    }

    /// Lets engines see it at a place in the context of the instance that it was made for. A shared one stays where
    /// it is, for all stores to see.
    ///
    /// # Safety
    ///
    /// As [`Definition::move_to`].
    pub(crate) unsafe fn place(&mut self, place: NonNull<VmMemoryDef>) {
        if let Self::Own { def, .. } = self {
            // SAFETY: passed on to the caller.
            unsafe { def.move_to(place) };
        }
    }

    /// Start and end of the address space in which accesses of guests may fault; two zeros if there is none.
    pub(crate) fn reservation(&self) -> (usize, usize) {
        match self {
            Self::Own { space, .. } => space.reservation(),
            Self::Shared(shared) => shared.space.reservation(),
        }
    }

    /// How many bytes there are now.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: the definition lives as long as `self`, and its length is atomic.
        unsafe { (*self.def()).len.load(Acquire) }
    }

    /// The most bytes that there may be.
    pub(crate) fn maximum(&self) -> usize {
        match self {
            Self::Own { maximum, .. } => *maximum,
            Self::Shared(shared) => shared.maximum,
        }
    }

    /// The declared type.
    pub(crate) fn declared(&self) -> &MemoryType {
        match self {
            Self::Own { ty, .. } => ty,
            Self::Shared(shared) => &shared.ty,
        }
    }

    /// The type, with the current size as the minimum.
    pub(crate) fn ty(&self) -> MemoryType {
        let ty = *self.declared();
        MemoryType { minimum: (self.len() >> ty.page_size_log2) as u64, ..ty }
    }

    /// The bytes, unless other threads may write to them.
    pub(crate) fn data(&self) -> &[u8] {
        match self {
            // SAFETY: that many bytes are open and initialised; they change through the store
            // alone, which the returned borrow holds.
            Self::Own { space, .. } => unsafe {
                std::slice::from_raw_parts(space.base(), self.len())
            },
            Self::Shared(_) => &[],
        }
    }

    /// The bytes, unless other threads may read or write them.
    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        match self {
            // SAFETY: as in `data`, and the store is held exclusively.
            Self::Own { space, .. } => unsafe {
                std::slice::from_raw_parts_mut(space.base(), self.len())
            },
            Self::Shared(_) => &mut [],
        }
    }

    /// Adds `delta` bytes; limits and the maximum have been checked. On failure nothing changes.
    fn extend(&mut self, delta: usize) -> Result<(), VmError> {
        let old = self.len();
        let Self::Own { maximum, space, def, .. } = self else { return Ok(()) };
        let new = old.saturating_add(delta);
        space
            .grow(old, new, *maximum)
            .map_err(VmError::system("a growing memory", delta as u64))?;
        let def = def.as_ptr();
        // SAFETY: the definition lives as long as `self`. Engines of this store read it on the
        // store's own thread, which is here.
        unsafe {
            (*def).base = space.base();
            (*def).len.store(new, Relaxed);
        }
        Ok(())
    }

    /// Adds `delta` bytes if that is within the maximum and `agree` (asked with the old and the new
    /// length) allows it; tells the old length if so.
    pub(crate) fn grow(
        &mut self,
        delta: usize,
        agree: impl FnOnce(usize, usize) -> Result<bool, VmError>,
    ) -> Result<Option<usize>, VmError> {
        if let Self::Shared(shared) = self {
            return shared.grow(delta, agree);
        }
        let old = self.len();
        match old.checked_add(delta) {
            Some(new) if new <= self.maximum() && agree(old, new)? => {
                self.extend(delta).map(|()| Some(old))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::region::fail_after;

    fn ty(memory64: bool, minimum: u64, maximum: Option<u64>) -> MemoryType {
        MemoryType { memory64, shared: false, minimum, maximum, page_size_log2: 16 }
    }

    fn layout(memory: &Memory) -> (u64, u64, bool) {
        match memory {
            Memory::Own { space: Space::Reserved { region, before, .. }, .. } => {
                (*before as u64, region.len() as u64, true)
            }
            Memory::Own { space: Space::Movable { region }, .. } => (0, region.len() as u64, false),
            Memory::Shared(_) => (0, 0, true),
        }
    }

    #[test]
    fn a_32_bit_memory_has_room_on_both_sides() {
        let plan = MemoryReservation::default();
        let memory = Memory::new(ty(false, 1, Some(2)), &plan).expect("address space");
        assert_eq!(layout(&memory), (2 << 30, (2 + 4 + 32) << 30, true));
        assert_eq!(memory.data().len(), 65536);
    }

    #[test]
    fn short_address_space_means_smaller_reservations() {
        // Half the address space on either side cannot be had.
        let plan = MemoryReservation { before: 1 << 46, after: 1 << 47, growable: 4 << 30 };
        let memory = Memory::new(ty(false, 1, None), &plan).expect("address space");
        assert_eq!(layout(&memory), (0, SPACE_32 + MIN_GUARD, true));
        for absurd in [u64::MAX, u64::MAX - 4096, 1 << 63] {
            let plan = MemoryReservation { before: absurd, after: absurd, growable: absurd };
            assert!(layout(&Memory::new(ty(false, 1, None), &plan).expect("room")).2);
            // Here the maximum itself is more than there is, so that it moves instead.
            assert!(!layout(&Memory::new(ty(true, 1, None), &plan).expect("room")).2);
        }
    }

    #[test]
    fn memories_64_are_reserved_if_their_maximum_allows() {
        let plan = MemoryReservation::default();
        let small = Memory::new(ty(true, 1, Some(16)), &plan).expect("room");
        assert_eq!(layout(&small), (0, (1 << 20) + MIN_GUARD, true));
        let large = Memory::new(ty(true, 1, Some(1 << 20)), &plan).expect("room");
        assert_eq!(layout(&large), (0, 65536, false));
    }

    #[test]
    fn m2_each_failing_system_call_leaves_the_memory_as_it_was() {
        let plan = MemoryReservation { growable: 0, ..MemoryReservation::default() };
        for memory64 in [false, true] {
            let mut memory = Memory::new(ty(memory64, 1, Some(1 << 16)), &plan).expect("room");
            memory.data_mut().fill(9);
            for successes in 0.. {
                fail_after(Some(successes));
                let grown = memory.grow(1 << 20, |_, _| Ok(true));
                fail_after(None);
                match grown {
                    Err(VmError::System { .. }) => assert_eq!(memory.len(), 65536),
                    Ok(old) => {
                        assert_eq!((old, memory.len()), (Some(65536), 65536 + (1 << 20)));
                        break;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            let (old, new) = memory.data().split_at(65536);
            assert!(old.iter().all(|&b| b == 9) && new.iter().all(|&b| b == 0));
        }
    }

    #[test]
    fn sizes_cannot_overflow() {
        let pages = |log2, minimum, maximum| MemoryType {
            page_size_log2: log2,
            ..ty(true, minimum, maximum)
        };
        let sizes = Sizes::of(&pages(16, 1, Some(u64::MAX))).expect("a size");
        assert_eq!(sizes, Sizes { minimum: 65536, maximum: 1 << 48 });
        let sizes = Sizes::of(&pages(0, 3, None)).expect("a size");
        assert_eq!(sizes, Sizes { minimum: 3, maximum: 1 << 48 });
        for minimum in [u64::MAX, 1 << 48, (1 << 32) + 1] {
            assert!(Sizes::of(&pages(16, minimum, None)).is_err(), "{minimum}");
        }
        let sizes = Sizes::of(&ty(false, 65536, Some(65536))).expect("a size");
        assert_eq!(sizes, Sizes { minimum: 1 << 32, maximum: 1 << 32 });
    }
}
