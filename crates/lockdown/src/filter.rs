//! seccomp: which system calls, and with which arguments.
//!
//! Three filters, since each can give two answers: one that ends the process, one that says "no such call", one that
//! lets through what is listed and refuses the rest. The kernel takes the strictest answer of all, and notes at installation
//! which calls all of them let through whatever their arguments; that takes the longer, the more calls the earlier filters
//! leave, so the list comes first. It has to let the other two be installed; the last one ends that. A call of another
//! instruction set (32-bit, by `int 0x80`) ends the process in each of them; the x32 numbers are in no list, so they
//! are refused.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use crate::builder::Needs;
use crate::syscalls::{ABSENT, ALWAYS, CHANGES, ENDS, NAMES, PATHS, SOCKETS};
use crate::{Error, Profile, Rights};

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// The filters, ready to be installed.
pub(crate) struct Filters {
    /// In the order of their installation.
    programs: [BpfProgram; 3],
}

/// The flags with which threads begin: everything shared, nothing new. The C libraries differ in one flag that has
/// had no effect since Linux 2.6.
const THREAD: c_int = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID;
const WITHOUT_EFFECT: c_int = libc::CLONE_DETACHED;

/// Each of these makes something that is no thread of this process.
const NEW: [c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Terminals in newer C libraries.
const TCGETS2: u64 = 0x802c_542a;

/// Names of anonymous memory.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// What to compare of an argument.
struct Is(u8, Len, Op, u64);

/// A rule that holds if all conditions do.
fn rule(conditions: &[Is]) -> Result<SeccompRule, Error> {
    let conditions: Result<Vec<_>, _> = conditions
        .iter()
        .map(|Is(at, len, op, value)| SeccompCondition::new(*at, len.clone(), op.clone(), *value))
        .collect();
    conditions.and_then(SeccompRule::new).map_err(wrong)
}

fn wrong(error: seccompiler::BackendError) -> Error {
    Error::Filter(error.to_string())
}

/// One rule for each value that an argument of 32 bits may have.
fn one_of(at: u8, values: &[u64]) -> Result<Vec<SeccompRule>, Error> {
    values.iter().map(|value| rule(&[Is(at, Len::Dword, Op::Eq, *value)])).collect()
}

/// An argument that holds none of these bits.
fn without(at: u8, bits: c_int) -> Is {
    Is(at, Len::Qword, Op::MaskedEq(bits as u64), 0)
}

fn allowed(needs: &Needs) -> Result<Rules, Error> {
    let mut rules = Rules::new();
    let mut add = |calls: &[c_long]| rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    add(ALWAYS);
    // The other filters answer these.
    add(ABSENT);
    add(&[libc::SYS_seccomp]);
    if let Some(rights) = needs.paths {
        add(PATHS);
        if rights.contains(Rights::NAMES) {
            add(NAMES);
        }
        if rights.intersects(Rights::NAMES | Rights::WRITE) {
            add(CHANGES);
        }
    }
    if needs.sockets {
        add(SOCKETS);
    }
    rules.extend(memory(needs.profile)?);
    rules.extend(judged()?);
    if needs.threads {
        let mask = !(WITHOUT_EFFECT as u32 as u64);
        let thread = Is(0, Len::Qword, Op::MaskedEq(mask), THREAD as u64);
        rules.insert(libc::SYS_clone, vec![rule(&[thread])?]);
    }
    Ok(rules)
}

/// What decides about execution.
fn memory(profile: Profile) -> Result<Rules, Error> {
    let never = rule(&[without(2, libc::PROT_EXEC)])?;
    let never_both = match profile {
        Profile::Interpreter => vec![never.clone()],
        Profile::Compiler => vec![never.clone(), rule(&[without(2, libc::PROT_WRITE)])?],
    };
    // Nothing is mapped executable: code is written, and its pages change afterwards.
    Ok(Rules::from([(libc::SYS_mmap, vec![never]), (libc::SYS_mprotect, never_both)]))
}

/// Calls that do many things, of which few are needed.
fn judged() -> Result<Rules, Error> {
    let this = u64::from(std::process::id());
    let fcntl = [
        libc::F_DUPFD,
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
    ];
    let fcntl = fcntl.map(|command| command as u64);
    // Is it a terminal, and how much can be read.
    let ioctl = [libc::TCGETS, TCGETS2, libc::TIOCGWINSZ, libc::FIONREAD];
    // Renouncing privileges comes with each filter.
    let prctl = [libc::PR_SET_NAME as u64, PR_SET_VMA, libc::PR_SET_NO_NEW_PRIVS as u64];
    let nobody = |at| Is(at, Len::Qword, Op::Eq, 0);
    Ok(Rules::from([
        (libc::SYS_fcntl, one_of(1, &fcntl)?),
        (libc::SYS_ioctl, one_of(1, &ioctl)?),
        (libc::SYS_prctl, one_of(0, &prctl)?),
        // Limits are asked for, by threads that look for the end of their stack, and never set.
        (libc::SYS_prlimit64, vec![rule(&[Is(0, Len::Dword, Op::Eq, 0), nobody(2)])?]),
        // Signals, to this process.
        (libc::SYS_tgkill, vec![rule(&[Is(0, Len::Dword, Op::Eq, this)])?]),
        // On a connection that exists, to and from whoever is at its other end.
        (libc::SYS_sendto, vec![rule(&[nobody(4)])?]),
        (libc::SYS_recvfrom, vec![rule(&[nobody(4)])?]),
    ]))
}

fn ending() -> Result<Rules, Error> {
    let mut rules: Rules = ENDS.iter().map(|call| (*call, Vec::new())).collect();
    let mut clones = vec![rule(&[without(0, libc::CLONE_THREAD)])?];
    for new in NEW {
        let new = new as u64;
        clones.push(rule(&[Is(0, Len::Qword, Op::MaskedEq(new), new)])?);
    }
    rules.insert(libc::SYS_clone, clones);
    Ok(rules)
}

/// Makes the filters.
pub(crate) fn compile(needs: &Needs) -> Result<Filters, Error> {
    let program = |rules, otherwise, listed| -> Result<BpfProgram, Error> {
        SeccompFilter::new(rules, otherwise, listed, TargetArch::x86_64)
            .and_then(BpfProgram::try_from)
            .map_err(wrong)
    };
    let absent: Rules = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
    let programs = [
        program(allowed(needs)?, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)?,
        program(absent, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?,
        program(ending()?, SeccompAction::Allow, SeccompAction::KillProcess)?,
    ];
    Ok(Filters { programs })
}

/// Whether system calls can be filtered.
pub(crate) fn available() -> bool {
    const GET_ACTION_AVAIL: libc::c_uint = 2;
    let action: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the kernel reads four bytes from the pointer, which leads to a local of that size.
    unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0u32, &raw const action) == 0 }
}

