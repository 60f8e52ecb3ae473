//! `--coredump`: the file is made before the guest starts, and written when it has trapped.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use palisade::{Error, MOST_CORE_DUMP_BYTES, Store, WasmCoreDump};

use crate::args::Run;
use crate::audit;
use crate::escape;
use crate::failure::{self, Failure, Status};
use crate::quantity::show_bytes;

/// Where a core dump goes.
pub(crate) struct Target {
    path: PathBuf,
    file: File,
}

impl Target {
    /// Makes the file, empty.
    pub(crate) fn create(path: &Path, args: &Run) -> Result<Self, Failure> {
        let file = audit::emptied(path, args, audit::Links::Followed).map_err(|why| {
            let shown = escape::path(path);
            Failure::new(Status::Usage, format!("--coredump {shown}: cannot be made: {why}"))
        })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes the dump of a guest that was just ended by an error. What goes wrong is said and changes nothing.
    pub(crate) fn write<T: 'static>(&self, store: &mut Store<T>, program: &Path, error: &Error) {
        let Some(backtrace) = error.backtrace() else { return };
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let mut out = BufWriter::new(&self.file);
        let shown = escape::path(&self.path);
        match WasmCoreDump::write(store, backtrace, &name, &mut out, MOST_CORE_DUMP_BYTES) {
            Ok(dump) if dump.omitted_bytes() > 0 => failure::warn(&format!(
                "--coredump {shown}: {} of memories were left out; a core dump holds at most {}",
                show_bytes(dump.omitted_bytes()),
                show_bytes(MOST_CORE_DUMP_BYTES)
            )),
            Ok(_) => {}
            Err(error) => failure::warn(&format!("--coredump {shown}: not written: {error:#}")),
        }
    }
}
