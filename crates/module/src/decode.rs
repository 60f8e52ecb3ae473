//! The way from bytes to a validated module: sections are counted, then checked, then described.
//!
//! Declared counts are compared with the limits, and with the bytes that are there, before anything
//! is allocated for them. The description is made when the whole module, every function body
//! included, has been found valid.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use palisade_core::{LimitKind, Limits};
use wasmparser::{
    BinaryReader, Chunk, FromReader, FuncToValidate, Parser, Payload, RecGroup, SectionLimited,
    SubType, TypeRef, ValType, Validator, ValidatorResources, WasmFeatures,
};

use crate::bytes::ModuleBytes;
use crate::describe;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::hints::{self, HintSection};
use crate::info::{FuncBody, ModuleInfo};
use crate::text;
use crate::types::TypeRegistry;
use crate::validate::{Bodies, supported_features};

/// Custom sections beyond this many are not described: they are the only part of a module that
/// no limit counts.
const MOST_CUSTOM_SECTIONS: usize = 100_000;

impl ModuleInfo {
    /// Decodes and validates a module, in the binary or (with the feature `wat`) the text format.
    ///
    /// Types are registered in `types`. `cancel` is polled between sections and functions: when it
    /// holds anything but 0, loading ends with [`DecodeErrorKind::Cancelled`]. Features that are not in
    /// [`crate::supported_features`] are taken to be off.
    ///
    /// The bytes are kept in the description; a `Vec` is taken over without copying it.
    pub fn decode(
        bytes: impl Into<ModuleBytes>,
        limits: &Limits,
        features: WasmFeatures,
        types: &Arc<TypeRegistry>,
        cancel: Option<&AtomicU32>,
    ) -> Result<Self, DecodeError> {
        decode(bytes.into(), limits, features & supported_features(), types, Known::Nothing, cancel)
    }

    /// As [`ModuleInfo::decode`], for a module in the binary format whose function bodies are known to be valid: somebody
    /// who is trusted with machine code says that [`ModuleInfo::decode`] took these very bytes, with these limits and
    /// features. Everything but the bodies is validated all the same.
    ///
    /// # Errors
    ///
    /// As [`ModuleInfo::decode`].
    pub fn decode_vouched(
        bytes: impl Into<ModuleBytes>,
        limits: &Limits,
        features: WasmFeatures,
        types: &Arc<TypeRegistry>,
        cancel: Option<&AtomicU32>,
    ) -> Result<Self, DecodeError> {
        let features = features & supported_features();
        decode(bytes.into(), limits, features, types, Known::BodiesValid, cancel)
    }

    /// The same, for a module of which the function bodies, and the contents of custom sections, are not in memory yet: they
    /// are not looked at. `outline` has the module's other bytes at their places; `bodies` says where the bodies stand;
    /// `keep` makes of it what has all of the bytes in the end.
    ///
    /// # Errors
    ///
    /// As [`ModuleInfo::decode`].
    pub fn decode_outline<B: AsRef<[u8]>>(
        outline: B,
        bodies: Vec<FuncBody>,
        keep: impl FnOnce(B) -> ModuleBytes,
        limits: &Limits,
        features: WasmFeatures,
        types: &Arc<TypeRegistry>,
        cancel: Option<&AtomicU32>,
    ) -> Result<Self, DecodeError> {
        poll(cancel)?;
        let features = features & supported_features();
        let bytes = outline.as_ref();
        check_size(bytes, limits)?;
        let found = Outline::read(bytes, limits, features, Some(bodies), cancel)?;
        let parts = describe::describe(found, types, cancel)?;
        Ok(parts.into_info(keep(outline)))
    }
}

/// What is known of a module beforehand.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Known {
    Nothing,
    BodiesValid,
}

/// Ends loading when somebody asked for it: when something other than 0 stands there.
///
/// # Errors
///
/// Loading is to end.
pub fn poll(cancel: Option<&AtomicU32>) -> Result<(), DecodeError> {
    match cancel.map(|flag| flag.load(Ordering::Relaxed)) {
        None | Some(0) => Ok(()),
        Some(reason) => Err(DecodeError::cancelled(reason)),
    }
}

