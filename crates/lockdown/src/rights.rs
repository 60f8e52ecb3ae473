//! What may be done beneath a directory.
//!
//! The three words are those of the runtime's own grants; what they mean to the kernel is in `paths`, and which system
//! calls they need in `filter`.

use std::ops::{BitOr, BitOrAssign};

/// What may be done beneath a directory. Looking at names, sizes and times is no right: the kernel cannot refuse it
/// to a process that may open anything at all.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Rights(u8);

impl Rights {
    /// Nothing. The directory's metadata can be seen all the same.
    pub const NONE: Rights = Rights(0);
    /// Reading files, listing directories.
    pub const READ: Rights = Rights(1);
    /// Writing and truncating files, creating regular ones.
    pub const WRITE: Rights = Rights(2);
    /// Making, removing, renaming and linking names.
    pub const NAMES: Rights = Rights(4);

    /// Whether all of `other` is in this.
    #[must_use]
    pub const fn contains(self, other: Rights) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether something of `other` is in this.
    #[must_use]
    pub const fn intersects(self, other: Rights) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether this is nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Rights {
    type Output = Rights;

    fn bitor(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }
}

impl BitOrAssign for Rights {
    fn bitor_assign(&mut self, other: Rights) {
        self.0 |= other.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_sets() {
        let both = Rights::READ | Rights::NAMES;
        assert!(both.contains(Rights::READ) && !both.contains(Rights::WRITE));
        assert!(both.intersects(Rights::NAMES | Rights::WRITE));
        assert!(!both.contains(Rights::NAMES | Rights::WRITE));
        assert!(Rights::NONE.is_empty() && both.contains(Rights::NONE));
    }
}
