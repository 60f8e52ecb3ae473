//! The ledger: how much of each countable thing a store's guests hold, and how much they may.
//!
//! Amounts are charged before the thing is made, minimum sizes and growth alike, and given back when
//! it is not made after all. What was refused last is remembered, so that whoever reports a failed
//! `memory.grow` can say which limit it was.
//!
//! The table below is the only one: names, units, flags of the command, setters of the library and what
//! `--sandbox` gives come from it. Fuel, time, stack and the depth of calls are counted elsewhere, where
//! engines can see them; they stand in the table because they are limits like all others.

use std::fmt;
use std::time::Duration;

/// What an amount is a number of.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Nanoseconds.
    Nanoseconds,
    /// Things that are counted one by one.
    Count,
}

/// How a resource is counted.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Counting {
    /// It is held, and can be given back.
    Held,
    /// It is used up, over the whole life of the store; nothing is ever given back.
    Spent,
    /// Its limit is for each thing by itself; what is in use is the largest so far.
    Largest,
    /// Engines and timers count it, and the ledger only names it.
    Elsewhere,
}

use crate::watcher::Watcher;

macro_rules! resources {
    ($( $(#[$doc:meta])* $name:ident = $text:literal, $one:literal, $unit:ident, $counting:ident,
        $flag:literal, $setter:literal, $sandbox:expr; )*) => {
        /// Something that a store counts, or whose limit it keeps.
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
                match self { $(Self::$name => $one,)* }
            }

            /// What its amounts are numbers of.
            pub fn measure(self) -> Unit {
                match self { $(Self::$name => Unit::$unit,)* }
            }

            /// How it is counted.
            pub fn counting(self) -> Counting {
                match self { $(Self::$name => Counting::$counting,)* }
            }

            /// The option of the command that sets its limit.
            pub fn flag(self) -> &'static str {
                match self { $(Self::$name => $flag,)* }
            }

            /// The method of the library's `ResourceLimits` that sets its limit.
            pub fn setter(self) -> &'static str {
                match self { $(Self::$name => $setter,)* }
            }

            /// What `--sandbox` allows. Always finite.
            pub fn sandbox(self) -> u64 {
                match self { $(Self::$name => $sandbox,)* }
            }
        }
    };
}

const MIB: u64 = 1 << 20;
const SECOND: u64 = 1_000_000_000;

resources! {
    /// Units of fuel, which host work costs as well.
    Fuel = "fuel", "units", Count, Elsewhere, "--fuel", "fuel", 1_000_000_000;
    /// Nanoseconds until the deadline, waiting included.
    Time = "time", "", Nanoseconds, Elsewhere, "--timeout", "timeout", 60 * SECOND;
    /// Nanoseconds spent waiting in host calls and on shared memories.
    WaitTime = "waiting", "", Nanoseconds, Spent, "--max-wait", "wait_time", 60 * SECOND;
    /// Bytes of all linear memories (and of the heap of objects) together.
    MemoryBytes = "memory", "bytes", Bytes, Held, "--max-memory", "memory_size", 256 * MIB;
    /// Elements of all tables together.
    TableElements = "table elements", "elements", Count, Held, "--max-table-elements", "table_elements",
        1_000_000;
    /// Instances.
    Instances = "instances", "instances", Count, Held, "--max-instances", "instances", 16;
    /// Linear memories.
    Memories = "memories", "memories", Count, Held, "--max-memories", "memories", 100;
    /// Tables.
    Tables = "tables", "tables", Count, Held, "--max-tables", "tables", 1_000;
    /// Bytes of stack that guests run on.
    StackBytes = "stack", "bytes", Bytes, Elsewhere, "--max-stack", "stack_size", MIB;
    /// Calls that nest.
    CallDepth = "call depth", "calls", Count, Elsewhere, "--max-call-depth", "call_depth", 1024;
    /// Bytes that Palisade itself keeps for the guests: contexts, globals, translated code, the compiler.
    HostBytes = "host memory", "bytes", Bytes, Held, "--max-host-memory", "host_memory", 512 * MIB;
    /// Open descriptors.
    Descriptors = "descriptors", "descriptors", Count, Held, "--max-open-files", "descriptors", 64;
    /// Bytes written to streams and files.
    OutputBytes = "output", "bytes", Bytes, Spent, "--max-output", "output", 64 * MIB;
    /// Files, directories and links created; what is deleted counts all the same.
    FilesCreated = "files created", "files", Count, Spent, "--max-files", "files_created", 10_000;
    /// The largest size that a file is given.
    FileBytes = "file size", "bytes", Bytes, Largest, "--max-file-size", "file_size", 1024 * MIB;
    /// Bytes that host calls copy into and out of the guest's memory.
    CopiedBytes = "copied bytes", "bytes", Bytes, Spent, "--max-copied", "copied_bytes", 64 * 1024 * MIB;
    /// Entries of directories that were read.
    EntriesRead = "directory entries", "entries", Count, Spent, "--max-entries", "entries_read",
        10_000_000;
}

