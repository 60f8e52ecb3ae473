//! The second wall, through the command: what it changes (nothing that a guest may do), what it says, and what is so in
//! the process while a guest runs. That native code finds no way out is shown by the tests of `palisade-lockdown`.
//!
//! Kernels that lack a part are played by filters around the command, which answer as such kernels do.

#![cfg(target_arch = "x86_64")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{ENDLESS, Ended, Place, programs, ready_then};
use palisade_lockdown::Support;
use rustix::process::{Pid, Signal};
use seccompiler::{SeccompAction, SeccompFilter, TargetArch};
use serde_json::Value;

/// Whether this kernel has all of the lock; if not, says what is not run.
fn whole() -> bool {
    let missing = Support::probe().missing();
    for gap in &missing {
        println!("not run: this kernel lacks {gap}");
    }
    missing.is_empty()
}

/// Runs `start` below a filter that makes these calls fail.
fn without<T: Send>(calls: &[libc::c_long], errno: i32, start: impl FnOnce() -> T + Send) -> T {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let action = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, TargetArch::x86_64);
    let program: seccompiler::BpfProgram = filter.expect("rules").try_into().expect("a filter");
    // A filter stays with its thread, and with what the thread starts.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            seccompiler::apply_filter(&program).expect("filters work");
            start()
        });
        thread.join().expect("no panic")
    })
}

const LANDLOCK: [libc::c_long; 3] = [
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
];

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

/// What is in a directory: links with where they lead, files with their bytes.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in std::fs::read_dir(next).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(dir).expect("beneath").display().to_string();
            let what = if path.is_symlink() {
                std::fs::read_link(&path).expect("a link").into_os_string().into_encoded_bytes()
            } else if path.is_dir() {
                todo.push(path);
                b"a directory".to_vec()
            } else {
                std::fs::read(&path).expect("a file")
            };
            found.insert(name, what);
        }
    }
    found
}

/// Runs a case of the manifest, and gives everything that can be seen of it.
fn run_case(case: &Value, flags: &[&str]) -> (Ended, BTreeMap<String, Vec<u8>>) {
    let place = Place::new();
    let dir = place.path().join("dir");
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::write(place.path().join("secret"), "secret").expect("a file");
    for (path, what) in case["files"].as_object().into_iter().flatten() {
        let full = dir.join(path);
        std::fs::create_dir_all(full.parent().expect("a parent")).expect("a directory");
        match what {
            Value::String(content) => std::fs::write(&full, content).expect("a file"),
            other => std::os::unix::fs::symlink(text(other, "symlink"), &full).expect("a link"),
        }
    }
    let mut command = place.command();
    command.arg("run").arg(programs().join(text(case, "file"))).args(flags).arg("--sandbox");
    for capability in case["capabilities"].as_array().into_iter().flatten() {
        command.arg(format!("--allow-{}", capability.as_str().expect("text")));
    }
    if case["dir"].as_bool() == Some(true) {
        command.args(["--dir", "dir::."]);
    }
    command
        .arg("--")
        .args(case["args"].as_array().into_iter().flatten().map(|arg| arg.as_str().expect("text")));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let input = text(case, "stdin").to_owned();
    let mut stdin = child.stdin.take().expect("a pipe");
    // The guest may have ended without reading.
    let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
    drop(stdin);
    let ended: Ended = child.wait_with_output().expect("the command ends").into();
    (ended, contents(&dir))
}

