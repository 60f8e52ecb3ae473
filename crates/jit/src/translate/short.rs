//! Copies and fills: most are of few bytes, and leaving machine code for those costs several times what moving them does.
//!
//! A constant length up to [`SHORT`] is made up of pieces, one beside the other. Of a length that is known only while
//! running, there are three kinds: up to [`SHORT`], two pieces, one from the beginning and one up to the end, cover the
//! range between them, or four do; up to [`PLAIN_BYTES`], a wrapper moves the bytes that checks nothing and notes
//! nothing; beyond, the built-in does it, which looks now and then at whether the guest is to stop.
//!
//! Both ranges are checked as the built-in checks them, the source first, before anything is written; and all of a short
//! range is read before anything is written, so that ranges may overlap. A length that is not constant is only looked at
//! here for memories with 32-bit indices that no other thread sees, and where fuel is not consumed: what that takes
//! depends on the length.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{Block, InstBuilder, InstructionData, Opcode, Type, Value, types};
use palisade_core::{TrapCode, fuel};
use palisade_vm::native::{Builtin, PLAIN_BYTES};

use super::{Result, Translator};
use crate::mutation::Mutation;

/// The most bytes that are moved in place.
const SHORT: u64 = 64;

/// Which pieces do for lengths from the number on: so many at the beginning, and as many up to the end.
const SIZES: [(u64, Type, i32); 6] = [
    (33, types::I8X16, 2),
    (16, types::I8X16, 1),
    (8, types::I64, 1),
    (4, types::I32, 1),
    (2, types::I16, 1),
    (1, types::I8, 1),
];

/// A part of a range: its type, a distance from the beginning that is only known while running, and one beside it
/// that is known.
type Piece = (Type, Option<Value>, i32);

impl Translator<'_, '_> {
    /// `memory.copy` of so many bytes, to an index from another.
    pub(super) fn copy(&mut self, [dst, src]: [u32; 2], [to, from, len]: [Value; 3]) -> Result<()> {
        if let Some(constant) = self.short_constant(len, [dst, src])? {
            let from = self.range(src, from, constant)?;
            let to = self.range(dst, to, constant)?;
            if !self.mutated(Mutation::CopyFree) {
                self.charge_units(fuel::bytes(constant));
            }
            let pieces = side_by_side(constant);
            // All at once.
            let at_once = if self.mutated(Mutation::CopyPiecewise) { 1 } else { pieces.len() };
            pieces.chunks(at_once.max(1)).for_each(|part| self.copy_pieces(part, to, from));
            return Ok(());
        }
        if !self.looks_at_length(dst)? || !self.looks_at_length(src)? {
            let memories = self.packed(dst, src);
            self.builtin(Builtin::MemoryCopy, &[memories, to, from, len]);
            return Ok(());
        }
        let (len, done) = (self.zero_extend(len), self.b.create_block());
        self.if_above(len, PLAIN_BYTES, done, |this| {
            let memories = this.packed(dst, src);
            this.builtin(Builtin::MemoryCopy, &[memories, to, from, len]);
        });
        let from = self.running_range(src, from, len)?;
        let to = self.running_range(dst, to, len)?;
        self.if_above(len, SHORT, done, |this| {
            this.builtin(Builtin::MoveBytes, &[to, from, len]);
        });
        self.by_size(len, done, |this, pieces| this.copy_pieces(pieces, to, from));
        Ok(())
    }

    /// `memory.fill` of so many bytes from an index on.
    pub(super) fn fill(&mut self, memory: u32, [to, byte, len]: [Value; 3]) -> Result<()> {
        if let Some(constant) = self.short_constant(len, [memory; 2])? {
            let to = self.range(memory, to, constant)?;
            self.charge_units(fuel::bytes(constant));
            self.fill_pieces(&side_by_side(constant), to, byte);
            return Ok(());
        }
        if !self.looks_at_length(memory)? {
            let number = self.number(u64::from(memory));
            self.builtin(Builtin::MemoryFill, &[number, to, byte, len]);
            return Ok(());
        }
        let (len, done) = (self.zero_extend(len), self.b.create_block());
        self.if_above(len, PLAIN_BYTES, done, |this| {
            let number = this.number(u64::from(memory));
            this.builtin(Builtin::MemoryFill, &[number, to, byte, len]);
        });
        let to = self.running_range(memory, to, len)?;
        self.if_above(len, SHORT, done, |this| {
            this.builtin(Builtin::FillBytes, &[to, byte, len]);
        });
        self.by_size(len, done, |this, pieces| this.fill_pieces(pieces, to, byte));
        Ok(())
    }