impl Resource {
    /// An amount with its unit, for messages.
    pub fn show(self, amount: u64) -> String {
        match self.measure() {
            Unit::Nanoseconds => format!("{:?}", Duration::from_nanos(amount)),
            _ => format!("{amount} {}", self.unit()),
        }
    }

    /// The limit of a new store.
    fn unasked(self) -> u64 {
        match self {
            // A process has few, and does not share them with a guest without a limit.
            Self::Descriptors => 1024,
            _ => u64::MAX,
        }
    }
}

const COUNT: usize = Resource::ALL.len();

/// A charge that a limit did not allow: what ran out, how much was asked for, and what the limit was.
/// [`Resource::flag`] and [`Resource::setter`] of `what` say how to raise it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What was asked for.
    pub what: Resource,
    /// How much more of it; 0 where nobody knows how much it would have been.
    pub asked: u64,
    /// How much of it was in use.
    pub in_use: u64,
    /// How much of it may be in use.
    pub limit: u64,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, asked, in_use, limit } = *self;
        let (name, max) = (what.name(), what.show(limit));
        let plain = |amount: u64| match what.measure() {
            Unit::Nanoseconds => what.show(amount),
            _ => amount.to_string(),
        };
        match (what.counting(), asked) {
            (_, 0) => write!(f, "the limit on {name} is {max}, and none of it is left"),
            (Counting::Largest, _) => {
                write!(f, "the limit on {name} is {max}: {} were asked for", plain(asked))
            }
            _ => write!(
                f,
                "the limit on {name} is {max}: {} are in use and {} more were asked for",
                plain(in_use),
                plain(asked)
            ),
        }
    }
}

impl std::error::Error for Refusal {}

/// What is in use and what may be. Without a limit set, nothing is refused but the 1,025th descriptor.
#[derive(Clone, Debug)]
pub struct Ledger {
    in_use: [u64; COUNT],
    limits: [u64; COUNT],
    peaks: [u64; COUNT],
    /// Which limits somebody has set.
    set: [bool; COUNT],
    refusal: Option<Refusal>,
    /// How many there were.
    refusals: u64,
    watcher: Watcher,
}

impl Default for Ledger {
    fn default() -> Self {
        let mut limits = [u64::MAX; COUNT];
        for what in Resource::ALL {
            limits[*what as usize] = what.unasked();
        }
        Self {
            in_use: [0; COUNT],
            limits,
            peaks: [0; COUNT],
            set: [false; COUNT],
            refusal: None,
            refusals: 0,
            watcher: Watcher::default(),
        }
    }
}

impl Ledger {
    /// Sets how much of something may be in use; `None` for no limit. What is in use already stays,
    /// even if it is more.
    pub fn set_limit(&mut self, what: Resource, limit: Option<u64>) {
        self.limits[what as usize] = limit.unwrap_or(u64::MAX);
        self.set[what as usize] = true;
    }

