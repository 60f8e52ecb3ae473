//! What takes the place of the host where two runs have to be alike: a clock that moves with its readings, numbers from
//! a seed, and numbers for files in the order in which the guest meets them.
//!
//! Invariant: nothing in here asks the host for anything, so that the same calls get the same answers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::path::Identity;
use crate::{Ledger, Refusal, Resource};

/// How far the clock moves with each reading, in nanoseconds: a program that waits for a clock gets on.
pub(crate) const STEP: u64 = 1_000_000;

/// When runs begin, and what every file was last used: the first second of 2000.
pub(crate) const EPOCH: u64 = 946_684_800_000_000_000;

/// How many files and devices get numbers of their own; what comes after them shows a hash.
const NUMBERED: usize = 1 << 20;

/// See the module's documentation.
pub(crate) struct Deterministic {
    random: Random,
    /// Nanoseconds since the start, as far as the guest is concerned.
    passed: u64,
    files: RefCell<Numbers<Identity>>,
    devices: RefCell<Numbers<u64>>,
    /// The bytes of all sorted listings that there are.
    listings: Arc<AtomicU64>,
    /// What the ledger has counted of what is kept here.
    charged: u64,
}

/// What a number takes in its map: key, value, and the map's own share.
const NUMBER_BYTES: u64 = 48;

/// Bytes that are counted as kept until this is dropped.
pub(crate) struct Kept {
    all: Arc<AtomicU64>,
    bytes: u64,
}

impl Kept {
    /// Counts so many bytes with the others.
    pub(crate) fn counted(mut self, bytes: u64) -> Kept {
        self.all.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        self
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Deterministic {
    pub(crate) fn new(seed: u64) -> Deterministic {
        Deterministic {
            random: Random(seed),
            passed: 0,
            files: RefCell::default(),
            devices: RefCell::default(),
            listings: Arc::default(),
            charged: 0,
        }
    }

    /// Counts nothing yet.
    pub(crate) fn kept(&self) -> Kept {
        Kept { all: self.listings.clone(), bytes: 0 }
    }

    /// Enters into the ledger what is kept more, or less, than when it was asked last: numbers, and listings.
    pub(crate) fn settle(&mut self, ledger: &mut Ledger) -> Result<(), Refusal> {
        let numbers = self.files.get_mut().0.len() + self.devices.get_mut().0.len();
        let now = self.listings.load(Ordering::Relaxed) + numbers as u64 * NUMBER_BYTES;
        let before = std::mem::replace(&mut self.charged, now);
        match now.checked_sub(before) {
            Some(0) => Ok(()),
            Some(more) => ledger.spend(Resource::HostBytes, more),
            None => {
                ledger.release(Resource::HostBytes, before - now);
                Ok(())
            }
        }
    }

    /// Nanoseconds since the start, after one more reading.
    pub(crate) fn read_clock(&mut self) -> u64 {
        self.passed = self.passed.saturating_add(STEP);
        self.passed
    }

    /// Nanoseconds since the start, without a reading.
    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }

    /// Time passes until a moment, if that has not come yet.
    pub(crate) fn pass_until(&mut self, moment: u64) {
        self.passed = self.passed.max(moment);
    }

    /// Fills with numbers that follow from the seed and from what was asked for before.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.random.next().to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(word) {
                *to = from;
            }
        }
    }

    pub(crate) fn file(&self, id: Identity) -> u64 {
        self.files.borrow_mut().of(id)
    }

    pub(crate) fn device(&self, device: u64) -> u64 {
        self.devices.borrow_mut().of(device)
    }
}

/// Numbers from 1 on, in the order of the first asking.
struct Numbers<K>(HashMap<K, u64>);

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Numbers(HashMap::new())
    }
}

impl<K: Copy + Eq + Hash> Numbers<K> {
    fn of(&mut self, key: K) -> u64 {
        use std::hash::BuildHasher;
        let known = self.0.len();
        match self.0.get(&key) {
            Some(number) => *number,
            None if known < NUMBERED => {
                let number = known as u64 + 1;
                self.0.insert(key, number);
                number
            }
            // A hasher without a key of its own: the same for the same file.
            None => BuildHasherDefault::<DefaultHasher>::default().hash_one(key),
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): a counter and a mixing function. Fit for games and hash seeds; whoever
/// knows the seed knows the numbers, which is what it is for.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_paper() {
        let mut random = Random(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn files_are_numbered_as_they_come() {
        let run = Deterministic::new(0);
        assert_eq!(
            [run.file((1, 70)), run.file((1, 5)), run.file((1, 70)), run.file((2, 5))],
            [1, 2, 1, 3]
        );
        assert_eq!([run.device(70), run.device(5), run.device(70)], [1, 2, 1]);
    }

    #[test]
    fn the_clock_moves_with_readings_and_waits_alone() {
        let mut run = Deterministic::new(0);
        assert_eq!((run.passed(), run.read_clock(), run.read_clock()), (0, STEP, 2 * STEP));
        run.pass_until(STEP);
        assert_eq!(run.passed(), 2 * STEP);
        run.pass_until(u64::MAX);
        assert_eq!(run.read_clock(), u64::MAX);
    }
}
