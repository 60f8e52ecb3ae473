//! What the kernel gave, and what it lacks.
//!
//! A part counts as missing if neither wall holds it: a kernel that cannot close TCP by Landlock has it closed all
//! the same by a filter that makes no socket.

/// What the kernel can do, found out without changing anything.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Support {
    /// The version of Landlock; 0 without it.
    pub landlock_abi: u32,
    /// Whether system calls can be filtered, and a filter for this processor exists.
    pub seccomp: bool,
}

/// What a lock consists of.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The kernel's version of Landlock; 0 without it.
    pub landlock_abi: u32,
    /// Whether only the files beneath the granted directories can be opened (Landlock ABI 1).
    pub files: bool,
    /// Whether moving between directories is judged, not refused altogether (ABI 2).
    pub refer: bool,
    /// Whether truncating is judged (ABI 3).
    pub truncate: bool,
    /// Whether Landlock closes TCP (ABI 4).
    pub tcp: bool,
    /// Whether Landlock closes the ioctls of devices (ABI 5).
    pub devices: bool,
    /// Whether Landlock closes abstract sockets and signals of others (ABI 6).
    pub scopes: bool,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// Whether no program that this process could start would gain privileges.
    pub no_new_privs: bool,
    /// Whether nobody can attach to the process, and it leaves no core dump.
    pub no_core_dumps: bool,
}

/// What each version of Landlock added that we use.
const ADDED: [(u32, &str); 6] = [
    (1, "files"),
    (2, "moves between directories"),
    (3, "truncating"),
    (4, "TCP"),
    (5, "devices"),
    (6, "signals and abstract sockets"),
];

/// What Landlock of this version holds, in words.
fn landlock_holds(abi: u32) -> String {
    if abi == 0 {
        return "not in this kernel, or switched off".to_owned();
    }
    let held: Vec<&str> =
        ADDED.iter().filter(|(since, _)| *since <= abi).map(|(_, name)| *name).collect();
    format!("ABI {abi}: {}", held.join(", "))
}

impl Support {
    /// Asks the kernel.
    #[must_use]
    pub fn probe() -> Support {
        Support { landlock_abi: crate::paths::abi(), seccomp: crate::filter::available() }
    }

    /// What a lock with this support would leave open, in words; empty if nothing.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        missing(self.landlock_abi, self.seccomp)
    }

    /// Landlock, in words.
    #[must_use]
    pub fn landlock(&self) -> String {
        landlock_holds(self.landlock_abi)
    }
}

impl Report {
    /// What the lock leaves open since the kernel lacks it, in words; empty if nothing.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let mut missing = missing(self.landlock_abi, self.seccomp);
        if !self.no_new_privs {
            missing.push("new privileges can be gained");
        }
        if !self.no_core_dumps {
            missing.push("core dumps can be written");
        }
        missing
    }

    /// Whether the lock holds all that it should.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing().is_empty()
    }

    /// Landlock, in words.
    #[must_use]
    pub fn landlock(&self) -> String {
        landlock_holds(self.landlock_abi)
    }
}

fn missing(abi: u32, seccomp: bool) -> Vec<&'static str> {
    let mut missing = Vec::new();
    match abi {
        0 => missing.push("Landlock: nothing narrows which files can be opened"),
        1 => {
            missing.push("Landlock ABI 2: no file can be moved from one directory into another");
            missing.push("Landlock ABI 3: files that may only be read can be truncated");
        }
        2 => missing.push("Landlock ABI 3: files that may only be read can be truncated"),
        _ => {}
    }
    if !seccomp {
        missing.push("seccomp: any system call can be made");
        // What the filter would have held in their place.
        if abi < 4 {
            missing.push("Landlock ABI 4: TCP is open");
        }
        if abi < 5 {
            missing.push("Landlock ABI 5: devices take any request");
        }
        if abi < 6 {
            missing.push("Landlock ABI 6: signals and abstract sockets reach other processes");
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_stands_in_for_what_landlock_lacks() {
        assert!(missing(3, true).is_empty());
        assert!(missing(7, true).is_empty());
        assert_eq!(missing(2, true).len(), 1);
        assert_eq!(missing(0, true).len(), 1);
        assert_eq!(missing(3, false).len(), 4);
        assert_eq!(missing(6, false).len(), 1);
        assert_eq!(missing(0, false).len(), 5);
    }

    #[test]
    fn versions_are_told_in_words() {
        assert_eq!(landlock_holds(4), "ABI 4: files, moves between directories, truncating, TCP");
        assert!(landlock_holds(0).contains("not in this kernel"));
    }
}
