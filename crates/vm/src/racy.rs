//! Plain accesses to memory that other threads may be writing to.
//!
//! The memory model of WebAssembly gives a racing access without atomicity some mixture of the bytes
//! that were there, and nothing worse. In Rust (and in the compiler behind it) a racing plain access
//! would be undefined behaviour, so that shared memories are never touched by one: all their bytes
//! are moved by relaxed atomic loads and stores, of a whole value where it is aligned (as
//! WebAssembly asks for up to 32 bits, so that it cannot tear), and byte by byte elsewhere. On the
//! machines that matter these are ordinary loads and stores. What the language leaves open is that
//! accesses of different sizes race with each other; a shared memory is a mapping of its own, which no
//! Rust object lives in and no reference to a plain type ever points to, so that the machine's own
//! rules decide there.
//!
//! Nothing in here orders anything: that is what the atomic operators are for.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// Reads a little-endian number of `N` bytes: 1, 2, 4 or 8.
///
/// # Safety
///
/// `N` bytes from `at` belong to a mapping that is accessed by atomics alone.
#[inline(always)]
pub unsafe fn load<const N: usize>(at: *const u8) -> u64 {
    // SAFETY: the bytes are the caller's, and each wide access is aligned.
    unsafe {
        let at = at.cast_mut();
        match N {
            1 => return u64::from(AtomicU8::from_ptr(at).load(Relaxed)),
            2 if (at as usize).is_multiple_of(2) => {
                return u64::from(AtomicU16::from_ptr(at.cast()).load(Relaxed));
            }
            4 if (at as usize).is_multiple_of(4) => {
                return u64::from(AtomicU32::from_ptr(at.cast()).load(Relaxed));
            }
            8 if (at as usize).is_multiple_of(8) => {
                return AtomicU64::from_ptr(at.cast()).load(Relaxed);
            }
            _ => {}
        }
        let mut value = 0;
        let mut i = 0;
        while i < N {
            value |= u64::from(AtomicU8::from_ptr(at.add(i)).load(Relaxed)) << (8 * i);
            i += 1;
        }
        value
    }
}

/// Writes the low `N` bytes of a number in little-endian order: 1, 2, 4 or 8 of them.
///
/// # Safety
///
/// `N` bytes from `at` belong to a mapping that is accessed by atomics alone.
#[inline(always)]
pub unsafe fn store<const N: usize>(at: *mut u8, value: u64) {
    // SAFETY: the bytes are the caller's, and each wide access is aligned.
    unsafe {
        match N {
            1 => return AtomicU8::from_ptr(at).store(value as u8, Relaxed),
            2 if (at as usize).is_multiple_of(2) => {
                return AtomicU16::from_ptr(at.cast()).store(value as u16, Relaxed);
            }
            4 if (at as usize).is_multiple_of(4) => {
                return AtomicU32::from_ptr(at.cast()).store(value as u32, Relaxed);
            }
            8 if (at as usize).is_multiple_of(8) => {
                return AtomicU64::from_ptr(at.cast()).store(value, Relaxed);
            }
            _ => {}
        }
        let mut i = 0;
        while i < N {
            AtomicU8::from_ptr(at.add(i)).store((value >> (8 * i)) as u8, Relaxed);
            i += 1;
        }
    }
}

/// Copies between two ranges of shared memories, or of a shared and an own one. They may overlap.
///
/// # Safety
///
/// `len` bytes may be read at `from` and written at `to`; no reference to any of them exists.
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    let backwards = (to as usize) > (from as usize);
    // SAFETY: passed on to the caller.
    unsafe { transfer::<true, true>(from, to, len, backwards) }
}

/// Copies out of a shared memory.
///
/// # Safety
///
/// As many bytes as the buffer has may be read at `from`, and belong to a shared memory.
pub(crate) unsafe fn read(from: *const u8, buffer: &mut [u8]) {
    // SAFETY: passed on to the caller; the buffer is exclusively borrowed.
    unsafe { transfer::<true, false>(from, buffer.as_mut_ptr(), buffer.len(), false) }
}

/// Copies into a shared memory, from elsewhere.
///
/// # Safety
///
/// `len` bytes may be written at `to`, and belong to a shared memory; as many may be read at `from`,
/// and belong to none.
pub(crate) unsafe fn copy_in(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: passed on to the caller.
    unsafe { transfer::<false, true>(from, to, len, false) }
}

/// Copies into a shared memory.
///
/// # Safety
///
/// As many bytes as there are may be written at `to`, and belong to a shared memory.
pub(crate) unsafe fn write(bytes: &[u8], to: *mut u8) {
    // SAFETY: passed on to the caller; the bytes are borrowed.
    unsafe { copy_in(bytes.as_ptr(), to, bytes.len()) }
}

