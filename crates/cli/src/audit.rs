//! `--audit`: what the guest asked for and got, a JSON line each, and what would allow what it did not get.
//!
//! Invariants: a line holds what the guest said and how it calls its directories, never a path of the host; it is ASCII and
//! one line, whatever the names are. What is written is bounded: allowed decisions take at most [`ALLOWED_BYTES`],
//! and all lines together at most [`ALL_BYTES`], so that no guest can hide a denial behind a flood of what is allowed,
//! or fill a disk. The file is opened before anything of the guest runs. Nothing in here changes a decision.
//!
//! Denials are remembered even without `--audit`: a guest that fails after one is told of with the flags that it lacked.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palisade::Refusal;
use palisade_wasi::{AuditEvent, Caps, Denial, WasiCtx};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::amounts;
use crate::args::Run;
use crate::command::ascii;
use crate::dirs::Grant;
use crate::escape;
use crate::failure::{self, Failure, Status};
use crate::lacking::Lacking;
use crate::settings::Settings;

/// The most bytes of lines about what was allowed.
const ALLOWED_BYTES: u64 = 12 << 20;

/// The most bytes of all lines, but for those that say that this was reached and how the run ended.
const ALL_BYTES: u64 = 16 << 20;

/// How long, all together, whoever reads the log may keep a run waiting: a pipe that nobody empties is given up, so
/// that it cannot hold a run past its deadline. What is left out then is counted.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a pipe takes without waiting once it says that it is ready (POSIX, `PIPE_BUF`).
const PIECE: usize = 4096;

/// The audit of one run. Clones are the same audit.
#[derive(Clone)]
pub(crate) struct Audit {
    log: Arc<Mutex<Log>>,
    wanted: bool,
}

/// What is behind the lock.
struct Log {
    out: Option<Out>,
    /// Which flag granted each capability.
    granted: Vec<(Caps, &'static str)>,
    written: u64,
    allowed: u64,
    denied: u64,
    refused: u64,
    /// Lines that were left out.
    left_out: u64,
    /// Said once each: that no more allowed decisions, and that no more at all are written.
    said: [bool; 2],
    failed: Option<std::io::Error>,
    /// What is left of [`PATIENCE`].
    patience: Duration,
    lacking: Lacking,
    refusals: Vec<Refusal>,
}

enum Out {
    Stderr,
    File(File),
}

impl Audit {
    /// Opens what `--audit` names. A file that cannot be opened is wrong usage.
    pub(crate) fn open(args: &Run, settings: &Settings) -> Result<Self, Failure> {
        let grants = args.grants.dir.iter().map(|text| Grant::parse(text));
        let grants = grants.collect::<Result<Vec<_>, _>>()?;
        let (out, wanted) = match &args.watching.audit {
            None => (None, false),
            Some(None) => (Some(Out::Stderr), true),
            Some(Some(path)) => (Some(Out::File(create(path, args, &grants, settings)?)), true),
        };
        let mut lacking = Lacking::new(settings.capabilities, grants);
        // Looked at now: later the process may be locked in.
        if args.grants.dir.is_empty() && args.invoke.is_none() {
            lacking.named_by(&args.args);
        }
        let log = Log {
            out,
            granted: granted(args, settings.capabilities),
            written: 0,
            allowed: 0,
            denied: 0,
            refused: 0,
            left_out: 0,
            said: [false; 2],
            failed: None,
            patience: PATIENCE,
            lacking,
            refusals: Vec::new(),
        };
        Ok(Self { log: Arc::new(Mutex::new(log)), wanted })
    }

    /// Whether decisions are written down, and not only what was denied remembered.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// What is to be told of each decision.
    pub(crate) fn decisions(&self) -> impl FnMut(AuditEvent) + Send + 'static {
        let audit = self.clone();
        move |event| audit.log().decision(&event)
    }

