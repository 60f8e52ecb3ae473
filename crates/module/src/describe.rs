//! The description of a module that has been validated.
//!
//! Nothing is checked again here for the sake of the specification; what cannot be converted is an
//! error all the same, so that no mistake of this file can panic.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use palisade_core::{FuncType, TypeId};
use wasmparser::{DataKind, ElementKind, FromReader, SectionLimited, TableInit, TypeRef};

use crate::bytes::ModuleBytes;
use crate::const_expr::{ConstExpr, ConstOp};
use crate::convert::{Converter, InGroup};
use crate::decode::{Outline, malformed, place, poll};
use crate::error::DecodeError;
use crate::hints::BranchHints;
use crate::info::*;
use crate::names::Names;
use crate::types::{RegisteredTypes, Registration, TypeRegistry};

/// A description without the bytes.
pub(crate) struct Parts {
    types: Vec<TypeId>,
    registered: RegisteredTypes,
    imports: Vec<Import>,
    exports: Vec<Export>,
    funcs: Vec<TypeId>,
    imported_funcs: u32,
    bodies: Vec<FuncBody>,
    tables: Vec<Table>,
    imported_tables: u32,
    memories: Vec<palisade_core::MemoryType>,
    imported_memories: u32,
    globals: Vec<Global>,
    imported_globals: u32,
    tags: Vec<TypeId>,
    imported_tags: u32,
    start: Option<FuncIdx>,
    elements: Vec<ElementSegment>,
    data: Vec<DataSegment>,
    escaping: Vec<bool>,
    custom_sections: Vec<(Box<str>, std::ops::Range<usize>)>,
    names: Names,
    branch_hints: BranchHints,
}

/// Describes a module.
pub(crate) fn describe(
    mut outline: Outline<'_>,
    registry: &Arc<TypeRegistry>,
    cancel: Option<&AtomicU32>,
) -> Result<Parts, DecodeError> {
    let (types, registered) = register(&mut outline, registry, cancel)?;
    let mut parts = Parts {
        types,
        registered,
        imports: Vec::new(),
        exports: Vec::new(),
        funcs: Vec::new(),
        imported_funcs: 0,
        bodies: std::mem::take(&mut outline.bodies),
        tables: Vec::new(),
        imported_tables: 0,
        memories: Vec::new(),
        imported_memories: 0,
        globals: Vec::new(),
        imported_globals: 0,
        tags: Vec::new(),
        imported_tags: 0,
        start: outline.start.map(FuncIdx),
        elements: Vec::new(),
        data: Vec::new(),
        escaping: Vec::new(),
        custom_sections: std::mem::take(&mut outline.custom_sections),
        names: Names::new(outline.name_section.take()),
        branch_hints: BranchHints::new(std::mem::take(&mut outline.hint_section)),
    };
    parts.imports(&outline)?;
    parts.definitions(&outline)?;
    parts.escaping = vec![false; parts.funcs.len()];
    parts.exports(&outline)?;
    poll(cancel)?;
    parts.segments(&outline)?;
    parts.mark_escaping();
    Ok(parts)
}

fn register(
    outline: &mut Outline<'_>,
    registry: &Arc<TypeRegistry>,
    cancel: Option<&AtomicU32>,
) -> Result<(Vec<TypeId>, RegisteredTypes), DecodeError> {
    let mut registration = Registration::new(registry);
    for (offset, group) in items(outline.types.take()) {
        poll(cancel)?;
        let group = group.map_err(malformed)?;
        let types = InGroup { before: registration.ids(), len: group.types().len() };
        let converter = Converter { types, offset };
        let members = group.types().map(|ty| converter.member(ty)).collect::<Result<_, _>>()?;
        registration
            .add(members)
            .map_err(|error| DecodeError::invalid(offset, error.to_string()))?;
    }
    Ok(registration.finish())
}

/// The items of a section that may be absent, with their offsets.
fn items<'a, T: FromReader<'a>>(
    section: Option<SectionLimited<'a, T>>,
) -> impl Iterator<Item = (u64, wasmparser::Result<T>)> {
    section.into_iter().flat_map(|section| {
        let mut items = section.into_iter();
        std::iter::from_fn(move || {
            let offset = items.original_position();
            Some((offset, items.next()?))
        })
    })
}

impl Parts {
    fn converter(&self, offset: u64) -> Converter<&[TypeId]> {
        Converter { types: &self.types, offset }
    }

