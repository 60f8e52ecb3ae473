//! Artefacts and the cache, through the command: what runs, what is refused and what is said; that nothing about a
//! cache ever makes a run fail.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Ended, Place};

/// Sums the numbers up to its argument, by a function that is called each time.
const PROGRAM: &str = r#"(module
    (func $add (param i64 i64) (result i64) (i64.add (local.get 0) (local.get 1)))
    (func (export "sum") (param $n i64) (result i64) (local $s i64)
        (loop $l
            (local.set $s (call $add (local.get $s) (local.get $n)))
            (br_if $l (i64.ne (i64.const 0)
                (local.tee $n (i64.sub (local.get $n) (i64.const 1))))))
        (local.get $s)))"#;

/// A place with a home of its own, and the module in it, binary and text.
struct Home {
    place: Place,
}

impl Home {
    fn new() -> Self {
        let place = Place::new();
        fs::create_dir(place.path().join("home")).unwrap();
        place.file("p.wat", PROGRAM);
        place.file("p.wasm", wat(PROGRAM));
        Self { place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.place.command();
        for name in ["XDG_DATA_HOME", "XDG_CACHE_HOME"] {
            command.env_remove(name);
        }
        command.env("HOME", self.path("home")).args(line.split_whitespace());
        command
    }

    fn line(&self, line: &str) -> Ended {
        self.command(line).output().expect("the command starts").into()
    }

    /// Runs the program: it has to work, whatever is said.
    #[track_caller]
    fn sums(&self, line: &str) -> Ended {
        self.line(&format!("{line} --invoke sum 1000")).code(0).prints("500500\n")
    }

    /// The entries of the cache in a directory.
    fn entries(&self, directory: &str) -> Vec<PathBuf> {
        let all = fs::read_dir(self.path(directory)).into_iter().flatten();
        let mut all: Vec<_> = all.map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    }

    fn mode(&self, name: &str, bits: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(bits)).unwrap();
    }
}

/// The text format as bytes, by the command's own reader.
fn wat(text: &str) -> Vec<u8> {
    let engine = palisade::Engine::default();
    palisade::Module::new(&engine, text).unwrap().info().bytes.whole().unwrap().to_vec()
}