fn decode(
    bytes: ModuleBytes,
    limits: &Limits,
    features: WasmFeatures,
    types: &Arc<TypeRegistry>,
    known: Known,
    cancel: Option<&AtomicU32>,
) -> Result<ModuleInfo, DecodeError> {
    poll(cancel)?;
    let all = whole(&bytes)?;
    check_size(all, limits)?;
    if text::is_binary(all) {
        return decode_binary(bytes, limits, features, types, known, cancel);
    }
    let binary = Arc::new(text::to_binary(all, limits)?);
    check_size(&binary, limits)?;
    decode_binary(binary.clone().into(), limits, features, types, Known::Nothing, cancel)
        .map_err(|error| error.in_text(|offset| text::position(all, &binary, offset)))
}

fn whole(bytes: &ModuleBytes) -> Result<&[u8], DecodeError> {
    bytes.whole().ok_or_else(|| DecodeError::malformed(0, "its bytes cannot be had any more"))
}

fn decode_binary(
    bytes: ModuleBytes,
    limits: &Limits,
    features: WasmFeatures,
    types: &Arc<TypeRegistry>,
    known: Known,
    cancel: Option<&AtomicU32>,
) -> Result<ModuleInfo, DecodeError> {
    let all = whole(&bytes)?;
    if text::is_component(all) {
        return Err(text::component());
    }
    let mut outline = Outline::read(all, limits, features, None, cancel)?;
    if known == Known::Nothing
        && let Some(bodies) = outline.bodies(all, limits, features, cancel)
    {
        bodies.validate()?;
    }
    outline.first_func = None;
    let parts = describe::describe(outline, types, cancel)?;
    Ok(parts.into_info(bytes))
}

fn check_size(bytes: &[u8], limits: &Limits) -> Result<(), DecodeError> {
    let found = bytes.len() as u64;
    if found > limits.module_bytes {
        return Err(DecodeError::too_large(found, limits.module_bytes));
    }
    Ok(())
}

/// Where the parts of a module are: all of it but the function bodies has been validated.
#[derive(Default)]
pub(crate) struct Outline<'a> {
    pub(crate) types: Option<SectionLimited<'a, RecGroup>>,
    pub(crate) imports: Option<SectionLimited<'a, wasmparser::Imports<'a>>>,
    pub(crate) funcs: Option<SectionLimited<'a, u32>>,
    pub(crate) tables: Option<SectionLimited<'a, wasmparser::Table<'a>>>,
    pub(crate) memories: Option<SectionLimited<'a, wasmparser::MemoryType>>,
    pub(crate) tags: Option<SectionLimited<'a, wasmparser::TagType>>,
    pub(crate) globals: Option<SectionLimited<'a, wasmparser::Global<'a>>>,
    pub(crate) exports: Option<SectionLimited<'a, wasmparser::Export<'a>>>,
    pub(crate) start: Option<u32>,
    pub(crate) elements: Option<SectionLimited<'a, wasmparser::Element<'a>>>,
    pub(crate) data: Option<SectionLimited<'a, wasmparser::Data<'a>>>,
    pub(crate) bodies: Vec<FuncBody>,
    pub(crate) custom_sections: Vec<(Box<str>, Range<usize>)>,
    pub(crate) name_section: Option<Range<usize>>,
    pub(crate) hint_section: HintSection,
    /// Whether the code section was seen.
    code: bool,
    imported_funcs: u32,
    first_func: Option<FuncToValidate<ValidatorResources>>,
}