    fn imports(&mut self, outline: &Outline<'_>) -> Result<(), DecodeError> {
        let Some(section) = outline.imports.clone() else { return Ok(()) };
        for import in section.into_imports_with_offsets() {
            let (offset, import) = import.map_err(malformed)?;
            let ty = self.import(offset, &import.ty)?;
            self.imports.push(Import {
                module: import.module.into(),
                name: import.name.into(),
                ty,
            });
        }
        self.imported_funcs = self.funcs.len() as u32;
        self.imported_tables = self.tables.len() as u32;
        self.imported_memories = self.memories.len() as u32;
        self.imported_globals = self.globals.len() as u32;
        self.imported_tags = self.tags.len() as u32;
        Ok(())
    }

    /// Adds an import to the index space that it belongs to.
    fn import(&mut self, offset: u64, ty: &TypeRef) -> Result<ExternType, DecodeError> {
        let converter = self.converter(offset);
        Ok(match ty {
            TypeRef::Func(index) => {
                let id = converter.type_id(*index)?;
                self.funcs.push(id);
                ExternType::Func(id)
            }
            TypeRef::FuncExact(_) => {
                return Err(DecodeError::invalid(offset, "exact imports are not enabled"));
            }
            TypeRef::Table(ty) => {
                let ty = converter.table(ty)?;
                self.tables.push(Table { ty, init: None });
                ExternType::Table(ty)
            }
            TypeRef::Memory(ty) => {
                let ty = converter.memory(ty)?;
                self.memories.push(ty);
                ExternType::Memory(ty)
            }
            TypeRef::Global(ty) => {
                let ty = converter.global(ty)?;
                self.globals.push(Global { ty, init: None });
                ExternType::Global(ty)
            }
            TypeRef::Tag(ty) => {
                let id = converter.type_id(ty.func_type_idx)?;
                self.tags.push(id);
                ExternType::Tag(id)
            }
        })
    }

    fn definitions(&mut self, outline: &Outline<'_>) -> Result<(), DecodeError> {
        self.funcs.reserve_exact(self.bodies.len());
        for (offset, ty) in items(outline.funcs.clone()) {
            let id = self.converter(offset).type_id(ty.map_err(malformed)?)?;
            self.funcs.push(id);
        }
        for (offset, table) in items(outline.tables.clone()) {
            let table = table.map_err(malformed)?;
            let converter = self.converter(offset);
            let init = match &table.init {
                TableInit::RefNull => None,
                TableInit::Expr(expr) => Some(converter.const_expr(expr)?),
            };
            let ty = converter.table(&table.ty)?;
            self.tables.push(Table { ty, init });
        }
        for (offset, memory) in items(outline.memories.clone()) {
            let ty = self.converter(offset).memory(&memory.map_err(malformed)?)?;
            self.memories.push(ty);
        }
        for (offset, tag) in items(outline.tags.clone()) {
            let id = self.converter(offset).type_id(tag.map_err(malformed)?.func_type_idx)?;
            self.tags.push(id);
        }
        for (offset, global) in items(outline.globals.clone()) {
            let global = global.map_err(malformed)?;
            let converter = self.converter(offset);
            let init = Some(converter.const_expr(&global.init_expr)?);
            let ty = converter.global(&global.ty)?;
            self.globals.push(Global { ty, init });
        }
        Ok(())
    }