#[track_caller]
fn stat(ended: &Ended, name: &str) -> String {
    let line = ended.stderr.lines().find_map(|line| line.trim().strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {ended:#?}")).trim().to_owned()
}

#[test]
fn what_was_compiled_runs_without_compiling() {
    let home = Home::new();
    home.line("compile p.wat").code(0).prints("").quietly();
    home.line("compile p.wasm -o q").code(0).quietly();
    for file in ["p.palisade", "q"] {
        for options in [
            "",
            "--engine jit",
            "--engine interp",
            "--sandbox --fuel unlimited --max-call-depth unlimited",
        ] {
            // The sandbox also asks for code that the compiler has checked.
            if options.contains("sandbox") {
                home.line(&format!("{file} {options} --invoke sum 9"))
                    .code(126)
                    .says(&["paranoid", "hint"]);
                continue;
            }
            home.sums(&format!("{file} {options}")).quietly();
        }
        let ended = home.sums(&format!("{file} --stats"));
        assert!(stat(&ended, "machine code").starts_with("0 functions"), "{ended:#?}");
    }
    home.line("compile --sandbox p.wasm -o s").code(0);
    home.sums("run s --sandbox").quietly();
    home.line("run s --invoke sum 9")
        .code(126)
        .says(&["made with other options: fuel on, here off"]);
    home.line("compile --deterministic p.wasm -o d").code(0);
    home.sums("run d --deterministic --seed 3").quietly();
    // What is compiled is no secret; the key is.
    let mode = |name: &str| fs::metadata(home.path(name)).unwrap().mode() & 0o777;
    assert_eq!(mode("p.palisade"), mode("p.wasm"));
    // Its own key and nothing else was made, for nobody else.
    let key = fs::metadata(home.path("home/.local/share/palisade/key")).unwrap();
    assert_eq!((key.mode() & 0o777, key.len()), (0o600, 32));
    let directory = fs::metadata(home.path("home/.local/share/palisade")).unwrap();
    assert_eq!(directory.mode() & 0o777, 0o700);
    assert_eq!(home.entries("home/.local/share/palisade").len(), 1);
}

#[test]
fn a1_damaged_artefacts_are_refused_and_say_what_to_do() {
    let home = Home::new();
    home.line("compile p.wasm").code(0);
    let whole = fs::read(home.path("p.palisade")).unwrap();
    let refused = |bytes: &[u8]| {
        home.place.file("broken", bytes);
        home.line("broken --invoke sum 9").code(126).prints("").says(&["artefact"])
    };
    // The library's tests try every byte and every length.
    let (mut at_start, mut later, mut unseen) = (0, 0, 0);
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        // Without its first bytes it is no artefact at all.
        if at < 8 {
            continue;
        }
        home.place.file("broken", &bytes);
        home.line("validate broken").code(126).says(&["artefact"]);
        let ended = home.line("broken --invoke sum 1000");
        if ended.code == Some(126) {
            refused(&bytes);
            at_start += 1;
            continue;
        }
        // What is damaged where a start does not look runs as if it were not there, or is not needed at all.
        let ended = ended.code(0).prints("500500\n");
        if ended.stderr.is_empty() {
            unseen += 1;
        } else {
            let said = ended.stderr.contains("not what was written when it was needed");
            assert!(said, "{ended:#?}");
            later += 1;
        }
    }
    // Which places are never needed depends on where they happen to lie.
    println!("noticed at the start {at_start}, later {later}, never {unseen}");
    assert!(at_start > 0 && later > 0, "{at_start} {later} {unseen}");
    home.line("validate p.palisade").code(0).prints("p.palisade: valid\n");
    for len in [8, 24, 88, whole.len() - 1] {
        refused(&whole[..len]).says(&["compile"]);
    }
    refused(&[&whole[..], b"x"].concat()).says(&["more than there should be"]);
    home.line("compile --fuel p.wasm -o other").code(0);
    let other = fs::read(home.path("other")).unwrap();
    refused(&[&whole[..88], &other[88..]].concat()).says(&["nobody who is trusted"]);
}

#[test]
fn a2_an_artefact_by_somebody_else_is_refused_unless_its_signer_is_trusted() {
    let (home, other) = (Home::new(), Home::new());
    other.line("compile p.wasm").code(0);
    fs::copy(other.path("p.palisade"), home.path("o.palisade")).unwrap();
    home.line("o.palisade --invoke sum 9").code(126).says(&["nobody who is trusted", "--sign"]);

    for name in ["k", "stranger"] {
        other.line(&format!("key new {name}")).code(0);
    }
    other.line("key new k").code(125).says(&["k"]);
    other.line("compile p.wasm --sign k -o signed").code(0).quietly();
    for name in ["signed", "k.pub", "stranger.pub", "k"] {
        fs::copy(other.path(name), home.path(name)).unwrap();
    }
    home.line("signed --invoke sum 9").code(126).says(&["another key than those given"]);
    home.line("signed --trust stranger.pub --invoke sum 9")
        .code(126)
        .says(&["nobody who is trusted"]);
    home.sums("signed --trust k.pub").quietly();
    home.sums("signed --trust stranger.pub --trust k.pub");
    let text = home.place.read("k.pub");
    let digits = text.trim().rsplit(' ').next().unwrap();
    home.sums(&format!("signed --trust {digits}"));
    home.line("signed --trust k --invoke sum 9").code(2).says(&["secret half"]);
    home.line("signed --trust p.wat --invoke sum 9").code(2).says(&["no public key"]);
    home.line("signed --trust none --invoke sum 9").code(127);
    // A secret that others may read is none.
    other.mode("k", 0o644);
    other.line("compile p.wasm --sign k").code(127).says(&["chmod 600"]);
    other.line("compile p.wasm --sign k.pub").code(127);
}

#[test]
fn a2_a_key_that_others_could_have_vouches_for_nothing() {
    let home = Home::new();
    home.line("compile p.wasm").code(0);
    let key = "home/.local/share/palisade/key";
    home.mode(key, 0o644);
    home.line("p.palisade --invoke sum 9").code(125).says(&["chmod 600"]);
    home.line("compile p.wasm").code(125).says(&["chmod 600"]);
    // The cache does without, and says so.
    let ended = home.sums("p.wasm --engine jit --cache=c");
    assert!(ended.stderr.contains("warning: --cache"), "{ended:#?}");
    assert!(home.entries("c").is_empty());
    home.mode(key, 0o600);
    home.sums("p.palisade");
    home.mode("home/.local/share/palisade", 0o777);
    home.line("p.palisade --invoke sum 9").code(125).says(&["others may write to it"]);
    // Modules need no key.
    home.sums("p.wasm").quietly();
}

#[test]
fn the_second_run_starts_with_what_the_first_compiled() {
    let home = Home::new();
    for locked in ["", "--lockdown"] {
        let line = format!(
            "p.wasm --engine jit --stats --cache={} {locked}",
            if locked.is_empty() { "a" } else { "b" }
        );
        let first = home.sums(&line);
        assert_eq!(stat(&first, "cache"), "written");
        assert!(stat(&first, "machine code").starts_with("2 functions"));
        for _ in 0..2 {
            let next = home.sums(&line);
            assert_eq!(stat(&next, "cache"), "used");
            assert!(stat(&next, "machine code").starts_with("0 functions"), "{next:#?}");
        }
    }
    home.sums("p.wasm --engine jit --cache").quietly();
    assert_eq!(home.entries("home/.cache/palisade").len(), 1);
    let listed = home.line("cache list").code(0);
    assert!(listed.stdout.ends_with("KiB\n") && listed.stdout.contains("1 entry"), "{listed:#?}");
    home.line("cache clear --cache a").code(0);
    assert!(home.entries("a").is_empty());
    home.line("cache list --cache none").code(0).prints("0 entries, 0 bytes\n");
    home.line("cache clear").code(0);
    home.line("cache list").code(0).prints("0 entries, 0 bytes\n");
}

#[test]
fn what_tiering_compiled_is_kept() {
    let home = Home::new();
    let run = |cache: &str| {
        let line = format!("p.wasm --stats --cache={cache} --invoke sum 40000000");
        home.line(&line).code(0).prints("800000020000000\n")
    };
    let first = run("c");
    assert_eq!(stat(&first, "cache"), "written");
    let second = run("c");
    assert!(stat(&second, "cache").starts_with("used"), "{second:#?}");
    let compiled = |ended: &Ended| {
        let text = stat(ended, "machine code");
        text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).expect("a number")
    };
    assert!(compiled(&first) >= 2 && compiled(&second) < compiled(&first), "{second:#?}");
}

