//! Reading and writing single fields of structures and exceptions, as cells: what engines do with
//! exceptions and the host with everything. (Engines have faster ways into structures of a known type.)

use palisade_core::TrapCode;

use crate::gc::layout::{FieldKind, FieldLayout};
use crate::layout::{Cell, VmFuncRef, VmRef};
use crate::store::StoreInner;

impl StoreInner {
    /// A field, as it stands in cells: integers zero-extended, functions as their address, the second
    /// cell for vectors alone.
    ///
    /// # Safety
    ///
    /// The reference is to an object that has such a field.
    pub unsafe fn gc_field(&self, object: VmRef, field: FieldLayout) -> [Cell; 2] {
        let at = self.gc_object(object).wrapping_add(field.offset as usize);
        // SAFETY: the caller's word; a field lies inside its object, at a multiple of its size or of 8.
        unsafe {
            let low = match field.kind {
                FieldKind::I8 => at.read().into(),
                FieldKind::I16 => at.cast::<u16>().read().into(),
                FieldKind::B4 | FieldKind::Ref => at.cast::<u32>().read().into(),
                FieldKind::B8 => at.cast::<u64>().read(),
                FieldKind::B16 => return at.cast::<[Cell; 2]>().read(),
                FieldKind::Func => {
                    self.heap.func_of_number(at.cast::<u32>().read()).expose_provenance() as Cell
                }
            };
            [low, 0]
        }
    }

    /// Sets a field to what stands in cells. Fails if the heap cannot count more functions.
    ///
    /// # Safety
    ///
    /// The reference is to an object that has such a field, and the value is one for it: of this store, if
    /// it is a reference.
    pub unsafe fn gc_set_field(
        &mut self,
        object: VmRef,
        field: FieldLayout,
        value: [Cell; 2],
    ) -> Result<(), TrapCode> {
        let at = self.gc_object(object).wrapping_add(field.offset as usize);
        let [low, _] = value;
        // SAFETY: as in `gc_field`.
        unsafe {
            match field.kind {
                FieldKind::I8 => at.write(low as u8),
                FieldKind::I16 => at.cast::<u16>().write(low as u16),
                FieldKind::B4 | FieldKind::Ref => at.cast::<u32>().write(low as u32),
                FieldKind::B8 => at.cast::<u64>().write(low),
                FieldKind::B16 => at.cast::<[Cell; 2]>().write(value),
                FieldKind::Func => {
                    let func = std::ptr::with_exposed_provenance_mut::<VmFuncRef>(low as usize);
                    let number = self.heap.func_number(func).ok_or(TrapCode::HeapExhausted)?;
                    at.cast::<u32>().write(number);
                }
            }
        }
        Ok(())
    }
}
