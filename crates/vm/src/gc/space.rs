//! The place of a heap: one reservation of address space, of which two halves are open as far as the heap's
//! capacity goes.
//!
//! A reference is 32 bits, and the reservation covers all that 32 bits can name, with as much inaccessible
//! space behind it as the longest array and the largest structure can reach from there: whatever a reference or
//! a length has become, what is found with it lies in here. Objects stand in one half at a time. The bytes behind
//! them are zero up to the end of the *window*, in which objects may be placed: it is moved on in small steps
//! ([`Space::window`]), for what was just made zero is in the processor's cache when it becomes objects.

use std::io;

use super::layout::{ALIGN, ELEMENTS, HEAP_BYTES, SPACE_BYTES};
use crate::sys::region::{Region, page_size};

/// Inaccessible bytes before the heap.
const BEFORE: u64 = 2 << 20;
/// More than the largest structure has: behind the heap in any case.
pub(super) const STRUCTURE: u64 = 1 << 20;
/// What the longest array of vectors that begins at the heap's end reaches, and the largest structure.
const AFTER: u64 = ELEMENTS as u64 + ((u32::MAX as u64 + 1) << 4) + STRUCTURE;
/// Up to here, pages that are left are kept: a heap that collects often does not ask the system for each page again.
const KEPT: u64 = 64 << 20;

/// How far the window is moved on at least, where there is room.
const STEP: u64 = 128 << 10;

/// From here on, a half may have pages that are larger than others: fewer to ask for when it is filled again.
const LARGE_PAGES_FROM: u64 = 4 << 20;

/// The place of a heap.
#[derive(Debug)]
pub(super) struct Space {
    region: Region,
    /// The half that holds the objects.
    half: u64,
    /// The bytes of each half that may be used.
    capacity: u64,
    /// The bytes of each half that are open: at least the capacity.
    opened: u64,
    /// From this offset on, a half has never been written to since the system gave its pages: all is zero.
    clean_from: [u64; 2],
    /// The end of the window, in the half that holds the objects; 0 if there is none.
    window: u64,
}

impl Space {
    /// Reserves address space; nothing of it is open yet.
    pub(super) fn reserve() -> io::Result<Self> {
        let size = |after: u64| (BEFORE + HEAP_BYTES + after) as usize;
        // Where address space is short, lengths of arrays that go wrong have to be found by those
        // who read them.
        let region = Region::reserve(size(AFTER)).or_else(|_| Region::reserve(size(STRUCTURE)))?;
        let clean_from = [0, SPACE_BYTES];
        Ok(Self { region, half: 0, capacity: 0, opened: 0, clean_from, window: 0 })
    }

    /// Where offset 0 is.
    pub(super) fn base(&self) -> *mut u8 {
        self.region.base().wrapping_add(BEFORE as usize)
    }

    /// Start and end of the whole reservation, in addresses.
    pub(super) fn reservation(&self) -> (usize, usize) {
        (self.region.base() as usize, self.region.base() as usize + self.region.len())
    }