    fn exports(&mut self, outline: &Outline<'_>) -> Result<(), DecodeError> {
        use wasmparser::ExternalKind;
        for (_, export) in items(outline.exports.clone()) {
            let export = export.map_err(malformed)?;
            let index = match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => {
                    ExportIdx::Func(FuncIdx(export.index))
                }
                ExternalKind::Table => ExportIdx::Table(TableIdx(export.index)),
                ExternalKind::Memory => ExportIdx::Memory(MemoryIdx(export.index)),
                ExternalKind::Global => ExportIdx::Global(GlobalIdx(export.index)),
                ExternalKind::Tag => ExportIdx::Tag(TagIdx(export.index)),
            };
            self.exports.push(Export { name: export.name.into(), index });
        }
        Ok(())
    }

    fn segments(&mut self, outline: &Outline<'_>) -> Result<(), DecodeError> {
        for (offset, element) in items(outline.elements.clone()) {
            let segment = self.element(offset, element.map_err(malformed)?)?;
            self.elements.push(segment);
        }
        let count = outline.data.as_ref().map_or(0, |section| section.count());
        // There are as many bytes, at least, as was seen before.
        self.data.reserve_exact(count as usize);
        for (offset, data) in items(outline.data.clone()) {
            let data = data.map_err(malformed)?;
            let mode = match &data.kind {
                DataKind::Passive => SegmentMode::Passive,
                DataKind::Active { memory_index, offset_expr } => SegmentMode::Active {
                    target: MemoryIdx(*memory_index),
                    offset: self.converter(offset).const_expr(offset_expr)?,
                },
            };
            let end = place(data.range).end;
            self.data.push(DataSegment { range: end - data.data.len()..end, mode });
        }
        Ok(())
    }

    fn element(
        &self,
        offset: u64,
        element: wasmparser::Element<'_>,
    ) -> Result<ElementSegment, DecodeError> {
        let converter = self.converter(offset);
        let mode = match &element.kind {
            ElementKind::Passive => SegmentMode::Passive,
            ElementKind::Declared => SegmentMode::Declared,
            ElementKind::Active { table_index, offset_expr } => SegmentMode::Active {
                target: TableIdx(table_index.unwrap_or(0)),
                offset: converter.const_expr(offset_expr)?,
            },
        };
        let (ty, items) = match element.items {
            wasmparser::ElementItems::Functions(funcs) => {
                let funcs = funcs.into_iter().map(|func| func.map(FuncIdx));
                let funcs = funcs.collect::<wasmparser::Result<_>>().map_err(malformed)?;
                let ty =
                    palisade_core::RefType { nullable: false, heap: palisade_core::HeapType::Func };
                (ty, ElementItems::Funcs(funcs))
            }
            wasmparser::ElementItems::Expressions(ty, exprs) => {
                let exprs = exprs
                    .into_iter()
                    .map(|expr| converter.const_expr(&expr.map_err(malformed)?))
                    .collect::<Result<_, _>>()?;
                (converter.reference(ty)?, ElementItems::Exprs(exprs))
            }
        };
        Ok(ElementSegment { ty, items, mode })
    }

    /// Marks the functions that something but a call mentions. Bodies can mention only those that
    /// are mentioned outside of bodies, too (specification: the context's `refs`).
    fn mark_escaping(&mut self) {
        let mut marks = Marks(std::mem::take(&mut self.escaping));
        for export in &self.exports {
            if let ExportIdx::Func(func) = export.index {
                marks.func(func);
            }
        }
        self.tables.iter().filter_map(|table| table.init.as_ref()).for_each(|e| marks.expr(e));
        self.globals.iter().filter_map(|global| global.init.as_ref()).for_each(|e| marks.expr(e));
        for segment in &self.elements {
            match &segment.items {
                ElementItems::Funcs(funcs) => funcs.iter().for_each(|func| marks.func(*func)),
                ElementItems::Exprs(exprs) => exprs.iter().for_each(|expr| marks.expr(expr)),
            }
        }
        self.escaping = marks.0;
    }

    /// Adds the bytes.
    pub(crate) fn into_info(self, bytes: ModuleBytes) -> ModuleInfo {
        ModuleInfo {
            bytes,
            types: self.types,
            registered: self.registered,
            imports: self.imports,
            exports: self.exports,
            funcs: self.funcs,
            imported_funcs: self.imported_funcs,
            bodies: self.bodies,
            tables: self.tables,
            imported_tables: self.imported_tables,
            memories: self.memories,
            imported_memories: self.imported_memories,
            globals: self.globals,
            imported_globals: self.imported_globals,
            tags: self.tags,
            imported_tags: self.imported_tags,
            start: self.start,
            elements: self.elements,
            data: self.data,
            escaping: self.escaping,
            custom_sections: self.custom_sections,
            names: self.names,
            branch_hints: self.branch_hints,
            source: Default::default(),
        }
    }
}

struct Marks(Vec<bool>);

impl Marks {
    fn func(&mut self, func: FuncIdx) {
        if let Some(mark) = self.0.get_mut(func.index()) {
            *mark = true;
        }
    }

    fn expr(&mut self, expr: &ConstExpr) {
        for op in &expr.ops {
            if let ConstOp::RefFunc(func) = op {
                self.func(*func);
            }
        }
    }
}

impl ModuleInfo {
    /// The type of an import, by its place among the imports.
    pub fn extern_type_of_import(&self, import: usize) -> Option<ExternType> {
        self.imports.get(import).map(|import| import.ty)
    }

    /// The type of what an export names.
    pub fn extern_type_of_export(&self, index: ExportIdx) -> Option<ExternType> {
        Some(match index {
            ExportIdx::Func(func) => ExternType::Func(*self.funcs.get(func.index())?),
            ExportIdx::Table(table) => ExternType::Table(self.tables.get(table.index())?.ty),
            ExportIdx::Memory(memory) => ExternType::Memory(*self.memories.get(memory.index())?),
            ExportIdx::Global(global) => ExternType::Global(self.globals.get(global.index())?.ty),
            ExportIdx::Tag(tag) => ExternType::Tag(*self.tags.get(tag.index())?),
        })
    }

    /// The type of a function.
    pub fn func_type(&self, func: FuncIdx) -> Option<Arc<FuncType>> {
        self.registered.registry().func_type(*self.funcs.get(func.index())?)
    }
}
