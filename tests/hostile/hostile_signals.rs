//! T1, T3: signals of the process while guests run as machine code. Handlers belong to the whole process, and some of
//! these end it: every test runs in a process of its own.

mod hostile_support;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{mem, ptr, thread};

use hostile_support::{engine_with, invoke, store};
use palisade::{Engine, Linker, Store, TrapCode, Tuning, Val};
use palisade_tests::{COMPILING, Kind, link};

/// Runs this test again in a process of its own, with a word that says what it is to do.
fn child(test: &str, word: &str) -> ExitStatus {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env("PALISADE_CHILD", word);
    let output = command.output().expect("a process");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{word}: {:?}\n{text}{errors}", output.status);
    output.status
}

/// What this process was told to do; `None` in the one that starts the others.
fn word() -> Option<String> {
    let word = std::env::var("PALISADE_CHILD").ok()?;
    // SAFETY: no core is to be written for a fault that the test wants.
    unsafe {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
    }
    Some(word)
}

const CALLS: &str = r#"(module (import "h" "f" (func $f (result i32))) (memory (export "memory") 1 2)
    (func (export "host") (result i32) (call $f))
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "div") (param i32) (result i32) (i32.div_s (i32.const 10) (local.get 0)))
    (func $deep (export "deep") (param i32) (result i32)
        (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
    (func (export "stop") (result i32) unreachable)
    (func (export "for_ever") (result i32) (loop (br 0)) (i32.const 0)))"#;

/// Every fault that machine code has, each as its trap.
fn all_traps(store: &mut Store<()>, instance: palisade::Instance) {
    let mut check = |name: &str, args: &[Val], expected: Result<u64, TrapCode>| {
        let outcome = invoke(&mut *store, instance, name, args);
        assert_eq!(outcome, expected.map(|value| vec![value]), "{name} {args:?}");
    };
    check("load", &[Val::I32(65_532)], Ok(0));
    check("load", &[Val::I32(65_533)], Err(TrapCode::MemoryOutOfBounds));
    check("load", &[Val::I32(-1)], Err(TrapCode::MemoryOutOfBounds));
    check("div", &[Val::I32(0)], Err(TrapCode::IntegerDivideByZero));
    check("div", &[Val::I32(5)], Ok(2));
    check("deep", &[Val::I32(0)], Err(TrapCode::StackOverflow));
    check("stop", &[], Err(TrapCode::Unreachable));
}

/// An instance whose host function is this one.
fn prepared(
    engine: &Engine,
    host: impl Fn() -> i32 + Send + Sync + 'static,
) -> (Store<()>, palisade::Instance) {
    let mut linker = Linker::<()>::new(engine);
    linker.func_wrap("h", "f", host).expect("a definition");
    let mut store = store(engine);
    let instance = link(&linker, &mut store, CALLS);
    (store, instance)
}

/// Where the memory of the guest of a test lies.
static PLACE: AtomicUsize = AtomicUsize::new(0);

/// A fault of this process, and not of a guest.
fn fault(which: &str) -> i32 {
    let read = |address: usize| {
        // SAFETY: none: this ends the process, which is what the test wants.
        i32::from(unsafe { ptr::with_exposed_provenance::<u8>(address).read_volatile() })
    };
    match which {
        "null" => read(8),
        // Where a guest's own access would be a trap.
        "guard" => read(PLACE.load(Ordering::Relaxed) + (1 << 20)),
        "invalid" => {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            unsafe {
                std::arch::asm!("ud2")
            };
            0
        }
        "raised" => {
            // SAFETY: sends a signal to this thread.
            unsafe { libc::raise(libc::SIGFPE) };
            0
        }
        other => panic!("no fault {other}"),
    }
}

/// What a host function does wrong, or a thread that has nothing to do with the guest, is no trap: the process ends by
/// that signal, whatever code is running.
#[test]
fn t1_faults_of_the_host_and_of_other_threads_end_the_process() {
    let test = "t1_faults_of_the_host_and_of_other_threads_end_the_process";
    if let Some(word) = word() {
        let (place, which) = word.split_once('-').expect("two words");
        let which = which.to_owned();
        let engine = engine_with(Kind::Compiled, |_| {});
        let of_host = place == "host";
        let inside = which.clone();
        let (mut store, instance) =
            prepared(&engine, move || if of_host { fault(&inside) } else { 1 });
        all_traps(&mut store, instance);
        let memory = instance.get_memory(&store, "memory").expect("a memory");
        let data = memory.data(&store).as_ptr();
        PLACE.store(data.expose_provenance(), Ordering::Relaxed);
        if of_host {
            let _ = invoke(&mut store, instance, "host", &[]);
        } else {
            // The guest runs on this thread while the fault comes on another.
            thread::spawn(move || fault(&which));
            let _ = invoke(&mut store, instance, "for_ever", &[]);
        }
        // Nobody gets here.
        std::process::exit(0);
    }
    for place in ["host", "thread"] {
        for (which, signal) in [
            ("null", libc::SIGSEGV),
            ("guard", libc::SIGSEGV),
            ("invalid", libc::SIGILL),
            ("raised", libc::SIGFPE),
        ] {
            let status = child(test, &format!("{place}-{which}"));
            assert_eq!(status.signal(), Some(signal), "{place} {which}: {status:?}");
        }
    }
}

/// A page of the embedder that it opens when it is touched, and how often that was.
static PAGE: AtomicUsize = AtomicUsize::new(0);
static TOUCHED: AtomicUsize = AtomicUsize::new(0);
/// The handler that was there before the embedder's.
static BEFORE: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn embedder(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: called as a handler.
    unsafe {
        let address = (*info).si_addr() as usize;
        let page = PAGE.load(Ordering::Relaxed);
        if address.wrapping_sub(page) < 4096 {
            TOUCHED.fetch_add(1, Ordering::Relaxed);
            let page = ptr::with_exposed_provenance_mut(page);
            assert_eq!(libc::mprotect(page, 4096, libc::PROT_READ), 0);
            return;
        }
        type Handler = unsafe extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
        let before = BEFORE.load(Ordering::Relaxed);
        if before > 1 {
            return mem::transmute::<usize, Handler>(before)(signal, info, context);
        }
        libc::signal(signal, libc::SIG_DFL);
    }
}

fn install(signal: i32, handler: usize, flags: i32) -> usize {
    // SAFETY: plain structures; the handler is one of this file.
    unsafe {
        let mut new: libc::sigaction = mem::zeroed();
        let mut old: libc::sigaction = mem::zeroed();
        new.sa_sigaction = handler;
        new.sa_flags = flags | libc::SA_SIGINFO | libc::SA_RESTART;
        assert_eq!(libc::sigaction(signal, &new, &mut old), 0);
        old.sa_sigaction
    }
}

/// An embedder that has a handler of its own for faults gets its own faults, and no others; guests' are traps all the
/// same. Its handler may have been there first, or have come later and pass on what is not its own.
#[test]
fn t1_t3_an_embedders_handler_gets_its_own_faults_and_no_others() {
    let test = "t1_t3_an_embedders_handler_gets_its_own_faults_and_no_others";
    if let Some(word) = word() {
        // SAFETY: a page of our own.
        let page = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(ptr::null_mut(), 4096, libc::PROT_NONE, flags, -1, 0)
        };
        PAGE.store(page.expose_provenance(), Ordering::Relaxed);
        let close = || {
            // SAFETY: the page is ours.
            assert_eq!(unsafe { libc::mprotect(page, 4096, libc::PROT_NONE) }, 0);
        };
        let flags = if word.ends_with("alternate") { libc::SA_ONSTACK } else { 0 };
        let handler = embedder as *const () as usize;
        if word.starts_with("before") {
            install(libc::SIGSEGV, handler, flags);
        }
        let engine = engine_with(Kind::Compiled, |_| {});
        let touch = || {
            let page: *const u8 = ptr::with_exposed_provenance(PAGE.load(Ordering::Relaxed));
            // SAFETY: the handler opens the page.
            i32::from(unsafe { page.read_volatile() }) + 9
        };
        let (mut store, instance) = prepared(&engine, touch);
        // The handlers of the engine are installed with its first entry.
        assert_eq!(invoke(&mut store, instance, "div", &[Val::I32(2)]), Ok(vec![5]));
        if word.starts_with("after") {
            BEFORE.store(
                install(libc::SIGSEGV, handler, flags | libc::SA_ONSTACK),
                Ordering::Relaxed,
            );
        }
        for round in 1..20 {
            close();
            assert_eq!(invoke(&mut store, instance, "host", &[]), Ok(vec![9]));
            assert_eq!(TOUCHED.load(Ordering::Relaxed), round * 2 - 1);
            all_traps(&mut store, instance);
            close();
            assert_eq!(touch(), 9);
            assert_eq!(TOUCHED.load(Ordering::Relaxed), round * 2);
        }
        std::process::exit(0);
    }
    for when in ["before", "after", "before-alternate", "after-alternate"] {
        let status = child(test, when);
        assert_eq!(status.code(), Some(0), "{when}: {status:?}");
    }
}

