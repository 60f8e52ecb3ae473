//! Places in the source, for backtraces: nothing is read before somebody asks.
//!
//! Debug information is as foreign as the rest of a module, and only ever makes messages: whatever is wrong with it,
//! fewer places are known. What was found for an offset is kept, up to a number, since a backtrace of a recursion asks
//! the same again and again.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use palisade_debug::{DebugInfo, Lines, Mismatch, Parts};
use wasmparser::BinaryReader;

pub use palisade_debug::{Mismatch as DebugMismatch, Place};

use crate::bytes::ModuleBytes;
use crate::info::ModuleInfo;

/// How many offsets are remembered.
const MOST_KNOWN: usize = 1024;

/// The debug information of a module, as far as it was read.
#[derive(Debug, Default)]
pub struct Source {
    off: OnceLock<()>,
    /// A file that holds what the module itself does not.
    file: OnceLock<(ModuleBytes, Parts, Read)>,
    own: Read,
    known: Mutex<HashMap<usize, Vec<Place>>>,
}

/// What was read of one file.
#[derive(Debug, Default)]
struct Read {
    info: OnceLock<Option<DebugInfo>>,
    lines: OnceLock<Option<Arc<LineTable>>>,
}

/// Files and lines of all of a module's code: see [`ModuleInfo::lines`].
#[derive(Debug)]
pub struct LineTable {
    /// Where the code section's content begins.
    start: usize,
    lines: Lines,
}

impl LineTable {
    /// The file, not escaped, and the line, from 1, that an offset in the module comes from.
    pub fn at(&self, offset: usize) -> Option<(Option<&str>, u32)> {
        self.lines.at(u32::try_from(offset.checked_sub(self.start)?).ok()?)
    }
}

impl ModuleInfo {
    /// Leaves debug information alone from now on: nobody has asked for what its sections say.
    pub fn ignore_debug_info(&self) {
        let _ = self.source.off.set(());
    }

    /// Takes debug information from another file, that which was split off when the module was stripped.
    ///
    /// # Errors
    ///
    /// It has none, or is of another build. A module has one such file at most: a second is ignored.
    pub fn set_debug_file(&self, bytes: Vec<u8>) -> Result<(), Mismatch> {
        let parts = Parts::find(&bytes).ok_or(Mismatch::NotWasm)?;
        let own = self.bytes.whole().unwrap_or_default();
        let ours = Parts::find(own).unwrap_or_default();
        ours.check(own, &parts, &bytes)?;
        let _ = self.source.file.set((bytes.into(), parts, Read::default()));
        Ok(())
    }

    /// Where the module says that its debug information is, if it does not hold it itself: the content of its section
    /// `external_debug_info`. Not escaped, and nothing that anybody should open without being told to.
    pub fn debug_file_hint(&self) -> Option<&str> {
        if self.source.file.get().is_some() {
            return None;
        }
        let section = self.custom_section("external_debug_info")?;
        let content = self.bytes.get(section)?;
        let mut reader = BinaryReader::new(content, 0);
        reader.read_string().ok()
    }

    /// Where the content of the first custom section of a name stands. So the bytes of all others need not be at hand.
    fn custom_section(&self, name: &str) -> Option<Range<usize>> {
        let mut sections = self.custom_sections.iter();
        sections.find(|(known, _)| &**known == name).map(|(_, range)| range.clone())
    }

    /// Whether there is anything to be read: only then all of the module is asked for.
    fn has_debug_info(&self) -> bool {
        let own = || self.custom_sections.iter().any(|(name, _)| name.starts_with(".debug_"));
        self.source.file.get().is_some() || own()
    }

    /// The places in the source that an offset in the module comes from: the innermost function inlined there first,
    /// the function itself last. Empty if nothing is known.
    pub fn places(&self, offset: usize) -> Vec<Place> {
        if self.reads_nothing() {
            return Vec::new();
        }
        if let Some(known) = self.known().get(&offset) {
            return known.clone();
        }
        let places = self.find_places(offset).unwrap_or_default();
        let mut known = self.known();
        if known.len() < MOST_KNOWN {
            known.insert(offset, places.clone());
        }
        places
    }

    fn reads_nothing(&self) -> bool {
        let off = self.source.off.get().is_some() && self.source.file.get().is_none();
        off || !self.has_debug_info()
    }

    /// Files and lines of all code at once, for profilers; read when it is asked for first. `None` if nothing is known.
    pub fn lines(&self) -> Option<Arc<LineTable>> {
        if self.reads_nothing() {
            return None;
        }
        let (bytes, parts, read) = self.debug_file()?;
        let made = read.lines.get_or_init(|| {
            let start = Parts::find(self.bytes.whole()?)?.code?.start;
            let lines = read.info(bytes, parts)?.lines(bytes);
            (!lines.is_empty()).then(|| Arc::new(LineTable { start, lines }))
        });
        made.clone()
    }

    /// The file whose debug information counts: its bytes, its parts if they are known, and what was read of it. `None` if its
    /// bytes are lost.
    fn debug_file(&self) -> Option<(&[u8], Option<&Parts>, &Read)> {
        Some(match self.source.file.get() {
            Some((bytes, parts, read)) => (bytes.whole()?, Some(parts), read),
            None => (self.bytes.whole()?, None, &self.source.own),
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Vec<Place>>> {
        self.source.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find_places(&self, offset: usize) -> Option<Vec<Place>> {
        let (bytes, parts, read) = self.debug_file()?;
        let info = read.info(bytes, parts);
        // Both count from where the code begins; the file may hold code elsewhere, or none.
        let ours = Parts::find(self.bytes.whole()?)?.code?;
        let address = offset.checked_sub(ours.start).filter(|_| ours.contains(&offset))?;
        Some(info?.places(bytes, address))
    }
}

impl Read {
    fn info(&self, bytes: &[u8], parts: Option<&Parts>) -> Option<&DebugInfo> {
        let read = || DebugInfo::read(bytes, parts.cloned().or_else(|| Parts::find(bytes))?);
        self.info.get_or_init(read).as_ref()
    }
}
