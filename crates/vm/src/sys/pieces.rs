//! Bytes of which some are filled in when somebody asks for them: [`Pieces`].
//!
//! Invariants: pieces do not overlap; each is filled at most once, by one thread, before anybody gets a slice of it, and never
//! changes again; where filling failed, nobody gets what is there. Pages that were not asked for take no memory.

use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use palisade_module::LateBytes;

use super::large::prefer_large_pages;
use super::region::Region;

/// Zero bytes of which some have their values already.
pub struct Unfilled {
    region: Region,
    len: usize,
}

impl Unfilled {
    /// So many zeros, which take memory as they are written.
    ///
    /// # Errors
    ///
    /// There is no room.
    pub fn new(len: usize) -> io::Result<Self> {
        Ok(Self { region: Region::zeroed(len)?, len })
    }

    /// All of them.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping has that many bytes, readable and writable, and belongs to this alone.
        unsafe { std::slice::from_raw_parts_mut(self.region.base(), self.len) }
    }

    /// Some of them, which are all going to be written now; `None` if there are not that many.
    pub fn now(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        let bytes = self.bytes().get_mut(range)?;
        let (at, len) = (bytes.as_mut_ptr(), bytes.len());
        // SAFETY: the same bytes; advice changes none of them.
        prefer_large_pages(unsafe { std::slice::from_raw_parts_mut(at.cast(), len) });
        Some(bytes)
    }

    /// From here on nothing changes but the pieces in `late`, which are in order and do not overlap: `fill` gives one, by its
    /// number, its bytes, and says whether they are the right ones. `None` if pieces are not so.
    pub fn later(
        self,
        late: Vec<Range<usize>>,
        fill: impl Fn(usize, &mut [u8]) -> bool + Send + Sync + 'static,
    ) -> Option<Pieces> {
        let mut end = 0;
        for range in &late {
            if range.start < end || range.end < range.start || range.end > self.len {
                return None;
            }
            end = range.end;
        }
        let late = late.into_iter().map(|range| Piece { range, filled: OnceLock::new() });
        let Self { region, len } = self;
        let late = late.collect();
        Some(Pieces { region, len, late, fill: Box::new(fill), lost: AtomicBool::new(false) })
    }
}

impl AsRef<[u8]> for Unfilled {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: as in `bytes`; whoever writes needs this mutably.
        unsafe { std::slice::from_raw_parts(self.region.base(), self.len) }
    }
}

/// What gives a piece its bytes.
type Fill = Box<dyn Fn(usize, &mut [u8]) -> bool + Send + Sync>;

/// Bytes of which some are filled in when somebody asks for them.
pub struct Pieces {
    region: Region,
    len: usize,
    /// In order.
    late: Box<[Piece]>,
    fill: Fill,
    lost: AtomicBool,
}

struct Piece {
    range: Range<usize>,
    /// Whether that could be done.
    filled: OnceLock<bool>,
}

impl LateBytes for Pieces {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.len {
            return None;
        }
        let first = self.late.partition_point(|piece| piece.range.end <= range.start);
        for (number, piece) in self.late.iter().enumerate().skip(first) {
            if piece.range.start >= range.end {
                break;
            }
            let filled = *piece.filled.get_or_init(|| {
                // SAFETY: the range lies in the mapping, which was checked when this was made, and overlaps no other
                // piece. One thread at a time runs this for a piece, and nobody has, or gets, a slice of it before
                // it has succeeded; after that it does not run again.
                let bytes = unsafe {
                    let at = self.region.base().add(piece.range.start);
                    std::slice::from_raw_parts_mut(at, piece.range.len())
                };
                (self.fill)(number, bytes)
            });
            if !filled {
                self.lost.store(true, Ordering::Relaxed);
                return None;
            }
        }
        // SAFETY: the range lies in the mapping, as just checked; all pieces that it touches are filled, and nobody writes to
        // those, or to what is in no piece, any more.
        Some(unsafe {
            std::slice::from_raw_parts(self.region.base().add(range.start), range.len())
        })
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn pieces_are_filled_once_when_they_are_asked_for() {
        let mut unfilled = Unfilled::new(10_000).unwrap();
        unfilled.now(0..100).unwrap().fill(1);
        unfilled.bytes()[9_999] = 1;
        assert!(unfilled.now(9_999..10_001).is_none());
        assert_eq!(unfilled.as_ref()[5000], 0);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let fill = move |number: usize, bytes: &mut [u8]| {
            counted.fetch_add(1, Ordering::Relaxed);
            bytes.fill(number as u8 + 2);
            number != 1
        };
        let pieces = unfilled.later(vec![100..4000, 4000..4001, 5000..9000], fill).unwrap();
        assert_eq!(pieces.get(0..100), Some(&[1; 100][..]));
        assert_eq!(pieces.get(100..100), Some(&[][..]));
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        assert_eq!(pieces.get(98..102), Some(&[1, 1, 2, 2][..]));
        assert_eq!(pieces.get(4001..5001).unwrap().last(), Some(&4));
        assert!(!pieces.is_lost());
        for _ in 0..2 {
            assert_eq!(pieces.get(3999..4001), None);
        }
        assert!(pieces.is_lost());
        assert_eq!(pieces.get(0..10_000), None, "what could not be had is in it");
        assert_eq!(pieces.get(8999..10_000).unwrap()[..2], [4, 0]);
        assert_eq!(calls.load(Ordering::Relaxed), 3);
        let (from, to) = (5, 4);
        assert_eq!((pieces.get(from..to), pieces.get(9999..10_001)), (None, None));
    }

    #[test]
    fn pieces_that_overlap_or_lie_outside_are_none() {
        for late in [vec![0..5, 4..8], vec![4..8, 0..4], vec![0..1, 9..11]] {
            assert!(Unfilled::new(10).unwrap().later(late, |_, _| true).is_none());
        }
    }

    #[test]
    fn many_threads_see_one_filling() {
        let fill = |_: usize, bytes: &mut [u8]| {
            bytes.iter_mut().for_each(|byte| *byte += 1);
            true
        };
        let late = vec![0..1 << 15, 1 << 15..1 << 16];
        let pieces = Unfilled::new(1 << 16).unwrap().later(late, fill).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert!(pieces.get(0..1 << 16).unwrap().iter().all(|&b| b == 1)));
            }
        });
    }
}
