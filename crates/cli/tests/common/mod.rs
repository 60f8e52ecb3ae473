//! Running the real command, for the tests of this folder.
#![allow(dead_code)] // each test file uses its own part

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The command, not started yet. Its working directory is `dir`.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    command.current_dir(dir).stdin(Stdio::null());
    command
}

/// How a run of the command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// Checks the status; the rest is shown if it is another one.
    #[track_caller]
    pub(crate) fn code(self, wanted: i32) -> Self {
        assert_eq!(self.code, Some(wanted), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// Checks that standard error is one clear message that holds all of these.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        assert!(self.stderr.starts_with("palisade: error: "), "{self:#?}");
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {self:#?}");
        }
        let clean = self.stderr.chars().all(|c| c == '\n' || !c.is_control());
        assert!(clean, "control characters in {self:#?}");
        self
    }

    /// Checks standard output.
    #[track_caller]
    pub(crate) fn prints(self, wanted: &str) -> Self {
        assert_eq!(self.stdout, wanted, "{self:#?}");
        self
    }

    /// Checks that nothing was said.
    #[track_caller]
    pub(crate) fn quietly(self) -> Self {
        assert_eq!(self.stderr, "", "{self:#?}");
        self
    }
}

/// A fresh directory, with ways to fill it and to run the command in it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file, and returns its name.
    pub(crate) fn file<'a>(&self, name: &'a str, content: impl AsRef<[u8]>) -> &'a str {
        std::fs::write(self.dir.path().join(name), content).expect("the file can be written");
        name
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).expect("the file can be read")
    }

    pub(crate) fn command(&self) -> Command {
        command(self.path())
    }

    /// Runs the command to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ended {
        self.command().args(args).output().expect("the command starts").into()
    }

    /// Runs the command with a line of arguments that hold no spaces.
    pub(crate) fn line(&self, line: &str) -> Ended {
        self.run(line.split_whitespace())
    }

    /// Runs the command with standard input.
    pub(crate) fn run_with_input(&self, line: &str, input: &str) -> Ended {
        let mut command = self.command();
        command.args(line.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("the guest reads");
        drop(stdin);
        child.wait_with_output().expect("the command ends").into()
    }

    /// Puts a program of `tests/programs` here and returns its name.
    pub(crate) fn program(&self, name: &str) -> String {
        let file = format!("{name}.wasm");
        std::fs::copy(programs().join(&file), self.dir.path().join(&file)).expect("the program");
        file
    }
}

pub(crate) fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/programs")
}

/// A command that prints `ready` and a line end, then does what `body` says. `$write` has been
/// imported, as has all that a body can use.
pub(crate) fn ready_then(body: &str) -> String {
    let mut wat = String::from(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_read"
            (func $read (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "poll_oneoff"
            (func $poll (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\10\00\00\00\06\00\00\00")
          (data (i32.const 16) "ready\n")
          (func (export "_start")
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"#,
    );
    let _ = write!(wat, "{body}))");
    wat
}

/// Bodies for [`ready_then`] that never end by themselves.
pub(crate) const ENDLESS: [(&str, &str); 3] = [
    ("loop", "(loop (br 0))"),
    // A subscription of a clock, one hour relative.
    (
        "sleep",
        "(i32.store (i32.const 112) (i32.const 1))
         (i64.store (i32.const 120) (i64.const 3600000000000))
         (drop (call $poll (i32.const 96) (i32.const 160) (i32.const 1) (i32.const 200)))",
    ),
    // Reading standard input, which the test keeps open and silent.
    (
        "read",
        "(i32.store (i32.const 64) (i32.const 96)) (i32.store (i32.const 68) (i32.const 1))
         (drop (call $read (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 72)))",
    ),
];
