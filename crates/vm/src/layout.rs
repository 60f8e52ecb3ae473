//! The memory layout that every engine reads: [`VmCtx`] and what it points to.
//!
//! One `VmCtx` belongs to one instance. It is a fixed header followed by arrays, whose offsets
//! [`VmOffsets`] computes from the module; the interpreter, compiled code and the host API all go
//! through those offsets. Nothing in here is moved while the store lives.
//!
//! A *cell* is 8 bytes. Numbers and function references take one cell, vectors two consecutive
//! ones (the low half first). Floats stand in the low bits of a cell as their bits; the upper bits
//! of a cell that holds an `i32` or `f32` are not defined.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize};

use palisade_core::TypeId;
use palisade_module::{FuncIdx, GlobalIdx, MemoryIdx, ModuleInfo, TableIdx, TagIdx};

use crate::instance::Instance;
use crate::store::StoreInner;

/// `"PLSD"`: what every [`VmCtx`] begins with.
pub const VMCTX_MAGIC: u32 = u32::from_le_bytes(*b"PLSD");

/// A cell of the value stack, of an argument buffer, or of a global.
pub type Cell = u64;

/// A reference of the `any`, `extern` or `exn` family: 0 is null; otherwise an `i31` (lowest bit
/// set) or an offset into the store's heap of objects (lowest bit clear). Never a native pointer.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
#[repr(transparent)]
pub struct VmRef(pub u32);

impl VmRef {
    /// The null reference.
    pub const NULL: Self = Self(0);

    /// Whether this is the null reference.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.0 == 0
    }
}

/// The header of an instance's context. The arrays follow it in the same allocation.
#[repr(C)]
#[derive(Debug)]
pub struct VmCtx {
    /// [`VMCTX_MAGIC`].
    pub magic: u32,
    /// The number of this instance in its store.
    pub instance_index: u32,
    /// What all instances of the store share.
    pub store: *mut VmStoreCtx,
    /// What other threads may write to: stack limit and interruption.
    pub interrupts: *const Interrupts,
    /// The definition of memory 0, or of an empty memory where there is none.
    pub memory0: *mut VmMemoryDef,
    /// The instance that this context belongs to.
    pub instance: *mut Instance,
    /// The addresses of the built-ins, by [`crate::native::Builtin`], for machine code.
    pub builtins: *const usize,
    /// The store's poll region, [`crate::native::POLL_BYTES`] long; null where no machine code runs.
    pub poll: *const u8,
}

/// What all instances of a store share, and only the store's own thread touches.
#[repr(C)]
#[derive(Debug)]
pub struct VmStoreCtx {
    /// What is left of the fuel. Below zero: a block could not be paid for. Only meaningful when
    /// the engine's configuration says that fuel is consumed.
    pub fuel: i64,
    /// How many more calls may nest. Starts at the call-depth limit, or at `i64::MAX`.
    pub depth_left: i64,
    /// Where the running activation's reference frame begins.
    pub ref_fp: *mut VmRef,
    /// The end of the reference stack.
    pub ref_limit: *mut VmRef,
    /// The highest end that a window of references ever had: everything above is null.
    pub ref_high: *mut VmRef,
    /// Where offset 0 of the heap of objects would be; fixed once there is a heap.
    pub heap_base: *mut u8,
    /// The offset at which the next object will stand.
    pub heap_next: usize,
    /// The offset up to which objects may be placed without further ado; below `heap_next` where every
    /// allocation is to take the slow way.
    pub heap_end: usize,
    /// What tests of references look into, by type ([`crate::gc::display`]); moves when a row is filled.
    pub displays: *const crate::gc::display::Row,
    /// How many rows there are.
    pub displays_len: usize,
    /// The exception that is under way, while an engine or a host function says
    /// [`palisade_core::TrapCode::UncaughtException`].
    pub pending_exn: VmRef,
    /// The first free cell of the value stack for a new activation (an entry from the host).
    pub stack_top: *mut Cell,
    /// The true end of the value stack ([`Interrupts::stack_limit`] may say 0 instead).
    pub stack_end: *mut Cell,
    /// Where an engine that leaves Wasm (trap or host call) was: its instruction pointer.
    pub exit_ip: *const u8,
    /// Where an engine that leaves Wasm was: its frame pointer.
    pub exit_fp: *mut Cell,
    /// Where an engine that leaves Wasm was: its context.
    pub exit_vmctx: *mut VmCtx,
    /// The innermost entry into an engine with frames of its own; null if there is none.
    pub activation: *const crate::sample::Activation,
    /// The lowest address of the host's own stack at which Wasm may still be entered.
    pub host_stack_limit: usize,
    /// The store.
    pub store: *mut StoreInner,
    /// What machine code and those who enter and leave it share.
    pub native: NativeState,
}

