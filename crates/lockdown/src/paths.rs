//! Landlock: which files, and the rest of what it closes.
//!
//! Everything that the kernel's version knows is handled, so closed; then the granted directories are opened again, as
//! far as their rights go. Executing is never granted.

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath,
    RestrictSelfAttr, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    make_bitflags,
};

use crate::{Error, Rights};

/// The newest version whose rights were looked at: later ones are used by no more than this.
const KNOWN: ABI = ABI::V9;

/// The first version that can bind threads that exist already.
pub(crate) const BINDS_THREADS: u32 = 8;

/// The kernel's version of Landlock; 0 where it has none.
pub(crate) fn abi() -> u32 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the kernel takes no attributes: the pointer is null and the size 0, as it demands.
    let answer = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, VERSION)
    };
    u32::try_from(answer).unwrap_or(0)
}

/// What the kernel calls these rights.
fn access(rights: Rights) -> BitFlags<AccessFs> {
    let mut access = BitFlags::EMPTY;
    if rights.contains(Rights::READ) {
        access |= make_bitflags!(AccessFs::{ReadFile | ReadDir});
    }
    if rights.contains(Rights::WRITE) {
        access |= make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg});
    }
    if rights.contains(Rights::NAMES) {
        // What is moved or linked is made anew where it goes to. Devices are left out.
        access |= make_bitflags!(AccessFs::{
            MakeDir | MakeReg | MakeSym | MakeFifo | MakeSock | RemoveDir | RemoveFile | Refer
        });
    }
    access
}

/// Locks the calling thread, its children, and, where the kernel can, all other threads. Gives whether it did.
pub(crate) fn restrict(directories: &[(BorrowedFd<'_>, Rights)]) -> Result<bool, Error> {
    let refused = |e: landlock::RulesetError| Error::Landlock(e.to_string());
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|r| r.handle_access(AccessNet::from_all(KNOWN)))
        .and_then(|r| r.scope(Scope::from_all(KNOWN)))
        .and_then(Ruleset::create)
        .and_then(|r| r.all_threads(true))
        .map_err(refused)?;
    for (fd, rights) in directories {
        let access = access(*rights);
        if !access.is_empty() {
            rules = rules.add_rule(PathBeneath::new(fd, access)).map_err(refused)?;
        }
    }
    let status = rules.restrict_self().map_err(refused)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ever_executable() {
        let all = access(Rights::READ | Rights::WRITE | Rights::NAMES);
        assert!(!all.contains(AccessFs::Execute));
        assert!(!all.intersects(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev));
        assert!(access(Rights::NONE).is_empty());
    }

    #[test]
    fn reading_changes_nothing() {
        let writing = AccessFs::from_write(KNOWN);
        assert!(!access(Rights::READ).intersects(writing));
    }
}
