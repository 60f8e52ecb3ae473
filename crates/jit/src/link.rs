//! From compiled functions to one stretch of code with its tables.
//!
//! Calls inside the batch are direct. A function that somebody in the batch calls, but that is not in it (a
//! limit refused it), is entered through a thunk, which goes where the instance says: to its code, should it have
//! some by then, or to the stub of its signature.
//!
//! A function with loops in which nothing is called is placed so that the innermost one begins with a line of the processor's cache: where a small loop
//! stands decides how fast it is fetched and predicted, by half its time and more. Others begin at multiples of 32.
//!
//! Invariants: functions start at multiples of what their constants want, between them are breakpoints; every table is sorted; equal
//! input gives equal bytes, whatever the order of the functions.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::Arc;

use palisade_module::ModuleInfo;
use palisade_vm::VmOffsets;
use palisade_vm::layout::NativeEntry;
use palisade_vm::native::code::{
    CallSite, FuncKind, FuncRange, Handler, INLINED, StackMap, Tables,
};

use crate::compiler::CompiledFunc;
use crate::error::CompileError;
use crate::limits;

/// What the addresses of functions without loops are multiples of.
const ALIGNMENT: u32 = 32;

/// What those of innermost loops are, if constants allow.
const LINE: usize = 64;

/// `int3`: what stands where no code is.
const FILLER: u8 = 0xCC;

/// `nop`: what stands before a function that is entered where its code begins.
const NOTHING: u8 = 0x90;

/// A batch of code, and what there is to know of it.
#[derive(Debug)]
pub struct Linked {
    /// The code. It can stand at any address that is a multiple of the page size.
    pub code: Vec<u8>,
    /// Its tables.
    pub tables: Tables,
    /// Where each function is entered: its index among the defined ones, and the offset in the code.
    pub entries: Vec<(u32, u32)>,
}

/// Puts functions of a module together.
///
/// # Errors
///
/// It is too much code for one batch, or calls do not fit the code that they stand in.
pub fn link(
    info: Arc<ModuleInfo>,
    offsets: Arc<VmOffsets>,
    mut funcs: Vec<(u32, CompiledFunc)>,
) -> Result<Linked, CompileError> {
    funcs.sort_by_key(|&(defined, _)| defined);
    let mut batch = Batch::for_all(&funcs);
    for (defined, func) in &funcs {
        let start = batch.add(
            &func.code,
            func.alignment,
            FuncKind::Defined(*defined),
            func.body,
            func.hot,
        )?;
        batch.tables(start, func);
        batch.entries.push((*defined, start));
    }
    let thunks = batch.thunks(&offsets, &funcs)?;
    batch.relocate(&funcs, &thunks)?;
    batch.tables.module = Some((info, offsets));
    Ok(Linked { code: batch.code, tables: batch.tables, entries: batch.entries })
}

/// A function that is entered at a loop, as code of its own. It can be entered where the code begins, too: what is before
/// the function does nothing.
///
/// # Errors
///
/// As [`link`].
pub fn link_loop(
    info: Arc<ModuleInfo>,
    offsets: Arc<VmOffsets>,
    defined: u32,
    func: &CompiledFunc,
) -> Result<Linked, CompileError> {
    let mut batch = Batch::new();
    let start =
        batch.add(&func.code, func.alignment, FuncKind::Osr(defined), func.body, func.hot)?;
    if let Some(before) = batch.code.get_mut(..start as usize) {
        before.fill(NOTHING);
    }
    batch.tables(start, func);
    if !func.relocations.is_empty() {
        return Err(CompileError::Internal("a loop that calls by name"));
    }
    batch.tables.module = Some((info, offsets));
    Ok(Linked { code: batch.code, tables: batch.tables, entries: vec![(defined, start)] })
}

/// Puts stubs together. Where each of them starts, in their order.
pub(crate) fn link_stubs(
    stubs: &[CompiledFunc],
) -> Result<(Vec<u8>, Tables, Vec<u32>), CompileError> {
    let mut batch = Batch::new();
    let mut starts = Vec::with_capacity(stubs.len());
    for stub in stubs {
        if !stub.relocations.is_empty() {
            return Err(CompileError::Internal("a stub that calls by name"));
        }
        let start = batch.add(&stub.code, stub.alignment, FuncKind::Stub, 0, None)?;
        batch.tables(start, stub);
        starts.push(start);
    }
    Ok((batch.code, batch.tables, starts))
}

struct Batch {
    /// The most bytes of code: [`limits::BATCH_BYTES`].
    room: u64,
    code: Vec<u8>,
    tables: Tables,
    entries: Vec<(u32, u32)>,
}

impl Batch {
    fn new() -> Self {
        let room = limits::BATCH_BYTES;
        Self { room, code: Vec::new(), tables: Tables::default(), entries: Vec::new() }
    }

