//! Where an access to a linear memory goes: all address arithmetic of the compiled tier.
//!
//! What depends on this file is everything that the sandbox promises about linear memory, so it is kept small
//! and says why each form is right. The effective address is the index, zero-extended, plus the static
//! offset; the access covers `size` bytes from there. Two forms:
//!
//! *Guarded*, for ordinary 32-bit memories in code made with [`Bounds::Guard`]. Such code only runs in
//! instances whose memories have their whole reservation: [`GUARDED_REACH`] bytes from the base on belong to the
//! memory, accessible up to its length. Index and offset are below 2^32 each, so that the last byte is below
//! 2^33 + 16, inside of the reservation; what is past the length faults, and the fault is recorded with
//! the access. The base never moves, so that it is loaded once.
//!
//! *Explicit*, for all others: the end of the access is computed so that it cannot wrap (33 bits and a little
//! for 32-bit indices; with a check of the carry for 64-bit ones), compared with the current length, and an
//! access that the comparison refuses gets the address 0 even while the processor speculates. Pages have any
//! size; the length is in bytes.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use palisade_core::{MemoryType, TrapCode};
use palisade_module::MemoryIdx;
use palisade_module::wasmparser::{MemArg, MemArgTarget};
use palisade_vm::layout::VmMemoryDef;

use super::{Result, Translator, trap_code};
use crate::error::CompileError;
use crate::mutation::Mutation;
use crate::options::Bounds;

/// How many bytes from the base on guarded code may touch: two 32-bit numbers and the largest access.
pub const GUARDED_REACH: u64 = (1 << 33) + 16;

/// A place in a linear memory. The access traps if it is outside, or was checked already.
#[derive(Copy, Clone)]
pub(crate) struct Address {
    pub(crate) base: Value,
    pub(crate) offset: i32,
    pub(crate) flags: MemFlagsData,
}

/// The memory of an access.
pub(crate) fn memory_of(memarg: &MemArg) -> Result<u32> {
    match memarg.target {
        MemArgTarget::Memory(memory) => Ok(memory),
        _ => Err(CompileError::Internal("an access to something other than a memory")),
    }
}

/// What stores to linear memory say of themselves.
pub(crate) trait ForStore {
    /// The flags of a load, for a store. They say the same in other words (the byte order of the target), so that
    /// the code generator never makes one instruction of a load and the store behind it: a fault of that would be
    /// said to be where the store is.
    fn for_store(self) -> Self;
}

impl ForStore for MemFlagsData {
    fn for_store(self) -> Self {
        let plain = Self::new().with_alias_region(self.alias_region());
        if self.notrap() { plain.with_notrap() } else { plain.with_trap_code(self.trap_code()) }
    }
}

impl Translator<'_, '_> {
    /// The type of a memory.
    pub(crate) fn memory_type(&self, memory: u32) -> Result<MemoryType> {
        let ty = self.env.info.memories.get(memory as usize);
        ty.copied().ok_or(CompileError::Internal("an unknown memory"))
    }

    /// Whether accesses to a memory rely on the pages around it.
    fn guarded(&self, ty: &MemoryType) -> bool {
        self.env.options.bounds == Bounds::Guard && !ty.memory64 && ty.page_size_log2 == 16
    }

    /// Where a memory's definition stands: so many bytes from an address. Those of a module's own are part of the
    /// context, but for shared ones.
    fn memory_def(&mut self, memory: u32, ty: &MemoryType) -> (Value, u32) {
        let own = self.env.offsets.own_memory(MemoryIdx(memory));
        if let Some(offset) = own.filter(|_| !ty.shared) {
            return (self.vmctx, offset);
        }
        let offset = self.env.offsets.memory(MemoryIdx(memory));
        (self.constant_field(types::I64, self.vmctx, offset), 0)
    }

    /// The first byte of a memory.
    pub(crate) fn memory_base(&mut self, memory: u32) -> Result<Value> {
        let ty = self.memory_type(memory)?;
        let (def, at) = self.memory_def(memory, &ty);
        let offset = at + std::mem::offset_of!(VmMemoryDef, base) as u32;
        Ok(if self.guarded(&ty) || ty.shared {
            self.constant_field(types::I64, def, offset)
        } else {
            self.field(types::I64, def, offset as usize)
        })
    }

    /// The length of a memory, in bytes. That of a shared one may grow at any time: it is read as it is now.
    pub(crate) fn memory_len(&mut self, memory: u32) -> Result<Value> {
        let ty = self.memory_type(memory)?;
        let (def, at) = self.memory_def(memory, &ty);
        let offset = at + std::mem::offset_of!(VmMemoryDef, len) as u32;
        Ok(if ty.shared {
            let place = self.b.ins().iadd_imm_s(def, i64::from(offset));
            self.b.ins().atomic_load(types::I64, MemFlagsData::trusted(), place)
        } else if self.mutated(Mutation::MemoryLengthStale) {
            self.constant_field(types::I64, def, offset)
        } else {
            self.field(types::I64, def, offset as usize)
        })
    }

    /// Where `size` bytes at an index stand. Past the memory the access itself traps, or the check before it
    /// has.
    pub(crate) fn address(&mut self, index: Value, memarg: &MemArg, size: u32) -> Result<Address> {
        let memory = memory_of(memarg)?;
        let ty = self.memory_type(memory)?;
        if self.guarded(&ty) {
            return self.guarded_address(index, memarg);
        }
        let index = self.index(index);
        let place =
            self.checked_place(memory, index, self.static_offset(memarg), u64::from(size))?;
        let flags = self.memory_flags().with_notrap();
        Ok(Address { base: place, offset: 0, flags })
    }

