//! Capabilities: what a guest may do at all, and the switch that allows it.
//!
//! A capability is a flag of the whole context; what a guest may do in one directory is the intersection of
//! these flags, of the preopen's own, and of its `ro` or `rw`. Nothing is granted but what is named here.

bitflags::bitflags! {
    /// The eight flags, `ALL` being all seven others.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Caps: u32 {
        /// Read files and directories in preopened directories.
        const READ = 1;
        /// Create, write, truncate and resize files, and set times, flags and sync on descriptors.
        const WRITE = 1 << 1;
        /// See the host's environment.
        const ENV = 1 << 2;
        /// Create, remove, rename and link directory entries, set times by path, look at entries.
        const PATH = 1 << 3;
        /// Read the clocks.
        const CLOCK = 1 << 4;
        /// Obtain random bytes.
        const RANDOM = 1 << 5;
        /// Raise signals on itself.
        const PROC = 1 << 6;
    }
}

impl Caps {
    /// Every capability.
    pub const ALL: Caps = Caps::all();

    /// What the library grants unless told otherwise: clocks and random bytes.
    pub const DEFAULT: Caps = Caps::CLOCK.union(Caps::RANDOM);

    /// Those that concern files, and so are narrowed by each preopen.
    pub const FILES: Caps = Caps::READ.union(Caps::WRITE).union(Caps::PATH);

    /// Name and command-line switch of each capability, in order.
    pub const SWITCHES: &'static [(Caps, &'static str, &'static str)] = &[
        (Caps::READ, "read", "--allow-read"),
        (Caps::WRITE, "write", "--allow-write"),
        (Caps::ENV, "env", "--allow-env"),
        (Caps::PATH, "path", "--allow-path"),
        (Caps::CLOCK, "clock", "--allow-clock"),
        (Caps::RANDOM, "random", "--allow-random"),
        (Caps::PROC, "proc", "--allow-proc"),
        (Caps::ALL, "all", "--allow-all"),
    ];

    /// The names of the flags that are set, for example `read, path`.
    #[must_use]
    pub fn names(self) -> String {
        let named = Caps::SWITCHES.iter().filter(|(c, ..)| c.bits().count_ones() == 1);
        let set: Vec<&str> =
            named.filter(|(c, ..)| self.contains(*c)).map(|(_, name, _)| *name).collect();
        set.join(", ")
    }

    /// The switch of the first flag that is set.
    #[must_use]
    pub fn switch(self) -> Option<&'static str> {
        let mut named = Caps::SWITCHES.iter().filter(|(c, ..)| c.bits().count_ones() == 1);
        named.find(|(c, ..)| self.contains(*c)).map(|(_, _, switch)| *switch)
    }
}

impl Default for Caps {
    fn default() -> Caps {
        Caps::DEFAULT
    }
}