#[test]
fn a4_each_set_of_options_has_an_entry_of_its_own() {
    let home = Home::new();
    let sets = [
        "",
        "--fuel 1000000",
        "--max-call-depth 100",
        "--baseline-cpu",
        "--paranoid",
        "--deterministic",
        "--sandbox",
    ];
    for (at, options) in sets.iter().enumerate() {
        home.sums(&format!("p.wasm --engine jit --cache=c {options}")).quietly();
        assert_eq!(home.entries("c").len(), at + 1, "{options}");
        home.sums(&format!("p.wasm --engine jit --cache=c {options}")).quietly();
        assert_eq!(home.entries("c").len(), at + 1, "{options}");
    }
    // One that stands under the name of another is refused.
    let entries = home.entries("c");
    let first = fs::read(&entries[0]).unwrap();
    for other in &entries[1..] {
        fs::write(other, &first).unwrap();
    }
    for options in sets {
        home.sums(&format!("p.wasm --engine jit --cache=c {options}")).quietly();
    }
    // Limits that change no code share one.
    let before = home.entries("c").len();
    home.sums("p.wasm --engine jit --cache=c --fuel 2000000 --max-memory 1MiB").quietly();
    assert_eq!(home.entries("c").len(), before);
}

#[test]
fn a3_a_cache_that_others_could_change_is_not_used() {
    let home = Home::new();
    let unused = |name: &str, why: &str| {
        let ended = home.sums(&format!("p.wasm --engine jit --cache={name}"));
        assert!(ended.stderr.contains("is not used: ") && ended.stderr.contains(why), "{ended:#?}");
    };
    fs::create_dir(home.path("wide")).unwrap();
    home.mode("wide", 0o777);
    unused("wide", "others may write");
    home.mode("wide", 0o700);
    symlink(home.path("wide"), home.path("link")).unwrap();
    unused("link", "symbolic link");
    unused("p.wat", "cannot be made");
    assert!(home.entries("wide").is_empty());

    // A directory, or an entry, of another user.
    let ours = rustix::process::geteuid();
    if ours.is_root() {
        fs::create_dir(home.path("theirs")).unwrap();
        std::os::unix::fs::chown(home.path("theirs"), Some(12345), None).unwrap();
        unused("theirs", "another user");
    } else {
        println!("not run: a directory of another user (only root can make one)");
    }

    // Entries that are links, have a second name, or are open to others.
    let line = "p.wasm --engine jit --stats --cache=c";
    home.sums(line);
    let entry = home.entries("c").remove(0);
    let good = fs::read(&entry).unwrap();
    let elsewhere = home.path("elsewhere");
    let anew = || {
        let ended = home.sums(line);
        assert_eq!(stat(&ended, "cache"), "written");
        let data = fs::symlink_metadata(&entry).unwrap();
        assert!(data.is_file() && data.nlink() == 1 && data.mode() & 0o077 == 0);
        assert_eq!(stat(&home.sums(line), "cache"), "used");
    };
    fs::rename(&entry, &elsewhere).unwrap();
    symlink(&elsewhere, &entry).unwrap();
    anew();
    fs::remove_file(&elsewhere).unwrap();
    fs::hard_link(&entry, &elsewhere).unwrap();
    anew();
    assert_eq!(fs::read(&elsewhere).unwrap(), good, "the file behind the other name is as it was");
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o666)).unwrap();
    anew();
    if ours.is_root() {
        std::os::unix::fs::chown(&entry, Some(12345), None).unwrap();
        anew();
    }
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    assert_eq!(stat(&home.sums(line), "cache"), "could not be written");
}