impl<'a> Outline<'a> {
    /// With `known` bodies none of them is looked for.
    pub(crate) fn read(
        bytes: &'a [u8],
        limits: &Limits,
        features: WasmFeatures,
        mut known: Option<Vec<FuncBody>>,
        cancel: Option<&AtomicU32>,
    ) -> Result<Self, DecodeError> {
        let mut parser = Parser::new(0);
        parser.set_features(features);
        let mut validator = Validator::new_with_features(features);
        let mut counter = Counter { bytes, limits, features, cancel, counts: Counts::default() };
        let mut outline = Self::default();
        let mut rest = bytes;
        loop {
            poll(cancel)?;
            let payload = match parser.parse(rest, true).map_err(malformed)? {
                Chunk::Parsed { consumed, payload } => {
                    rest = rest.get(consumed..).unwrap_or_default();
                    payload
                }
                // It was told that there is no more.
                Chunk::NeedMoreData(_) => return Err(too_short(bytes)),
            };
            counter.count(&payload)?;
            if let Payload::CodeSectionEntry(body) = &payload {
                let func = validator.code_section_entry(body).map_err(invalid)?;
                outline.first_func.get_or_insert(func);
            } else {
                validator.payload(&payload).map_err(invalid)?;
            }
            let skipped = match payload {
                Payload::End(_) => break,
                Payload::CodeSectionStart { count, size, ref unchecked_range } => known
                    .take()
                    .map(|bodies| Ok((counter.bodies(bodies, count, unchecked_range)?, size)))
                    .transpose()?,
                _ => None,
            };
            outline.take(payload);
            if let Some((bodies, size)) = skipped {
                outline.bodies = bodies;
                parser.skip_section();
                rest = rest.get(size as usize..).ok_or_else(|| too_short(bytes))?;
            }
        }
        outline.imported_funcs = counter.counts.imported_funcs;
        Ok(outline)
    }

    /// The bodies, which are still to be validated, if there are any.
    pub(crate) fn bodies<'b>(
        &'b self,
        bytes: &'b [u8],
        limits: &'b Limits,
        features: WasmFeatures,
        cancel: Option<&'b AtomicU32>,
    ) -> Option<Bodies<'b>> {
        let FuncToValidate { resources, .. } = self.first_func.as_ref()?;
        let (resources, imported_funcs) = (resources.clone(), self.imported_funcs);
        let bodies = &self.bodies;
        Some(Bodies { bytes, bodies, imported_funcs, resources, features, limits, cancel })
    }

    fn take(&mut self, payload: Payload<'a>) {
        match payload {
            Payload::TypeSection(section) => self.types = Some(section),
            Payload::ImportSection(section) => self.imports = Some(section),
            Payload::FunctionSection(section) => self.funcs = Some(section),
            Payload::TableSection(section) => self.tables = Some(section),
            Payload::MemorySection(section) => self.memories = Some(section),
            Payload::TagSection(section) => self.tags = Some(section),
            Payload::GlobalSection(section) => self.globals = Some(section),
            Payload::ExportSection(section) => self.exports = Some(section),
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(section) => self.elements = Some(section),
            Payload::DataSection(section) => self.data = Some(section),
            Payload::CodeSectionStart { count, .. } => {
                self.code = true;
                self.bodies.reserve_exact(count as usize);
            }
            Payload::CodeSectionEntry(body) => {
                self.bodies.push(FuncBody { range: place(body.range()) });
            }
            Payload::CustomSection(section) => {
                let range = place(section.data_range());
                if section.name() == "name" && self.name_section.is_none() {
                    self.name_section = Some(range.clone());
                }
                if section.name() == hints::SECTION {
                    self.hint_section.add(range.clone(), !self.code);
                }
                if self.custom_sections.len() < MOST_CUSTOM_SECTIONS {
                    self.custom_sections.push((section.name().into(), range));
                }
            }
            // The header and the end have nothing to keep; all else failed validation.
            _ => {}
        }
    }
}

/// Offsets into a slice, from what the parser gives.
pub(crate) fn place(range: Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

pub(crate) fn malformed(error: wasmparser::Error) -> DecodeError {
    DecodeError::from_parser(DecodeErrorKind::Malformed, &error)
}

pub(crate) fn invalid(error: wasmparser::Error) -> DecodeError {
    DecodeError::from_parser(DecodeErrorKind::Invalid, &error)
}

/// What has been counted so far, where a section before adds to one after.
#[derive(Default)]
struct Counts {
    imported_funcs: u32,
    tables: u64,
    memories: u64,
    globals: u64,
    tags: u64,
}

/// Looks at each section before the validator does: at its counts, and whether it can be read to
/// its end.
struct Counter<'a> {
    bytes: &'a [u8],
    limits: &'a Limits,
    features: WasmFeatures,
    cancel: Option<&'a AtomicU32>,
    counts: Counts,
}

fn too_short(bytes: &[u8]) -> DecodeError {
    DecodeError::malformed(bytes.len() as u64, "unexpected end")
}