/// Installs the filters on all threads. Gives whether it did: not if the kernel has no such thing.
pub(crate) fn install(filters: &Filters) -> Result<bool, Error> {
    if !available() {
        return Ok(false);
    }
    for program in &filters.programs {
        seccompiler::apply_filter_all_threads(program)
            .map_err(|error| Error::Filter(error.to_string()))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHOUT_PATHS: Needs =
        Needs { profile: Profile::Compiler, paths: None, threads: true, sockets: false };

    #[test]
    fn nothing_is_both_let_through_and_deadly() {
        let all = Rights::READ | Rights::WRITE | Rights::NAMES;
        let needs = Needs { paths: Some(all), sockets: true, ..WITHOUT_PATHS };
        let allowed = allowed(&needs).expect("rules");
        for call in ENDS.iter().filter(|call| **call != libc::SYS_seccomp) {
            assert!(!allowed.contains_key(call), "{call}");
        }
    }

    #[test]
    fn paths_come_with_directories_and_changes_with_rights() {
        let has = |paths, call: c_long| {
            allowed(&Needs { paths, ..WITHOUT_PATHS }).expect("rules").contains_key(&call)
        };
        for call in PATHS {
            assert!(!has(None, *call) && has(Some(Rights::NONE), *call));
        }
        for call in NAMES {
            assert!(
                !has(Some(Rights::READ | Rights::WRITE), *call) && has(Some(Rights::NAMES), *call)
            );
        }
        assert!(!has(Some(Rights::READ), libc::SYS_utimensat));
        for call in [libc::SYS_open, libc::SYS_openat, libc::SYS_creat, libc::SYS_socket] {
            assert!(!has(Some(Rights::READ | Rights::WRITE | Rights::NAMES), call));
        }
    }

    #[test]
    fn filters_fit_the_kernel() {
        // The kernel takes 4,096 instructions.
        for program in compile(&WITHOUT_PATHS).expect("filters").programs {
            assert!(program.len() < 4096 && !program.is_empty());
        }
    }
}
