//! The parts of a module that debug information is about, and whether two files are of one build.

use std::ops::Range;

/// Where the parts of a binary module stand that matter here.
#[derive(Clone, Default, Debug)]
pub struct Parts {
    /// The content of the code section. Addresses of DWARF count from its start.
    pub code: Option<Range<usize>>,
    /// The sections of DWARF, by name.
    pub dwarf: Vec<(String, Range<usize>)>,
    /// The content of `build_id`, without its length.
    pub build_id: Option<Range<usize>>,
    /// What `external_debug_info` says: where somebody once put a file with the rest.
    pub external: Option<Range<usize>>,
}

/// Why a file is not the debug file of a module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mismatch {
    /// It is no binary module.
    NotWasm,
    /// It has no sections of DWARF.
    NoDwarf,
    /// Both have a build-id, and they differ.
    BuildId,
    /// It holds code, and that is not the module's.
    Code,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotWasm => "it is no binary WebAssembly module",
            Self::NoDwarf => "it has no sections of DWARF (.debug_info and its like)",
            Self::BuildId => "its build-id is not that of the module: they are of different builds",
            Self::Code => "its code is not that of the module: they are of different builds",
        })
    }
}

/// Only the first of so many sections are looked at.
const MOST_SECTIONS: usize = 100_000;

fn leb(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

/// A vector of bytes with its length before it.
fn vector(bytes: &[u8], at: &mut usize, end: usize) -> Option<Range<usize>> {
    let length = leb(bytes, at)?;
    let range = *at..at.checked_add(length).filter(|&stop| stop <= end)?;
    *at = range.end;
    Some(range)
}

impl Parts {
    /// Finds the parts. `None` if the bytes do not begin as a binary module does; what comes after a mistake is
    /// left out.
    pub fn find(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(b"\0asm\x01\0\0\0") {
            return None;
        }
        let (mut parts, mut at) = (Self::default(), 8);
        for _ in 0..MOST_SECTIONS {
            if parts.section(bytes, &mut at).is_none() {
                break;
            }
        }
        Some(parts)
    }

    fn section(&mut self, bytes: &[u8], at: &mut usize) -> Option<()> {
        let id = *bytes.get(*at)?;
        *at += 1;
        let content = vector(bytes, at, bytes.len())?;
        if id == 10 && self.code.is_none() {
            self.code = Some(content.clone());
        }
        if id == 0 {
            let mut inside = content.start;
            let name = vector(bytes, &mut inside, content.end)?;
            let data = inside..content.end;
            match bytes.get(name)? {
                b"build_id" => self.build_id = vector(bytes, &mut inside, content.end),
                b"external_debug_info" => self.external = vector(bytes, &mut inside, content.end),
                name if name.starts_with(b".debug_") => {
                    let name = String::from_utf8_lossy(name.get(..name.len().min(64))?);
                    self.dwarf.push((name.into_owned(), data));
                }
                _ => {}
            }
        }
        Some(())
    }

    /// The bytes of a section of DWARF; of several, the first.
    pub(crate) fn dwarf<'a>(&self, bytes: &'a [u8], name: &str) -> &'a [u8] {
        let found = self.dwarf.iter().find(|(known, _)| known == name);
        found.and_then(|(_, range)| bytes.get(range.clone())).unwrap_or_default()
    }

    /// Whether `other` can be the debug file of this module.
    ///
    /// # Errors
    ///
    /// It cannot: it has nothing to say, or is of another build.
    pub fn check(&self, bytes: &[u8], other: &Self, other_bytes: &[u8]) -> Result<(), Mismatch> {
        if other.dwarf.is_empty() {
            return Err(Mismatch::NoDwarf);
        }
        let same = |ours: &Option<Range<usize>>, theirs: &Option<Range<usize>>| match (ours, theirs)
        {
            (Some(ours), Some(theirs)) => {
                bytes.get(ours.clone()) == other_bytes.get(theirs.clone())
            }
            _ => true,
        };
        if !same(&self.build_id, &other.build_id) {
            return Err(Mismatch::BuildId);
        }
        if !same(&self.code, &other.code) {
            return Err(Mismatch::Code);
        }
        Ok(())
    }
}
