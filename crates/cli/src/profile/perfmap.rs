//! `--profile perfmap`: the file in which `perf` looks up code that a process made for itself.
//!
//! The file has its name from the number of the process, in a folder that everybody may write to: it is made anew and never
//! one that was there, so that no link leads elsewhere. It is made before the process locks itself in, and written
//! when the guest has ended.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use palisade::Module;
use palisade_module::FuncIdx;

use crate::escape;
use crate::failure::{self, Failure, Status};

/// The file.
pub(crate) struct PerfMap {
    path: PathBuf,
    file: File,
}

impl PerfMap {
    /// Makes the file.
    pub(crate) fn create() -> Result<Self, Failure> {
        let path = PathBuf::from(format!("/tmp/perf-{}.map", std::process::id()));
        let file =
            OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| {
                let shown = escape::path(&path);
                Failure::new(Status::Usage, format!("--profile: {shown} cannot be made: {error}"))
                    .hint(
                        "a file that an earlier process of the same number left has to be removed",
                    )
            })?;
        Ok(Self { path, file })
    }

    /// Writes where the code of these modules is. What goes wrong is said and changes nothing.
    pub(crate) fn write<'a>(&self, mut modules: impl Iterator<Item = &'a Module>) {
        let mut out = BufWriter::new(&self.file);
        let written = modules.try_for_each(|module| lines(module, &mut out));
        if let Err(error) = written.and_then(|()| out.flush()) {
            let shown = escape::path(&self.path);
            failure::warn(&format!("--profile: {shown} cannot be written: {error}"));
        }
    }
}

/// A line for each function: address and bytes in hexadecimal, and its name.
fn lines(module: &Module, out: &mut impl Write) -> io::Result<()> {
    let own = module.name().map_or_else(|| "<unnamed module>".to_owned(), escape::name);
    for code in module.native_code() {
        let name = module.info().func_name(FuncIdx(code.func)).map(escape::name);
        let name = name.unwrap_or_else(|| format!("<wasm function {}>", code.func));
        let at_loop = if code.at_loop { " (from a loop)" } else { "" };
        writeln!(out, "{:x} {:x} {own}!{name}{at_loop}", code.address, code.bytes)?;
    }
    Ok(())
}
