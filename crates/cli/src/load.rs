//! Reading module files.
//!
//! No more is read than the limit on a module's size allows, so that neither a huge file nor an
//! endless one takes the host's memory. What the bytes are is for the decoder to say.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use palisade::{ARTEFACT_MAGIC, Engine, HashedModule, Module, Trust};
use palisade_core::{LimitKind, Limits};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::time::Timespec;

use crate::escape;
use crate::failure::{Failure, Status};
use crate::outcome;

/// How much is read before somebody asks whether to go on.
const STEP: u64 = 4 << 20;

/// A file that should be a module, open. From here on nothing needs its name, but for messages.
pub(crate) struct Opened {
    path: PathBuf,
    file: File,
    metadata: Metadata,
}

/// Opens a file that should be a module, and does not wait for whoever writes into a FIFO: reading does.
pub(crate) fn open(path: &Path) -> Result<Opened, Failure> {
    let unreadable = |error: io::Error| explain(path, &error);
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    Ok(Opened { path: path.to_owned(), file, metadata })
}

impl Opened {
    /// Whether the file begins as an artefact does. Pipes and the like are modules.
    pub(crate) fn is_artefact(&self) -> bool {
        let mut start = [0; ARTEFACT_MAGIC.len()];
        self.metadata.is_file()
            && self.file.read_exact_at(&mut start, 0).is_ok()
            && start == ARTEFACT_MAGIC
    }

    /// Reads a module, if this is a regular file of no more than the limit, for a cache. `None`, and nothing has
    /// changed, if not. `proceed` says from time to time whether to go on.
    pub(crate) fn read_whole(
        &self,
        limits: &Limits,
        proceed: &mut dyn FnMut() -> Result<(), Failure>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let Some(mut bytes) = self.room(limits) else { return Ok(None) };
        while (bytes.len() as u64) < self.metadata.len() {
            proceed()?;
            let step = STEP.min(self.metadata.len() - bytes.len() as u64);
            if !matches!((&self.file).take(step).read_to_end(&mut bytes), Ok(read) if read > 0) {
                // It has become shorter meanwhile: whoever reads it next says so.
                let _ = (&self.file).rewind();
                return Ok(None);
            }
        }
        Ok(Some(bytes))
    }

    fn room(&self, limits: &Limits) -> Option<Vec<u8>> {
        let len = self.metadata.len();
        if !self.metadata.is_file() || len > limits.get(LimitKind::ModuleBytes) {
            return None;
        }
        HashedModule::room(usize::try_from(len).ok()?)
    }
}

/// Loads what `palisade compile` made: what a start needs of it at once, the rest when it is needed.
pub(crate) fn artefact(engine: &Engine, opened: Opened, trust: &Trust) -> Result<Module, Failure> {
    Module::deserialize_open_file(engine, opened.file, trust)
        .map_err(|error| outcome::failure(&opened.path, &error))
}

/// Loads a module, binary or text. `limits` are those that the engine was made with.
pub(crate) fn module(engine: &Engine, limits: &Limits, opened: Opened) -> Result<Module, Failure> {
    let path = opened.path.clone();
    let bytes = read(opened, limits)?;
    Module::from_vec(engine, bytes).map_err(|error| outcome::failure(&path, &error))
}

/// Reads the debug file of a module, and gives it to the module.
pub(crate) fn debug_file(module: &Module, limits: &Limits, opened: Opened) -> Result<(), Failure> {
    let path = opened.path.clone();
    let bytes = read(opened, limits)?;
    module.set_debug_file(bytes).map_err(|error| {
        let what = format!("--debug-file {}: {error:#}", escape::path(&path));
        Failure::new(Status::Module, what)
            .hint("without --debug-file the module runs, and backtraces tell less")
    })
}

/// Waits until there is something to read, or nobody left to write it;
/// `proceed` says from time to time whether to go on.
pub(crate) fn wait_for(
    file: &File,
    mut proceed: Option<&mut dyn FnMut() -> io::Result<()>>,
) -> io::Result<()> {
    let mut waiting = [PollFd::new(file, PollFlags::IN)];
    let tick = proceed.is_some().then_some(Timespec { tv_sec: 0, tv_nsec: 50_000_000 });
    loop {
        proceed.as_mut().map_or(Ok(()), |proceed| proceed())?;
        match poll(&mut waiting, tick.as_ref()) {
            Err(rustix::io::Errno::INTR) | Ok(0) => {}
            other => {
                other?;
                break;
            }
        }
    }
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags - OFlags::NONBLOCK)?)
}

