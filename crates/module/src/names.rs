//! The name section, decoded when somebody asks first.
//!
//! Names are for people: a broken name section is no reason to refuse a module, so whatever comes
//! before the first mistake is used. Names come as the module has them; whoever shows one passes it through
//! [`crate::error::escape_name`] first.

use std::ops::Range;
use std::sync::OnceLock;

use wasmparser::{BinaryReader, Name, NameSectionReader};

use crate::info::{ExportIdx, FuncIdx, ModuleInfo};

/// Where the name section stands, and what was found in it.
#[derive(Debug, Default)]
pub struct Names {
    section: Option<Range<usize>>,
    decoded: OnceLock<Decoded>,
    exported: OnceLock<Vec<(u32, u32)>>,
}

#[derive(Debug, Default)]
struct Decoded {
    module: Option<Range<usize>>,
    /// Function index and where its name stands; indices ascend.
    funcs: Vec<(u32, Range<u32>)>,
}

impl Names {
    pub(crate) fn new(section: Option<Range<usize>>) -> Self {
        Self { section, ..Self::default() }
    }

    fn decoded(&self, bytes: &[u8], funcs: usize) -> &Decoded {
        self.decoded.get_or_init(|| {
            let section =
                self.section.clone().and_then(|range| bytes.get(range.clone()).zip(Some(range)));
            section.map_or_else(Decoded::default, |(data, range)| decode(data, range.start, funcs))
        })
    }
}

fn decode(data: &[u8], start: usize, funcs: usize) -> Decoded {
    let mut decoded = Decoded::default();
    let place = |name: &str| {
        let at = start + (name.as_ptr().addr() - data.as_ptr().addr());
        at..at + name.len()
    };
    let reader = NameSectionReader::new(BinaryReader::new(data, start as u64));
    for name in reader.map_while(Result::ok) {
        match name {
            Name::Module { name, .. } => decoded.module = Some(place(name)),
            Name::Function(map) => {
                for naming in map.map_while(Result::ok) {
                    // Indices ascend, so there are no more names than functions.
                    if naming.index as usize >= funcs {
                        break;
                    }
                    let Range { start, end } = place(naming.name);
                    if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) {
                        decoded.funcs.push((naming.index, start..end));
                    }
                }
            }
            _ => {}
        }
    }
    decoded
}

impl ModuleInfo {
    /// The module's own name, from the name section.
    pub fn module_name(&self) -> Option<&str> {
        let range = self.names.decoded(&self.bytes, self.funcs.len()).module.clone()?;
        text(&self.bytes, range)
    }

    /// The name of a function: from the name section, or else the first name that it is exported
    /// by.
    pub fn func_name(&self, func: FuncIdx) -> Option<&str> {
        let funcs = &self.names.decoded(&self.bytes, self.funcs.len()).funcs;
        if let Ok(at) = funcs.binary_search_by_key(&func.0, |(index, _)| *index) {
            let range = &funcs[at].1;
            return text(&self.bytes, range.start as usize..range.end as usize);
        }
        let exported = self.names.exported.get_or_init(|| self.exported_funcs());
        let at = exported.binary_search_by_key(&func.0, |(index, _)| *index).ok()?;
        let (_, export) = exported.get(at)?;
        self.exports.get(*export as usize).map(|e| &*e.name)
    }

    /// Function index and export index, ascending, one for each exported function.
    fn exported_funcs(&self) -> Vec<(u32, u32)> {
        let mut exported: Vec<(u32, u32)> = (0..)
            .zip(&self.exports)
            .filter_map(|(at, export)| match export.index {
                ExportIdx::Func(func) => Some((func.0, at)),
                _ => None,
            })
            .collect();
        exported.sort_unstable();
        exported.dedup_by_key(|(func, _)| *func);
        exported
    }
}

fn text(bytes: &[u8], range: Range<usize>) -> Option<&str> {
    std::str::from_utf8(bytes.get(range)?).ok()
}