/// Everything that WASI does with files, and some that computes, in each engine.
#[test]
fn programs_do_the_same_behind_the_wall() {
    let manifest = std::fs::read_to_string(programs().join("manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let others = ["args", "bf-count", "json-large", "wc-stdin", "deep-memory", "probe-poll"];
    let mut ran = 0;
    for case in manifest["cases"].as_array().expect("cases") {
        let name = text(case, "name");
        let in_directory = case["dir"].as_bool() == Some(true);
        if !(in_directory || others.contains(&name)) || case["invoke"].is_string() {
            continue;
        }
        for engine in ["interp", "auto", "jit"] {
            let open = run_case(case, &["--engine", engine, "--no-lockdown"]);
            let locked = run_case(case, &["--engine", engine, "--lockdown"]);
            assert_eq!(open.0.stdout, locked.0.stdout, "{name} {engine}");
            assert_eq!((open.0.code, open.0.signal), (locked.0.code, locked.0.signal), "{name}");
            assert!(open.1 == locked.1, "{name} {engine}: {:?} {:?}", open.1, locked.1);
            if whole() {
                assert_eq!(open.0.stderr, locked.0.stderr, "{name} {engine}");
            }
            ran += 1;
        }
    }
    assert!(ran >= 60, "{ran} runs");
}

/// What a guest can try with two directories.
const OPERATIONS: &str = "open:3:a.txt:r read:$:3 open:3:a.txt:w open:3:a.txt:wt open:3:new:wc write:$:x close:$ \
    open:3:n2:c open:3:a.txt: open:3:sub:d open:3:sub:rd readdir:$ stat:3:a.txt mkdir:3:d \
    rename:3:a.txt:4:moved stat:4:moved rename:4:moved:3:a.txt link:3:a.txt:4:hard symlink:a.txt:3:soft \
    readlink:3:soft open:3:soft:rf open:4:b.txt:r rename:3:sub:4:sub2 open:4:sub2/b.txt:r unlink:3:a.txt \
    rmdir:3:d utimes:4:b.txt:0:0:5 unlink:4:b.txt stat:3:fifo rename:3:fifo:4:fifo open:3:new:wca";

/// The kernel's rules are those of WASI, whatever was granted: files move between directories, and no error changes.
#[test]
fn every_combination_of_permissions_does_the_same_behind_the_wall() {
    let run = |flags: &[&str]| {
        let place = Place::new();
        let make = |name: &str| std::fs::create_dir_all(place.path().join(name)).expect("one");
        make("a/sub");
        make("b");
        for name in ["a/a.txt", "a/sub/b.txt", "b/b.txt"] {
            place.file(name, "hello");
        }
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let fifo = place.path().join("a/fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0)
            .expect("a FIFO");
        let mut command = place.command();
        command.arg(programs().join("probe.wasm")).args(["--sandbox", "--engine", "interp"]);
        command.args(flags).arg("--").args(OPERATIONS.split_whitespace());
        let ended: Ended = command.output().expect("the command starts").into();
        let ended = ended.code(0);
        (ended.stdout, std::fs::read_dir(place.path().join("b")).expect("it is there").count())
    };
    let allows = ["--allow-read", "--allow-write", "--allow-path"];
    for chosen in 0..8u8 {
        let allowed = allows.iter().enumerate().filter(|(bit, _)| chosen & (1 << bit) != 0);
        let allowed: Vec<&str> = allowed.map(|(_, flag)| *flag).collect();
        for (first, second) in [("a", "b"), ("a:ro", "b"), ("a", "b:ro"), ("a:ro", "b:ro")] {
            let mut flags = vec!["--dir", first, "--dir", second, "--no-lockdown"];
            flags.extend(&allowed);
            let open = run(&flags);
            flags.retain(|flag| *flag != "--no-lockdown");
            assert_eq!(open, run(&flags), "{flags:?}");
        }
    }
}

/// Starts a guest that says `ready` and then sleeps.
fn sleeping(place: &Place, prefix: &str, flags: &str) -> Child {
    place.file("sleep.wat", ready_then(ENDLESS[1].1));
    let program = env!("CARGO_BIN_EXE_palisade");
    let script = format!("exec {program} sleep.wat --timeout 60s {flags} {prefix}");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(place.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("sh");
    let mut line = String::new();
    let out = child.stdout.as_mut().expect("a pipe");
    BufReader::new(out).read_line(&mut line).expect("the guest speaks");
    assert_eq!(line, "ready\n", "{:?}", child.wait_with_output());
    child
}

fn end(mut child: Child, wanted: i32) {
    rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).expect("it is there");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(wanted), "{status:?}");
}

/// The lines of `/proc/PID/task/*/status` that begin with `key`, without it. A thread that ends
/// between the listing and the reading (one that compiled, say) has none.
fn of_all_threads(child: &Child, key: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("tasks");
    let status = |task: std::fs::DirEntry| {
        let text = match std::fs::read_to_string(task.path().join("status")) {
            Ok(text) => text,
            Err(err) if err.kind() == ErrorKind::NotFound => return None,
            Err(err) if err.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                return None;
            }
            Err(err) => panic!("{}: {err}", task.path().display()),
        };
        let line = text.lines().find_map(|line| line.strip_prefix(key).map(str::trim));
        Some(line.unwrap_or("missing").to_owned())
    };
    tasks.filter_map(|task| status(task.expect("a task"))).collect()
}

#[test]
fn every_thread_of_a_locked_process_is_locked() {
    if !whole() {
        return;
    }
    let place = Place::new();
    for flags in ["--sandbox", "--sandbox --engine interp", "--lockdown --engine jit"] {
        let child = sleeping(&place, "", flags);
        let filters = of_all_threads(&child, "Seccomp:");
        assert!(filters.len() > 1 && filters.iter().all(|mode| mode == "2"), "{filters:?}");
        assert!(of_all_threads(&child, "NoNewPrivs:").iter().all(|on| on == "1"));
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id()));
        let limits = limits.expect("limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        assert!(core.is_some_and(|line| line.split_whitespace().nth(5) == Some("0")), "{core:?}");
        end(child, 143);
    }
    for flags in ["", "--sandbox --no-lockdown"] {
        let child = sleeping(&place, "", flags);
        let own = std::fs::read_to_string("/proc/self/status").expect("a status");
        let own = own.lines().find_map(|line| line.strip_prefix("Seccomp:")).expect("a line");
        assert!(of_all_threads(&child, "Seccomp:").iter().all(|mode| mode == own.trim()));
        end(child, 143);
    }
}