    /// What is to be told of each refusal of the ledger.
    pub(crate) fn refusals(&self) -> impl Fn(&Refusal) + Send + Sync + 'static {
        let audit = self.clone();
        move |refusal| audit.log().refusal(refusal)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the run: the last line, the summary, and what a guest lacked that failed.
    pub(crate) fn finish(
        &self,
        args: &Run,
        ctx: Option<&WasiCtx>,
        end: Result<Status, Failure>,
    ) -> Result<Status, Failure> {
        let mut log = self.log();
        let missed = ctx.is_some_and(WasiCtx::missed_directories);
        if !missed {
            log.lacking.forget_named();
        }
        if self.wanted {
            log.end(&end);
            log.summary(missed);
        }
        let end = log.explain(&args.file, self.wanted, end);
        match log.failed.take() {
            Some(error) if end.is_ok() => Err(Failure::new(
                Status::Internal,
                format!("the audit log cannot be written: {error}"),
            )
            .hint("the run itself has ended; --audit without a file writes to standard error")),
            Some(error) => {
                failure::warn(&format!("the audit log cannot be written: {error}"));
                end
            }
            None => end,
        }
    }
}

/// Makes the file anew, unless it is one that is to be run. One that the guest can change is a warning: the user asked
/// for it.
fn create(path: &Path, args: &Run, grants: &[Grant], settings: &Settings) -> Result<File, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!("--audit={}: {why}", escape::path(path)))
            .hint("name a file that can be written, or write --audit alone for standard error")
    };
    let file = emptied(path, args, Links::Followed).map_err(wrong)?;
    let changes = settings.capabilities.intersects(Caps::WRITE | Caps::PATH);
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let inside = |grant: &&Grant| match (real(path), real(&grant.host)) {
        (Some(file), Some(dir)) => file.starts_with(dir),
        _ => false,
    };
    if let Some(grant) = grants.iter().filter(|g| changes && !g.read_only).find(inside) {
        failure::warn(&format!(
            "the audit log {} lies in `{}`, which the guest may change: it can change the log, too",
            escape::path(path),
            escape::name(&grant.guest)
        ));
    }
    Ok(file)
}

/// Whether the last part of a path may be a link.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum Links {
    /// The user named it.
    Followed,
    /// Nobody named it: a guest of an earlier run may have put one there that leads to another file.
    Refused,
}

/// A file that the run writes, made or emptied; it is none that the run reads.
pub(crate) fn emptied(path: &Path, args: &Run, links: Links) -> Result<File, String> {
    let flags = if links == Links::Refused { OFlags::NOFOLLOW } else { OFlags::empty() };
    let mut options = File::options();
    options.write(true).create(true).truncate(false).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).map_err(|error| match error.kind() {
        _ if Errno::from_io_error(&error) == Some(Errno::LOOP) && links == Links::Refused => {
            "it is a link to another file; name it to have that written".to_owned()
        }
        ErrorKind::NotFound => "its directory does not exist".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    })?;
    let same = |meta: &Metadata, other: &Path| {
        let other = std::fs::metadata(other);
        other.is_ok_and(|other| (other.dev(), other.ino()) == (meta.dev(), meta.ino()))
    };
    let meta = file.metadata().map_err(|error| error.to_string())?;
    let mut read = linked(args).chain([&*args.file]).chain(args.inside.debug_file.as_deref());
    if read.any(|read| same(&meta, read)) {
        return Err("this is a module of the run itself".to_owned());
    }
    if meta.is_file() {
        file.set_len(0).map_err(|error| error.to_string())?;
    }
    Ok(file)
}

/// The files of `--link`.
fn linked(args: &Run) -> impl Iterator<Item = &Path> {
    args.link.iter().filter_map(|text| {
        let bytes = text.as_bytes();
        let at = bytes.iter().position(|byte| *byte == b'=')?;
        Some(Path::new(OsStr::from_bytes(bytes.get(at + 1..)?)))
    })
}

/// Which flag gave each capability.
fn granted(args: &Run, capabilities: Caps) -> Vec<(Caps, &'static str)> {
    let given = &args.grants;
    let flags = [
        (Caps::READ, given.allow_read),
        (Caps::WRITE, given.allow_write),
        (Caps::ENV, given.allow_env),
        (Caps::PATH, given.allow_path),
        (Caps::CLOCK, given.allow_clock),
        (Caps::RANDOM, given.allow_random),
        (Caps::PROC, given.allow_proc),
    ];
    let by = |cap: Caps, flag: bool| match cap.switch().filter(|_| flag) {
        Some(switch) => switch,
        None if given.allow_all => "--allow-all",
        None => "default",
    };
    flags
        .into_iter()
        .filter(|(cap, _)| capabilities.contains(*cap))
        .map(|(cap, flag)| (cap, by(cap, flag)))
        .collect()
}

