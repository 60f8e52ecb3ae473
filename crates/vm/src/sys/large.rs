//! Large pages: less to do for the system when much memory is touched for the first time.
//!
//! Invariant: this is advice alone. What is in memory, and how much of it is used, stays as it is: only pages that lie
//! in the given bytes as a whole are concerned.

use std::mem::MaybeUninit;

use rustix::mm::{Advice, madvise};

/// The bytes of a large page.
const LARGE: usize = 2 << 20;

/// Says that all of these bytes are going to be written soon, so that large pages are worth it. A system that has none, or that
/// does not take the advice, goes on without.
pub fn prefer_large_pages(bytes: &mut [MaybeUninit<u8>]) {
    let skipped = bytes.as_ptr().align_offset(LARGE);
    let Some(rest) = bytes.get_mut(skipped..) else { return };
    let len = rest.len() - rest.len() % LARGE;
    if len > 0 {
        // SAFETY: the range is ours alone while this runs, and the advice changes no byte of it.
        let _ = unsafe { madvise(rest.as_mut_ptr().cast(), len, Advice::LinuxHugepage) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_what_they_are() {
        for len in [0, 1, LARGE - 1, LARGE, 5 * LARGE + 77] {
            let mut bytes: Vec<u8> = Vec::with_capacity(len);
            prefer_large_pages(bytes.spare_capacity_mut());
            bytes.extend((0..len).map(|i| (i / 4096) as u8));
            prefer_large_pages(bytes.spare_capacity_mut());
            assert!(bytes.iter().enumerate().all(|(i, &byte)| byte == (i / 4096) as u8));
        }
    }
}
