//! Making objects: the next free place if the object fits, else the runtime.
//!
//! An object that fits is paid for and placed here; all that is not as usual (no heap yet, a full one, a heap that
//! is to collect each time, an object larger than any heap) is left to the built-in, which pays itself, so that
//! each is paid for once, and before anything is made. Free places are zero.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, types};
use palisade_core::fuel;
use palisade_vm::gc::layout::{ALIGN, ELEMENTS, FieldKind, array_bytes};
use palisade_vm::layout::VmStoreCtx;
use palisade_vm::native::Builtin;

use crate::translate::{Kind, Result, Translator};

/// Objects of a known size up to this are placed inline.
const MOST_INLINE: u64 = 1 << 20;

/// How large an object is.
#[derive(Copy, Clone)]
enum Size {
    Known(u64),
    /// At most as much as the longest array takes.
    Computed(Value),
}

/// Where the two ways of making an object meet.
struct Ways {
    /// The runtime makes it; it is filled next.
    other: Block,
    /// Takes the reference.
    done: Block,
    made: Value,
}

impl Translator<'_, '_> {
    /// A structure of a type and a size, its fields zero.
    pub(super) fn new_struct(&mut self, type_index: u32, size: u32) -> Result<Value> {
        self.count_mapped()?;
        let ty = self.canonical_type(type_index);
        let bytes = self.number(u64::from(size));
        if u64::from(size) > MOST_INLINE {
            return self.builtin_ref(Builtin::StructNew, &[ty, bytes]);
        }
        let ways = self.place(Size::Known(u64::from(size)), ty, None);
        let made = self.builtin_value(Builtin::StructNew, &[ty, bytes])?;
        Ok(self.meet(&ways, made))
    }

    /// An array of a type, its elements zero.
    pub(super) fn new_array(
        &mut self,
        type_index: u32,
        element: FieldKind,
        len: Value,
    ) -> Result<Value> {
        self.count_mapped()?;
        let ty = self.canonical_type(type_index);
        let bytes = match self.known_number(len) {
            Some(len) => Size::Known(array_bytes(element, len as u32)),
            None => {
                // As `array_bytes` does; the sum has at most 37 bits.
                let len = self.zero_extend(len);
                let elements = self.b.ins().ishl_imm_u(len, i64::from(element.log2()));
                let header = i64::from(ELEMENTS + ALIGN - 1);
                let bytes = self.b.ins().iadd_imm_s(elements, header);
                Size::Computed(self.b.ins().band_imm_s(bytes, -i64::from(ALIGN)))
            }
        };
        let kind = self.number(element as u64);
        if matches!(bytes, Size::Known(bytes) if bytes > MOST_INLINE) {
            return self.builtin_ref(Builtin::ArrayNew, &[ty, kind, len]);
        }
        let ways = self.place(bytes, ty, Some(len));
        let made = self.builtin_value(Builtin::ArrayNew, &[ty, kind, len])?;
        Ok(self.meet(&ways, made))
    }

    /// Places an object if it fits. Continues where it does not.
    fn place(&mut self, size: Size, word0: Value, word1: Option<Value>) -> Ways {
        let [inline, other, done] = [(); 3].map(|()| self.b.create_block());
        self.b.set_cold_block(other);
        let made = self.block_param(done, Kind::Ref);
        let store = self.store_ctx();
        let next_at = std::mem::offset_of!(VmStoreCtx, heap_next);
        let next = self.field(types::I64, store, next_at);
        let after = match size {
            Size::Known(bytes) => self.b.ins().iadd_imm_s(next, bytes as i64),
            Size::Computed(bytes) => self.b.ins().iadd(next, bytes),
        };
        let end = self.field(types::I64, store, std::mem::offset_of!(VmStoreCtx, heap_end));
        let full = self.b.ins().icmp(IntCC::UnsignedGreaterThan, after, end);
        self.b.ins().brif(full, other, &[], inline, &[]);
        self.b.seal_block(other);
        self.b.seal_block(inline);

        self.b.switch_to_block(inline);
        match size {
            Size::Known(bytes) => self.charge_units(fuel::bytes(bytes)),
            Size::Computed(bytes) if self.env.options.fuel => {
                let bytes = self.b.ins().iadd_imm_s(bytes, 63);
                let units = self.b.ins().ushr_imm_u(bytes, 6);
                self.charge_value(units);
            }
            Size::Computed(_) => {}
        }
        self.set_field(store, next_at, after);
        let base = self.field(types::I64, store, std::mem::offset_of!(VmStoreCtx, heap_base));
        let object = self.b.ins().iadd(base, next);
        self.store_field(object, 0, FieldKind::B4, word0);
        if let Some(word1) = word1 {
            self.store_field(object, 4, FieldKind::B4, word1);
        }
        let reference = self.b.ins().ireduce(types::I32, next);
        self.b.ins().jump(done, &[BlockArg::Value(reference)]);

        self.b.switch_to_block(other);
        Ways { other, done, made }
    }

    /// Continues with the object, however it was made; `made` is what the runtime gave.
    fn meet(&mut self, ways: &Ways, made: Value) -> Value {
        debug_assert_eq!(self.b.current_block(), Some(ways.other));
        let reference = self.b.ins().ireduce(types::I32, made);
        self.b.ins().jump(ways.done, &[BlockArg::Value(reference)]);
        self.b.seal_block(ways.done);
        self.b.switch_to_block(ways.done);
        ways.made
    }
}
