//! The name section, decoded when somebody asks first.
//!
//! Names are for people: a broken name section is no reason to refuse a module, so whatever comes
//! before the first mistake is used. Names come as the module has them; whoever shows one passes it through
//! [`crate::error::escape_name`] first.

use std::ops::Range;
use std::sync::OnceLock;

use wasmparser::{BinaryReader, Name, NameMap, NameSectionReader};

use crate::bytes::ModuleBytes;
use crate::info::{ExportIdx, ExternType, FuncIdx, ModuleInfo, TagIdx};

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
    /// The same for tags.
    tags: Vec<(u32, Range<u32>)>,
}

impl Names {
    pub(crate) fn new(section: Option<Range<usize>>) -> Self {
        Self { section, ..Self::default() }
    }

    fn decoded(&self, module: &ModuleInfo) -> &Decoded {
        let bytes = &module.bytes;
        self.decoded.get_or_init(|| {
            let section =
                self.section.clone().and_then(|range| bytes.get(range.clone()).zip(Some(range)));
            let decode = |(data, range): (_, Range<usize>)| decode(data, range.start, module);
            section.map_or_else(Decoded::default, decode)
        })
    }
}

fn decode(data: &[u8], start: usize, module: &ModuleInfo) -> Decoded {
    let mut decoded = Decoded::default();
    let place = |name: &str| {
        let at = start + (name.as_ptr().addr() - data.as_ptr().addr());
        at..at + name.len()
    };
    let named = |map: NameMap<'_>, count: usize, out: &mut Vec<(u32, Range<u32>)>| {
        for naming in map.map_while(Result::ok) {
            // Indices ascend, so there are no more names than things to name.
            if naming.index as usize >= count {
                break;
            }
            let Range { start, end } = place(naming.name);
            if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) {
                out.push((naming.index, start..end));
            }
        }
    };
    let reader = NameSectionReader::new(BinaryReader::new(data, start as u64));
    for name in reader.map_while(Result::ok) {
        match name {
            Name::Module { name, .. } => decoded.module = Some(place(name)),
            Name::Function(map) => named(map, module.funcs.len(), &mut decoded.funcs),
            Name::Tag(map) => named(map, module.tags.len(), &mut decoded.tags),
            _ => {}
        }
    }
    decoded
}

impl ModuleInfo {
    /// The module's own name, from the name section.
    pub fn module_name(&self) -> Option<&str> {
        let range = self.names.decoded(self).module.clone()?;
        text(&self.bytes, range)
    }

    /// The name of a function: from the name section, or else the first name that it is exported
    /// by, or else the one that it is imported by.
    pub fn func_name(&self, func: FuncIdx) -> Option<&str> {
        if let Some(name) = self.given_name(&self.names.decoded(self).funcs, func.0) {
            return Some(name);
        }
        let exported = self.names.exported.get_or_init(|| self.exported_funcs());
        match exported.binary_search_by_key(&func.0, |(index, _)| *index) {
            Ok(at) => {
                let (_, export) = exported.get(at)?;
                self.exports.get(*export as usize).map(|e| &*e.name)
            }
            Err(_) => self.imported_name(func),
        }
    }

    /// The name that a function is imported by, the second of the two.
    fn imported_name(&self, func: FuncIdx) -> Option<&str> {
        if func.0 >= self.imported_funcs {
            return None;
        }
        let mut funcs = self.imports.iter().filter(|i| matches!(i.ty, ExternType::Func(_)));
        funcs.nth(func.index()).map(|import| &*import.name)
    }

    /// The name of a tag: from the name section, or else the first name that it is exported by. Looks
    /// at all exports: for messages.
    pub fn tag_name(&self, tag: TagIdx) -> Option<&str> {
        self.given_name(&self.names.decoded(self).tags, tag.0).or_else(|| {
            let export = self.exports.iter().find(|e| e.index == ExportIdx::Tag(tag))?;
            Some(&export.name)
        })
    }

    fn given_name(&self, names: &[(u32, Range<u32>)], index: u32) -> Option<&str> {
        let at = names.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        let (_, range) = names.get(at)?;
        text(&self.bytes, range.start as usize..range.end as usize)
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

fn text(bytes: &ModuleBytes, range: Range<usize>) -> Option<&str> {
    std::str::from_utf8(bytes.get(range)?).ok()
}
