//! Handlers of faults, for the whole process: installed once, and chained to what was there before.
//!
//! Whoever installs this says by a function whether a fault is his. What is not goes on to the handler of before as if we
//! were not there; where there was none, the process ends by that signal. No fault is ever hidden.
//!
//! Memory of guests is anonymous, and access to it that is denied comes as `SIGSEGV`, so `SIGBUS` (a file that became
//! short, broken hardware) is never a guest's and is left alone.

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{c_int, c_void, siginfo_t};

/// The signals of faults.
const SIGNALS: [c_int; 3] = [libc::SIGSEGV, libc::SIGILL, libc::SIGFPE];

/// `si_code` of a fault that the kernel has no more to say about.
const SI_KERNEL: c_int = 0x80;

/// A signal that this thread got.
pub(crate) struct Fault {
    /// Which.
    pub(crate) signal: c_int,
    /// Whether an instruction of this thread is the reason, and not somebody who sent it.
    pub(crate) synchronous: bool,
    /// The address whose access failed, if the signal says one.
    pub(crate) address: Option<usize>,
    /// Whether the kernel itself could not go on (room for the frame of another signal, say).
    pub(crate) by_kernel: bool,
    /// The thread's registers.
    pub(crate) context: *mut c_void,
}

/// Says whether a fault was his, and if so, has changed the registers so that the thread can go on.
pub(crate) type Judge = fn(&Fault) -> bool;

/// What was there before, by position in [`SIGNALS`].
struct Previous([UnsafeCell<MaybeUninit<libc::sigaction>>; SIGNALS.len()]);

// SAFETY: each is written before its handler is installed, and only read afterwards.
unsafe impl Sync for Previous {}

static PREVIOUS: Previous =
    Previous([const { UnsafeCell::new(MaybeUninit::zeroed()) }; SIGNALS.len()]);

/// The judge, as an address; 0 before there is one.
static JUDGE: AtomicUsize = AtomicUsize::new(0);

/// Installs the handlers, unless they are there already.
pub(crate) fn install(judge: Judge) -> io::Result<()> {
    static DONE: OnceLock<Result<(), i32>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        JUDGE.store(judge as *const () as usize, Ordering::Release);
        frame_bytes();
        for (&signal, previous) in SIGNALS.iter().zip(&PREVIOUS.0) {
            // SAFETY: both actions are locals or our own; the one of before is read before ours can run.
            let failed = unsafe {
                let mut ours: libc::sigaction = std::mem::zeroed();
                ours.sa_sigaction = on_signal as *const () as usize;
                ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
                libc::sigemptyset(&mut ours.sa_mask);
                // First, so that ours finds something in any case; then what was there at the very moment.
                let mut last: libc::sigaction = std::mem::zeroed();
                let failed = libc::sigaction(signal, std::ptr::null(), previous.get().cast()) != 0
                    || libc::sigaction(signal, &ours, &mut last) != 0;
                if !failed {
                    previous.get().cast::<libc::sigaction>().write(last);
                }
                failed
            };
            if failed {
                return Err(io::Error::last_os_error().raw_os_error().unwrap_or(0));
            }
        }
        Ok(())
    });
    done.map_err(io::Error::from_raw_os_error)
}

/// Lets faults of this thread come, if it has blocked them: the kernel ends a process that faults while it does.
pub(crate) fn admit_faults() -> io::Result<()> {
    // SAFETY: a set of our own, and the mask of this thread.
    let failed = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in SIGNALS {
            libc::sigaddset(&mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut())
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(failed)) }
}

/// How many bytes of a stack the kernel takes for the frame of a signal, at most.
pub(crate) fn frame_bytes() -> usize {
    static BYTES: AtomicUsize = AtomicUsize::new(0);
    let known = BYTES.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: asks for a number.
    let told = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    // What lies below the stack pointer of a function belongs to it: the kernel skips that.
    let bytes = told.max(libc::MINSIGSTKSZ).saturating_add(1024);
    BYTES.store(bytes, Ordering::Relaxed);
    bytes
}

unsafe extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel, or who chains to us, passes what a handler of this kind gets.
    unsafe {
        let code = (*info).si_code;
        let by_kernel = code == SI_KERNEL;
        let synchronous = code > 0 && !by_kernel;
        let address = synchronous.then(|| (*info).si_addr() as usize);
        let fault = Fault { signal, synchronous, address, by_kernel, context };
        let judge = JUDGE.load(Ordering::Acquire);
        if judge != 0 && std::mem::transmute::<usize, Judge>(judge)(&fault) {
            return;
        }
        chain(&fault, info);
    }
}

/// Does what would have been done without us.
///
/// # Safety
///
/// In the handler of this signal.
unsafe fn chain(fault: &Fault, info: *mut siginfo_t) {
    let position = SIGNALS.iter().position(|&known| known == fault.signal);
    let Some(previous) = position.and_then(|at| PREVIOUS.0.get(at)) else { return };
    // SAFETY: what was there before was noted before our handler was installed, and is one of these kinds.
    unsafe {
        let previous = (*previous.get()).assume_init_ref();
        match previous.sa_sigaction {
            libc::SIG_IGN if !fault.synchronous && !fault.by_kernel => {}
            // The kernel does not let anyone ignore a fault.
            libc::SIG_DFL | libc::SIG_IGN => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(fault.signal, &default, std::ptr::null_mut());
                // A fault comes again when the instruction does. Everything else has to be sent again; it arrives
                // when we return.
                if !fault.synchronous {
                    libc::raise(fault.signal);
                }
            }
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                admit(fault.signal, previous.sa_flags);
                type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
                std::mem::transmute::<usize, Handler>(handler)(fault.signal, info, fault.context);
            }
            handler => {
                admit(fault.signal, previous.sa_flags);
                type Handler = unsafe extern "C" fn(c_int);
                std::mem::transmute::<usize, Handler>(handler)(fault.signal);
            }
        }
    }
}

/// Lets a signal come again while its handler runs, if that handler asked for it: some never return.
fn admit(signal: c_int, flags: c_int) {
    if flags & libc::SA_NODEFER != 0 {
        // SAFETY: a set of our own, and the mask of this thread, which is put back when our handler returns.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, signal);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
        }
    }
}
