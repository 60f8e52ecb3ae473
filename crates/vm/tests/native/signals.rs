//! Signals: whose faults become traps, and what becomes of the others.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use palisade_core::TrapCode;
use palisade_vm::StoreConfig;

use crate::code::Func;
use crate::machine::Machine;

/// Runs one test of this file in a process of its own, with a variable set, and says by which signal it ended, and
/// with which status otherwise.
fn child(test: &str, variant: &str) -> (Option<i32>, Option<i32>) {
    let this = std::env::current_exe().expect("a path");
    let test = format!("signals::{test}");
    let output = Command::new(this)
        .args(["--exact", &test, "--nocapture", "--test-threads=1"])
        .env("PALISADE_CHILD", variant)
        .output()
        .expect("a process");
    (output.status.signal(), output.status.code())
}

fn variant() -> Option<String> {
    std::env::var("PALISADE_CHILD").ok()
}

#[test]
fn t1_faults_that_are_not_the_guests_end_the_process() {
    const CASES: [(&str, i32); 6] = [
        ("unrecorded", libc::SIGILL),
        ("foreign address", libc::SIGSEGV),
        ("host", libc::SIGSEGV),
        ("thread", libc::SIGSEGV),
        ("sent", libc::SIGSEGV),
        ("other store", libc::SIGSEGV),
    ];
    let Some(case) = variant() else {
        for (case, signal) in CASES {
            let ended = child("t1_faults_that_are_not_the_guests_end_the_process", case);
            assert_eq!(ended, (Some(signal), None), "{case}");
        }
        return;
    };
    // SAFETY: reads where nothing is; the process is to end by it.
    let fault =
        || unsafe { std::hint::black_box(std::ptr::without_provenance::<u8>(8)).read_volatile() };
    let mut machine = match &*case {
        "host" => {
            Machine::with(StoreConfig::default(), Box::new(move |_, _, _| Ok(fault().into())))
        }
        _ => Machine::new(),
    };
    assert_eq!(machine.enter(Func::Unreachable, 0), Err(TrapCode::Unreachable));
    let base = machine.world.store.memory_def(palisade_vm::MemoryId(0)).expect("a memory");
    // SAFETY: the definition is the store's.
    let base = unsafe { (*base).base } as u64;
    match &*case {
        "unrecorded" => _ = machine.enter(Func::Unrecorded, 0),
        "foreign address" => _ = machine.enter(Func::Store, 8u64.wrapping_sub(base)),
        "host" => _ = machine.enter(Func::CallImport, 0),
        "thread" => {
            let thread = std::thread::spawn(fault);
            let _ = machine.enter(Func::Deaf, 0);
            drop(thread.join());
        }
        "sent" => {
            let thread = std::thread::spawn(|| {
                // What was there before is the standard library's handler, which waits for the fault to come again.
                loop {
                    // SAFETY: sends a signal to this process.
                    unsafe { libc::kill(libc::getpid(), libc::SIGSEGV) };
                }
            });
            let _ = machine.enter(Func::Deaf, 0);
            drop(thread);
        }
        _ => {
            let other = Machine::new();
            let theirs = other.world.store.memory_def(palisade_vm::MemoryId(0)).expect("a memory");
            // SAFETY: as above.
            let theirs = unsafe { (*theirs).base } as u64;
            let there = (theirs + (1 << 20)).wrapping_sub(base);
            let _ = machine.enter(Func::Store, there);
        }
    }
    panic!("a fault was hidden");
}

static SEEN: AtomicU64 = AtomicU64::new(0);

/// What the handler of an embedder found before it.
static BEFORE: AtomicUsize = AtomicUsize::new(0);

/// Steps over the fault of `fault_for_the_embedder`, or passes it on.
unsafe extern "C" fn embedder(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: a handler's arguments.
    unsafe {
        if (*info).si_addr() as usize == 8 {
            SEEN.fetch_add(1, Ordering::Relaxed);
            let context = context.cast::<libc::ucontext_t>();
            // The instruction is `mov al, [rdi]`.
            (*context).uc_mcontext.gregs[libc::REG_RIP as usize] += 2;
            return;
        }
        type Handler = unsafe extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
        match BEFORE.load(Ordering::Relaxed) {
            0 => libc::_exit(99),
            before => std::mem::transmute::<usize, Handler>(before)(signal, info, context),
        }
    }
}

fn install_embedder() -> usize {
    // SAFETY: an ordinary handler.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut before: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = embedder as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, &mut before), 0);
        before.sa_sigaction
    }
}

fn fault_for_the_embedder() {
    // SAFETY: the embedder's handler steps over it.
    unsafe { std::arch::asm!(".byte 0x8a, 0x07", in("rdi") 8, out("al") _) };
}