/// Fills a range of a shared memory.
///
/// # Safety
///
/// `len` bytes may be written at `to`, and belong to a shared memory.
pub(crate) unsafe fn fill(to: *mut u8, value: u8, len: usize) {
    let (head, words) = split(to as usize, len);
    let word = u64::from_ne_bytes([value; 8]);
    // SAFETY: every position lies in `0..len`, and words are aligned.
    unsafe {
        for at in (0..head).chain(head + words * 8..len) {
            store::<1>(to.add(at), u64::from(value));
        }
        for i in 0..words {
            store::<8>(to.add(head + i * 8), word);
        }
    }
}

/// How many bytes stand before the first aligned word of a range, and how many words there are.
fn split(address: usize, len: usize) -> (usize, usize) {
    let head = (address.wrapping_neg() % 8).min(len);
    (head, (len - head) / 8)
}

/// Copies, with atomic accesses on the sides that are shared.
///
/// # Safety
///
/// `len` bytes may be read at `from` and written at `to`; a side that is not `SHARED` is touched by
/// nobody else.
unsafe fn transfer<const FROM_SHARED: bool, const TO_SHARED: bool>(
    from: *const u8,
    to: *mut u8,
    len: usize,
    backwards: bool,
) {
    // SAFETY: the caller's ranges; a word is moved where both sides are aligned.
    let byte = |at: usize| unsafe {
        let value = if FROM_SHARED { load::<1>(from.add(at)) as u8 } else { *from.add(at) };
        if TO_SHARED { store::<1>(to.add(at), value.into()) } else { *to.add(at) = value }
    };
    // SAFETY: as above.
    let word = |at: usize| unsafe {
        let value = if FROM_SHARED { load::<8>(from.add(at)) } else { *from.add(at).cast::<u64>() };
        if TO_SHARED { store::<8>(to.add(at), value) } else { *to.add(at).cast::<u64>() = value }
    };
    let together = (from as usize ^ to as usize).is_multiple_of(8);
    let (head, words) = if together { split(from as usize, len) } else { (len, 0) };
    let tail = head + words * 8;
    if backwards {
        (tail..len).rev().for_each(&byte);
        (0..words).rev().for_each(|i| word(head + i * 8));
        (0..head).rev().for_each(&byte);
    } else {
        (0..head).for_each(&byte);
        (0..words).for_each(|i| word(head + i * 8));
        (tail..len).for_each(&byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alignment_and_length_is_copied_as_by_memmove() {
        for (from, to) in [(0, 0), (0, 8), (8, 0), (3, 11), (11, 3), (1, 4), (4, 1), (16, 17)] {
            for len in 0..40 {
                let mut bytes: Vec<u64> = vec![0; 16];
                let base = bytes.as_mut_ptr().cast::<u8>();
                let mut expected: Vec<u8> = (1..=128).collect();
                // SAFETY: all ranges lie in the vector, which nobody else has.
                let found: Vec<u8> = unsafe {
                    write(&expected, base);
                    copy(base.add(from), base.add(to), len);
                    let mut out = vec![0; 128];
                    read(base, &mut out);
                    out
                };
                expected.copy_within(from..from + len, to);
                assert_eq!(found, expected, "{from} {to} {len}");
            }
        }
    }

    #[test]
    fn fills_and_numbers_stay_in_their_range() {
        let mut bytes = [0_u64; 4];
        let base = bytes.as_mut_ptr().cast::<u8>();
        for (at, len) in [(0, 0), (1, 1), (1, 7), (1, 20), (8, 16), (7, 25)] {
            // SAFETY: all ranges lie in the array, which nobody else has.
            let found = unsafe {
                fill(base, 0, 32);
                fill(base.add(at), 9, len);
                let mut out = [0; 32];
                read(base, &mut out);
                out
            };
            let expected = std::array::from_fn(|i| if (at..at + len).contains(&i) { 9 } else { 0 });
            assert_eq!(found, expected, "{at} {len}");
        }
        for at in 0..8 {
            // SAFETY: as above.
            unsafe {
                fill(base, 0xff, 32);
                store::<4>(base.add(at), 0x0403_0201);
                assert_eq!(load::<4>(base.add(at)), 0x0403_0201);
                assert_eq!(load::<2>(base.add(at + 1)), 0x0302);
                assert_eq!(load::<8>(base.add(at)), 0xffff_ffff_0403_0201);
                assert_eq!(load::<1>(base.add(at + 4)), 0xff);
            }
        }
    }
}