#[test]
fn a5_whatever_stands_in_the_cache_the_run_is_the_same() {
    let home = Home::new();
    for locked in ["", "--lockdown"] {
        let line = format!("p.wasm --engine jit --stats --cache=c {locked}");
        home.sums(&line);
        let entry = home.entries("c").remove(0);
        let good = fs::read(&entry).unwrap();
        // Half written, at several places; of the right length, with a part of another; empty; text.
        let mut broken: Vec<Vec<u8>> =
            (0..good.len()).step_by(good.len() / 10).map(|len| good[..len].to_vec()).collect();
        broken.extend((0..good.len()).step_by(good.len() / 10).map(|at| {
            let mut bytes = good.clone();
            bytes[at..].fill(0xCC);
            bytes
        }));
        broken.push(b"(module)".to_vec());
        for bytes in broken {
            fs::write(&entry, &bytes).unwrap();
            let ended = home.sums(&line);
            if stat(&ended, "cache") != "written" {
                // It was seen when its code was needed; then the next one has none.
                assert_eq!(stat(&ended, "cache"), "used, and removed: damaged");
                assert_eq!(stat(&home.sums(&line), "cache"), "written");
            }
            assert_eq!(fs::read(&entry).unwrap(), good, "{locked}");
        }
        assert_eq!(stat(&home.sums(&line), "cache"), "used");
        home.line("cache clear --cache c").code(0);
    }
}

