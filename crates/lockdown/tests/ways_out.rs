//! The lock, proved from inside: native code in a process that is locked as the command locks itself tries every way
//! out that `palisade-ways-out` knows, each in a process and a directory of its own, with both profiles and with no
//! directory, one to read, and one to write. What comes of each is compared with the table, and the table with the one
//! in `docs/lockdown.md`.

#![cfg(target_arch = "x86_64")]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use palisade_lockdown::Support;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

const PROBE: &str = env!("CARGO_BIN_EXE_palisade-ways-out");

/// The cases, as `list` orders them.
const CASES: [(&str, &str); 6] = [
    ("interpreter", "none"),
    ("interpreter", "ro"),
    ("interpreter", "rw"),
    ("compiler", "none"),
    ("compiler", "ro"),
    ("compiler", "rw"),
];

/// What refusal looks like: EPERM of the filter, EACCES and EXDEV of Landlock, ENOSYS of what is said not to exist.
const REFUSALS: [i32; 4] = [libc::EPERM, libc::EACCES, libc::EXDEV, libc::ENOSYS];

struct Way {
    name: String,
    wanted: Vec<String>,
}

fn probe(args: &[&str]) -> Output {
    Command::new(PROBE).args(args).stdin(Stdio::null()).output().expect("the probe starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn ways() -> Vec<Way> {
    let parse = |line: &str| {
        let mut parts = line.split('\t').map(str::to_owned);
        Way { name: parts.next().expect("a name"), wanted: parts.collect() }
    };
    stdout(&probe(&["list"])).lines().map(parse).collect()
}

/// A fresh place with everything that attempts aim at.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a directory");
    let base = place.path();
    let make = |name: &str| std::fs::create_dir(base.join(name)).expect("a directory");
    let write = |name: &str| std::fs::write(base.join(name), name).expect("a file");
    make("inside");
    make("outside");
    make("outside/empty");
    write("inside/file");
    write("outside/secret");
    write("outside/victim");
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, base.join(name)).expect("a link");
    };
    link("../outside/secret", "inside/way");
    link("secret", "outside/link");
    place
}

/// What lies outside is as it was.
fn untouched(base: &Path) -> bool {
    let same = |name: &str| std::fs::read(base.join(name)).is_ok_and(|b| b == name.as_bytes());
    let count = std::fs::read_dir(base.join("outside")).expect("it is there").count();
    same("outside/secret") && same("outside/victim") && count == 4
}

/// What came of an attempt, in a word, and whether the outside is untouched.
fn outcome(way: &str, case: (&str, &str), locked: bool) -> (String, bool) {
    let place = place();
    let base = place.path().to_str().expect("text");
    let mut args = vec!["try", way, case.0, case.1, base];
    if !locked {
        args.push("--without-lock");
    }
    let output = probe(&args);
    let word = match (output.status.code(), output.status.signal()) {
        (Some(0), _) => "possible".to_owned(),
        (Some(10), _) => match stdout(&output).parse::<i32>() {
            Ok(errno) if REFUSALS.contains(&errno) => "refused".to_owned(),
            _ => format!("fails with {}", stdout(&output)),
        },
        (_, Some(libc::SIGSYS)) => "ends".to_owned(),
        _ => format!("{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
    };
    (word, untouched(place.path()))
}

/// Runs `check` on every way, on as many threads as there are processors, and gives what it complains of.
fn on_all(ways: &[Way], check: impl Fn(&Way) -> Vec<String> + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || {
            let mut complaints = Vec::new();
            while let Some(way) = ways.get(next.fetch_add(1, Ordering::Relaxed)) {
                complaints.extend(check(way));
            }
            complaints
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|t| t.join().expect("no panic")).collect()
    })
}

/// Whether the kernel has all that the table speaks of.
fn kernel_can(what: &str) -> bool {
    let missing = Support::probe().missing();
    for gap in &missing {
        println!("not run: {what}: this kernel lacks {gap}");
    }
    missing.is_empty()
}

