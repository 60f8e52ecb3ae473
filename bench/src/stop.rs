//! How soon a guest ends once it is to: from the request of another thread, or from its deadline, to the return of
//! the call, in whatever it is doing then. The aim is 50 ms.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use palisade::{Config, Engine, Linker, Module, Store, Strategy, TrapCode};
use palisade_wasi::{Caps, Preopen, Stdio, Wasi, WasiCtx};

/// How long a guest runs before it is stopped, so that it is in the middle of what it does.
const BEFORE: Duration = Duration::from_millis(30);

/// What a guest does without end, and how much memory it has, in pages.
struct Endless(&'static str, u32, &'static str);

const ENDLESS: &[Endless] = &[
    Endless("a loop", 1, "(loop (br 0))"),
    Endless("recursion", 1, "(loop (drop (call $fib (i32.const 30))) (br 0))"),
    Endless(
        "filling 4 GiB",
        65536,
        "(loop (memory.fill (i32.const 0) (i32.const 0) (i32.const 0xffffffff)) (br 0))",
    ),
    Endless(
        "making objects",
        1,
        "(local $l (ref null $node)) (loop (local.set $l (struct.new $node (local.get $l)))
           (br_if 1 (i32.eqz (i32.const 1))) (local.set $l (ref.null $node)) (br 0))",
    ),
    Endless("sleeping", 1, "(drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 40)))"),
    Endless("reading a silent pipe", 1, "(drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 40)))"),
    Endless("writing to a full pipe", 1, "(loop (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 40))) (br 0))"),
    Endless(
        "writing 64 MiB to a file",
        1100,
        "(i32.store (i32.const 4) (i32.const 0x4000000))
         (drop (call $open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 4) (i32.const 1)
           (i64.const 68) (i64.const 0) (i32.const 0) (i32.const 40)))
         (loop (drop (call $pwrite (i32.const 4) (i32.const 0) (i32.const 1) (i64.const 0) (i32.const 44))) (br 0))",
    ),
    Endless("random bytes, 64 MiB", 1100, "(loop (drop (call $random (i32.const 1024) (i32.const 0x4000000))) (br 0))"),
    Endless(
        "listing 20,000 files",
        100,
        "(loop (drop (call $list (i32.const 3) (i32.const 1024) (i32.const 4000000) (i64.const 0) (i32.const 40))) (br 0))",
    ),
    Endless(
        "opening files",
        1,
        "(loop (drop (call $open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 4) (i32.const 0)
           (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 40)))
           (drop (call $close (i32.const 4))) (br 0))",
    ),
];

fn module(Endless(_, pages, body): &Endless) -> String {
    format!(
        r#"(module
          (type $node (struct (field (ref null $node))))
          (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_pwrite"
            (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
          (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_readdir"
            (func $list (param i32 i32 i32 i64 i32) (result i32)))
          (memory (export "memory") {pages})
          (data (i32.const 0) "\00\04\00\00\10\00\00\00")
          (data (i32.const 32) "made")
          (data (i32.const 80) "\01\00\00\00")
          (data (i32.const 88) "\00\a0\b8\30\46\03\00\00")
          (func $fib (param i32) (result i32)
            (if (result i32) (i32.lt_s (local.get 0) (i32.const 2)) (then (local.get 0))
              (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
          (func (export "f") {body}))"#
    )
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe")
}

/// Seconds from the moment at which the guest was to end to the moment at which it had ended.
fn once(engine: &Engine, module: &Module, folder: &Path, by_deadline: bool) -> f64 {
    let ((silent, _kept), (_full, sink)) = (pipe(), pipe());
    let wasi = WasiCtx::builder()
        .caps(Caps::ALL)
        .preopen(Preopen::new(folder, "/"))
        .stdin(Stdio::Fd(silent))
        .stdout(Stdio::Fd(sink))
        .build()
        .expect("a context");
    let mut linker = Linker::new(engine);
    palisade_wasi::add_to_linker(&mut linker, |wasi| wasi).expect("WASI");
    let mut store = Store::new(engine, Wasi::new(wasi));
    let instance = linker.instantiate(&mut store, module).expect("an instance");
    let f = instance.get_typed_func::<(), ()>(&mut store, "f").expect("f");
    let handle = store.interrupt_handle();
    let deadline = Instant::now() + BEFORE;
    if by_deadline {
        store.set_deadline(Some(deadline)).expect("a timer");
    }
    std::thread::scope(|scope| {
        let guest = scope.spawn(move || {
            let ended = f.call(&mut store, ()).expect_err("it has no end");
            (Instant::now(), ended.trap_code())
        });
        let asked = if by_deadline {
            deadline
        } else {
            std::thread::sleep(BEFORE);
            let now = Instant::now();
            handle.interrupt(TrapCode::Interrupted);
            now
        };
        let (ended, code) = guest.join().expect("no panic");
        let wanted = if by_deadline { TrapCode::DeadlineExceeded } else { TrapCode::Interrupted };
        assert_eq!(code, Some(wanted));
        ended.saturating_duration_since(asked).as_secs_f64()
    })
}

/// Prints the median and the worst of `rounds` for each.
pub fn run(rounds: usize, names: &[String]) {
    let folder = std::env::temp_dir().join(format!("palisade-stop-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a temporary directory");
    for number in 0..20_000 {
        std::fs::write(folder.join(format!("file{number}")), "").expect("a file");
    }
    println!(
        "milliseconds from the request, and from the deadline, to the end: median, worst of {rounds}"
    );
    println!("{:28} {:>12} {:>18} {:>18}", "", "engine", "interrupted", "deadline");
    for endless in ENDLESS {
        if !names.is_empty() && !names.iter().any(|name| endless.0.contains(&**name)) {
            continue;
        }
        for (name, strategy) in
            [("interpreter", Strategy::Interpreter), ("compiled", Strategy::Compiled)]
        {
            let engine = Engine::new(Config::new().strategy(strategy)).expect("an engine");
            let module = Module::new(&engine, module(endless)).expect("a module");
            let line: Vec<String> = [false, true]
                .into_iter()
                .map(|by_deadline| {
                    let mut times: Vec<f64> = (0..rounds.max(1))
                        .map(|_| 1e3 * once(&engine, &module, &folder, by_deadline))
                        .collect();
                    times.sort_by(f64::total_cmp);
                    format!("{:8.2} {:8.2}", times[times.len() / 2], times[times.len() - 1])
                })
                .collect();
            println!("{:28} {name:>12} {:>18} {:>18}", endless.0, line[0], line[1]);
        }
    }
    std::fs::remove_dir_all(&folder).expect("the directory is ours");
}