impl<'a> Counter<'a> {
    /// Bodies of which somebody says that they stand in the code section.
    fn bodies(
        &self,
        bodies: Vec<FuncBody>,
        count: u32,
        section: &Range<u64>,
    ) -> Result<Vec<FuncBody>, DecodeError> {
        let section = place(section.clone());
        let mut end = section.start;
        for body in &bodies {
            let range = &body.range;
            self.limit(LimitKind::BodyBytes, range.start as u64, range.len() as u64)?;
            // At least its size stands before it.
            if range.start <= end || range.start >= range.end || range.end > section.end {
                return Err(DecodeError::malformed(range.start as u64, "a body out of its place"));
            }
            end = range.end;
        }
        if bodies.len() != count as usize {
            let offset = section.start as u64;
            return Err(DecodeError::malformed(offset, "another number of bodies"));
        }
        Ok(bodies)
    }

    fn count(&mut self, payload: &Payload<'a>) -> Result<(), DecodeError> {
        match payload {
            Payload::TypeSection(section) => self.types(section),
            Payload::ImportSection(section) => self.imports(section),
            Payload::FunctionSection(section) => self.section(LimitKind::Functions, section, 0),
            Payload::TableSection(section) => {
                self.section(LimitKind::Tables, section, self.counts.tables)
            }
            Payload::MemorySection(section) => {
                self.section(LimitKind::Memories, section, self.counts.memories)
            }
            Payload::TagSection(section) => {
                self.section(LimitKind::Tags, section, self.counts.tags)
            }
            Payload::GlobalSection(section) => {
                self.section(LimitKind::Globals, section, self.counts.globals)
            }
            Payload::ExportSection(section) => self.section(LimitKind::Exports, section, 0),
            Payload::ElementSection(section) => self.section(LimitKind::Elements, section, 0),
            Payload::DataSection(section) => self.section(LimitKind::DataSegments, section, 0),
            Payload::DataCountSection { count, range } => {
                self.limit(LimitKind::DataSegments, range.start, u64::from(*count))
            }
            Payload::CodeSectionStart { count, unchecked_range, size } => {
                let offset = unchecked_range.start;
                self.limit(LimitKind::Functions, offset, u64::from(*count))?;
                fits(offset, u64::from(*count), u64::from(*size))
            }
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                self.limit(LimitKind::BodyBytes, range.start, range.end - range.start)
            }
            Payload::UnknownSection { id, range, .. } => {
                Err(DecodeError::malformed(range.start, format!("malformed section id: {id}")))
            }
            _ => Ok(()),
        }
    }

    fn limit(&self, kind: LimitKind, offset: u64, found: u64) -> Result<(), DecodeError> {
        let limit = self.limits.get(kind);
        if found > limit { Err(DecodeError::limit(kind, offset, found, limit)) } else { Ok(()) }
    }

    /// A section of a plain list, to which `before` things of the same sort were imported.
    fn section<T: FromReader<'a>>(
        &self,
        kind: LimitKind,
        section: &SectionLimited<'a, T>,
        before: u64,
    ) -> Result<(), DecodeError> {
        let offset = section.range().start;
        let count = u64::from(section.count());
        self.limit(kind, offset, before + count)?;
        fits(offset, count, bytes_left(section))?;
        section.clone().into_iter().try_for_each(|item| item.map(drop)).map_err(malformed)
    }

    fn imports(
        &mut self,
        section: &SectionLimited<'a, wasmparser::Imports<'a>>,
    ) -> Result<(), DecodeError> {
        let start = section.range().start;
        self.limit(LimitKind::Imports, start, u64::from(section.count()))?;
        fits(start, u64::from(section.count()), bytes_left(section))?;
        // Compact groups hold more imports than the section's count says.
        for (found, import) in (1..).zip(section.clone().into_imports_with_offsets()) {
            let (offset, import) = import.map_err(malformed)?;
            self.limit(LimitKind::Imports, offset, found)?;
            let counts = &mut self.counts;
            let (kind, found) = match import.ty {
                TypeRef::Func(_) | TypeRef::FuncExact(_) => {
                    counts.imported_funcs += 1;
                    continue;
                }
                TypeRef::Table(_) => (LimitKind::Tables, &mut counts.tables),
                TypeRef::Memory(_) => (LimitKind::Memories, &mut counts.memories),
                TypeRef::Global(_) => (LimitKind::Globals, &mut counts.globals),
                TypeRef::Tag(_) => (LimitKind::Tags, &mut counts.tags),
            };
            *found += 1;
            let found = *found;
            self.limit(kind, offset, found)?;
        }
        Ok(())
    }

    fn types(&self, section: &SectionLimited<'a, RecGroup>) -> Result<(), DecodeError> {
        let start = section.range().start;
        let groups = u64::from(section.count());
        self.limit(LimitKind::Types, start, groups)?;
        fits(start, groups, bytes_left(section))?;
        let rest = place(section.original_position()..section.range().end);
        let offset = rest.start as u64;
        let data = self.bytes.get(rest).unwrap_or_default();
        let mut reader = BinaryReader::new_features(data, offset, self.features);
        let mut depths = Vec::new();
        for _ in 0..groups {
            poll(self.cancel)?;
            let offset = reader.original_position();
            let members = group_len(&mut reader).map_err(malformed)?;
            self.limit(LimitKind::Types, offset, depths.len() as u64 + members)?;
            // The parser allocates for what a group declares.
            fits(offset, members, reader.bytes_remaining() as u64)?;
            for _ in 0..members {
                let offset = reader.original_position();
                self.signature(reader.clone())?;
                let ty: SubType = reader.read().map_err(malformed)?;
                self.sub_type(offset, &ty, &mut depths)?;
            }
        }
        if reader.eof() {
            return Ok(());
        }
        Err(DecodeError::malformed(
            reader.original_position(),
            "section size mismatch: unexpected data at the end of the section",
        ))
    }

    /// Counts parameters and results before the parser does, whose own limits are errors of another
    /// sort. What cannot be read here is left to the parser.
    fn signature(&self, mut reader: BinaryReader<'_>) -> Result<(), DecodeError> {
        if !matches!(function_form(&mut reader), Ok(true)) {
            return Ok(());
        }
        for kind in [LimitKind::Params, LimitKind::Results] {
            let offset = reader.original_position();
            let Ok(count) = reader.read_var_u32() else { return Ok(()) };
            self.limit(kind, offset, u64::from(count))?;
            if (0..count).any(|_| reader.read::<ValType>().is_err()) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn sub_type(
        &self,
        offset: u64,
        ty: &SubType,
        depths: &mut Vec<u32>,
    ) -> Result<(), DecodeError> {
        // A supertype that does not stand before its subtype is for the validator to refuse.
        let above = ty.supertype_idxs.first().and_then(|index| index.as_module_index());
        let above = above.and_then(|index| depths.get(index as usize));
        let depth = above.map_or(0, |depth| depth + 1);
        self.limit(LimitKind::SubtypeDepth, offset, u64::from(depth))?;
        depths.push(depth);
        Ok(())
    }
}

/// Reads the head of a group: how many types it has. One type may stand without a head.
fn group_len(reader: &mut BinaryReader<'_>) -> wasmparser::Result<u64> {
    const REC: u8 = 0x4e;
    let mut head = reader.clone();
    if head.read_u8()? != REC {
        return Ok(1);
    }
    let len = head.read_var_u32()?;
    *reader = head;
    Ok(u64::from(len))
}

/// Reads the beginning of a type up to its form: whether that is a function's.
fn function_form(reader: &mut BinaryReader<'_>) -> wasmparser::Result<bool> {
    const SUB: u8 = 0x50;
    const SUB_FINAL: u8 = 0x4f;
    const FUNC: u8 = 0x60;
    let mut form = reader.read_u8()?;
    if matches!(form, SUB | SUB_FINAL) {
        for _ in 0..reader.read_var_u32()? {
            reader.read_var_u32()?;
        }
        form = reader.read_u8()?;
    }
    Ok(form == FUNC)
}

fn bytes_left<T>(section: &SectionLimited<'_, T>) -> u64 {
    section.range().end.saturating_sub(section.original_position())
}

/// Everything that is counted takes a byte at least, so a larger count is a lie.
fn fits(offset: u64, count: u64, bytes: u64) -> Result<(), DecodeError> {
    if count <= bytes {
        return Ok(());
    }
    let message = format!("unexpected end: {count} entries are declared, {bytes} bytes are left");
    Err(DecodeError::malformed(offset, message))
}
