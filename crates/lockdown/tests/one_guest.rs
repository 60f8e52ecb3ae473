//! The example of `docs/embedding.md`: a process that runs one guest and locks itself in first. It compiles, runs, and
//! stands there as it stands here.
//!
//! A test of its own kind, without the usual harness, which starts threads: the process that locks itself is this
//! program again, and has none.

use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode};

use palisade::{Engine, Linker, Module, Store};
use palisade_lockdown::{Lockdown, Profile, Report, Rights};
use palisade_wasi::{Caps, OutputBuffer, Preopen, Stdio, Wasi, WasiCtx};

/// Runs a module that may read `data`, in a process that can do nothing else, and gives what it printed.
fn locked(plugin: &Path, data: &Path, args: &[&str]) -> palisade::Result<(Vec<u8>, Report)> {
    // example: begin
    // What this process needs by name is opened first.
    let mut plugin = std::fs::File::open(plugin)?;
    let output = OutputBuffer::new(1 << 20);
    let wasi = WasiCtx::builder()
        .args(args)
        .caps(Caps::READ)
        .preopen(Preopen::new(data, "/data").read_only())
        .stdout(Stdio::Buffer(output.clone()))
        .build()?;
    // Then the lock, from the directories that the guest is given. No other thread may run yet.
    let granted: Vec<_> = wasi.granted_directories().map(|directory| directory.fd).collect();
    let mut lock = Lockdown::builder().profile(Profile::Compiler);
    for directory in &granted {
        lock = lock.directory(directory, Rights::READ);
    }
    let report = lock.enforce()?;
    for gap in report.missing() {
        eprintln!("this kernel lacks a part of the lock: {gap}");
    }
    // Then everything that looks at what nobody has read.
    let mut bytes = Vec::new();
    plugin.read_to_end(&mut bytes)?;
    let engine = Engine::default();
    let module = Module::new(&engine, bytes)?;
    let mut linker = Linker::new(&engine);
    palisade_wasi::add_to_linker(&mut linker, |wasi| wasi)?;
    let mut store = Store::new(&engine, Wasi::new(wasi));
    store.set_timeout(Some(std::time::Duration::from_secs(10)))?;
    let instance = linker.instantiate(&mut store, &module)?;
    instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())?;
    // example: end
    Ok((output.contents(), report))
}

/// In the process of its own.
fn inside(base: &Path) -> palisade::Result<()> {
    let program = base.join("wc.wasm");
    let (printed, report) = locked(&program, &base.join("data"), &["wc", "/data/words"])?;
    let printed = String::from_utf8(printed)?;
    assert!(printed.contains("words") && printed.contains('3'), "{printed}");
    if report.seccomp {
        // What the embedder itself does is held to the same.
        assert!(std::fs::File::open(base.join("secret")).is_err());
        assert!(std::fs::File::open(base.join("data/words")).is_err());
        assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err());
    }
    std::thread::spawn(|| ()).join().expect("threads can still be started");
    Ok(())
}

/// What the test looks like to the tools that run tests.
const NAME: &str = "a_process_that_runs_one_guest_locks_itself_in";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        if !words.iter().any(|word| word == "--ignored") {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }
    if let [word, base] = words.as_slice()
        && word == "inside"
    {
        return match inside(Path::new(base)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let named = |word: &String| !word.starts_with('-');
    if words.iter().any(|word| named(word) && !NAME.contains(word.as_str())) {
        println!("\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored");
        return ExitCode::SUCCESS;
    }
    test();
    println!(
        "\nrunning 1 test\ntest {NAME} ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored"
    );
    ExitCode::SUCCESS
}

fn test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let source = std::fs::read_to_string(file_of_this_test()).expect("this file");
    let (_, rest) = source.split_once("// example: begin\n").expect("a begin");
    let (example, _) = rest.split_once("    // example: end").expect("an end");
    let page = std::fs::read_to_string(root.join("docs/embedding.md")).expect("a page");
    assert!(page.contains(example), "docs/embedding.md has another example of a locked process");

    let base = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(base.path().join("data")).expect("a directory");
    std::fs::write(base.path().join("data/words"), "one two three\n").expect("a file");
    std::fs::write(base.path().join("secret"), "secret").expect("a file");
    let program = root.join("tests/programs/wc.wasm");
    std::fs::copy(program, base.path().join("wc.wasm")).expect("a program");
    let this = std::env::current_exe().expect("this program");
    let status = Command::new(this).arg("inside").arg(base.path()).status().expect("it starts");
    assert!(status.success(), "{status:?}");
}

fn file_of_this_test() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/one_guest.rs")
}
