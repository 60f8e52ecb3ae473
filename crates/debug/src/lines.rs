//! Files and lines of all addresses at once, for profilers: [`Lines`].
//!
//! Invariants: rows are sorted by address and each holds up to the next; a sequence that ends is closed by a row without a
//! line, so that what lies between functions has none. Rows, and the bytes of file names, are bounded, whatever the
//! tables say.

use std::collections::HashMap;

use crate::dwarf::Budget;
use crate::line::{self, Program};

/// The most rows that are kept.
const MOST_ROWS: usize = 4 << 20;
/// The most files.
const MOST_FILES: usize = 1 << 16;

/// No file is known.
const NO_FILE: u32 = u32::MAX;

#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Row {
    from: u32,
    /// 0 where nothing is known. (So that the end of a sequence comes before the beginning of the next one.)
    line: u32,
    file: u32,
}

/// A table from addresses to files and lines.
#[derive(Default, Debug)]
pub struct Lines {
    rows: Vec<Row>,
    files: Vec<String>,
}

impl Lines {
    /// The file, not escaped, and the line, from 1, of an offset in the code section.
    pub fn at(&self, offset: u32) -> Option<(Option<&str>, u32)> {
        let after = self.rows.partition_point(|row| row.from <= offset);
        let row = self.rows.get(after.checked_sub(1)?).filter(|row| row.line != 0)?;
        Some((self.files.get(row.file as usize).map(String::as_str), row.line))
    }

    /// Whether nothing is known at all.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Lines while they are read.
#[derive(Default)]
pub(crate) struct Collector {
    lines: Lines,
}

impl Collector {
    /// Takes the rows of a unit; `name` tells what a file is called.
    pub(crate) fn unit(
        &mut self,
        program: &Program<'_>,
        budget: &mut Budget,
        mut name: impl FnMut(u64, &mut Budget) -> Option<String>,
    ) {
        let mut sequence: Vec<Row> = Vec::new();
        let mut used: Vec<u64> = Vec::new();
        let mut numbers: HashMap<u64, u32> = HashMap::new();
        let first = self.lines.rows.len();
        // What a table that is cut off has said so far holds.
        let _ = line::each_row(program, budget, |address, spot| {
            // The end of a sequence is a row, too.
            if self.lines.rows.len() + sequence.len() >= MOST_ROWS {
                return None;
            }
            let Ok(from) = u32::try_from(address) else {
                sequence.clear();
                return Some(());
            };
            let Some((file, line, _)) = spot else {
                sequence.push(Row { from, line: 0, file: NO_FILE });
                // Code that was left out at linking is said to be at 0.
                if sequence.first().is_some_and(|row| row.from > 0) {
                    self.lines.rows.append(&mut sequence);
                }
                sequence.clear();
                return Some(());
            };
            let file = *numbers.entry(file).or_insert_with(|| {
                used.push(file);
                used.len() as u32 - 1
            });
            sequence.push(Row { from, line: line.unwrap_or(0), file });
            Some(())
        });
        let mut numbers = Vec::with_capacity(used.len());
        for index in used {
            let room = self.lines.files.len() < MOST_FILES;
            let name = room.then(|| name(index, budget)).flatten();
            numbers.push(name.map_or(NO_FILE, |name| {
                self.lines.files.push(name);
                self.lines.files.len() as u32 - 1
            }));
        }
        for row in &mut self.lines.rows[first..] {
            row.file = numbers.get(row.file as usize).copied().unwrap_or(NO_FILE);
        }
    }

    pub(crate) fn finish(mut self) -> Lines {
        self.lines.rows.sort();
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DebugInfo, Parts};

    /// A number of LEB128, as wide as any size here needs.
    fn padded(number: usize) -> [u8; 5] {
        std::array::from_fn(|i| (number >> (7 * i)) as u8 & 0x7f | if i < 4 { 0x80 } else { 0 })
    }

    /// A module whose one unit has these instructions of lines.
    fn module(instructions: &[u8]) -> Vec<u8> {
        let mut bytes = b"\0asm\x01\0\0\0\x0a\x01\0".to_vec();
        let mut section = |name: &str, parts: &[&[u8]]| {
            let size: usize = parts.iter().map(|part| part.len()).sum();
            bytes.push(0);
            bytes.extend(padded(1 + name.len() + size));
            bytes.push(name.len() as u8);
            bytes.extend(name.as_bytes());
            parts.iter().for_each(|part| bytes.extend(*part));
        };
        // A unit from 1 on, 1000 bytes long, whose lines are at 0.
        section(".debug_abbrev", &[&[1, 0x11, 0, 0x11, 1, 0x12, 6, 0x10, 0x17, 0, 0, 0]]);
        let unit = [4, 0, 0, 0, 0, 0, 4, 1, 1, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0];
        section(".debug_info", &[&(unit.len() as u32).to_le_bytes(), &unit]);
        let mut header = vec![1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0];
        header.extend(b"a\0\0\0\0\0");
        let size = 2 + 4 + header.len() + instructions.len();
        section(
            ".debug_line",
            &[
                &(size as u32).to_le_bytes(),
                &[4, 0],
                &(header.len() as u32).to_le_bytes(),
                &header,
                instructions,
            ],
        );
        bytes
    }

    fn lines(instructions: &[u8]) -> Lines {
        let bytes = module(instructions);
        let info = DebugInfo::read(&bytes, Parts::find(&bytes).unwrap()).unwrap();
        info.lines(&bytes)
    }

    /// 17 bytes on, a row if it is wanted, and the sequence ends there.
    fn sequence(row: bool) -> Vec<u8> {
        let mut all = vec![8];
        all.extend(row.then_some(1));
        all.extend([2, 3, 0, 1, 1]);
        all
    }

    #[test]
    fn a_row_holds_up_to_the_end_of_its_sequence() {
        let lines = lines(&sequence(true));
        assert_eq!(
            (lines.at(16), lines.at(17), lines.at(19)),
            (None, Some((Some("a"), 1)), Some((Some("a"), 1)))
        );
        assert_eq!(lines.at(20), None);
    }

    #[test]
    fn rows_are_bounded_whether_they_are_lines_or_ends() {
        for row in [true, false] {
            let one = sequence(row);
            let lines = lines(&one.repeat(MOST_ROWS / (1 + usize::from(row)) + 1000));
            assert_eq!(lines.rows.len(), MOST_ROWS, "{row}");
        }
    }
}