    /// With room for all of these. Lists that grow are twice what they hold for a moment, and more than that afterwards; of
    /// a large module they are as large as its code.
    fn for_all(funcs: &[(u32, CompiledFunc)]) -> Self {
        fn all(funcs: &[(u32, CompiledFunc)], count: impl Fn(&CompiledFunc) -> usize) -> usize {
            funcs.iter().map(|(_, func)| count(func)).sum()
        }
        // Whatever stands between them is less than this.
        let between = |func: &CompiledFunc| match func.hot {
            Some(_) => LINE + func.alignment as usize,
            None => func.alignment.max(ALIGNMENT) as usize,
        };
        let mut batch = Self::new();
        batch.code.reserve_exact(all(funcs, |func| func.code.len() + between(func)));
        batch.entries.reserve_exact(funcs.len());
        let tables = &mut batch.tables;
        tables.funcs.reserve_exact(funcs.len());
        tables.traps.reserve_exact(all(funcs, |func| func.traps.len()));
        tables.srclocs.reserve_exact(all(funcs, |func| func.srclocs.len()));
        tables.inlined.reserve_exact(all(funcs, |func| func.inlined.len()));
        tables.calls.reserve_exact(all(funcs, |func| func.calls.len()));
        tables.handlers.reserve_exact(all(funcs, |func| func.handlers.len()));
        tables.maps.reserve_exact(all(funcs, |func| func.maps.len()));
        tables.slots.reserve_exact(all(funcs, |func| func.slots.len()));
        batch
    }

    /// Appends code, which has something at `hot` that is to begin with a line. Where it starts.
    fn add(
        &mut self,
        code: &[u8],
        alignment: u32,
        kind: FuncKind,
        body: u32,
        hot: Option<u32>,
    ) -> Result<u32, CompileError> {
        let free = self.code.len();
        let start = match hot {
            Some(hot) => {
                let first = free.next_multiple_of(alignment.max(1) as usize);
                let starts = (first..first + LINE).step_by(alignment.max(1) as usize);
                starts.min_by_key(|start| (start + hot as usize) % LINE).unwrap_or(first)
            }
            None => free.next_multiple_of(alignment.max(ALIGNMENT) as usize),
        };
        let end = start as u64 + code.len() as u64;
        limits::check("bytes of a batch", self.room, end)?;
        self.code.resize(start, FILLER);
        self.code.extend_from_slice(code);
        let start = start as u32;
        self.tables.funcs.push(FuncRange { range: start..end as u32, kind, body });
        Ok(start)
    }

    /// Appends the tables of a function, which starts there.
    fn tables(&mut self, start: u32, func: &CompiledFunc) {
        let tables = &mut self.tables;
        tables.traps.extend(func.traps.iter().map(|&(at, code)| (start + at, code)));
        let first = tables.inlined.len() as u32;
        tables.inlined.extend_from_slice(&func.inlined);
        tables.srclocs.extend(func.srclocs.iter().map(|&(at, source)| {
            // No more of them than bytes of code: the sum is below 2^32.
            (start + at, if source < INLINED { source } else { source + first })
        }));
        let first = tables.handlers.len() as u32;
        tables.handlers.extend(func.handlers.iter().map(|&handler| match handler {
            Handler::Context(at) => Handler::Context(at),
            Handler::Tag(tag, at) => Handler::Tag(tag, start + at),
            Handler::Default(at) => Handler::Default(start + at),
        }));
        tables.calls.extend(func.calls.iter().map(|call| CallSite {
            ret: start + call.ret,
            frame: call.frame,
            handlers: first + call.handlers.start..first + call.handlers.end,
        }));
        let first = tables.slots.len() as u32;
        tables.slots.extend_from_slice(&func.slots);
        tables.maps.extend(func.maps.iter().map(|map| StackMap {
            ret: start + map.ret,
            frame: map.frame,
            slots: first + map.slots.start..first + map.slots.end,
        }));
    }

    fn entry(&self, defined: u32) -> Option<u32> {
        let at = self.entries.binary_search_by_key(&defined, |&(defined, _)| defined).ok()?;
        self.entries.get(at).map(|&(_, start)| start)
    }

    /// Makes the thunks that calls need: where each missing function is entered.
    fn thunks(
        &mut self,
        offsets: &VmOffsets,
        funcs: &[(u32, CompiledFunc)],
    ) -> Result<BTreeMap<u32, u32>, CompileError> {
        let mut missing = BTreeMap::new();
        for call in funcs.iter().flat_map(|(_, func)| &func.relocations) {
            if self.entry(call.target).is_none() {
                let known = *missing.entry(call.target).or_insert(call.return_area);
                if known != call.return_area {
                    return Err(CompileError::Internal("a function of two signatures"));
                }
            }
        }
        let mut thunks = BTreeMap::new();
        for (target, return_area) in missing {
            let code = thunk(offsets, target, return_area)?;
            thunks.insert(target, self.add(&code, ALIGNMENT, FuncKind::Stub, 0, None)?);
        }
        Ok(thunks)
    }

