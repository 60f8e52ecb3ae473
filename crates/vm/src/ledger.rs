//! The ledger: how much of each countable thing a store's guests hold, and how much they may.
//!
//! Amounts are charged before the thing is made, minimum sizes and growth alike, and given back when
//! it is not made after all. What was refused last is remembered, so that whoever reports a failed
//! `memory.grow` can say which limit it was.

use std::fmt;

use crate::watcher::Watcher;

macro_rules! resources {
    ($( $(#[$doc:meta])* $name:ident = $text:literal, $unit:literal; )*) => {
        /// Something that a store counts.
        #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Resource { $( $(#[$doc])* $name, )* }

        impl Resource {
            /// All of them.
            pub const ALL: &'static [Resource] = &[$(Resource::$name,)*];

            /// What it is called in messages.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it is counted in.
            pub fn unit(self) -> &'static str {
                match self { $(Self::$name => $unit,)* }
            }
        }
    };
}

resources! {
    /// Bytes of all linear memories (and of the heap of objects) together.
    MemoryBytes = "memory", "bytes";
    /// Elements of all tables together.
    TableElements = "table elements", "elements";
    /// Instances.
    Instances = "instances", "instances";
    /// Linear memories.
    Memories = "memories", "memories";
    /// Tables.
    Tables = "tables", "tables";
    /// Bytes that Palisade itself keeps for the guests: contexts, globals, translated code.
    HostBytes = "host memory", "bytes";
    /// Open descriptors.
    Descriptors = "descriptors", "descriptors";
    /// Bytes written to streams and files.
    OutputBytes = "output", "bytes";
}

const COUNT: usize = Resource::ALL.len();

/// A charge that a limit did not allow.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What was asked for.
    pub what: Resource,
    /// How much more of it.
    pub asked: u64,
    /// How much of it was in use.
    pub in_use: u64,
    /// How much of it may be in use.
    pub limit: u64,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, asked, in_use, limit } = self;
        write!(
            f,
            "the limit on {} is {limit} {}: {in_use} are in use and {asked} more were asked for",
            what.name(),
            what.unit()
        )
    }
}

impl std::error::Error for Refusal {}

/// What is in use and what may be. Without a limit set, nothing is refused.
#[derive(Clone, Debug)]
pub struct Ledger {
    in_use: [u64; COUNT],
    limits: [u64; COUNT],
    peaks: [u64; COUNT],
    refusal: Option<Refusal>,
    watcher: Watcher,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            in_use: [0; COUNT],
            limits: [u64::MAX; COUNT],
            peaks: [0; COUNT],
            refusal: None,
            watcher: Watcher::default(),
        }
    }
}

impl Ledger {
    /// Sets how much of something may be in use; `None` for no limit. What is in use already stays,
    /// even if it is more.
    pub fn set_limit(&mut self, what: Resource, limit: Option<u64>) {
        self.limits[what as usize] = limit.unwrap_or(u64::MAX);
    }

    /// How much of something may be in use.
    pub fn limit(&self, what: Resource) -> Option<u64> {
        Some(self.limits[what as usize]).filter(|&l| l != u64::MAX)
    }

    /// How much of something is in use.
    pub fn in_use(&self, what: Resource) -> u64 {
        self.in_use[what as usize]
    }

    /// The most of something that was ever in use.
    pub fn peak(&self, what: Resource) -> u64 {
        self.peaks[what as usize]
    }

    /// The most bytes of linear memory that were ever in use.
    pub fn peak_memory(&self) -> u64 {
        self.peak(Resource::MemoryBytes)
    }

    /// The last charge that was refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Forgets the last refusal, and returns it.
    pub fn take_refusal(&mut self) -> Option<Refusal> {
        self.refusal.take()
    }

    /// Whether `amount` more would be allowed. Remembers the refusal if not.
    pub fn check(&mut self, what: Resource, amount: u64) -> Result<(), Refusal> {
        let (in_use, limit) = (self.in_use(what), self.limits[what as usize]);
        if self.has_room(what, amount) {
            return Ok(());
        }
        self.refuse(Refusal { what, asked: amount, in_use, limit })
    }

    /// Remembers a refusal and tells whoever wants to know.
    fn refuse(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        self.refusal = Some(refusal);
        self.watcher.tell(&refusal);
        Err(refusal)
    }

