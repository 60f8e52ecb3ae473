//! Tables of abbreviations, measured before they are taken apart: units may all refer to one of any size.

use gimli::{DebugAbbrevOffset, DwarfSections, EndianSlice, LittleEndian};

/// No compiler makes larger tables for one unit.
const MOST_BYTES: usize = 512 << 10;

pub(crate) type Slice<'a> = EndianSlice<'a, LittleEndian>;
pub(crate) type Dwarf<'a> = gimli::Dwarf<Slice<'a>>;

/// Makes readers of all sections.
pub(crate) fn dwarf<'a>(section: impl Fn(&'static str) -> &'a [u8]) -> Dwarf<'a> {
    let load = |id: gimli::SectionId| Ok::<_, gimli::Error>(section(id.name()));
    let sections = DwarfSections::load(load).unwrap_or_else(|_| DwarfSections::default());
    sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian))
}

fn leb(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// How many bytes the table at an offset has. `None` if it has no end, or is too large to be one.
pub(crate) fn measure(section: &[u8], offset: DebugAbbrevOffset) -> Option<usize> {
    const IMPLICIT_CONST: u64 = 0x21;
    let table = section.get(offset.0..)?;
    let table = &table[..table.len().min(MOST_BYTES)];
    let mut rest = table;
    while leb(&mut rest)? != 0 {
        leb(&mut rest)?;
        rest = rest.get(1..)?;
        loop {
            let (name, form) = (leb(&mut rest)?, leb(&mut rest)?);
            if form == IMPLICIT_CONST {
                leb(&mut rest)?;
            }
            if name == 0 && form == 0 {
                break;
            }
        }
    }
    Some(table.len() - rest.len())
}