    /// Fills in the distances of calls.
    fn relocate(
        &mut self,
        funcs: &[(u32, CompiledFunc)],
        thunks: &BTreeMap<u32, u32>,
    ) -> Result<(), CompileError> {
        for (defined, func) in funcs {
            let start = self.entry(*defined).ok_or(CompileError::Internal("a lost function"))?;
            for call in &func.relocations {
                let target = self.entry(call.target).or_else(|| thunks.get(&call.target).copied());
                let target = target.ok_or(CompileError::Internal("a lost target"))?;
                let at = u64::from(start) + u64::from(call.at);
                let distance = i64::from(target) - (at as i64 + 4);
                let distance = i32::try_from(distance)
                    .map_err(|_| CompileError::Internal("a call that does not reach"))?;
                let inside = u64::from(call.at) + 4 <= func.code.len() as u64;
                let bytes = self.code.get_mut(at as usize..at as usize + 4).filter(|_| inside);
                let bytes = bytes.ok_or(CompileError::Internal("a call outside its function"))?;
                bytes.copy_from_slice(&distance.to_le_bytes());
            }
        }
        Ok(())
    }
}

/// Code that goes on where the [`NativeEntry`] of a function says, with the context that it says. It must leave
/// all registers of arguments alone but for the context's: the code generator's convention passes integers in
/// `rdi`, `rsi`, `rdx`, `rcx`, `r8` and `r9`, and the address of the area of results, if there is one, as the
/// first of them, before the context. `rax` holds nothing at a call.
fn thunk(offsets: &VmOffsets, target: u32, return_area: bool) -> Result<[u8; 16], CompileError> {
    let entry = u64::from(offsets.native) + u64::from(target) * size_of::<NativeEntry>() as u64;
    let field = |offset: usize| {
        let at = i32::try_from(entry + offset as u64);
        at.map(i32::to_le_bytes).map_err(|_| CompileError::Internal("a context that large"))
    };
    // The register numbers of rdi and rsi; the operand byte with a 32-bit distance, by target and base.
    let ctx: u8 = if return_area { 6 } else { 7 };
    let operand = |to: u8| 0b10 << 6 | to << 3 | ctx;
    const RAX: u8 = 0;
    let mut code = [0; 16];
    code[..3].copy_from_slice(&[0x48, 0x8B, operand(RAX)]);
    code[3..7].copy_from_slice(&field(offset_of!(NativeEntry, code))?);
    code[7..10].copy_from_slice(&[0x48, 0x8B, operand(ctx)]);
    code[10..14].copy_from_slice(&field(offset_of!(NativeEntry, ctx))?);
    // jmp rax
    code[14..].copy_from_slice(&[0xFF, 0xE0]);
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(native: u32) -> VmOffsets {
        VmOffsets {
            own_memories: 0,
            own_tables: 0,
            own_globals: 0,
            imported: [0; 3],
            code: 0,
            imported_funcs: 0,
            memories: 0,
            tables: 0,
            globals: 0,
            tags: 0,
            type_ids: 0,
            native,
            counters: 0,
            func_refs: 0,
            size: 0,
        }
    }

    #[test]
    fn thunks_read_the_entry_of_their_function() {
        // As an assembler has it: mov rax,[rdi+0x130]; mov rdi,[rdi+0x138]; jmp rax
        let code = thunk(&offsets(0x100), 3, false).unwrap();
        assert_eq!(code, *b"\x48\x8b\x87\x30\x01\0\0\x48\x8b\xbf\x38\x01\0\0\xff\xe0");
        // mov rax,[rsi+0x130]; mov rsi,[rsi+0x138]; jmp rax
        let code = thunk(&offsets(0x100), 3, true).unwrap();
        assert_eq!(code, *b"\x48\x8b\x86\x30\x01\0\0\x48\x8b\xb6\x38\x01\0\0\xff\xe0");
        assert!(thunk(&offsets(0x100), u32::MAX, false).is_err());
    }
    #[test]
    fn a_batch_ends_at_its_limit() {
        let mut batch = Batch { room: 200, ..Batch::new() };
        let kind = FuncKind::Stub;
        assert_eq!(batch.add(&[0x90; 40], 1, kind, 0, None), Ok(0));
        // What is hot begins with a line, whatever is before it.
        assert_eq!(batch.add(&[0x90; 40], 1, kind, 0, Some(7)), Ok(57));
        assert_eq!(batch.add(&[0x90; 40], 16, kind, 0, Some(16)), Ok(112));
        let error = batch.add(&[0x90; 41], 1, kind, 0, None).unwrap_err();
        assert_eq!(error, CompileError::Limit { what: "bytes of a batch", limit: 200, found: 201 });
        // What did not fit left nothing.
        assert_eq!((batch.code.len(), batch.tables.funcs.len()), (152, 3));
        assert_eq!(batch.add(&[0x90; 40], 1, kind, 0, None), Ok(160));
    }
}