#[test]
fn a5_processes_that_share_a_cache_disturb_nobody() {
    let home = Home::new();
    for locked in ["", "--lockdown"] {
        for _ in 0..4 {
            let start = |_| {
                let line = format!("p.wasm --engine jit --cache=c {locked} --invoke sum 1000");
                let mut command = home.command(&line);
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                command.spawn().expect("the command starts")
            };
            let all: Vec<_> = (0..6).map(start).collect();
            for child in all {
                let ended = Ended::from(child.wait_with_output().unwrap());
                ended.code(0).prints("500500\n").quietly();
            }
            let left = home.entries("c");
            assert_eq!(left.len(), 1, "{left:?}");
            home.line("cache clear --cache c").code(0);
        }
    }
}

#[test]
fn a5_a_writer_that_is_killed_leaves_what_was_there() {
    let home = Home::new();
    let line = "p.wasm --engine jit --stats --cache=c";
    home.sums(line);
    let entry = home.entries("c").remove(0);
    let good = fs::read(&entry).unwrap();
    // What such a writer leaves: a file under a name of its own.
    let name = entry.file_name().and_then(OsStr::to_str).unwrap();
    fs::write(home.path("c").join(format!("{name}.0123456789abcdef.tmp")), &good[..100]).unwrap();
    assert_eq!(stat(&home.sums(line), "cache"), "used");
    assert_eq!(fs::read(&entry).unwrap(), good);
    // And one killed while it writes over the entry itself.
    fs::write(&entry, &good[..good.len() / 2]).unwrap();
    assert_eq!(stat(&home.sums(line), "cache"), "written");
    home.line("cache clear --cache c").code(0);
    assert!(home.entries("c").is_empty());
}

#[test]
fn a5_processes_that_are_killed_at_any_moment_leave_a_cache_that_works() {
    let home = Home::new();
    for locked in ["", "--lockdown"] {
        let line = format!("p.wasm --engine jit --stats --cache=c {locked}");
        for moment in 0..25 {
            let mut command = home.command(&format!("{line} --invoke sum 1000"));
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().expect("the command starts");
            // Not to wait for anything: so that each is killed while it does something else.
            std::thread::sleep(std::time::Duration::from_micros(moment * 400));
            child.kill().unwrap();
            child.wait().unwrap();
            if moment % 5 == 0 {
                home.sums(&line);
                home.line("cache clear --cache c").code(0);
            }
        }
        home.sums(&line);
        assert_eq!(stat(&home.sums(&line), "cache"), "used");
        home.line("cache clear --cache c").code(0);
        assert!(home.entries("c").is_empty());
    }
}

#[test]
fn a5_a_full_or_read_only_cache_costs_a_recompile() {
    let home = Home::new();
    // A file may take no more than so many blocks: writing fails in the middle, as on a full disk.
    let limited = |line: &str| -> Ended {
        let mut command = Command::new("sh");
        command.current_dir(home.place.path()).env("HOME", home.path("home"));
        let program = env!("CARGO_BIN_EXE_palisade");
        command.args(["-c", &format!("ulimit -f 1; exec {program} {line} --invoke sum 1000")]);
        command.output().expect("a shell").into()
    };
    home.line("compile p.wasm").code(0);
    for locked in ["", "--lockdown"] {
        let line = format!("p.wasm --engine jit --stats --cache=c {locked}");
        let ended = limited(&line).code(0).prints("500500\n");
        assert_eq!(stat(&ended, "cache"), "could not be written");
        let left = home.entries("c");
        assert!(left.iter().all(|path| fs::metadata(path).unwrap().len() == 0), "{left:?}");
        assert_eq!(stat(&home.sums(&line), "cache"), "written");
        home.line("cache clear --cache c").code(0);
    }
    home.mode("c", 0o500);
    if fs::write(home.path("c/probe"), "").is_ok() {
        fs::remove_file(home.path("c/probe")).unwrap();
        println!("not run: a read-only directory (this user writes to it all the same)");
    } else {
        let ended = home.sums("p.wasm --engine jit --stats --cache=c");
        assert_eq!(stat(&ended, "cache"), "could not be written");
    }
    if Path::new("/proc/self").is_dir() {
        // Nobody, root included, can make a file there.
        let ended = home.sums("p.wasm --engine jit --cache=/proc/self/cache");
        assert!(ended.stderr.contains("is not used"), "{ended:#?}");
    }
}

