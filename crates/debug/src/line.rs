//! The table of lines of a unit: which row an address belongs to, and what files are called.

use gimli::{
    AttributeValue, ColumnType, IncompleteLineProgram, LineInstruction, LineProgramHeader, LineRow,
    Section as _, constants as c,
};

use crate::abbrev::{Dwarf, Slice};
use crate::dwarf::{Budget, Unit, text};
use crate::entries::string;
use crate::entries::{self, Spot};

/// The largest list of directories and files that is taken apart, in bytes: each takes many times as much then.
const MOST_HEADER: u64 = 256 << 10;

pub(crate) type Program<'a> = IncompleteLineProgram<Slice<'a>>;
type Header<'a> = LineProgramHeader<Slice<'a>>;

/// The table of lines of a unit.
pub(crate) fn program<'a>(
    dwarf: &Dwarf<'a>,
    unit: &Unit<'a>,
    budget: &mut Budget,
) -> Option<Program<'a>> {
    let root = entries::root(unit, budget)?;
    let AttributeValue::DebugLineRef(offset) = root.attr_value(c::DW_AT_stmt_list)? else {
        return None;
    };
    let length = header_length(dwarf.debug_line.reader().slice().get(offset.0..)?)?;
    if length > MOST_HEADER {
        return None;
    }
    budget.pay(length as usize)?;
    let size = unit.header.address_size();
    dwarf.debug_line.program(offset, size, unit.comp_dir, unit.name).ok()
}

/// How long the header of a table says that it is.
fn header_length(table: &[u8]) -> Option<u64> {
    let number = |at: usize, bytes: usize| {
        let bytes = table.get(at..at.checked_add(bytes)?)?;
        Some(bytes.iter().rev().fold(0u64, |n, &byte| n << 8 | u64::from(byte)))
    };
    let (at, word) = if number(0, 4)? == 0xffff_ffff { (12, 8) } else { (4, 4) };
    let more = if number(at, 2)? >= 5 { 2 } else { 0 };
    number(at + 2 + more, word)
}

/// The row that an address belongs to.
pub(crate) fn find(program: &Program<'_>, address: u64, budget: &mut Budget) -> Option<Spot> {
    let mut program = program.clone();
    let header: Header<'_> = program.header().clone();
    let mut instructions = header.instructions();
    let mut row = LineRow::new(&header);
    // The last row of the sequence, with its address.
    let mut before: Option<(u64, Spot)> = None;
    while let Some(instruction) = instructions.next_instruction(&header).ok()? {
        budget.pay(1)?;
        // Nothing makes these, and each would be kept.
        if matches!(instruction, LineInstruction::DefineFile(_)) {
            return None;
        }
        if !row.execute(instruction, &mut program).ok()? {
            continue;
        }
        if let Some((from, spot)) = before
            && from > 0
            && from <= address
            && address < row.address()
        {
            return Some(spot);
        }
        before = (!row.end_sequence()).then(|| (row.address(), spot(&row)));
        row.reset(&header);
    }
    None
}

/// Gives `each` all rows, in the order of the table, with the address of each: `None` is where a sequence ends. Stops when
/// `each` has enough.
pub(crate) fn each_row(
    program: &Program<'_>,
    budget: &mut Budget,
    mut each: impl FnMut(u64, Option<Spot>) -> Option<()>,
) -> Option<()> {
    let mut program = program.clone();
    let header: Header<'_> = program.header().clone();
    let mut instructions = header.instructions();
    let mut row = LineRow::new(&header);
    while let Some(instruction) = instructions.next_instruction(&header).ok()? {
        budget.pay(1)?;
        if matches!(instruction, LineInstruction::DefineFile(_)) {
            return None;
        }
        if row.execute(instruction, &mut program).ok()? {
            each(row.address(), (!row.end_sequence()).then(|| spot(&row)))?;
            row.reset(&header);
        }
    }
    Some(())
}

fn spot(row: &LineRow) -> Spot {
    let column = match row.column() {
        ColumnType::LeftEdge => None,
        ColumnType::Column(column) => u32::try_from(column.get()).ok(),
    };
    (row.file_index(), row.line().and_then(|line| u32::try_from(line.get()).ok()), column)
}

/// The name of a file, with its directory.
pub(crate) fn file(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    program: &Program<'_>,
    index: u64,
    budget: &mut Budget,
) -> Option<String> {
    let header = program.header();
    let file = header.file(index)?;
    let mut part = |value| text(string(dwarf, unit, value, budget)?, budget);
    let name = part(file.path_name())?;
    if name.starts_with('/') {
        return Some(name);
    }
    // Directory 0 is where it was compiled: names beneath that are told as they are.
    let directory = match file.directory_index() {
        0 => None,
        _ => file.directory(header).and_then(part),
    };
    Some(match directory {
        Some(directory) => format!("{}/{name}", directory.trim_end_matches('/')),
        None => name,
    })
}
