//! [`JitDump`]: a file from which `perf inject` makes an image of machine code, with its bytes, names and lines.
//!
//! The format is version 1 of what `perf` calls jitdump: a header, then records, each with its length and the time, in
//! the order of the machine. A function is told of when its code is published, after the lines that it comes from,
//! if they are known. Code that goes is not told of: its record holds until another one is for the same addresses.
//!
//! Invariants: records are written whole, one after the other, under one lock; the file is never one that was there
//! before, is for its owner alone, and stays shorter than [`MOST_BYTES`].

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use palisade_module::error::escape_name;
use palisade_vm::native::code::FuncRange;
use palisade_vm::native::{CodeListener, CodeObject};
use palisade_vm::sys::outside::{ExecutableMark, monotonic_nanos, thread_number};

use super::names::name;

/// `JiTD`, as a number in the order of the machine that wrote it.
const MAGIC: u32 = 0x4A69_5444;
const VERSION: u32 = 1;
const HEADER_BYTES: u32 = 40;
/// The number of this machine's instruction set in ELF.
const MACHINE: u32 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };

/// Kinds of records.
const CODE_LOAD: u32 = 0;
const DEBUG_INFO: u32 = 2;

/// The most bytes of the file.
const MOST_BYTES: u64 = 4 << 30;
const _: () = assert!(MOST_BYTES < ExecutableMark::BEYOND);
/// The most lines of one function.
const MOST_LINES: usize = 1 << 16;
/// The most bytes that the lines of one function take: each has the name of its file.
const MOST_LINE_BYTES: usize = 4 << 20;

/// A file that `perf inject --jit` reads: see [`Config::jit_dump`](crate::Config::jit_dump).
#[derive(Debug)]
pub struct JitDump {
    path: PathBuf,
    out: Mutex<Out>,
}

#[derive(Debug)]
struct Out {
    file: File,
    written: u64,
    /// The next function's number.
    next: u64,
    failed: Option<io::Error>,
}

impl JitDump {
    /// Makes `jit-PID.dump` in a folder, with its header. `perf record` has to be running already to notice. There can be
    /// one in a folder for each process; a file that is there already is left alone.
    ///
    /// # Errors
    ///
    /// The file is there, or cannot be made; the system maps nothing of it executable, as in a process that has locked
    /// itself in: make it before.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("jit-{}.dump", std::process::id()));
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let made = header().and_then(|header| {
            file.write_all(&header)?;
            // By this mapping `perf record` learns of the file. It has by then: nothing of the file stays executable, for
            // whoever can write to it.
            ExecutableMark::map(file.as_fd()).map(drop)
        });
        made.inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        let out = Out { file, written: HEADER_BYTES.into(), next: 0, failed: None };
        Ok(Self { path, out: Mutex::new(out) })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What first went wrong in writing, if anything did; nothing was written since.
    pub fn take_error(&self) -> Option<io::Error> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).failed.take()
    }
}

impl Out {
    /// Writes one record, or notes why not.
    fn write(&mut self, record: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let after = self.written + record.len() as u64;
        let done = if after > MOST_BYTES {
            Err(io::Error::other("it would be larger than 4 GiB"))
        } else {
            self.file.write_all(record)
        };
        match done {
            Ok(()) => self.written = after,
            Err(error) => self.failed = Some(error),
        }
    }
}

impl CodeListener for JitDump {
    fn published(&self, code: &CodeObject) {
        for func in code.funcs() {
            let lines = lines(code, func);
            let name = name(code, func);
            let bytes = code.code().get(func.range.start as usize..func.range.end as usize);
            let (Some(bytes), at) = (bytes, code.at(func.range.start).addr() as u64) else {
                continue;
            };
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            // Records get their times under the lock, so that they stand in that order.
            if let Some(lines) = lines {
                out.write(&record(DEBUG_INFO, &lines));
            }
            let number = out.next;
            out.next += 1;
            out.write(&load(at, bytes, &name, number));
        }
    }

    fn removed(&self, _: &CodeObject) {}
}

fn header() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
    for word in [MAGIC, VERSION, HEADER_BYTES, MACHINE, 0, std::process::id()] {
        bytes.extend(word.to_ne_bytes());
    }
    for word in [monotonic_nanos(), 0] {
        bytes.extend(word.to_ne_bytes());
    }
    Ok(bytes)
}