#[test]
fn modules_in_text_are_kept_and_so_are_those_that_are_linked() {
    let home = Home::new();
    let user = r#"(module (import "p" "sum" (func $sum (param i64) (result i64)))
        (func (export "double") (param i64) (result i64)
            (i64.mul (i64.const 2) (call $sum (local.get 0)))))"#;
    home.place.file("user.wat", user);
    for (locked, cache) in [("", "a"), ("--lockdown", "b")] {
        let line = |cached: &str, link: &str| {
            let line = format!("user.wat --link p={link} --stats --engine jit {locked} {cached}");
            home.line(&format!("{line} --invoke double 1000")).code(0).prints("1001000\n")
        };
        let cached = format!("--cache={cache}");
        let first = line(&cached, "p.wasm");
        assert_eq!(stat(&first, "cache"), "written");
        assert_eq!(home.entries(cache).len(), 2);
        // With the text in place of the same module in the binary format there is one more.
        line(&cached, "p.wat");
        assert_eq!(home.entries(cache).len(), 3);
        for link in ["p.wasm", "p.wat"] {
            let again = line(&cached, link);
            assert_eq!(stat(&again, "cache"), "used");
            assert!(stat(&again, "machine code").starts_with("0 functions"), "{again:#?}");
            assert!(stat(&again, "stored code").contains("damaged 0"), "{again:#?}");
        }
        // Another text, another module.
        home.place.file("user.wat", user.replace("const 2", "const 3"));
        let other = home.line(&format!(
            "user.wat --link p=p.wat --engine jit {locked} {cached} --invoke double 10"
        ));
        other.code(0).prints("165\n");
        home.place.file("user.wat", user);
    }
}

#[test]
fn modules_from_pipes_run_and_are_not_kept() {
    let home = Home::new();
    home.sums("p.wasm --engine interp --cache=c").quietly();
    let shell = format!(
        "cat p.wasm | {} run /dev/stdin --engine jit --cache=c --invoke sum 1000",
        env!("CARGO_BIN_EXE_palisade")
    );
    let mut command = Command::new("sh");
    command.current_dir(home.place.path()).env("HOME", home.path("home")).args(["-c", &shell]);
    Ended::from(command.output().unwrap()).code(0).prints("500500\n").quietly();
    assert!(home.entries("c").is_empty());
    home.place.file("bad.wasm", b"\0asm\x01\0\0\0\x01\x01\xff");
    let plain = home.line("bad.wasm").code(126);
    assert_eq!(home.line("bad.wasm --cache=c").code(126).stderr, plain.stderr);
}

