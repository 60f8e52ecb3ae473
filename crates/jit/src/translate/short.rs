//! Copies and fills whose length is only known while running, and small: most are. Leaving machine code for a few
//! bytes costs several times what moving them does.
//!
//! Lengths up to [`SHORT`] are handled in place. Both ranges are checked as the built-in checks them, the source first.
//! Then two pieces, one from the beginning and one up to the end, cover the range between them, or four do; all is read before
//! anything is written, so that ranges may overlap. Only for memories with 32-bit indices that no other thread
//! sees, and where fuel is not consumed: what that takes depends on the length.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{Block, InstBuilder, Type, Value, types};
use palisade_core::TrapCode;
use palisade_vm::native::Builtin;

use super::{Result, Translator};

/// The most bytes that are moved in place.
const SHORT: i64 = 64;

/// Which pieces do for lengths from the number on: so many at the beginning, and as many up to the end.
const SIZES: [(i64, Type, i32); 6] = [
    (33, types::I8X16, 2),
    (16, types::I8X16, 1),
    (8, types::I64, 1),
    (4, types::I32, 1),
    (2, types::I16, 1),
    (1, types::I8, 1),
];

impl Translator<'_, '_> {
    /// Whether short lengths may be handled in place, for a memory.
    pub(super) fn moves_short(&self, memory: u32) -> Result<bool> {
        let ty = self.memory_type(memory)?;
        Ok(!self.env.options.fuel && !ty.shared && !ty.memory64)
    }

    /// `memory.copy` between two memories for which [`Translator::moves_short`] says yes.
    pub(super) fn short_copy(
        &mut self,
        [dst, src]: [u32; 2],
        [to, from, len]: [Value; 3],
    ) -> Result<()> {
        let len = self.zero_extend(len);
        let done = self.unless_short(len, |this| {
            let memories = this.packed(dst, src);
            this.builtin(Builtin::MemoryCopy, &[memories, to, from, len]);
        });
        let from = self.short_range(src, from, len)?;
        let to = self.short_range(dst, to, len)?;
        let flags = self.memory_flags().with_notrap();
        self.by_size(len, done, |this, ty, places| {
            let read: Vec<_> = places
                .iter()
                .map(|&(base, at)| {
                    let from = this.moved(from, base);
                    this.b.ins().load(ty, flags, from, Offset32::new(at))
                })
                .collect();
            for (&(base, at), value) in places.iter().zip(read) {
                let to = this.moved(to, base);
                this.b.ins().store(flags, value, to, Offset32::new(at));
            }
        });
        Ok(())
    }

    /// `memory.fill` of a memory for which [`Translator::moves_short`] says yes.
    pub(super) fn short_fill(&mut self, memory: u32, [to, byte, len]: [Value; 3]) -> Result<()> {
        let len = self.zero_extend(len);
        let done = self.unless_short(len, |this| {
            let number = this.number(u64::from(memory));
            this.builtin(Builtin::MemoryFill, &[number, to, byte, len]);
        });
        let to = self.short_range(memory, to, len)?;
        let flags = self.memory_flags().with_notrap();
        let byte = self.b.ins().ireduce(types::I8, byte);
        self.by_size(len, done, |this, ty, places| {
            let value = this.repeated(byte, ty);
            for &(base, at) in places {
                let to = this.moved(to, base);
                this.b.ins().store(flags, value, to, Offset32::new(at));
            }
        });
        Ok(())
    }

    /// Does `long` for lengths that are not short, and goes on with those that are; where both are to meet.
    fn unless_short(&mut self, len: Value, long: impl FnOnce(&mut Self)) -> Block {
        let [short, other, done] = [(); 3].map(|()| self.b.create_block());
        let is_long = self.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, len, SHORT);
        self.b.ins().brif(is_long, other, &[], short, &[]);
        self.b.seal_block(short);
        self.b.seal_block(other);
        self.b.switch_to_block(other);
        long(self);
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(short);
        done
    }

    /// The host's address of `len` bytes from a 32-bit index on, after a check.
    fn short_range(&mut self, memory: u32, index: Value, len: Value) -> Result<Value> {
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

    /// Moves pieces of the size that a short length asks for: `pieces` gets their type and places, each a distance to the
    /// beginning that is only known while running, and one beside it that is known.
    fn by_size(
        &mut self,
        len: Value,
        done: Block,
        mut pieces: impl FnMut(&mut Self, Type, &[(Option<Value>, i32)]),
    ) {
        for (least, ty, count) in SIZES {
            let [here, smaller] = [(); 2].map(|()| self.b.create_block());
            let enough = self.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, len, least);
            self.b.ins().brif(enough, here, &[], smaller, &[]);
            self.b.seal_block(here);
            self.b.seal_block(smaller);
            self.b.switch_to_block(here);
            let bytes = ty.bytes() as i32;
            let mut places: Vec<_> = (0..count).map(|piece| (None, piece * bytes)).collect();
            if ty != types::I8 {
                places.extend((0..count).map(|piece| (Some(len), (piece - count) * bytes)));
            }
            pieces(self, ty, &places);
            self.b.ins().jump(done, &[]);
            self.b.switch_to_block(smaller);
        }
        self.b.ins().jump(done, &[]);
        self.b.seal_block(done);
        self.b.switch_to_block(done);
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