impl Log {
    fn decision(&mut self, event: &AuditEvent) {
        if event.denied.is_none() {
            // Standard streams need no capability: writing to one is no decision.
            if event.preopen.is_none() && event.capability.intersects(Caps::FILES) {
                return;
            }
            self.allowed += 1;
        } else {
            self.denied += 1;
            self.lacking.denied(event);
        }
        if self.out.is_some() || self.failed.is_some() {
            let line = self.describe(event);
            self.line(&line, event.denied.is_none());
        }
    }

    fn describe(&self, event: &AuditEvent) -> Value {
        let mut value = json!({
            "event": "decision",
            "function": event.function,
            "allowed": event.denied.is_none(),
        });
        let Some(map) = value.as_object_mut() else { return value };
        if let Some(fd) = event.descriptor {
            map.insert("fd".into(), json!(fd));
        }
        if let Some(path) = &event.path {
            map.insert("path".into(), json!(path));
        }
        if let Some(name) = &event.preopen {
            let mode = if event.read_only { "ro" } else { "rw" };
            map.insert("directory".into(), json!(name));
            map.insert("mode".into(), json!(mode));
        }
        match event.denied {
            None => {
                let by = self.granted.iter().filter(|(cap, _)| event.capability.contains(*cap));
                let mut by: Vec<&str> = by.map(|(_, flag)| *flag).collect();
                by.dedup();
                map.insert("by".into(), json!(by));
            }
            Some(denial) => {
                map.insert("why".into(), json!(why(denial)));
                let needs: Vec<&str> = Caps::SWITCHES
                    .iter()
                    .filter(|(cap, ..)| {
                        cap.bits().count_ones() == 1 && event.required.contains(*cap)
                    })
                    .map(|(_, name, _)| *name)
                    .collect();
                map.insert("needs".into(), json!(needs));
                if event.is_gentle() {
                    map.insert("answered".into(), json!("with nothing"));
                }
            }
        }
        value
    }

    fn refusal(&mut self, refusal: &Refusal) {
        self.refused += 1;
        match self.refusals.iter_mut().find(|known| known.what == refusal.what) {
            Some(known) => *known = *refusal,
            None => self.refusals.push(*refusal),
        }
        if self.out.is_some() || self.failed.is_some() {
            let line = json!({
                "event": "refusal",
                "resource": refusal.what.name(),
                "unit": refusal.what.unit(),
                "asked": refusal.asked,
                "in_use": refusal.in_use,
                "limit": refusal.limit,
            });
            self.line(&line, false);
        }
    }

    /// Writes a line if there is room for it.
    fn line(&mut self, value: &Value, allowed: bool) {
        let line = ascii(&format!("{value}\n"));
        let (most, which) = if allowed { (ALLOWED_BYTES, 0) } else { (ALL_BYTES, 1) };
        if self.written.saturating_add(line.len() as u64) <= most {
            self.written += line.len() as u64;
            self.write(&line);
            return;
        }
        self.left_out += 1;
        let Some(said) = self.said.get_mut(which).filter(|said| !**said) else { return };
        *said = true;
        let what = if allowed { "allowed decisions" } else { "lines" };
        self.write(&ascii(&format!(
            "{}\n",
            json!({ "event": "full", "no_more": what, "bytes": most })
        )));
    }

    fn write(&mut self, line: &str) {
        let patience = &mut self.patience;
        let done = match &self.out {
            None => {
                self.left_out += u64::from(self.failed.is_some());
                Ok(())
            }
            Some(Out::Stderr) => put(std::io::stderr().lock().as_fd(), line.as_bytes(), patience),
            Some(Out::File(file)) => put(file.as_fd(), line.as_bytes(), patience),
        };
        if let Err(error) = done {
            self.left_out += 1;
            self.out = None;
            self.failed = Some(error);
        }
    }

    fn end(&mut self, end: &Result<Status, Failure>) {
        let status = match end {
            Ok(status) => *status,
            Err(failure) => failure.status,
        };
        let line = json!({
            "event": "end",
            "status": status.code(),
            "allowed": self.allowed,
            "denied": self.denied,
            "refused": self.refused,
            "left_out": self.left_out,
        });
        self.write(&ascii(&format!("{line}\n")));
    }