/// A record, its length filled in.
fn record(kind: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + content.len());
    bytes.extend(kind.to_ne_bytes());
    // Code of a batch has less than 4 GiB, lines of a function have less still.
    bytes.extend((16 + content.len() as u32).to_ne_bytes());
    bytes.extend(monotonic_nanos().to_ne_bytes());
    bytes.extend(content);
    bytes
}

fn load(at: u64, code: &[u8], name: &str, number: u64) -> Vec<u8> {
    let mut content = Vec::with_capacity(48 + name.len() + code.len());
    for word in [std::process::id(), thread_number()] {
        content.extend(word.to_ne_bytes());
    }
    for word in [at, at, code.len() as u64, number] {
        content.extend(word.to_ne_bytes());
    }
    content.extend(name.as_bytes());
    content.push(0);
    content.extend(code);
    record(CODE_LOAD, &content)
}

/// What a record of the lines that a function comes from holds, if they are known.
fn lines(code: &CodeObject, func: &FuncRange) -> Option<Vec<u8>> {
    let (module, _) = code.tables().module.as_ref()?;
    let table = module.lines()?;
    let address = |at: u32| code.at(at).addr() as u64;
    let rows = code.sources(func).take(MOST_LINES);
    let rows = rows.filter_map(|(at, source)| {
        let (file, line) = table.at(source as usize)?;
        Some((address(at), file?, line))
    });
    line_record(address(func.range.start), rows)
}

/// The content of that record: addresses, files and lines in order, as many as there is room for. Nothing for no row.
fn line_record<'a>(start: u64, rows: impl Iterator<Item = (u64, &'a str, u32)>) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    content.extend(start.to_ne_bytes());
    let counted = content.len();
    content.extend([0; 8]);
    let mut count = 0u64;
    let mut before = None;
    // Escaped once for as long as it stays the same.
    let mut shown = String::new();
    for (at, file, line) in rows {
        let last = before.replace((file, line));
        if last == Some((file, line)) {
            continue;
        }
        if last.is_none_or(|(known, _)| known != file) {
            shown = escape_name(file);
        }
        if content.len() + 16 + shown.len() + 1 > MOST_LINE_BYTES {
            break;
        }
        content.extend(at.to_ne_bytes());
        content.extend(i32::try_from(line).unwrap_or(0).to_ne_bytes());
        content.extend(0i32.to_ne_bytes());
        content.extend(shown.as_bytes());
        content.push(0);
        count += 1;
    }
    content[counted..counted + 8].copy_from_slice(&count.to_ne_bytes());
    (count > 0).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_files_without_what_a_terminal_obeys() {
        let rows = [(64, "a\0b\x1b[31m.c", 7), (65, "a\0b\x1b[31m.c", 7), (66, "d.c", 8)];
        let record = line_record(64, rows.into_iter()).unwrap();
        assert_eq!(record[..16], [64u64.to_ne_bytes(), 2u64.to_ne_bytes()].concat());
        assert_eq!(record[16..24], 64u64.to_ne_bytes());
        assert_eq!(record[24..32], [7i32.to_ne_bytes(), 0i32.to_ne_bytes()].concat());
        assert!(record[32..].starts_with(b"a\\u{0}b\\u{1b}[31m.c\0"));
        assert!(record.ends_with(b"d.c\0"));
        assert_eq!(line_record(64, std::iter::empty()), None);
    }

    #[test]
    fn lines_of_a_function_are_bounded_in_bytes() {
        // Names as long as any that is kept, and escaped to more than that.
        for name in ["漢".repeat(1000), "\u{1}".repeat(1000)] {
            let rows = (0..MOST_LINES as u32).map(|line| (line.into(), name.as_str(), line));
            let record = line_record(0, rows).unwrap();
            let row = 16 + escape_name(&name).len() + 1;
            assert!(record.len() <= MOST_LINE_BYTES && record.len() + row > MOST_LINE_BYTES);
            assert_eq!(record[8..16], ((record.len() as u64 - 16) / row as u64).to_ne_bytes());
        }
    }
}