    /// An index with 64 bits, the upper half zero.
    fn index(&mut self, index: Value) -> Value {
        let narrow = self.b.func.dfg.value_type(index) == types::I32;
        if narrow && self.mutated(Mutation::IndexSignExtended) {
            return self.b.ins().sextend(types::I64, index);
        }
        self.zero_extend(index)
    }

    fn static_offset(&self, memarg: &MemArg) -> u64 {
        let wrong = memarg.offset > 0 && self.mutated(Mutation::OffsetWrong);
        memarg.offset.wrapping_add(u64::from(wrong))
    }

    fn guarded_address(&mut self, index: Value, memarg: &MemArg) -> Result<Address> {
        let memory = memory_of(memarg)?;
        let first = memory > 0 && self.mutated(Mutation::MemoryIndexIgnored);
        let base = self.memory_base(if first { 0 } else { memory })?;
        let flags =
            self.memory_flags().with_trap_code(Some(trap_code(TrapCode::MemoryOutOfBounds)));
        let index = self.index(index);
        let mut place = self.b.ins().iadd(base, index);
        let flags =
            if self.mutated(Mutation::AccessWithoutTrap) { flags.with_notrap() } else { flags };
        // Offsets of instructions are signed: those from 2^31 on are added.
        let offset = match i32::try_from(self.static_offset(memarg)) {
            Ok(offset) => offset,
            Err(_) => {
                let offset = self.number(memarg.offset);
                place = self.b.ins().iadd(place, offset);
                0
            }
        };
        Ok(Address { base: place, offset, flags })
    }

    /// The host's address of `size` bytes from `index + offset` on, after a check. The index has 64 bits; that of
    /// a 32-bit memory is zero-extended.
    fn checked_place(
        &mut self,
        memory: u32,
        index: Value,
        offset: u64,
        size: u64,
    ) -> Result<Value> {
        let ty = self.memory_type(memory)?;
        let code = trap_code(TrapCode::MemoryOutOfBounds);
        // Nothing that begins at or ends beyond 2^64 is inside.
        let slack = u64::from(self.mutated(Mutation::BoundsOffByOne));
        let Some(reach) = offset.checked_add(size - slack.min(size)) else {
            let one = self.b.ins().iconst(types::I8, 1);
            self.b.ins().trapnz(one, code);
            return self.memory_base(memory);
        };
        let reach = self.number(reach);
        let end = if ty.memory64 {
            self.settle(index);
            self.b.ins().uadd_overflow_trap(index, reach, code)
        } else {
            self.b.ins().iadd(index, reach)
        };
        let len = self.memory_len(memory)?;
        let outside = self.b.ins().icmp(IntCC::UnsignedGreaterThan, end, len);
        if !self.mutated(Mutation::BoundsCheckDropped) {
            self.b.ins().trapnz(outside, code);
        }
        let base = self.memory_base(memory)?;
        let place = self.b.ins().iadd(base, index);
        let offset = self.number(offset);
        let place = self.b.ins().iadd(place, offset);
        Ok(self.masked(outside, place))
    }

    /// `place`, or 0 while the processor speculates that `outside` is zero and it is not.
    pub(crate) fn masked(&mut self, outside: Value, place: Value) -> Value {
        if !self.env.options.spectre {
            return place;
        }
        let nowhere = self.b.ins().iconst(types::I64, 0);
        self.b.ins().select_spectre_guard(outside, nowhere, place)
    }

    /// As [`Translator::address`], for an atomic access: one that is not aligned traps before one that is
    /// outside. The offset is part of the address.
    pub(crate) fn aligned_address(
        &mut self,
        index: Value,
        memarg: &MemArg,
        size: u32,
    ) -> Result<Address> {
        let wide = self.zero_extend(index);
        if size > 1 {
            // What the offset adds above the size's own bits does not matter, nor does a carry.
            let low = self.b.ins().iadd_imm_s(wide, (memarg.offset % u64::from(size)) as i64);
            let low = self.b.ins().band_imm_s(low, i64::from(size) - 1);
            if !self.mutated(Mutation::AlignmentUnchecked) {
                self.trap_if(low, TrapCode::UnalignedAtomic);
            }
        }
        let address = self.address(index, memarg, size)?;
        // Atomic operators take no offset.
        let base = if address.offset == 0 {
            address.base
        } else {
            self.b.ins().iadd_imm_s(address.base, i64::from(address.offset))
        };
        Ok(Address { base, offset: 0, ..address })
    }

    /// A range of a memory as one check: the host's address of its first byte. `len` is a constant.
    pub(crate) fn range(&mut self, memory: u32, index: Value, len: u64) -> Result<Value> {
        let index = self.zero_extend(index);
        if self.mutated(Mutation::RangeUnchecked) {
            let base = self.memory_base(memory)?;
            return Ok(self.b.ins().iadd(base, index));
        }
        self.checked_place(memory, index, 0, len)
    }

    /// How linear memory is accessed: it has nothing in common with the structures of the runtime.
    pub(crate) fn memory_flags(&mut self) -> MemFlagsData {
        let region = self.memory_region;
        MemFlagsData::new()
            .with_endianness(cranelift_codegen::ir::Endianness::Little)
            .with_alias_region(Some(region))
    }
}