    /// What `--audit` says at the end, to standard error.
    fn summary(&self, missed: bool) {
        let mut text = format!(
            "palisade: audit: {} allowed, {} denied, {} refused by limits\n",
            self.allowed, self.denied, self.refused
        );
        if self.left_out > 0 {
            text.push_str(&format!(
                "  {} lines are not in the log: it was full, or could not be written\n",
                self.left_out
            ));
        }
        let flags = self.lacking.flags();
        if !flags.is_empty() {
            text.push_str(&format!("  what was denied would be allowed by: {flags}\n"));
        }
        let gentle = self.lacking.gentle_flags();
        if !gentle.is_empty() {
            text.push_str(&format!("  answered with nothing, and with something by: {gentle}\n"));
        }
        for other in self.lacking.without_a_flag() {
            text.push_str(&format!("  no flag allows: {other}\n"));
        }
        let named = self.lacking.named();
        match named.is_empty() {
            false => {
                text.push_str(&format!("  files that it was called with are given by: {named}\n"))
            }
            true if missed => {
                text.push_str("  it looked for directories, and has none: --dir gives it one\n");
            }
            true => {}
        }
        for refusal in &self.refusals {
            text.push_str(&format!(
                "  {}\n",
                format_args!("{refusal}; {}", amounts::hint(refusal))
            ));
        }
        failure::tell(&text);
    }

    /// A guest that failed after denials: the error says which, and which flags it lacked.
    fn explain(
        &self,
        file: &Path,
        said: bool,
        end: Result<Status, Failure>,
    ) -> Result<Status, Failure> {
        let trapped = matches!(&end, Err(failure) if failure.status == Status::Trap);
        let failed = matches!(&end, Ok(Status::Guest(status)) if *status != 0);
        if !trapped && !failed {
            return end;
        }
        let hints = self.lacking.hints(trapped);
        if hints.is_empty() {
            return end;
        }
        match end {
            Err(failure) => Err(hints.into_iter().fold(failure, Failure::hint)),
            // The guest's own end, in its own words; these come after them. With --audit the summary has said it.
            Ok(Status::Guest(status)) if !said => {
                let mut text = format!(
                    "palisade: note: {} ended with status {status} after it was denied something\n",
                    escape::path(file)
                );
                hints.iter().for_each(|hint| text.push_str(&format!("  hint: {hint}\n")));
                failure::tell(&text);
                Ok(Status::Guest(status))
            }
            other => other,
        }
    }
}

/// Writes all of a line, and waits for whoever reads it for no longer than there is patience: descriptors that do not
/// wait by themselves, and those that do, are treated alike.
fn put(fd: BorrowedFd<'_>, mut bytes: &[u8], patience: &mut Duration) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let began = Instant::now();
        let most = Timespec::try_from(*patience).ok();
        let ready = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], most.as_ref());
        *patience = patience.saturating_sub(began.elapsed());
        match ready {
            Ok(0) => {
                let why = format!("nobody has read it for {} s", PATIENCE.as_secs());
                return Err(std::io::Error::new(ErrorKind::TimedOut, why));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if ready.is_err() {
            continue;
        }
        match rustix::io::write(fd, bytes.get(..PIECE).unwrap_or(bytes)) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            // Somebody else filled it in between.
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Why something was denied, as the log calls it.
fn why(denial: Denial) -> &'static str {
    match denial {
        Denial::Capability => "capability",
        Denial::Grant => "directory",
        Denial::Descriptor => "descriptor",
        Denial::Outside => "outside",
        Denial::Special => "special",
        Denial::Stronger => "stronger",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_nobody_empties_is_given_up() {
        for wait in [true, false] {
            let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
            if !wait {
                rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).expect("a pipe");
            }
            let mut patience = Duration::from_millis(20);
            put(writer.as_fd(), b"a line\n", &mut patience).expect("there is room");
            assert!(!patience.is_zero());
            let more = vec![b'x'; 1 << 20];
            let error = put(writer.as_fd(), &more, &mut patience).expect_err("there is none");
            assert_eq!((error.kind(), patience), (ErrorKind::TimedOut, Duration::ZERO));
            drop(reader);
            let error = put(writer.as_fd(), b"more", &mut patience).expect_err("it is closed");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        }
    }
}