/// What machine code, and those who enter and leave it, keep for the whole store. Written to by machine code,
/// by the wrappers around built-ins, and by the signal handler of the store's own thread.
#[repr(C)]
#[derive(Debug)]
pub struct NativeState {
    /// The addresses of the built-ins, as in every [`VmCtx`]: for stubs of host functions, which have none.
    pub builtins: *const usize,
    /// The stack pointer of the host's stack at the innermost entry: host code runs below it.
    pub host_sp: *mut u8,
    /// The frame pointer of where machine code was left: of a built-in's wrapper, or of the function
    /// itself after a fault.
    pub exit_fp: *mut u8,
    /// The instruction that faulted; 0 if machine code runs, or was left through a wrapper: only a fault, which ends
    /// the entry, sets it.
    pub exit_pc: usize,
    /// The stack pointer at a fault.
    pub exit_sp: *mut u8,
    /// Whose call may reach a host function: that function's calling context.
    pub caller: *mut VmCtx,
    /// Where machine code goes on after an exception.
    pub resume_pc: usize,
    /// The stack pointer there.
    pub resume_sp: *mut u8,
    /// The frame pointer there.
    pub resume_fp: *mut u8,
    /// What the handler is given.
    pub resume_payload: usize,
    /// The innermost entry into machine code, on the host's stack.
    pub segment: *mut crate::native::Segment,
    /// Where machine code of the store's engine lives.
    pub registry: *const crate::native::CodeRegistry,
    /// What other threads write to.
    pub interrupts: *const Interrupts,
    /// Where the guard below the machine stack begins; 0 until there is a stack.
    pub stack_guard: usize,
    /// Where the reserve between that guard and the machine stack begins.
    pub stack_reserve: usize,
    /// Whether the reserve is open: not 0 if so. The guest is to be stopped.
    pub reserve_open: usize,
    /// The lowest address of the machine stack.
    pub stack_low: usize,
    /// One past the highest address of the machine stack.
    pub stack_high: usize,
    /// Where the poll region begins.
    pub poll: usize,
    /// Where linear memories are, inaccessible parts and all: start and end of each, of which accesses may fault.
    pub ranges: *const (usize, usize),
    /// How many there are.
    pub range_count: usize,
    /// The same for the heap of objects.
    pub heap_range: (usize, usize),
}

/// The address at which a function is entered by machine code, and what it is given as its context there.
#[repr(C)]
#[derive(Copy, Clone, Debug)]
pub struct NativeEntry {
    /// The function's code, or the stub of its signature.
    pub code: *const u8,
    /// The function's context, or for a stub its `VmFuncRef`.
    pub ctx: *mut u8,
}

