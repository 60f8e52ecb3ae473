//! How far down the host's own stack guests may still be entered.
//!
//! Calls of Wasm do not nest on the host's stack, but a host function that calls back into a guest
//! does, and the guest decides how often. The bounds of a thread's stack are asked for once and kept
//! for the thread; since a store may be sent to another thread, the limit is taken anew at every
//! entry from outside.

use std::cell::Cell;

/// What host functions and the runtime itself may use below the limit.
const MARGIN: usize = 256 << 10;

/// How much is used of a stack that is not the thread's own (a coroutine's, a signal's), whose
/// size nobody can tell us.
const FOREIGN: usize = 64 << 10;

/// The lowest and the highest address of a stack.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The lowest usable address.
    pub low: usize,
    /// One past the highest address.
    pub high: usize,
}

impl Bounds {
    fn contains(self, address: usize) -> bool {
        (self.low..self.high).contains(&address)
    }
}

thread_local! {
    static BOUNDS: Cell<Option<Bounds>> = const { Cell::new(None) };
}

/// The stack of the current thread, if the system tells.
pub fn bounds() -> Option<Bounds> {
    // While the thread ends, its keys are gone: nothing is kept then.
    if let Ok(Some(known)) = BOUNDS.try_with(Cell::get) {
        return Some(known);
    }
    let found = ask().or_else(ask_without_files);
    if found.is_some() {
        let _ = BOUNDS.try_with(|bounds| bounds.set(found));
    }
    found
}

fn ask() -> Option<Bounds> {
    // SAFETY: the attributes are initialised by `pthread_getattr_np` before they are read, and
    // destroyed once afterwards; the out pointers are to locals.
    unsafe {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let mut low = std::ptr::null_mut();
        let mut size = 0;
        let mut guard = 0;
        let failed = libc::pthread_attr_getstack(attributes.as_ptr(), &mut low, &mut size) != 0
            || libc::pthread_attr_getguardsize(attributes.as_ptr(), &mut guard) != 0;
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        let (low, high) = (low as usize, (low as usize).checked_add(size)?);
        // Whether the guard lies within depends on the C library: assume that it does.
        let low = low.checked_add(guard)?;
        (!failed && low < high).then_some(Bounds { low, high })
    }
}

/// The largest stack that is believed in where only a limit tells, and what the kernel keeps free below one.
const LARGEST: u64 = 8 << 20;
const GAP: usize = 1 << 20;

/// The stack of the first thread, about which the C library asks a file of `/proc`: a process that has locked itself in
/// opens none.
fn ask_without_files() -> Option<Bounds> {
    // SAFETY: both calls only give numbers.
    let first = unsafe { libc::gettid() == libc::getpid() };
    if first { first_stack() } else { None }
}

/// From where the kernel put the program's name, at the very top, as far down as the limit lets it grow.
fn first_stack() -> Option<Bounds> {
    // SAFETY: it only gives a number.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as usize;
    let high = name.checked_next_multiple_of(rustix::param::page_size()).filter(|_| name != 0)?;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local of the type that is written.
    if unsafe { libc::getrlimit(libc::RLIMIT_STACK, &mut limit) } != 0 {
        return None;
    }
    let size = usize::try_from(limit.rlim_cur.min(LARGEST)).ok()?;
    let low = high.checked_sub(size)?.checked_add(GAP)?;
    (low < high).then_some(Bounds { low, high })
}

/// An address in the caller's frame, or near it.
#[inline(never)]
pub fn position() -> usize {
    let here = 0u8;
    std::hint::black_box(&raw const here) as usize
}

/// The lowest address at which Wasm may be entered on the current stack; `previous` is the limit of
/// the last entry (0 for none).
pub fn limit(previous: usize) -> usize {
    limit_at(position(), bounds(), previous)
}

fn limit_at(position: usize, bounds: Option<Bounds>, previous: usize) -> usize {
    if let Some(bounds) = bounds.filter(|b| b.contains(position)) {
        return bounds.low + MARGIN.min((bounds.high - bounds.low) / 4);
    }
    // On a stack of unknown size the first entry sets the limit, and nested ones keep it.
    if previous != 0 && position.abs_diff(previous) <= FOREIGN {
        return previous;
    }
    position.saturating_sub(FOREIGN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_position_lies_within() {
        let bounds = bounds().expect("linux tells");
        assert!(bounds.contains(position()), "{bounds:?} {:x}", position());
        assert!(limit(0) > bounds.low && limit(0) < position());
    }

    #[test]
    fn the_first_stack_is_found_without_files() {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("linux tells");
        let line = maps.lines().find(|line| line.ends_with("[stack]")).expect("there is one");
        let range = line.split(' ').next().expect("addresses");
        let (low, high) = range.split_once('-').expect("two of them");
        let number = |text| usize::from_str_radix(text, 16).expect("an address");
        let found = first_stack().expect("the kernel tells");
        assert!(number(low) < found.high && found.high <= number(high), "{found:?} {line}");
        assert!(found.low < number(low), "{found:?} {line}");
        // This thread is another one.
        assert_eq!(ask_without_files(), None);
    }

    #[test]
    fn small_threads_keep_three_quarters() {
        let check = || {
            let bounds = bounds().expect("linux tells");
            let size = bounds.high - bounds.low;
            assert!(size < 1 << 20);
            assert_eq!(limit(0), bounds.low + size / 4);
        };
        let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(check);
        thread.expect("a thread").join().expect("the check holds");
    }

    #[test]
    fn each_thread_has_its_own() {
        let mine = bounds();
        let other = std::thread::spawn(bounds).join().expect("no panic");
        assert_ne!(mine, other);
    }

    #[test]
    fn a_foreign_stack_is_used_sparingly_and_nesting_ends() {
        let bounds = Some(Bounds { low: 0x10_0000, high: 0x20_0000 });
        let first = limit_at(0x4000_0000, bounds, 0);
        assert_eq!(first, 0x4000_0000 - FOREIGN);
        assert_eq!(limit_at(0x4000_0000 - 100, bounds, first), first);
        assert_eq!(limit_at(first - 100, bounds, first), first);
        let elsewhere = limit_at(0x5000_0000, bounds, first);
        assert_eq!(elsewhere, 0x5000_0000 - FOREIGN);
    }
}
