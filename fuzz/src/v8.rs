//! Carries plans out in V8, through one node process for many modules.
//!
//! A process that does not answer in time, or ends, is replaced by a new one.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::trace::{Seen, Trace};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/judge.js");
/// What a V8 that knows these has beyond the finished proposals is switched off.
const FLAGS: [&str; 2] =
    ["--no-experimental-wasm-legacy-eh", "--no-experimental-wasm-imported-strings"];
const PATIENCE: Duration = Duration::from_secs(20);

/// What V8 had to say.
pub enum Answer {
    Ran(Trace),
    Valid,
    /// Not a module to this V8: invalid, or of a proposal that it does not know.
    Invalid(String),
    /// Why it could not judge.
    NotRun(String),
}

struct Process {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node, started when it is first asked.
pub struct Node {
    program: String,
    flags: Vec<&'static str>,
    process: Option<Process>,
}

impl Node {
    /// The node of this name, with what it says its versions are; `None` if there is none.
    pub fn new(program: &str) -> Option<(Self, String)> {
        let print = "process.versions.node + ', V8 ' + process.versions.v8";
        let tell =
            |flags: &[&str]| Command::new(program).args(flags).args(["-p", print]).output().ok();
        let works = |flag: &&str| tell(&[flag]).is_some_and(|told| told.status.success());
        let flags: Vec<_> = FLAGS.into_iter().filter(works).collect();
        let told = tell(&flags)?;
        let version = String::from_utf8_lossy(&told.stdout).trim().to_owned();
        let node = Self { program: program.to_owned(), flags, process: None };
        told.status.success().then_some((node, version))
    }

    fn start(&self) -> std::io::Result<Process> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.flags)
            .arg(SCRIPT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        let none = || std::io::Error::other("no pipe");
        let input = child.stdin.take().ok_or_else(none)?;
        let output = child.stdout.take().ok_or_else(none)?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Process { child, input, lines })
    }

    /// Asks about a module: whether it is valid, or what a plan gives.
    pub fn ask(&mut self, bytes: &[u8], plan: Option<&Json>) -> Answer {
        let mut process = match self.process.take().map_or_else(|| self.start(), Ok) {
            Ok(process) => process,
            Err(error) => return Answer::NotRun(format!("node does not start: {error}")),
        };
        let line = json!({ "wasm": base64(bytes), "plan": plan });
        if writeln!(process.input, "{line}").is_err() {
            return Answer::NotRun("node ended".into());
        }
        match process.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.process = Some(process);
                serde_json::from_str(&line)
                    .map_or_else(|e| Answer::NotRun(format!("node says {e}")), |json| answer(&json))
            }
            Err(RecvTimeoutError::Timeout) => Answer::NotRun("no answer in time".into()),
            Err(RecvTimeoutError::Disconnected) => Answer::NotRun("node ended".into()),
        }
    }
}

fn words(json: &Json) -> Vec<String> {
    let all = json.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(Json::as_str).map(str::to_owned).collect()
}

fn answer(json: &Json) -> Answer {
    if let Some(reason) = json["invalid"].as_str() {
        return Answer::Invalid(reason.to_owned());
    }
    if json["valid"] == true {
        return Answer::Valid;
    }
    if let Some(reason) = json["refused"].as_str() {
        return Answer::NotRun(reason.to_owned());
    }
    let mut trace =
        Trace { failed: json["failed"].as_str().map(str::to_owned), ..Trace::default() };
    for call in json["calls"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let outcome = match call["trap"].as_str() {
            Some(class) => Err(class.to_owned()),
            None => Ok(words(&call["ok"])),
        };
        trace.calls.push(Seen { outcome, state: words(&call["state"]) });
    }
    Answer::Ran(trace)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            out.push(if digit <= chunk.len() { DIGITS[index as usize] as char } else { '=' });
        }
    }
    out
}