    /// The bytes of each half that may be used.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    fn start_of(half: u64) -> u64 {
        // Offset 0 is null, and the halves are alike.
        half * SPACE_BYTES + u64::from(ALIGN)
    }

    /// The offset of the first object.
    pub(super) fn start(&self) -> u64 {
        Self::start_of(self.half)
    }

    /// The offset behind the last object that can be.
    pub(super) fn end(&self) -> u64 {
        self.half * SPACE_BYTES + self.capacity
    }

    /// Start and end of the other half.
    pub(super) fn other(&self) -> (u64, u64) {
        let half = 1 - self.half;
        (Self::start_of(half), half * SPACE_BYTES + self.capacity)
    }

    /// A capacity of at least `bytes` that can be had.
    pub(super) fn round_up(bytes: u64) -> u64 {
        bytes.next_multiple_of(page_size() as u64).min(SPACE_BYTES)
    }

    /// A capacity of at most `bytes` that can be had.
    pub(super) fn round_down(bytes: u64) -> u64 {
        let bytes = bytes.min(SPACE_BYTES);
        bytes - bytes % page_size() as u64
    }

    /// Sets the capacity, which is rounded already. When the system refuses, it stays what it was. Objects
    /// must fit the new one.
    pub(super) fn set_capacity(&mut self, capacity: u64) -> io::Result<()> {
        if capacity > self.opened {
            for half in [0, SPACE_BYTES] {
                let at = |offset: u64| (BEFORE + half + offset) as usize;
                self.region.open(at(self.opened), at(capacity))?;
            }
            // A small heap stays small: a large page is taken as a whole.
            let plain = self.opened.max(LARGE_PAGES_FROM);
            if capacity > plain {
                for half in [0, SPACE_BYTES] {
                    let at = |offset: u64| (BEFORE + half + offset) as usize;
                    self.region.prefer_large_pages(at(plain), at(capacity));
                }
            }
            self.opened = capacity;
        }
        self.capacity = capacity;
        self.discard_beyond();
        Ok(())
    }

    /// Gives back the pages beyond the capacity: they are no longer paid for.
    fn discard_beyond(&mut self) {
        for (half, clean_from) in [0, SPACE_BYTES].into_iter().zip(&mut self.clean_from) {
            let end = half + self.capacity;
            if *clean_from > end {
                let at = |offset: u64| (BEFORE + offset) as usize;
                // SAFETY: objects lie below the capacity.
                unsafe { self.region.discard(at(end), at(*clean_from)) };
                *clean_from = end;
            }
        }
        self.window = self.window.min(self.end());
    }

    /// Moves the window on, so that it holds an object of `bytes` bytes at `next`, where the last object ends, or all
    /// that there is room for. Where it ends: from `next` to there, all bytes are zero, and may be written.
    pub(super) fn window(&mut self, next: u64, bytes: u64) -> u64 {
        let end = self.end();
        let wanted = next.saturating_add(bytes).min(end);
        if wanted > self.window.max(next) {
            let from = self.window.max(next);
            let to = next.saturating_add(bytes.max(STEP)).min(end);
            let clean_from = &mut self.clean_from[self.half as usize];
            let written = (*clean_from).clamp(from, to);
            *clean_from = (*clean_from).max(to);
            self.window = to;
            // SAFETY: the bytes are open, for `to` is at most the capacity's end, and no objects.
            unsafe {
                let at = self.region.base().add((BEFORE + from) as usize);
                std::ptr::write_bytes(at, 0, (written - from) as usize);
            }
        }
        self.window.min(end)
    }

    /// Changes to the other half, in which the objects end at `next` now.
    pub(super) fn flip(&mut self, next: u64) {
        let left = self.half as usize;
        self.half = 1 - self.half;
        self.window = 0;
        let clean_from = &mut self.clean_from[self.half as usize];
        *clean_from = (*clean_from).max(next);
        // Whole pages, since those that are given back lose all that is on them.
        let kept = left as u64 * SPACE_BYTES + KEPT;
        let used = self.clean_from[left];
        if used > kept {
            let at = |offset: u64| (BEFORE + offset) as usize;
            // SAFETY: what stood in this half is no longer anyone's.
            unsafe { self.region.discard(at(kept), at(used)) };
            self.clean_from[left] = kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::region::fail_after;

    #[test]
    fn the_guard_covers_the_longest_array_from_the_last_offset() {
        let space = Space::reserve().expect("address space");
        let (start, end) =
            (space.region.base() as u64, space.region.base() as u64 + space.region.len() as u64);
        let base = space.base() as u64;
        assert!(base - start >= 1 << 20);
        // The last element of an array of vectors whose length is garbage, at the last offset.
        assert!(base + u64::from(u32::MAX) + 8 + 16 * u64::from(u32::MAX) + 16 <= end);
    }

    #[test]
    fn only_the_capacity_is_accessible() {
        let mut space = Space::reserve().expect("address space");
        space.set_capacity(1 << 20).expect("room");
        let base = space.base() as usize;
        let maps = std::fs::read_to_string("/proc/self/maps").expect("the list of mappings");
        let mut open = Vec::new();
        for line in maps.lines() {
            let (range, rest) = line.split_once(' ').expect("a range");
            let (from, to) = range.split_once('-').expect("two ends");
            let parse = |text| usize::from_str_radix(text, 16).expect("an address");
            let (from, to) = (parse(from), parse(to));
            let region = space.region.base() as usize;
            if to > region && from < region + space.region.len() && !rest.starts_with("---p") {
                open.push((from - base, to - base));
            }
        }
        let (mib, half) = (1 << 20, SPACE_BYTES as usize);
        assert_eq!(open, [(0, mib), (half, half + mib)]);
    }

    #[test]
    fn x8_what_lies_beyond_a_smaller_capacity_is_given_back() {
        let mut space = Space::reserve().expect("address space");
        for _ in 0..2 {
            space.set_capacity(10 * STEP).expect("room");
            let start = space.start();
            let end = space.window(start, u64::MAX);
            assert_eq!(end, space.end());
            // SAFETY: the window is open and zero, and nobody else has the space.
            unsafe {
                let at = space.base().add(start as usize);
                let bytes = std::slice::from_raw_parts_mut(at, (end - start) as usize);
                assert!(bytes.iter().all(|&byte| byte == 0), "stale bytes");
                bytes.fill(0xAA);
            }
            space.set_capacity(2 * STEP).expect("less");
            let half = start - u64::from(ALIGN);
            assert_eq!(space.clean_from[(half / SPACE_BYTES) as usize], half + 2 * STEP);
            // The bytes below stay what they are: objects lie there.
            space.set_capacity(10 * STEP).expect("room");
            let from = half + 2 * STEP;
            let to = space.window(from, 8 * STEP);
            // SAFETY: as above.
            let (kept, fresh) = unsafe {
                let at = space.base();
                let fresh = std::slice::from_raw_parts(at.add(from as usize), (to - from) as usize);
                (*at.add(from as usize - 1), fresh)
            };
            assert_eq!(kept, 0xAA);
            assert!(to == space.end() && fresh.iter().all(|&byte| byte == 0), "stale bytes");
            space.flip(space.other().0);
        }
    }

    #[test]
    fn what_is_left_is_zero_when_it_is_used_again() {
        let mut space = Space::reserve().expect("address space");
        // What is kept, and a part that is given back.
        space.set_capacity(KEPT + 10 * STEP).expect("room");
        let filled = |space: &Space, from: u64, to: u64, byte: u8| {
            // SAFETY: the half is open, and nobody else has the space.
            let bytes = unsafe {
                let at = space.base().add(from as usize);
                std::slice::from_raw_parts_mut(at, (to - from) as usize)
            };
            let before = bytes.iter().all(|&b| b == 0);
            bytes.fill(byte);
            before
        };
        for round in 0..4 {
            let (start, end) = (space.start(), space.end());
            // What the collection before has copied to here.
            let mut next = start + round * STEP;
            // Small objects, one as large as several windows, and whatever is left.
            for bytes in [8, 8, 5 * STEP + 8, 16, KEPT / 2, KEPT / 4, 24, u64::MAX] {
                let window = space.window(next, bytes);
                assert!(window >= next.saturating_add(bytes).min(end) && window <= end);
                let to = window.min(next.saturating_add(bytes));
                assert!(filled(&space, next, to, 0xAA), "{round} {bytes}");
                next = to;
            }
            assert_eq!(next, end);
            let other = space.other().0;
            let copied = other + (round + 1) * STEP;
            filled(&space, other, copied, 0x55);
            space.flip(copied);
            assert_eq!(space.other().0, start);
        }
    }

    #[test]
    fn a_window_moves_in_small_steps_and_stays_within_the_capacity() {
        let mut space = Space::reserve().expect("address space");
        assert_eq!(space.window(space.start(), 8), 0, "nothing is open");
        space.set_capacity(4 * STEP).expect("room");
        let start = space.start();
        assert_eq!(space.window(start, 0), 0, "nothing was asked for");
        assert_eq!(space.window(start, 8), start + STEP);
        // What fits is not moved for.
        assert_eq!(space.window(start + STEP - 8, 8), start + STEP);
        assert_eq!(space.window(start + STEP, 8), start + 2 * STEP);
        assert_eq!(space.window(start + 2 * STEP, u64::MAX), 4 * STEP);
        space.set_capacity(3 * STEP).expect("less");
        assert_eq!(space.window(start + 2 * STEP, 8), 3 * STEP);
        let other = space.other().0;
        space.flip(other);
        assert_eq!(space.window(other, 0), 0, "the other half has none yet");
        assert_eq!(space.window(other, 8), other + STEP);
    }

    #[test]
    fn a_capacity_that_the_system_refuses_is_not_had() {
        let mut space = Space::reserve().expect("address space");
        space.set_capacity(1 << 20).expect("room");
        for successes in 0..2 {
            fail_after(Some(successes));
            assert!(space.set_capacity(2 << 20).is_err());
            fail_after(None);
            assert_eq!(space.capacity(), 1 << 20);
        }
        // Less needs nothing of the system, nor does what was open before.
        space.set_capacity(2 << 20).expect("room");
        fail_after(Some(0));
        assert!(space.set_capacity(1 << 20).is_ok() && space.set_capacity(2 << 20).is_ok());
        fail_after(None);
    }
}