/// What other threads may write to in order to stop a guest. Shared by `Arc`.
///
/// To interrupt: store the reason in `reason`, then the bit in `attention`, then 0 in `stack_limit`. Every
/// function entry compares its frame's end with `stack_limit`, and every loop head reads `attention`,
/// so both see it soon. Whoever finds no reason goes on, after a sample if one is asked for ([`crate::sample`]).
#[repr(C)]
#[derive(Debug)]
pub struct Interrupts {
    /// The address that no frame may reach beyond; 0 once an interruption is requested.
    pub stack_limit: AtomicUsize,
    /// 0, or the number of the [`palisade_core::TrapCode`] to end the guest with.
    pub reason: AtomicU32,
    /// What loop heads read: 0, or [`Interrupts::STOP`] once there is a reason, or [`Interrupts::SAMPLE`], or both.
    pub attention: AtomicU32,
}

/// What a function reference points to. Lives as long as the store.
#[repr(C)]
#[derive(Debug)]
pub struct VmFuncRef {
    /// The canonical type.
    pub type_id: TypeId,
    /// The index among the functions *defined* by its module, or [`VmFuncRef::HOST`].
    pub defined_index: u32,
    /// The context of the instance that defines it; null for a host function.
    pub vmctx: *mut VmCtx,
    /// The host function, null for one of Wasm.
    pub host: *const HostFunc,
    /// How machine code enters it; null where no machine code runs.
    pub native: NativeEntry,
    /// What everybody else enters its machine code through, if it has some.
    pub trampoline: *const u8,
}

impl NativeEntry {
    /// Where no machine code runs.
    pub const NONE: Self = Self { code: std::ptr::null(), ctx: std::ptr::null_mut() };
}

impl NativeState {
    /// Nothing was entered yet.
    pub const NEW: Self = Self {
        builtins: std::ptr::null(),
        host_sp: std::ptr::null_mut(),
        exit_fp: std::ptr::null_mut(),
        exit_pc: 0,
        exit_sp: std::ptr::null_mut(),
        caller: std::ptr::null_mut(),
        resume_pc: 0,
        resume_sp: std::ptr::null_mut(),
        resume_fp: std::ptr::null_mut(),
        resume_payload: 0,
        segment: std::ptr::null_mut(),
        registry: std::ptr::null(),
        interrupts: std::ptr::null(),
        stack_guard: 0,
        stack_reserve: 0,
        reserve_open: 0,
        stack_low: 0,
        stack_high: 0,
        poll: 0,
        ranges: std::ptr::null(),
        range_count: 0,
        heap_range: (0, 0),
    };
}

impl VmFuncRef {
    /// The `defined_index` of host functions.
    pub const HOST: u32 = u32::MAX;
}

/// The code of a host function. Called on the host's stack, by machine code's wrapper as well, which has no way to
/// unwind: a panic must not leave it ([`crate::contain_panics`]).
///
/// `cells` holds the arguments in signature order (vectors take two cells; references of the
/// `any`, `extern` and `exn` families take one, with the [`VmRef`] in the low bits) and receives the
/// results; it has room for the larger of the two. `caller` is the context of the calling
/// instance, or null when the host calls directly. Returns 0, or the number of a trap code; an error of
/// the host stands in the store's `pending_error`, with [`palisade_core::TrapCode::Internal`]
/// returned.
pub type HostCode = unsafe extern "C" fn(
    host: *const HostFunc,
    store: *mut StoreInner,
    caller: *mut VmCtx,
    cells: *mut Cell,
) -> u32;

/// A host function as the store keeps it.
#[repr(C)]
pub struct HostFunc {
    /// What to call.
    pub code: HostCode,
    /// How many cells the arguments take.
    pub param_cells: u32,
    /// How many cells the results take.
    pub result_cells: u32,
    /// The canonical type.
    pub type_id: TypeId,
    /// Whether any parameter or result is of class `Ref`.
    pub has_refs: bool,
    /// The context of the store that it is in; set by the store.
    pub store: *mut VmStoreCtx,
    /// What the code needs beside its arguments.
    pub data: Box<dyn std::any::Any + Send + Sync>,
}

