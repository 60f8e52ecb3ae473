//! How a module is cut for an artefact: what every start needs, and what waits until somebody asks for it.
//!
//! Function bodies are for the interpreter and the compiler alone, the contents of custom sections for backtraces and for
//! people. All else is read at once.
//!
//! Invariant: pieces follow each other without gaps, from the first byte of the module to its last; a body, and the content of a custom
//! section, lies in one piece or in several that all wait.

use std::ops::Range;

use palisade_module::ModuleInfo;
use palisade_module::info::FuncBody;

use super::wire::{Broken, Read, Reader, Writer};

/// A piece with bodies ends with the first one at which it has so many bytes: one that is needed brings its neighbours.
const BODIES: usize = 32 << 10;
/// The content of a smaller custom section does not wait.
const CUSTOM: usize = 4 << 10;

/// A piece of a module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) len: u64,
    /// Whether it waits until somebody asks for it.
    pub(super) late: bool,
    pub(super) hash: [u8; 32],
}

/// The ranges of a module that wait, in order.
fn late(info: &ModuleInfo) -> Vec<Range<usize>> {
    let mut late: Vec<Range<usize>> = Vec::new();
    let mut open: Option<Range<usize>> = None;
    for FuncBody { range } in &info.bodies {
        let piece = open.get_or_insert(range.start..range.end);
        piece.end = range.end;
        if piece.len() >= BODIES {
            late.extend(open.take());
        }
    }
    late.extend(open);
    let custom = info.custom_sections.iter().map(|(_, range)| range.clone());
    late.extend(custom.filter(|range| range.len() >= CUSTOM));
    late.sort_unstable_by_key(|range| range.start);
    late
}

/// Cuts a module.
pub(super) fn cut(info: &ModuleInfo, module: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut add = |range: Range<usize>, late| {
        let bytes = module.get(range).unwrap_or_default();
        if !bytes.is_empty() {
            let hash = *blake3::hash(bytes).as_bytes();
            pieces.push(Piece { len: bytes.len() as u64, late, hash });
        }
    };
    for range in late(info) {
        add(at..range.start, false);
        at = range.end;
        add(range, true);
    }
    add(at..module.len(), false);
    pieces
}

pub(super) fn write(w: &mut Writer, pieces: &[Piece], bodies: &[FuncBody]) {
    w.u64(pieces.len() as u64);
    for piece in pieces {
        w.u8(piece.late.into());
        w.u64(piece.len);
        w.raw(&piece.hash);
    }
    w.u64(bodies.len() as u64);
    let mut end = 0;
    for FuncBody { range } in bodies {
        // A module is no longer than a number of 32 bits says.
        w.var((range.start - end) as u32);
        w.var(range.len() as u32);
        end = range.end;
    }
}

/// The pieces of a module of so many bytes, and where its bodies stand.
pub(super) fn read(r: &mut Reader<'_>, module_len: u64) -> Read<(Vec<Piece>, Vec<FuncBody>)> {
    let count = r.u64()?;
    let mut pieces = Vec::new();
    let mut sum = 0u64;
    for _ in 0..count {
        let late = r.u8()? != 0;
        let (len, hash) = (r.u64()?, r.array()?);
        sum = sum.checked_add(len).filter(|&sum| sum <= module_len).ok_or(LONGER)?;
        pieces.push(Piece { len, late, hash });
    }
    if sum != module_len {
        return Err(Broken("the parts of its module are not all of it"));
    }
    let count = r.u64()?;
    let mut bodies = Vec::new();
    let mut end = 0u64;
    for _ in 0..count {
        let start = end + u64::from(r.var()?);
        end = start + u64::from(r.var()?);
        if end > module_len {
            return Err(LONGER);
        }
        bodies.push(FuncBody { range: start as usize..end as usize });
    }
    Ok((pieces, bodies))
}

const LONGER: Broken = Broken("a part of its module lies outside of it");