/// Reads a file that should be a module.
fn read(opened: Opened, limits: &Limits) -> Result<Vec<u8>, Failure> {
    let Opened { path, mut file, metadata } = opened;
    let path = path.as_path();
    let unreadable = |error: io::Error| explain(path, &error);
    if metadata.is_dir() {
        return Err(Failure::new(
            Status::Unreadable,
            format!("{}: this is a directory, a module is wanted", escape::path(path)),
        ));
    }
    if !metadata.is_file() {
        wait_for(&file, None).map_err(unreadable)?;
    }
    let limit = limits.get(LimitKind::ModuleBytes);
    if metadata.is_file() && metadata.len() > limit {
        return Err(too_large(path, &format!("{} bytes", metadata.len()), limit));
    }
    let expected = if metadata.is_file() { metadata.len() } else { 0 };
    let mut bytes = Vec::new();
    // One byte more than the file has, so that its end is seen without growing the buffer.
    let capacity = usize::try_from(expected.saturating_add(1)).unwrap_or(0);
    bytes.try_reserve_exact(capacity).map_err(|_| {
        Failure::new(
            Status::Internal,
            format!("{}: there is no memory for {expected} bytes", escape::path(path)),
        )
    })?;
    file.by_ref().take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(path, "more", limit));
    }
    Ok(bytes)
}

/// Reads a specification script.
pub(crate) fn script(path: &Path) -> Result<String, Failure> {
    let bytes = read(open(path)?, &Limits::default())?;
    String::from_utf8(bytes).map_err(|error| {
        Failure::new(
            Status::Unreadable,
            format!(
                "{}: this is no script: at byte {} it stops being UTF-8",
                escape::path(path),
                error.utf8_error().valid_up_to()
            ),
        )
    })
}

fn explain(path: &Path, error: &io::Error) -> Failure {
    let shown = escape::path(path);
    let failure = match error.kind() {
        io::ErrorKind::NotFound => format!("{shown}: no such file"),
        io::ErrorKind::PermissionDenied => format!("{shown}: permission denied"),
        _ => format!("{shown}: cannot be read: {error}"),
    };
    Failure::new(Status::Unreadable, failure)
}

fn too_large(path: &Path, found: &str, limit: u64) -> Failure {
    let name = LimitKind::ModuleBytes.name();
    let failure = Failure::new(
        Status::Module,
        format!(
            "{}: the module is too large: the limit is {limit} bytes, the file has {found}",
            escape::path(path)
        ),
    );
    if limit < LimitKind::ModuleBytes.ceiling() {
        failure.hint(format!(
            "--limit {name}=N raises the limit, up to {}",
            LimitKind::ModuleBytes.ceiling()
        ))
    } else {
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_exactly_the_limit_is_read_and_one_more_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let mut limits = Limits::default();
        limits.module_bytes = 8;
        std::fs::write(&path, [7; 8]).unwrap();
        assert_eq!(read(open(&path).unwrap(), &limits).unwrap(), [7; 8]);
        std::fs::write(&path, [7; 9]).unwrap();
        let failure = read(open(&path).unwrap(), &limits).unwrap_err();
        assert_eq!(failure.status, Status::Module);
        assert!(failure.hints[0].contains("--limit module-bytes="));
    }

    #[test]
    fn an_endless_file_is_cut_off() {
        let mut limits = Limits::default();
        limits.module_bytes = 1 << 16;
        let failure = read(open(Path::new("/dev/zero")).unwrap(), &limits).unwrap_err();
        assert_eq!(failure.status, Status::Module);
    }

    #[test]
    fn missing_files_and_directories() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits::default();
        for path in [dir.path().join("none"), dir.path().to_path_buf()] {
            let failure = open(&path).and_then(|opened| read(opened, &limits)).unwrap_err();
            assert_eq!(failure.status, Status::Unreadable);
        }
    }
}