/// A linear memory as engines see it.
#[repr(C)]
#[derive(Debug)]
pub struct VmMemoryDef {
    /// The first byte.
    pub base: *mut u8,
    /// The current length in bytes. Written by the store's thread alone, unless the memory is
    /// shared.
    pub len: AtomicUsize,
}

/// A table as engines see it: elements of 8 bytes (`*mut VmFuncRef`, null for null) for tables
/// of functions, of 4 bytes ([`VmRef`]) for all others.
#[repr(C)]
#[derive(Debug)]
pub struct VmTableDef {
    /// The first element.
    pub base: *mut u8,
    /// How many elements there are.
    pub len: usize,
}

/// A global as engines see it: two cells, so that vectors fit. A reference of class `Ref` stands
/// in the low bits of the first cell.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct VmGlobalDef {
    /// The value.
    pub cells: UnsafeCell<[Cell; 2]>,
}

/// Where things stand in a [`VmCtx`], in bytes from its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VmOffsets {
    /// `[VmMemoryDef; defined memories]`: their definitions; those of shared ones stand elsewhere
    pub own_memories: u32,
    /// `[VmTableDef; defined tables]`: their definitions
    pub own_tables: u32,
    /// `[VmGlobalDef; defined globals]`: their definitions
    pub own_globals: u32,
    /// `[*const u8; defined functions]`: the address that an engine goes on at when it calls
    /// function i. The engine fills it; entries change on the store's own thread alone.
    pub code: u32,
    /// `[*mut VmFuncRef; imported functions]`
    pub imported_funcs: u32,
    /// `[*mut VmMemoryDef; memories]`, own ones and imported ones
    pub memories: u32,
    /// `[*mut VmTableDef; tables]`, own ones and imported ones
    pub tables: u32,
    /// `[*mut VmGlobalDef; globals]`, own ones and imported ones
    pub globals: u32,
    /// `[*mut (); tags]`: identity of each tag
    pub tags: u32,
    /// `[TypeId; types]`: the canonical type of each type index
    pub type_ids: u32,
    /// `[u32; defined functions]`: how often function i was entered or its loops turned, as far as an engine
    /// counts
    pub counters: u32,
    /// `[NativeEntry; defined functions]`: how machine code enters function i
    pub native: u32,
    /// `[VmFuncRef; functions]`: made on first use (`type_id` 0 and null pointers until then)
    pub func_refs: u32,
    /// All of it.
    pub size: u32,
    /// How many memories, tables and globals are imported: those have no definitions here.
    pub imported: [u32; 3],
}

impl VmOffsets {
    /// The offsets for a module; `None` if they do not fit 32 bits.
    pub fn new(module: &ModuleInfo) -> Option<Self> {
        let mut at = size_of::<VmCtx>() as u64;
        let mut array = |count: usize, size: usize| {
            at = at.next_multiple_of(16);
            let start = at;
            at += count as u64 * size as u64;
            u32::try_from(start).ok().filter(|_| at <= u64::from(u32::MAX / 2))
        };
        const PTR: usize = size_of::<usize>();
        let imported = [module.imported_memories, module.imported_tables, module.imported_globals];
        let own = |all: usize, imported: u32| all.saturating_sub(imported as usize);
        Some(Self {
            own_memories: array(own(module.memories.len(), imported[0]), size_of::<VmMemoryDef>())?,
            own_tables: array(own(module.tables.len(), imported[1]), size_of::<VmTableDef>())?,
            own_globals: array(own(module.globals.len(), imported[2]), size_of::<VmGlobalDef>())?,
            code: array(module.bodies.len(), PTR)?,
            imported_funcs: array(module.imported_funcs as usize, PTR)?,
            memories: array(module.memories.len(), PTR)?,
            tables: array(module.tables.len(), PTR)?,
            globals: array(module.globals.len(), PTR)?,
            tags: array(module.tags.len(), PTR)?,
            type_ids: array(module.types.len(), size_of::<TypeId>())?,
            counters: array(module.bodies.len(), size_of::<u32>())?,
            native: array(module.bodies.len(), size_of::<NativeEntry>())?,
            func_refs: array(module.funcs.len(), size_of::<VmFuncRef>())?,
            size: array(0, 1)?,
            imported,
        })
    }