static ALARMS: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn alarm(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    ALARMS.fetch_add(1, Ordering::Relaxed);
    // Some of the stack is used, as handlers do.
    let mut some = [1u8; 2_000];
    std::hint::black_box(&mut some);
}

const WORK: &str = r#"(module (memory 1)
    (func (export "sort") (param i32) (result i64) (local i32 i32 i64 i32)
        (local.set 3 (i64.const 88172645463325252))
        (loop $fill
            (local.set 3 (i64.xor (local.get 3) (i64.shl (local.get 3) (i64.const 13))))
            (local.set 3 (i64.xor (local.get 3) (i64.shr_u (local.get 3) (i64.const 7))))
            (local.set 3 (i64.xor (local.get 3) (i64.shl (local.get 3) (i64.const 17))))
            (i64.store (i32.shl (local.get 1) (i32.const 3)) (local.get 3))
            (br_if $fill (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (local.get 0))))
        (local.set 1 (i32.const 1))
        (loop $outer
            (local.set 2 (local.get 1))
            (local.set 3 (i64.load (i32.shl (local.get 1) (i32.const 3))))
            (block $placed (loop $inner
                (br_if $placed (i32.eqz (local.get 2)))
                (local.set 4 (i32.shl (i32.sub (local.get 2) (i32.const 1)) (i32.const 3)))
                (br_if $placed (i64.le_u (i64.load (local.get 4)) (local.get 3)))
                (i64.store offset=8 (local.get 4) (i64.load (local.get 4)))
                (local.set 2 (i32.sub (local.get 2) (i32.const 1)))
                (br $inner)))
            (i64.store (i32.shl (local.get 2) (i32.const 3)) (local.get 3))
            (br_if $outer (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (local.get 0))))
        (local.set 1 (i32.const 0)) (local.set 3 (i64.const 0))
        (loop $sum
            (local.set 3 (i64.add (i64.rotl (local.get 3) (i64.const 5))
                (i64.load (i32.shl (local.get 1) (i32.const 3)))))
            (br_if $sum (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (local.get 0))))
        (local.get 3))
    (func $fib (export "fib") (param i32) (result i64)
        (if (result i64) (i32.lt_u (local.get 0) (i32.const 2)) (then (i64.extend_i32_u (local.get 0)))
            (else (i64.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
    (func (export "floats") (param i32) (result i64) (local f64 v128)
        (loop $l
            (local.set 1 (f64.add (f64.sqrt (f64.add (local.get 1) (f64.const 1.5))) (f64.const 0.25)))
            (local.set 2 (f64x2.add (local.get 2) (f64x2.splat (local.get 1))))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (i64.xor (i64.reinterpret_f64 (local.get 1)) (i64x2.extract_lane 1 (local.get 2))))
    (type $node (struct (field (ref null $node)) (field i64)))
    (func (export "list") (param i32) (result i64) (local (ref null $node) i64)
        (loop $l
            (local.set 1 (struct.new $node (local.get 1) (i64.extend_i32_u (local.get 0))))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (loop $l
            (local.set 2 (i64.add (local.get 2) (struct.get $node 1 (local.get 1))))
            (local.set 1 (struct.get $node 0 (local.get 1)))
            (br_if $l (i32.eqz (ref.is_null (local.get 1)))))
        (local.get 2))
    (func $deep (export "deep") (param i32) (result i64)
        (i64.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i64.const 1)))
    (func (export "oob") (param i32) (result i64) (i64.load (i32.sub (i32.const 0) (local.get 0)))))"#;

const JOBS: [(&str, i32); 6] =
    [("sort", 3_000), ("fib", 22), ("floats", 50_000), ("list", 20_000), ("deep", 0), ("oob", 9)];

/// Signals that come all the time, on the guest's own stack or on another, change no result.
#[test]
fn t3_a_storm_of_alarms_changes_no_result() {
    let test = "t3_a_storm_of_alarms_changes_no_result";
    if let Some(word) = word() {
        let flags = if word.ends_with("alternate") { libc::SA_ONSTACK } else { 0 };
        let handler = alarm as *const () as usize;
        let judge = engine_with(Kind::TailCall, |_| {});
        let run = |engine: &Engine| {
            let mut store = store(engine);
            let instance = link(&Linker::new(engine), &mut store, WORK);
            JOBS.map(|(name, arg)| invoke(&mut store, instance, name, &[Val::I32(arg)]))
        };
        let expected = run(&judge);
        assert_eq!(expected[1], Ok(vec![17_711]));
        assert_eq!(expected[4], Err(TrapCode::StackOverflow));
        if word.starts_with("after") {
            assert_eq!(run(&engine_with(Kind::Compiled, |_| {})), expected);
        }
        install(libc::SIGALRM, handler, flags);
        let done = AtomicBool::new(false);
        // SAFETY: asks who this thread is.
        let me = unsafe { libc::pthread_self() } as usize;
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // SAFETY: that thread waits for this one.
                    unsafe { libc::pthread_kill(me as libc::pthread_t, libc::SIGALRM) };
                    thread::yield_now();
                }
            });
            for kind in COMPILING {
                for fuel in [false, true] {
                    let engine = engine_with(kind, |config| {
                        config.consume_fuel(fuel).gc_stress(false).paranoid(false);
                    });
                    for _ in 0..3 {
                        assert_eq!(run(&engine), expected, "{kind:?} {fuel}");
                    }
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(ALARMS.load(Ordering::Relaxed) > 10);
        std::process::exit(0);
    }
    for when in ["before", "after", "before-alternate", "after-alternate"] {
        let status = child(test, when);
        assert_eq!(status.code(), Some(0), "{when}: {status:?}");
    }
}

/// Where address space has become short, a memory has no reservation, and code that relies on one must not run on
/// it, although other instances of the module have it.
#[test]
fn m1_an_instance_without_a_reservation_runs_code_that_compares() {
    let test = "m1_an_instance_without_a_reservation_runs_code_that_compares";
    if let Some(word) = word() {
        let kind = if word == "compiled" { Kind::Compiled } else { Kind::Tiering };
        let engine = engine_with(kind, |config| {
            let tuning = Tuning { threshold: 2, wait: true, ..Tuning::default() };
            config.tuning(tuning);
        });
        let text = r#"(module (memory (export "memory") 1 4)
            (func $load (export "inner") (param i32) (result i32) (i32.load (local.get 0)))
            (func $f (export "load") (param i32) (result i32) (call $load (local.get 0)))
            (func (export "store") (param i32)
                (i32.store (local.get 0) (i32.const 0x41414141))))"#;
        let module = palisade_tests::module(&engine, text);
        let check = |store: &mut Store<()>| {
            let instance = palisade::Instance::new(&mut *store, &module, &[]).expect("an instance");
            for _ in 0..3 {
                for (address, good) in [
                    (1 << 20, false),
                    (0, true),
                    (65_532, true),
                    (65_533, false),
                    (-4, false),
                    (i32::MIN, false),
                ] {
                    // At first the outer function is still interpreted, and the inner one is not.
                    for name in ["inner", "inner", "inner", "load"] {
                        let outcome = invoke(&mut *store, instance, name, &[Val::I32(address)]);
                        let expected =
                            if good { Ok(vec![0]) } else { Err(TrapCode::MemoryOutOfBounds) };
                        assert_eq!(outcome, expected, "{name} {address}");
                    }
                    if !good {
                        let outcome = invoke(&mut *store, instance, "store", &[Val::I32(address)]);
                        assert_eq!(outcome, Err(TrapCode::MemoryOutOfBounds), "{address}");
                    }
                }
            }
        };
        let mut first = store(&engine);
        check(&mut first);
        // From here on there is room for some megabytes, and for no reservation.
        let pages = std::fs::read_to_string("/proc/self/statm").expect("sizes");
        let used: u64 = pages.split(' ').next().expect("a number").parse().expect("a number");
        let most = used * 4096 + (256 << 20);
        // SAFETY: lowers a limit of this process.
        unsafe {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
            assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limit), 0);
        }
        let guarded = engine.compile_stats().compiled;
        let mut second = store(&engine);
        check(&mut second);
        assert_eq!(engine.compile_stats().compiled, 2 * guarded, "there are two versions");
        check(&mut first);
        check(&mut second);
        std::process::exit(0);
    }
    for word in ["compiled", "tiering"] {
        let status = child(test, word);
        assert_eq!(status.code(), Some(0), "{word}: {status:?}");
    }
}