    /// Sets a limit that comes with something that is put into the store: it takes the place of what a new
    /// store has, and never raises what somebody has set.
    pub fn narrow_limit(&mut self, what: Resource, limit: u64) {
        let at = what as usize;
        self.limits[at] = if self.set[at] { self.limits[at].min(limit) } else { limit };
        self.set[at] = true;
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

    /// How many charges were refused so far.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Remembers a refusal and tells whoever wants to know.
    fn refuse(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        self.refusal = Some(refusal);
        self.refusals += 1;
        self.watcher.tell(&refusal);
        Err(refusal)
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

    /// Counts a thing whose limit is for each by itself, such as a file of `size` bytes, or refuses it.
    pub fn note_size(&mut self, what: Resource, size: u64) -> Result<(), Refusal> {
        let at = what as usize;
        if size > self.limits[at] {
            return self.refuse(Refusal { what, asked: size, in_use: 0, limit: self.limits[at] });
        }
        self.in_use[at] = self.in_use[at].max(size);
        self.peaks[at] = self.peaks[at].max(size);
        Ok(())
    }

    /// Notes that `amount` more was in use for a moment, which is over and was not refused.
    pub fn note_peak(&mut self, what: Resource, amount: u64) {
        let at = what as usize;
        self.peaks[at] = self.peaks[at].max(self.in_use[at].saturating_add(amount));
    }

    /// Counts `amount` more of what has been used up already and cannot be refused any more; says whether that is
    /// more than the limit.
    pub fn spend(&mut self, what: Resource, amount: u64) -> Result<(), Refusal> {
        let at = what as usize;
        let before = self.in_use[at];
        self.in_use[at] = before.saturating_add(amount);
        self.peaks[at] = self.peaks[at].max(self.in_use[at]);
        if self.in_use[at] <= self.limits[at] {
            return Ok(());
        }
        self.refuse(Refusal { what, asked: amount, in_use: before, limit: self.limits[at] })
    }

    /// How much may be charged at this moment.
    pub fn room(&self, what: Resource) -> u64 {
        self.limits[what as usize].saturating_sub(self.in_use(what))
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
    fn what_comes_with_something_never_raises_a_limit_that_was_set() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.limit(Resource::Descriptors), Some(1024));
        ledger.narrow_limit(Resource::Descriptors, 5000);
        assert_eq!(ledger.limit(Resource::Descriptors), Some(5000));
        ledger.narrow_limit(Resource::Descriptors, 6000);
        assert_eq!(ledger.limit(Resource::Descriptors), Some(5000));
        ledger.set_limit(Resource::OutputBytes, None);
        ledger.narrow_limit(Resource::OutputBytes, 10);
        assert_eq!(ledger.limit(Resource::OutputBytes), Some(10));
    }

    #[test]
    fn sizes_are_compared_one_by_one_and_the_largest_is_kept() {
        let mut ledger = Ledger::default();
        ledger.set_limit(Resource::FileBytes, Some(100));
        for size in [100, 40, 100, 0] {
            assert_eq!(ledger.note_size(Resource::FileBytes, size), Ok(()));
        }
        let refused = ledger.note_size(Resource::FileBytes, 101).expect_err("one more");
        assert_eq!(refused.to_string(), "the limit on file size is 100 bytes: 101 were asked for");
        assert_eq!(
            (ledger.in_use(Resource::FileBytes), ledger.peak(Resource::FileBytes)),
            (100, 100)
        );
    }

    #[test]
    fn what_is_gone_is_counted_even_if_it_was_too_much() {
        let mut ledger = Ledger::default();
        ledger.set_limit(Resource::WaitTime, Some(10));
        assert_eq!(ledger.room(Resource::WaitTime), 10);
        assert_eq!(ledger.spend(Resource::WaitTime, 10), Ok(()));
        assert!(ledger.spend(Resource::WaitTime, 7).is_err());
        assert_eq!((ledger.in_use(Resource::WaitTime), ledger.room(Resource::WaitTime)), (17, 0));
    }

    #[test]
    fn the_table_is_complete_and_names_nothing_twice() {
        let all = Resource::ALL;
        for what in all {
            assert!(what.flag().starts_with("--") && what.sandbox() < u64::MAX, "{what:?}");
            let same = |of: fn(Resource) -> &'static str| {
                all.iter().filter(|other| of(**other) == of(*what)).count()
            };
            assert_eq!(
                (same(Resource::name), same(Resource::flag), same(Resource::setter)),
                (1, 1, 1)
            );
        }
    }

    #[test]
    fn messages_name_everything() {
        let refused = Refusal { what: MemoryBytes, asked: 65536, in_use: 131072, limit: 150000 };
        assert_eq!(
            refused.to_string(),
            "the limit on memory is 150000 bytes: 131072 are in use and 65536 more were asked for"
        );
        let refused = Refusal { what: Resource::Time, asked: 0, in_use: 0, limit: 60 * SECOND };
        assert_eq!(refused.to_string(), "the limit on time is 60s, and none of it is left");
    }
}