#[test]
fn native_code_in_a_locked_process_finds_no_way_out() {
    if !kernel_can("the ways out") {
        return;
    }
    let ways = ways();
    assert!(ways.len() >= 60, "{} ways", ways.len());
    let complaints = on_all(&ways, |way| {
        assert_eq!(way.wanted.len(), CASES.len(), "{}", way.name);
        let check = |(case, wanted): ((&str, &str), &String)| {
            let (found, untouched) = outcome(&way.name, case, true);
            // Setting times is the one change outside that is possible, and leaves contents alone.
            (found != *wanted || !untouched).then(|| {
                format!("{} {case:?}: {found}, not {wanted}; untouched: {untouched}", way.name)
            })
        };
        CASES.into_iter().zip(&way.wanted).filter_map(check).collect()
    });
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    println!("{} ways tried in {} cases each", ways.len(), CASES.len());
}

/// Where Landlock is missing (here, since a filter around everything answers so), a process without directories is held by
/// the filter alone.
#[test]
fn without_landlock_and_directories_the_filter_alone_leaves_no_way_out() {
    if !Support::probe().seccomp {
        println!("not run: this kernel has no seccomp");
        return;
    }
    let calls = [
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_add_rule,
        libc::SYS_landlock_restrict_self,
    ];
    let rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, absent, TargetArch::x86_64);
    let filter: BpfProgram = filter.expect("rules").try_into().expect("a filter");
    let ways = ways();
    let attempts = || {
        seccompiler::apply_filter(&filter).expect("filters work");
        on_all(&ways, |way| {
            let check = |at: usize| {
                let (found, untouched) = outcome(&way.name, CASES[at], true);
                let wanted = &way.wanted[at];
                (found != *wanted || !untouched)
                    .then(|| format!("{} {:?}: {found}, not {wanted}", way.name, CASES[at]))
            };
            CASES
                .iter()
                .enumerate()
                .filter(|(_, c)| c.1 == "none")
                .filter_map(|(at, _)| check(at))
                .collect()
        })
    };
    // The filter stays with this thread and with what it starts.
    let complaints = std::thread::scope(|scope| scope.spawn(attempts).join().expect("no panic"));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Without this, a way that never works would pass for one that is closed.
#[test]
fn without_the_lock_the_same_attempts_get_through() {
    let ways = ways();
    let undecided = on_all(&ways, |way| {
        let (found, _) = outcome(&way.name, CASES[0], false);
        assert_ne!(found, "ends", "{}: something else ends it", way.name);
        // A call that ends the locked process has shown that it is the lock that saw it.
        let shown = found != "refused" || way.wanted[0] == "ends";
        if shown { Vec::new() } else { vec![way.name.clone()] }
    });
    for name in &undecided {
        println!("not run: {name}: refused on this machine without the lock, too");
    }
    let shown = ways.len() - undecided.len();
    assert!(shown >= 60, "only {shown} ways work without the lock: {undecided:?}");
}

#[test]
fn threads_that_exist_before_the_lock_are_an_error_unless_they_are_bound() {
    let support = Support::probe();
    let output = probe(&["lock-beside-a-thread"]);
    if (1..8).contains(&support.landlock_abi) || !support.seccomp {
        assert_eq!(output.status.code(), Some(10), "{output:?}");
        assert!(stdout(&output).contains("other threads run already"), "{output:?}");
    } else {
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
fn the_table_of_the_documentation_is_that_of_the_probe() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lockdown.md");
    let text = std::fs::read_to_string(&page).expect("docs/lockdown.md");
    let (begin, end) = ("<!-- ways: begin -->\n", "<!-- ways: end -->");
    let (before, rest) = text.split_once(begin).expect("a begin");
    let (found, after) = rest.split_once(end).expect("an end");
    let table = format!("\n{}\n\n", stdout(&probe(&["table"])));
    if found == table {
        return;
    }
    if std::env::var_os("PALISADE_BLESS").is_some() {
        let text = format!("{before}{begin}{table}{end}{after}");
        std::fs::write(&page, text).expect("the page can be written");
        return;
    }
    panic!("docs/lockdown.md has another table than the probe; PALISADE_BLESS=1 writes it");
}