#[test]
fn x1_what_is_read_before_the_lock_ends_with_the_deadline() {
    let home = Home::new();
    home.line("compile p.wasm").code(0);
    let fifo = home.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .unwrap();
    // Nobody ever writes into it.
    for line in [
        "run fifo --timeout 300ms --lockdown",
        "run fifo --timeout 300ms --lockdown --cache=c",
        "run fifo --timeout 300ms",
        "run p.palisade --trust fifo --timeout 300ms --lockdown",
        "run p.palisade --trust fifo --timeout 300ms",
    ] {
        home.line(line).code(124).says(&["deadline", "--timeout"]);
    }
    // A key through a pipe is one all the same.
    home.line("key new k").code(0);
    home.line("compile p.wasm --sign k -o s").code(0);
    for locked in ["", "--lockdown"] {
        let program = env!("CARGO_BIN_EXE_palisade");
        let shell =
            format!("cat k.pub | {program} run s --trust /dev/stdin {locked} --invoke sum 1000");
        let mut command = Command::new("sh");
        command.current_dir(home.place.path()).env("HOME", home.path("home")).args(["-c", &shell]);
        Ended::from(command.output().expect("a shell")).code(0).prints("500500\n");
    }
    // A file that takes longer to read than there is time.
    let large = fs::File::create(home.path("large")).unwrap();
    std::io::Write::write_all(&mut &large, b"\0asm\x01\0\0\0").unwrap();
    large.set_len(1 << 30).unwrap();
    for line in ["--lockdown --cache=c", "--lockdown"] {
        home.line(&format!("run large --timeout 20ms --engine jit {line}")).code(124);
    }
}

/// A program that says when it waits for input, and then calls a function whose code, and body, nobody needed before.
fn waiting() -> String {
    use std::fmt::Write as _;
    let body = |name: &str| {
        let mut text = format!("(func ${name} (param i32) (result i32)\n");
        for i in 0..6000 {
            let _ = writeln!(
                text,
                "(local.set 0 (i32.xor (i32.mul (local.get 0) (i32.const {})) (i32.const {i})))",
                i * 2 + 1
            );
        }
        text + "(local.get 0))\n"
    };
    format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\06\00\00\00") (data (i32.const 16) "ready\n")
        (func (export "_start")
            (drop (call $first (i32.const 1)))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 32)))
            (call $exit (i32.eq (call $late (i32.const 5)) (call $late (i32.const 5)))))
        {} {})"#,
        body("first"),
        body("late")
    )
}

#[test]
fn a1_a3_an_artefact_that_changes_while_it_runs() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let home = Home::new();
    home.place.file("w.wasm", wat(&waiting()));
    home.line("compile w.wasm").code(0);
    home.line("compile w.wasm --sandbox -o s").code(0);
    for (whole, options) in [("w.palisade", ""), ("w.palisade", "--lockdown"), ("s", "--sandbox")] {
        let bytes = fs::read(home.path(whole)).unwrap();
        for change in ["none", "cut", "code", "all"] {
            home.place.file("changing", &bytes);
            let mut command = home.command(&format!("run changing {options}"));
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("the command starts");
            let mut line = String::new();
            let mut out = BufReader::new(child.stdout.take().unwrap());
            out.read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            let file = fs::File::options().write(true).open(home.path("changing")).unwrap();
            let last = bytes.len() as u64 - 1;
            match change {
                "cut" => file.set_len(last).unwrap(),
                // The tables of the last batch end there.
                "code" => (&file)
                    .write_all(&[&bytes[..last as usize], &[!bytes[last as usize]]].concat())
                    .unwrap(),
                "all" => (&file).write_all(&vec![0xF4; bytes.len()]).unwrap(),
                _ => {}
            }
            child.stdin.take().unwrap().write_all(b"go\n").unwrap();
            let ended = Ended::from(child.wait_with_output().unwrap());
            match change {
                "none" => ended.code(1).quietly(),
                "all" => {
                    let said = ended.stderr.contains("changed while it was in use");
                    assert!(said && ended.stderr.contains("hint: "), "{ended:#?}");
                    ended.code(134)
                }
                _ => {
                    let said = ended.stderr.contains("not what was written when it was needed");
                    assert!(said, "{whole} {options} {change}: {ended:#?}");
                    ended.code(1)
                }
            };
        }
    }
}