#[test]
fn descriptors_from_outside_are_closed() {
    let place = Place::new();
    place.file("other", "what somebody forgot to close");
    for (flags, there) in [("--no-lockdown", true), ("--lockdown", false)] {
        let child = sleeping(&place, "7<other", flags);
        let forgotten = std::fs::read_link(format!("/proc/{}/fd/7", child.id()));
        assert_eq!(forgotten.is_ok_and(|to| to.ends_with("other")), there, "{flags}");
        end(child, 143);
    }
}

#[test]
fn signals_and_deadlines_work_behind_the_wall() {
    let place = Place::new();
    for (name, body) in ENDLESS {
        place.file("endless.wat", ready_then(body));
        for engine in ["interp", "auto", "jit"] {
            let mut command = place.command();
            command.args(["endless.wat", "--lockdown", "--timeout", "60s", "--engine", engine]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("the command starts");
            let _keep_open = child.stdin.take();
            let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
            let mut line = String::new();
            out.read_line(&mut line).expect("the guest speaks");
            assert_eq!(line, "ready\n", "{name}");
            rustix::process::kill_process(Pid::from_child(&child), Signal::INT).expect("there");
            let ended: Ended = child.wait_with_output().expect("the command ends").into();
            ended.code(130).says(&["endless.wat", "Ctrl-C"]);

            let mut command = place.command();
            command.args(["endless.wat", "--lockdown", "--timeout", "50ms", "--engine", engine]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("the command starts");
            let _keep_open = child.stdin.take();
            let ended: Ended = child.wait_with_output().expect("the command ends").into();
            ended.code(124).says(&["deadline"]);
        }
    }
}

#[test]
fn loading_ends_by_signals_and_deadlines_behind_the_wall() {
    let place = Place::new();
    let fifo = place.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a FIFO");
    place.line("fifo --lockdown --timeout 50ms").code(124).says(&["while modules were loaded"]);
    let mut command = place.command();
    command.args(["fifo", "--lockdown", "--timeout", "60s"]);
    let mut child = command.spawn().expect("the command starts");
    let writer = std::fs::OpenOptions::new().write(true).open(&fifo).expect("a reader comes");
    rustix::process::kill_process(Pid::from_child(&child), Signal::INT).expect("it is there");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    drop(writer);
    // A module that comes through it is read to its end.
    let mut command = place.command();
    command.args(["fifo", "--lockdown", "--invoke", "f", "--timeout", "60s"]);
    command.stdout(Stdio::piped());
    let child = command.spawn().expect("the command starts");
    std::fs::write(&fifo, r#"(module (func (export "f") (result i32) i32.const 7))"#)
        .expect("it reads");
    let ended: Ended = child.wait_with_output().expect("the command ends").into();
    ended.code(0).prints("7\n");
}

#[test]
fn a_closed_pipe_ends_a_locked_guest_quietly() {
    let place = Place::new();
    let hog = place.program("hog");
    let mut command = place.command();
    command.args([&hog, "write", "1000000000", "--lockdown", "--timeout", "60s"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut out = child.stdout.take().expect("a pipe");
    out.read_exact(&mut [0; 64]).expect("the guest writes");
    drop(out);
    let ended: Ended = child.wait_with_output().expect("the command ends").into();
    assert_eq!(ended.signal, Some(Signal::PIPE.as_raw()), "{ended:#?}");
}

const SEVEN: &str = r#"(module (func (export "f") (result i32) i32.const 7))"#;

#[test]
fn what_the_kernel_gave_is_told() {
    let place = Place::new();
    place.file("m.wat", SEVEN);
    let support = Support::probe();
    let line = |flags: &str| {
        let ended = place.line(&format!("m.wat --invoke f --stats {flags}")).code(0).prints("7\n");
        let line = ended.stderr.lines().find_map(|line| line.trim().strip_prefix("lockdown"));
        line.expect("a line").trim().to_owned()
    };
    assert_eq!(line(""), "off");
    assert_eq!(line("--sandbox --no-lockdown"), "off");
    for flags in ["--sandbox", "--lockdown"] {
        let said = line(flags);
        assert!(said.contains(&support.landlock()), "{said}");
        assert!(said.contains("no core dumps"), "{said}");
    }
    let features = place.line("features").code(0).stdout;
    assert!(features.contains(&support.landlock()) && features.contains("seccomp"), "{features}");
    let json: Value = serde_json::from_str(&place.line("features --json").stdout).expect("JSON");
    assert_eq!(json["system"]["landlock"], support.landlock_abi);
    assert_eq!(json["system"]["seccomp"], support.seccomp);
    let missing = json["system"]["lockdown lacks"].as_array().expect("a list");
    assert_eq!(missing.len(), support.missing().len());
}

#[test]
fn flags_that_contradict_each_other_are_wrong_usage() {
    let place = Place::new();
    place.file("m.wat", SEVEN);
    for flags in ["--lockdown --no-lockdown", "--require-lockdown --no-lockdown"] {
        place.line(&format!("m.wat --invoke f {flags}")).code(2).says(&["--no-lockdown"]);
    }
}

#[test]
fn a_kernel_without_landlock_is_told_once_and_refused_on_demand() {
    let place = Place::new();
    place.file("m.wat", SEVEN);
    let run = |flags: &str| {
        without(&LANDLOCK, libc::EOPNOTSUPP, || place.line(&format!("m.wat --invoke f {flags}")))
    };
    for flags in ["--sandbox", "--lockdown"] {
        let ended = run(flags).code(0).prints("7\n");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:#?}");
        assert!(ended.stderr.contains("Landlock"), "{ended:#?}");
    }
    run("--sandbox --no-lockdown").code(0).prints("7\n").quietly();
    run("").code(0).quietly();
    run("--require-lockdown").code(125).says(&["Landlock", "hint"]);
    let stats = run("--sandbox --stats").code(0).stderr;
    assert!(stats.contains("not in this kernel") && stats.contains("calls filtered"), "{stats}");
    let features = without(&LANDLOCK, libc::ENOSYS, || place.line("features"));
    assert!(features.code(0).stdout.contains("incomplete"));
}

#[test]
fn a_kernel_without_seccomp_is_told_once_and_refused_on_demand() {
    let place = Place::new();
    place.file("m.wat", SEVEN);
    let run = |flags: &str| {
        without(&[libc::SYS_seccomp], libc::ENOSYS, || {
            place.line(&format!("m.wat --invoke f {flags}"))
        })
    };
    let ended = run("--sandbox").code(0).prints("7\n");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:#?}");
    assert!(ended.stderr.contains("seccomp"), "{ended:#?}");
    run("--require-lockdown").code(125).says(&["seccomp", "hint"]);
    run("--no-lockdown --sandbox").code(0).quietly();
}