    /// The offset of a defined function's code address.
    pub fn code(&self, defined: u32) -> u32 {
        self.code + defined * 8
    }

    /// The offset of a defined function's counter.
    pub fn counter(&self, defined: u32) -> u32 {
        self.counters + defined * size_of::<u32>() as u32
    }

    /// The offset of a defined function's [`NativeEntry`].
    pub fn native(&self, defined: u32) -> u32 {
        self.native + defined * size_of::<NativeEntry>() as u32
    }

    /// The offset of a type's canonical id.
    pub fn type_id(&self, type_index: u32) -> u32 {
        self.type_ids + type_index * size_of::<TypeId>() as u32
    }

    /// The offset of the pointer to an imported function.
    pub fn imported_func(&self, func: FuncIdx) -> u32 {
        self.imported_funcs + func.0 * 8
    }

    /// The offset of the pointer to a memory.
    pub fn memory(&self, memory: MemoryIdx) -> u32 {
        self.memories + memory.0 * 8
    }

    /// The offset of the pointer to a table.
    pub fn table(&self, table: TableIdx) -> u32 {
        self.tables + table.0 * 8
    }

    /// The offset of the pointer to a global.
    pub fn global(&self, global: GlobalIdx) -> u32 {
        self.globals + global.0 * 8
    }

    /// The offset of the definition of a memory that the module defines, unless that is shared.
    pub fn own_memory(&self, memory: MemoryIdx) -> Option<u32> {
        let own = memory.0.checked_sub(self.imported[0])?;
        Some(self.own_memories + own * size_of::<VmMemoryDef>() as u32)
    }

    /// The offset of the definition of a table that the module defines.
    pub fn own_table(&self, table: TableIdx) -> Option<u32> {
        let own = table.0.checked_sub(self.imported[1])?;
        Some(self.own_tables + own * size_of::<VmTableDef>() as u32)
    }

    /// The offset of the definition of a global that the module defines.
    pub fn own_global(&self, global: GlobalIdx) -> Option<u32> {
        let own = global.0.checked_sub(self.imported[2])?;
        Some(self.own_globals + own * size_of::<VmGlobalDef>() as u32)
    }

    /// The offset of a tag's identity.
    pub fn tag(&self, tag: TagIdx) -> u32 {
        self.tags + tag.0 * 8
    }

    /// The offset of a function's reference.
    pub fn func_ref(&self, func: FuncIdx) -> u32 {
        self.func_refs + func.0 * size_of::<VmFuncRef>() as u32
    }
}

impl VmCtx {
    /// Reads a pointer that stands `offset` bytes into the context.
    ///
    /// # Safety
    ///
    /// `this` points to a live context and `offset` comes from its [`VmOffsets`], naming an array
    /// of pointers.
    #[inline(always)]
    pub unsafe fn pointer<T>(this: *const Self, offset: u32) -> *mut T {
        // SAFETY: the caller names an initialised pointer inside the context's allocation.
        unsafe { this.byte_add(offset as usize).cast::<*mut T>().read() }
    }

    /// The instance of a context.
    ///
    /// # Safety
    ///
    /// `this` points to a live context, and nobody else holds the instance.
    pub unsafe fn instance<'a>(this: *mut Self) -> &'a mut Instance {
        // SAFETY: the header is initialised before a context is handed out, and the instance
        // lives as long as its store.
        unsafe { NonNull::new_unchecked((*this).instance).as_mut() }
    }
}

const _: () = {
    assert!(size_of::<VmFuncRef>() == 48);
    assert!(size_of::<VmGlobalDef>() == 16);
    assert!(size_of::<VmRef>() == 4);
    assert!(std::mem::offset_of!(VmCtx, store) == 8);
};
