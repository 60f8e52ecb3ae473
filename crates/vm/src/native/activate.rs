//! How functions come to be called by machine code: the pairs of code and context in contexts and in function
//! references.
//!
//! A function that is no machine code is entered through the stub of its type, with its reference as the context. Pairs
//! change on the store's own thread alone, so that who loads the two words finds a pair.

use palisade_core::TypeId;
use palisade_module::FuncIdx;

use crate::instance::Instance;
use crate::layout::{NativeEntry, VmCtx, VmFuncRef};
use crate::store::StoreInner;

impl Instance {
    /// Lets machine code call all functions that the module defines, through stubs: makes their references, and sets
    /// the pairs there and in the context. `stub_for` gives the stub of a canonical type, into the engine that runs
    /// such functions. Functions whose code is published keep it.
    ///
    /// # Safety
    ///
    /// On the store's own thread. The stubs are those of the types, published in the store's registry, and stay so
    /// as long as the store.
    pub unsafe fn activate_native(&self, stub_for: &dyn Fn(TypeId) -> *const u8) {
        let imported = self.module.imported_funcs;
        for (defined, &ty) in (0u32..).zip(self.module.funcs.iter().skip(imported as usize)) {
            let reference = self.func_ref(FuncIdx(imported + defined));
            if reference.is_null() || !self.native_entry(defined).code.is_null() {
                continue;
            }
            self.set_native(defined, NativeEntry { code: stub_for(ty), ctx: reference.cast() });
        }
    }

    /// Lets everyone call the machine code of a function that the module defines.
    ///
    /// # Safety
    ///
    /// On the store's own thread. The code is that of the function, published in the store's registry, and stays so
    /// as long as the store; the instance is activated.
    pub unsafe fn publish_native(&self, defined: u32, code: *const u8) {
        if (defined as usize) < self.module.bodies.len() {
            self.set_native(defined, NativeEntry { code, ctx: self.vmctx().cast() });
        }
    }

    fn set_native(&self, defined: u32, entry: NativeEntry) {
        let vmctx = self.vmctx();
        let func = FuncIdx(self.module.imported_funcs + defined);
        // SAFETY: the callers name a function that the module defines, so that both places lie in the context, which
        // the store's own thread alone touches.
        unsafe {
            vmctx.byte_add(self.offsets.native(defined) as usize).cast::<NativeEntry>().write(entry);
            let reference: *mut VmFuncRef =
                vmctx.byte_add(self.offsets.func_ref(func) as usize).cast();
            (*reference).native = entry;
        }
    }

    /// The pair of a function that the module defines, by its index among them; null where no machine code runs.
    pub fn native_entry(&self, defined: u32) -> NativeEntry {
        if defined as usize >= self.module.bodies.len() {
            return NativeEntry::NONE;
        }
        let vmctx: *mut VmCtx = self.vmctx();
        // SAFETY: the array has an entry for each defined function, zero (null) at first.
        unsafe { vmctx.byte_add(self.offsets.native(defined) as usize).cast::<NativeEntry>().read() }
    }
}

impl StoreInner {
    /// Lets machine code call a host function through the stub of its type.
    ///
    /// # Safety
    ///
    /// On the store's own thread; the function is one of the host, of this store; the stub is that of its type, published in
    /// the store's registry, and stays so as long as the store.
    pub unsafe fn set_host_stub(&mut self, func: *mut VmFuncRef, stub: *const u8) {
        // SAFETY: the caller's word.
        unsafe { (*func).native = NativeEntry { code: stub, ctx: func.cast() } };
    }
}