#[test]
fn t3_handlers_of_the_embedder_get_what_is_theirs() {
    let Some(case) = variant() else {
        for case in ["before", "after"] {
            let ended = child("t3_handlers_of_the_embedder_get_what_is_theirs", case);
            assert_eq!(ended, (None, Some(0)), "{case}");
        }
        return;
    };
    if case == "before" {
        install_embedder();
    }
    let mut machine = Machine::with(
        StoreConfig::default(),
        Box::new(|_, _, n| {
            fault_for_the_embedder();
            Ok(n)
        }),
    );
    assert_eq!(machine.enter(Func::Store, 65536), Err(TrapCode::MemoryOutOfBounds));
    if case == "after" {
        BEFORE.store(install_embedder(), Ordering::Relaxed);
    }
    for n in 1..=3 {
        assert_eq!(machine.enter(Func::CallImport, 0), Ok(1000));
        assert_eq!(machine.enter(Func::Store, 65536), Err(TrapCode::MemoryOutOfBounds));
        assert_eq!(machine.enter(Func::Runaway, 0), Err(TrapCode::StackOverflow));
        fault_for_the_embedder();
        assert_eq!(SEEN.load(Ordering::Relaxed), 2 * n);
    }
}

static ALARMS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_alarm(_: libc::c_int) {
    // Enough to reach past the end of a stack that is nearly used up.
    std::hint::black_box([0u8; 6000]);
    ALARMS.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn t3_a_storm_of_signals_on_the_guests_own_stack() {
    if variant().is_none() {
        let ended = child("t3_a_storm_of_signals_on_the_guests_own_stack", "storm");
        assert_eq!(ended, (None, Some(0)));
        return;
    }
    // No SA_ONSTACK: the handler runs on whatever stack there is, the machine's as well.
    // SAFETY: an ordinary handler; signals go to this thread alone.
    let thread = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_alarm as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()), 0);
        libc::pthread_self()
    };
    static DONE: AtomicBool = AtomicBool::new(false);
    let storm = std::thread::spawn(move || {
        while !DONE.load(Ordering::Relaxed) {
            // SAFETY: the thread outlives this one.
            unsafe { libc::pthread_kill(thread, libc::SIGALRM) };
        }
    });
    let mut machine = Machine::new();
    let handle = machine.world.store.interrupt_handle();
    let before = ALARMS.load(Ordering::Relaxed);
    let mut rounds = 0u64;
    while rounds < 200 || ALARMS.load(Ordering::Relaxed) < before + 2000 {
        rounds += 1;
        assert_eq!(machine.enter(Func::Runaway, 0), Err(TrapCode::StackOverflow));
        assert_eq!(machine.enter(Func::Wrapped, 0), Err(TrapCode::StackOverflow));
        assert_eq!(machine.enter(Func::Store, 1 << 20), Err(TrapCode::MemoryOutOfBounds));
        assert_eq!(machine.enter(Func::Double, rounds), Ok(2 * rounds + 1));
        machine.world.store.trace.clear();
    }
    // References in frames stay right, wherever the stack ends: an allocation finds each of them.
    let config =
        StoreConfig { gc_stress: true, value_stack_bytes: 64 << 10, ..StoreConfig::default() };
    let mut chain = Machine::with(config, Box::new(|_, _, n| Ok(n)));
    for _ in 0..12 {
        let exn = crate::nest::exception(&chain);
        assert_eq!(chain.enter(Func::Chain, exn), Err(TrapCode::StackOverflow));
        assert!(!chain.world.store.poisoned);
        chain.world.store.trace.clear();
    }
    let stopper = std::thread::spawn(move || handle.interrupt(TrapCode::Interrupted));
    assert_eq!(machine.enter(Func::Spin, 0), Err(TrapCode::Interrupted));
    stopper.join().expect("no panic");
    DONE.store(true, Ordering::Relaxed);
    storm.join().expect("no panic");
}

/// How many mappings the process has.
fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").expect("the list").lines().count()
}

#[test]
fn x13_threads_and_stores_leave_no_mapping_behind() {
    if variant().is_none() {
        let ended = child("x13_threads_and_stores_leave_no_mapping_behind", "alone");
        assert_eq!(ended, (None, Some(0)));
        return;
    }
    let round = || {
        let thread = std::thread::spawn(|| {
            let mut machine = Machine::new();
            assert_eq!(machine.enter(Func::Runaway, 0), Err(TrapCode::StackOverflow));
            machine.world.store.interrupt_handle().interrupt(TrapCode::Interrupted);
            assert_eq!(machine.enter(Func::Spin, 0), Err(TrapCode::Interrupted));
        });
        thread.join().expect("no panic");
    };
    for _ in 0..20 {
        round();
    }
    let before = mappings();
    for _ in 0..500 {
        round();
    }
    assert!(mappings() <= before + 4, "{before} {}", mappings());
}

#[test]
fn t3_threads_that_block_all_signals_can_enter() {
    let thread = std::thread::spawn(|| {
        // SAFETY: the mask of this thread alone.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut()), 0);
        }
        let mut machine = Machine::new();
        for _ in 0..3 {
            assert_eq!(machine.enter(Func::Unreachable, 0), Err(TrapCode::Unreachable));
            assert_eq!(machine.enter(Func::Store, 65536), Err(TrapCode::MemoryOutOfBounds));
            assert_eq!(machine.enter(Func::Runaway, 0), Err(TrapCode::StackOverflow));
        }
    });
    thread.join().expect("no panic");
}