    /// Lets `hook` be called with every refusal from now on, in place of an earlier one.
    pub fn watch(&mut self, hook: impl Fn(&Refusal) + Send + Sync + 'static) {
        self.watcher = Watcher::new(hook);
    }

    /// Counts `amount` more, or refuses and counts nothing.
    pub fn charge(&mut self, what: Resource, amount: u64) -> Result<(), Refusal> {
        self.check(what, amount)?;
        let at = what as usize;
        self.in_use[at] = self.in_use[at].saturating_add(amount);
        self.peaks[at] = self.peaks[at].max(self.in_use[at]);
        Ok(())
    }

    /// Gives back what was charged.
    pub fn release(&mut self, what: Resource, amount: u64) {
        let at = what as usize;
        debug_assert!(self.in_use[at] >= amount, "more released than charged: {what:?}");
        self.in_use[at] = self.in_use[at].saturating_sub(amount);
    }

    /// Whether `amount` more would be allowed; nothing is remembered.
    pub fn has_room(&self, what: Resource, amount: u64) -> bool {
        let sum = self.in_use(what).checked_add(amount);
        amount == 0 || sum.is_some_and(|sum| sum <= self.limits[what as usize])
    }

    /// After coming back to a mark: something that was counted `before` and has stayed counts `now`.
    pub(crate) fn recount(&mut self, what: Resource, before: u64, now: u64) {
        let at = what as usize;
        self.in_use[at] = self.in_use[at].saturating_sub(before).saturating_add(now);
    }

    /// What is in use of everything, to come back to.
    pub(crate) fn mark(&self) -> LedgerMark {
        LedgerMark(self.in_use)
    }

    /// Comes back to a mark, when everything charged since has been undone.
    pub(crate) fn roll_back(&mut self, mark: LedgerMark) {
        self.in_use = mark.0;
    }
}

/// See [`Ledger::mark`].
#[derive(Copy, Clone)]
pub(crate) struct LedgerMark([u64; COUNT]);

#[cfg(test)]
mod tests {
    use super::*;
    use Resource::{MemoryBytes, TableElements};

    #[test]
    fn the_limit_itself_is_allowed_and_one_more_is_not() {
        let mut ledger = Ledger::default();
        ledger.set_limit(MemoryBytes, Some(100));
        assert_eq!(ledger.charge(MemoryBytes, 60), Ok(()));
        let refused = Refusal { what: MemoryBytes, asked: 41, in_use: 60, limit: 100 };
        assert_eq!(ledger.charge(MemoryBytes, 41), Err(refused));
        assert_eq!(ledger.refusal(), Some(&refused));
        assert_eq!(ledger.in_use(MemoryBytes), 60);
        assert_eq!(ledger.charge(MemoryBytes, 40), Ok(()));
        assert_eq!(ledger.charge(MemoryBytes, 1).map_err(|r| r.in_use), Err(100));
        assert_eq!(ledger.charge(MemoryBytes, 0), Ok(()));
        assert_eq!(ledger.charge(TableElements, u64::MAX), Ok(()));
    }

    #[test]
    fn sums_cannot_wrap() {
        let mut ledger = Ledger::default();
        ledger.charge(TableElements, u64::MAX - 1).expect("no limit is set");
        assert!(ledger.charge(TableElements, 2).is_err());
        assert_eq!(ledger.in_use(TableElements), u64::MAX - 1);
    }

    #[test]
    fn the_peak_outlives_the_use() {
        let mut ledger = Ledger::default();
        ledger.charge(MemoryBytes, 50).expect("no limit is set");
        ledger.release(MemoryBytes, 50);
        ledger.charge(MemoryBytes, 20).expect("no limit is set");
        assert_eq!((ledger.in_use(MemoryBytes), ledger.peak_memory()), (20, 50));
    }

    #[test]
    fn a_limit_below_the_use_refuses_growth_only() {
        let mut ledger = Ledger::default();
        ledger.charge(MemoryBytes, 50).expect("no limit is set");
        ledger.set_limit(MemoryBytes, Some(10));
        assert!(ledger.charge(MemoryBytes, 1).is_err());
        assert!(ledger.charge(MemoryBytes, 0).is_ok());
    }

    #[test]
    fn messages_name_everything() {
        let refused = Refusal { what: MemoryBytes, asked: 65536, in_use: 131072, limit: 150000 };
        assert_eq!(
            refused.to_string(),
            "the limit on memory is 150000 bytes: 131072 are in use and 65536 more were asked for"
        );
    }
}