    /// A length that is known and short, for memories that no other thread sees.
    fn short_constant(&self, len: Value, memories: [u32; 2]) -> Result<Option<u64>> {
        for memory in memories {
            if self.memory_type(memory)?.shared {
                return Ok(None);
            }
        }
        let Some(inst) = self.b.func.dfg.value_def(len).inst() else { return Ok(None) };
        Ok(match self.b.func.dfg.insts[inst] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => {
                u64::try_from(imm.bits()).ok().filter(|&len| len <= SHORT)
            }
            _ => None,
        })
    }

    /// Whether machine code looks at a length itself that is only known while running, for a memory.
    fn looks_at_length(&self, memory: u32) -> Result<bool> {
        let ty = self.memory_type(memory)?;
        Ok(!self.env.options.fuel && !ty.shared && !ty.memory64)
    }

    /// Does something else about a length above a limit, and goes on at `done`; here with all others.
    fn if_above(&mut self, len: Value, limit: u64, done: Block, other: impl FnOnce(&mut Self)) {
        let [above, rest] = [(); 2].map(|()| self.b.create_block());
        let is_above = self.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, len, limit as i64);
        self.b.ins().brif(is_above, above, &[], rest, &[]);
        self.b.seal_block(above);
        self.b.seal_block(rest);
        self.b.switch_to_block(above);
        other(self);
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(rest);
    }

    /// The host's address of `len` bytes, up to [`PLAIN_BYTES`], from a 32-bit index on, after a check.
    fn running_range(&mut self, memory: u32, index: Value, len: Value) -> Result<Value> {
        let index = self.zero_extend(index);
        // Below 2^33.
        let end = self.b.ins().iadd(index, len);
        let size = self.memory_len(memory)?;
        let outside = self.b.ins().icmp(IntCC::UnsignedGreaterThan, end, size);
        self.trap_if(outside, TrapCode::MemoryOutOfBounds);
        let base = self.memory_base(memory)?;
        let place = self.b.ins().iadd(base, index);
        Ok(self.masked(outside, place))
    }

    /// Moves the pieces that a short length asks for, and goes on at `done`, which begins here.
    fn by_size(&mut self, len: Value, done: Block, mut moves: impl FnMut(&mut Self, &[Piece])) {
        for (least, ty, count) in SIZES {
            let [here, smaller] = [(); 2].map(|()| self.b.create_block());
            let enough =
                self.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, len, least as i64);
            self.b.ins().brif(enough, here, &[], smaller, &[]);
            self.b.seal_block(here);
            self.b.seal_block(smaller);
            self.b.switch_to_block(here);
            let bytes = ty.bytes() as i32;
            let mut pieces: Vec<_> = (0..count).map(|piece| (ty, None, piece * bytes)).collect();
            if ty != types::I8 {
                let last = |piece| (ty, Some(len), (piece - count) * bytes);
                pieces.extend((0..count).map(last));
            }
            moves(self, &pieces);
            self.b.ins().jump(done, &[]);
            self.b.switch_to_block(smaller);
        }
        self.b.ins().jump(done, &[]);
        self.b.seal_block(done);
        self.b.switch_to_block(done);
    }

    /// Reads all of them, then writes all of them.
    fn copy_pieces(&mut self, pieces: &[Piece], to: Value, from: Value) {
        let flags = self.memory_flags().with_notrap();
        let read: Vec<_> = pieces
            .iter()
            .map(|&(ty, distance, at)| {
                let from = self.moved(from, distance);
                self.b.ins().load(ty, flags, from, Offset32::new(at))
            })
            .collect();
        for (&(_, distance, at), value) in pieces.iter().zip(read) {
            let to = self.moved(to, distance);
            self.b.ins().store(flags, value, to, Offset32::new(at));
        }
    }

    /// Writes the lowest byte of a value to all of them.
    fn fill_pieces(&mut self, pieces: &[Piece], to: Value, byte: Value) {
        let flags = self.memory_flags().with_notrap();
        let byte = self.b.ins().ireduce(types::I8, byte);
        let mut made: Option<(Type, Value)> = None;
        for &(ty, distance, at) in pieces {
            let value = match made {
                Some((known, value)) if known == ty => value,
                _ => self.repeated(byte, ty),
            };
            made = Some((ty, value));
            let to = self.moved(to, distance);
            self.b.ins().store(flags, value, to, Offset32::new(at));
        }
    }

    fn moved(&mut self, start: Value, distance: Option<Value>) -> Value {
        match distance {
            Some(distance) => self.b.ins().iadd(start, distance),
            None => start,
        }
    }

    /// A byte in every place of a type.
    fn repeated(&mut self, byte: Value, ty: Type) -> Value {
        if ty == types::I8 {
            return byte;
        }
        if ty == types::I8X16 {
            return self.b.ins().splat(ty, byte);
        }
        let wide = self.b.ins().uextend(types::I64, byte);
        let wide = self.b.ins().imul_imm_s(wide, 0x0101_0101_0101_0101);
        if ty == types::I64 { wide } else { self.b.ins().ireduce(ty, wide) }
    }
}

/// Pieces that make up a length, one beside the other.
fn side_by_side(len: u64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    for ty in [types::I8X16, types::I64, types::I32, types::I16, types::I8] {
        while len - at >= u64::from(ty.bytes()) {
            pieces.push((ty, None, at as i32));
            at += u64::from(ty.bytes());
        }
    }
    pieces
}
