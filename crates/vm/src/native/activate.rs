//! How functions come to be called by machine code: the pairs of code and context in contexts and in function
//! references.
//!
//! A function that is no machine code is entered through the stub of its type, with its reference as the context. Pairs
//! change on the store's own thread alone, so that who loads the two words finds a pair.

use palisade_core::TypeId;
use palisade_module::{FuncIdx, MemoryIdx};

use crate::ids::InstanceId;
use crate::instance::Instance;
use crate::layout::{NativeEntry, VmCtx, VmFuncRef};
use crate::store::StoreInner;

/// How the functions of a type are entered.
#[derive(Copy, Clone, Debug)]
pub struct TypeStubs {
    /// By machine code, if they have none: leads to the engine that runs them.
    pub to_engine: *const u8,
    /// By everybody else, if they have machine code.
    pub trampoline: *const u8,
}

impl Instance {
    /// Lets machine code call all functions that the module defines, through stubs: makes their references, and sets
    /// the pairs there and in the context, whatever they were.
    ///
    /// # Safety
    ///
    /// On the store's own thread. The stubs are those of the types, published in the store's registry, and stay so
    /// as long as the store.
    pub unsafe fn activate_native(&self, stubs: &dyn Fn(TypeId) -> TypeStubs) {
        let imported = self.module.imported_funcs;
        for (defined, &ty) in (0u32..).zip(self.module.funcs.iter().skip(imported as usize)) {
            let reference = self.func_ref(FuncIdx(imported + defined));
            if reference.is_null() {
                continue;
            }
            let stubs = stubs(ty);
            // SAFETY: a function reference of this instance, which only the store's own thread touches.
            unsafe { (*reference).trampoline = stubs.trampoline };
            self.set_native(defined, NativeEntry { code: stubs.to_engine, ctx: reference.cast() });
        }
    }

    /// Lets everyone call the machine code of a function that the module defines. What everybody but machine code
    /// enters it through.
    ///
    /// # Safety
    ///
    /// On the store's own thread. The code is that of the function, published in the store's registry, and stays so
    /// as long as the store; the instance is activated.
    pub unsafe fn publish_native(&self, defined: u32, code: *const u8) -> *const u8 {
        if defined as usize >= self.module.bodies.len() {
            return std::ptr::null();
        }
        self.set_native(defined, NativeEntry { code, ctx: self.vmctx().cast() });
        let reference = self.func_ref(FuncIdx(self.module.imported_funcs + defined));
        // SAFETY: a function reference of this instance, which only the store's own thread touches.
        unsafe { (*reference).trampoline }
    }

    fn set_native(&self, defined: u32, entry: NativeEntry) {
        let vmctx = self.vmctx();
        let func = FuncIdx(self.module.imported_funcs + defined);
        // SAFETY: the callers name a function that the module defines, so that both places lie in the context, which
        // the store's own thread alone touches.
        unsafe {
            vmctx
                .byte_add(self.offsets.native(defined) as usize)
                .cast::<NativeEntry>()
                .write(entry);
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
        unsafe {
            vmctx.byte_add(self.offsets.native(defined) as usize).cast::<NativeEntry>().read()
        }
    }

    /// Sets where the engine that does not make machine code enters a function that the module defines.
    ///
    /// # Safety
    ///
    /// On the store's own thread. The address is one of that engine for this function, good as long as the store.
    pub unsafe fn set_code(&self, defined: u32, code: *const u8) {
        if (defined as usize) < self.module.bodies.len() {
            let at = self.offsets.code(defined) as usize;
            // SAFETY: the array has an address for each defined function; the store's own thread alone touches it.
            unsafe { self.vmctx().byte_add(at).cast::<*const u8>().write(code) };
        }
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
        unsafe { (*func).native = NativeEntry { code: stub, ctx: (*func).host.cast_mut().cast() } };
    }

    /// All host functions of the store.
    pub fn host_funcs(&self) -> Vec<*mut VmFuncRef> {
        self.hosts.iter().map(|host| host.reference.as_ptr()).collect()
    }

    /// Whether every ordinary 32-bit memory of an instance has so many bytes of address space from its first byte on, to
    /// itself: then accesses within those either reach the memory or fault.
    pub fn memories_reach(&self, id: InstanceId, bytes: u64) -> bool {
        let Some(instance) = self.instance(id) else { return false };
        (0..).zip(&*instance.module.memories).all(|(index, ty)| {
            if ty.memory64 || ty.page_size_log2 != 16 {
                return true;
            }
            let memory =
                instance.memory(MemoryIdx(index)).and_then(|id| self.memories.get(id.index()));
            memory.is_some_and(|memory| memory.reach() >= bytes)
        })
    }
}
