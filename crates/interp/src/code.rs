//! Translated code, and the module that owns it.
//!
//! Code is shared by all instances of a module and made when a function is first called. Each
//! entry address is preceded by two words: a pointer to the [`Signature`], and the frame's size in
//! bytes. Until a function is translated its entry is a stub of the same shape, whose one instruction translates it.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use palisade_core::{TrapCode, TypeId, ValClass, ValType};
use palisade_module::{FuncIdx, ModuleInfo, TagIdx, TypeRegistry};
use palisade_vm::gc::layout::StructLayout;
use palisade_vm::layout::{Cell, VmCtx, VmOffsets, VmRef};

use crate::gc_type::GcType;
use crate::handlers::Handlers;
use crate::ops::call::{BRIDGE, HEADER_CELLS};
use crate::ops::control::HALT;
use crate::ops::native::ENTER_NATIVE;
use crate::ops::stub::TRANSLATE;
use crate::state::Handler;
use crate::val::Reg;
use crate::{InterpConfig, translate};

/// A word of code.
pub(crate) type Word = MaybeUninit<u64>;

/// What a value is to the interpreter.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ty {
    I32,
    I64,
    F32,
    F64,
    V128,
    /// A reference to a function: a pointer in a cell.
    Func,
    /// Any other reference: in the reference stack.
    Ref,
}

impl Ty {
    pub(crate) fn of(ty: ValType, types: &TypeRegistry) -> Self {
        match ty {
            ValType::I32 => Self::I32,
            ValType::I64 => Self::I64,
            ValType::F32 => Self::F32,
            ValType::F64 => Self::F64,
            ValType::V128 => Self::V128,
            ValType::Ref(_) => match ty.class(|id| types.is_func(id)) {
                ValClass::Ref => Self::Ref,
                _ => Self::Func,
            },
        }
    }

    /// The type as a list of one.
    pub(crate) fn alone(self) -> &'static [Self] {
        match self {
            Self::I32 => &[Self::I32],
            Self::I64 => &[Self::I64],
            Self::F32 => &[Self::F32],
            Self::F64 => &[Self::F64],
            Self::V128 => &[Self::V128],
            Self::Func => &[Self::Func],
            Self::Ref => &[Self::Ref],
        }
    }

    /// How many cells it takes in the value stack.
    pub(crate) fn cells(self) -> u32 {
        match self {
            Self::V128 => 2,
            Self::Ref => 0,
            _ => 1,
        }
    }

    /// How many places it takes in the reference stack.
    pub(crate) fn refs(self) -> u32 {
        u32::from(self == Self::Ref)
    }

    /// The accumulator that it may travel in.
    pub(crate) fn reg(self) -> Option<Reg> {
        match self {
            Self::I32 | Self::I64 | Self::Func => Some(Reg::Int),
            Self::F32 => Some(Reg::F32),
            Self::F64 => Some(Reg::F64),
            Self::V128 | Self::Ref => None,
        }
    }
}

/// Where the parameters and results of a function type go.
#[derive(Debug)]
pub(crate) struct Signature {
    /// Cells of parameters in the value stack.
    pub(crate) param_cells: u32,
    /// Cells of results in the value stack.
    pub(crate) result_cells: u32,
    /// Parameters in the reference stack.
    pub(crate) ref_params: u32,
    /// Results in the reference stack.
    pub(crate) ref_results: u32,
    /// Each parameter.
    pub(crate) params: Box<[Ty]>,
    /// Each result.
    pub(crate) results: Box<[Ty]>,
}

impl Signature {
    fn new(types: &TypeRegistry, id: TypeId) -> Option<Self> {
        let func = types.func_type(id)?;
        let classes =
            |list: &[ValType]| -> Box<[Ty]> { list.iter().map(|&ty| Ty::of(ty, types)).collect() };
        let (params, results) = (classes(&func.params), classes(&func.results));
        Some(Self {
            param_cells: params.iter().map(|ty| ty.cells()).sum(),
            result_cells: results.iter().map(|ty| ty.cells()).sum(),
            ref_params: params.iter().map(|ty| ty.refs()).sum(),
            ref_results: results.iter().map(|ty| ty.refs()).sum(),
            params,
            results,
        })
    }

    /// Whether results are returned as a span of places: several of them, or a vector.
    pub(crate) fn spans(&self) -> bool {
        self.result_cells + self.ref_results > 1
    }

    /// Copies values from the two stacks to a buffer in signature order.
    ///
    /// # Safety
    ///
    /// `cells` and `window` have as many elements as `values` says, and `buffer` has a cell
    /// for each (two for vectors).
    pub(crate) unsafe fn gather(
        &self,
        values: &[Ty],
        mut cells: *const Cell,
        mut window: *const VmRef,
        buffer: &mut [Cell],
    ) {
        let mut out = buffer.iter_mut();
        let mut put = |value| {
            if let Some(place) = out.next() {
                *place = value;
            }
        };
        for ty in values {
            // SAFETY: the caller says that both sources are long enough.
            unsafe {
                if *ty == Ty::Ref {
                    put(u64::from(window.read().0));
                    window = window.add(1);
                }
                for _ in 0..ty.cells() {
                    put(cells.read());
                    cells = cells.add(1);
                }
            }
        }
    }

    /// Copies values from a buffer in signature order to the two stacks.
    ///
    /// # Safety
    ///
    /// `cells` and `window` have room for as many elements as `values` says, and `buffer` has
    /// a cell for each (two for vectors).
    pub(crate) unsafe fn scatter(
        &self,
        values: &[Ty],
        buffer: &[Cell],
        mut cells: *mut Cell,
        mut window: *mut VmRef,
    ) {
        let mut cells_in = buffer.iter().copied();
        let mut take = || cells_in.next().unwrap_or(0);
        for ty in values {
            // SAFETY: the caller says that both destinations are long enough.
            unsafe {
                if *ty == Ty::Ref {
                    window.write(VmRef(take() as u32));
                    window = window.add(1);
                }
                for _ in 0..ty.cells() {
                    cells.write(take());
                    cells = cells.add(1);
                }
            }
        }
    }
}

/// The code of one function.
#[derive(Debug)]
pub(crate) struct FuncCode {
    /// Signature, frame size, then instructions.
    pub(crate) words: Box<[Word]>,
    /// Where instructions that may trap or call stand, in bytes from the first one, and the offset
    /// in the module that each came from. Ascending.
    pub(crate) marks: Box<[(u32, u32)]>,
    /// What it catches, and where references move.
    pub(crate) handlers: Option<Box<Handlers>>,
    /// The slot of the frame's header.
    pub(crate) header: u32,
    /// Where locals stand, then for each loop that is counted the values below it on the operand stack.
    pub(crate) loops: Option<Box<Loops>>,
}

/// Where the values stand that a function has at the heads of its loops.
#[derive(Debug, Default)]
pub(crate) struct Loops {
    /// The locals, parameters first: what each is, and its slot.
    pub(crate) locals: Box<[(Ty, u32)]>,
    /// The values on the operand stack at the head of each loop, the lowest first.
    pub(crate) stacks: Vec<Box<[(Ty, u32)]>>,
}

impl Loops {
    fn bytes(&self) -> usize {
        let stacks: usize = self.stacks.iter().map(|stack| size_of_val(&**stack) + 16).sum();
        size_of_val(&*self.locals) + stacks
    }
}

/// Words before the first instruction.
pub(crate) const PREFIX_WORDS: usize = 2;
/// Words of a stub: prefix, handler, index.
const STUB_WORDS: usize = 4;
/// Words of what leads to machine code: prefix, handler, index, trampoline, code.
const NATIVE_STUB_WORDS: usize = 6;

impl FuncCode {
    pub(crate) fn entry(&self) -> *const u8 {
        self.words.as_ptr().wrapping_add(PREFIX_WORDS).cast()
    }

    /// The bytes that it takes.
    fn bytes(&self) -> u64 {
        let handlers = self.handlers.as_ref().map_or(0, |handlers| handlers.bytes());
        let code = size_of_val(&*self.words) + size_of_val(&*self.marks);
        let loops = self.loops.as_ref().map_or(0, |loops| loops.bytes());
        (size_of::<Self>() + code + handlers + loops) as u64
    }
}

/// What leads to machine code of a function, once for each version of it.
type NativeStubs = [OnceLock<Box<[u64; NATIVE_STUB_WORDS]>>; 2];

/// A module as the interpreter runs it: its code, translated as functions are first called.
pub struct InterpModule {
    info: Arc<ModuleInfo>,
    offsets: Arc<VmOffsets>,
    types: Arc<TypeRegistry>,
    config: InterpConfig,
    tail_calls: bool,
    /// By type index; `None` for types that are not of functions.
    signatures: Vec<Option<Arc<Signature>>>,
    by_type: HashMap<TypeId, Option<Arc<Signature>>>,
    /// How exceptions look whose tags have these types.
    exceptions: HashMap<TypeId, StructLayout>,
    /// The signatures of other modules' types that host calls have asked for.
    foreign: Mutex<HashMap<TypeId, Arc<Signature>>>,
    /// Structure and array types by type index, made when first asked for.
    gc_types: Box<[OnceLock<Box<GcType>>]>,
    /// A stub for each defined function.
    stubs: Box<[u64]>,
    code: Box<[OnceLock<Box<FuncCode>>]>,
    /// For functions with machine code, what leads there: to each of its two versions, if there are two.
    native_stubs: Box<[NativeStubs]>,
    /// Defined functions by the address of what leads to their machine code.
    by_native_stub: Mutex<BTreeMap<usize, u32>>,
    /// Defined functions by the address of their code.
    by_address: Mutex<BTreeMap<usize, u32>>,
    /// Bytes of code made so far.
    code_bytes: AtomicU64,
}

// SAFETY: the addresses in stubs and in code words point into this module's own immutable
// allocations, or to functions; nothing in them is bound to a thread.
unsafe impl Send for InterpModule {}
// SAFETY: as above; what changes is behind locks and `OnceLock`s.
unsafe impl Sync for InterpModule {}

impl std::fmt::Debug for InterpModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InterpModule").field("functions", &self.code.len()).finish_non_exhaustive()
    }
}

impl InterpModule {
    /// Prepares a module for running. Nothing is translated yet.
    pub fn new(
        info: Arc<ModuleInfo>,
        offsets: Arc<VmOffsets>,
        types: Arc<TypeRegistry>,
        config: InterpConfig,
    ) -> Arc<Self> {
        let tail_calls = config.dispatch.tail_calls();
        let mut known: HashMap<TypeId, Option<Arc<Signature>>> = HashMap::new();
        let signatures: Vec<_> = info
            .types
            .iter()
            .map(|&id| {
                known.entry(id).or_insert_with(|| Signature::new(&types, id).map(Arc::new)).clone()
            })
            .collect();
        let mut exceptions = HashMap::new();
        for &id in &info.tags {
            if let Some(ty) = types.func_type(id) {
                let layout = || StructLayout::of_exception(&types, &ty.params);
                exceptions.entry(id).or_insert_with(layout);
            }
        }
        let defined = info.bodies.len();
        let translate = code_word(TRANSLATE, tail_calls);
        let mut stubs = Vec::with_capacity(defined * STUB_WORDS);
        for (index, id) in info.funcs.iter().skip(info.imported_funcs as usize).enumerate() {
            let signature = known.get(id).and_then(Option::as_ref);
            // What the caller writes before the real size of the frame is known.
            let cells = signature.map_or(0, |signature| signature.param_cells) + HEADER_CELLS;
            let signature = signature.map_or(std::ptr::null(), Arc::as_ptr);
            stubs.extend([signature as u64, u64::from(cells) * 8, translate, index as u64]);
        }
        let gc_types = info.types.iter().map(|_| OnceLock::new()).collect();
        Arc::new(Self {
            info,
            offsets,
            types,
            config,
            tail_calls,
            signatures,
            by_type: known,
            exceptions,
            foreign: Mutex::default(),
            gc_types,
            stubs: stubs.into(),
            code: (0..defined).map(|_| OnceLock::new()).collect(),
            native_stubs: (0..defined).map(|_| NativeStubs::default()).collect(),
            by_native_stub: Mutex::default(),
            by_address: Mutex::default(),
            code_bytes: AtomicU64::new(0),
        })
    }

    /// Where a new instance enters a function: the stub that translates it, unless another instance
    /// had that done, and charges the instance's store for the code.
    pub fn code_entry(&self, defined: u32) -> *const u8 {
        self.stubs
            .get(defined as usize * STUB_WORDS + PREFIX_WORDS..)
            .map_or(std::ptr::null(), |words| words.as_ptr().cast())
    }

    /// Where the interpreter enters a function that has machine code at `code`, to be called through
    /// `trampoline`. Null for a third address: a function has code for memories with their full reservation, and
    /// for others.
    pub fn native_stub(&self, defined: u32, trampoline: *const u8, code: *const u8) -> *const u8 {
        let Some(places) = self.native_stubs.get(defined as usize) else { return std::ptr::null() };
        let id = self.info.funcs.get((self.info.imported_funcs + defined) as usize);
        let known = id.and_then(|id| self.by_type.get(id)).and_then(Option::as_ref);
        let Some(signature) = known else { return std::ptr::null() };
        let cells = signature.param_cells.max(signature.result_cells) + HEADER_CELLS;
        let made = || {
            let handler = code_word(ENTER_NATIVE, self.tail_calls);
            let (trampoline, code) = (trampoline as u64, code as u64);
            let frame = u64::from(cells) * 8;
            Box::new([
                Arc::as_ptr(signature) as u64,
                frame,
                handler,
                defined.into(),
                trampoline,
                code,
            ])
        };
        let mut stubs = places.iter().map(|place| place.get_or_init(made));
        let Some(stub) = stubs.find(|stub| stub.last() == Some(&(code as u64))) else {
            return std::ptr::null();
        };
        let entry = stub.as_ptr().wrapping_add(PREFIX_WORDS).cast::<u8>();
        let mut stubs = self.by_native_stub.lock().unwrap_or_else(PoisonError::into_inner);
        stubs.insert(entry as usize, defined);
        entry
    }

    /// The function, and the slot of the header in its frame, if an address is of what leads to machine code. Such a
    /// frame is none of Wasm: the machine code has its own.
    pub(crate) fn native_stub_at(&self, ip: usize) -> Option<(u32, u32)> {
        let stubs = self.by_native_stub.lock().unwrap_or_else(PoisonError::into_inner);
        let (&start, &defined) = stubs.range(..=ip).next_back()?;
        if ip - start >= (NATIVE_STUB_WORDS - PREFIX_WORDS) * 8 {
            return None;
        }
        let id = self.info.funcs.get((self.info.imported_funcs + defined) as usize)?;
        Some((defined, self.signature_of(*id)?.param_cells))
    }

    /// What is noted of the loops of a translated function.
    pub(crate) fn loops(&self, defined: u32) -> Option<&Loops> {
        self.code.get(defined as usize)?.get()?.loops.as_deref()
    }

    /// The code that ends an activation.
    pub(crate) fn halt_code(&self) -> *const u8 {
        Glue::get(self.tail_calls).halt_code()
    }

    /// What leads to machine code of a function, if there is some.
    pub(crate) fn native_stub_of(&self, defined: u32) -> Option<*const u8> {
        let stub = self.native_stubs.get(defined as usize)?.iter().find_map(OnceLock::get)?;
        Some(stub.as_ptr().wrapping_add(PREFIX_WORDS).cast())
    }

    /// The module that a context's instance belongs to.
    ///
    /// # Safety
    ///
    /// `vm` is the context of a live instance.
    pub(crate) unsafe fn of<'a>(vm: *mut VmCtx) -> Option<&'a Self> {
        // SAFETY: the instance keeps its engine's data as long as it lives.
        let data: &'a (dyn Any + Send + Sync) = unsafe { &*(*(*vm).instance).engine_data };
        data.downcast_ref()
    }

    /// Whether the tail-call dispatcher runs this module.
    pub fn tail_calls(&self) -> bool {
        self.tail_calls
    }

    /// How many functions have been translated, and the bytes of code that they take.
    pub fn translated(&self) -> (usize, u64) {
        let functions = self.by_address.lock().unwrap_or_else(PoisonError::into_inner).len();
        (functions, self.code_bytes.load(Ordering::Relaxed))
    }

    pub(crate) fn offsets(&self) -> &VmOffsets {
        &self.offsets
    }

    pub(crate) fn info(&self) -> &ModuleInfo {
        &self.info
    }

    pub(crate) fn config(&self) -> &InterpConfig {
        &self.config
    }

    /// The word that begins an instruction.
    pub(crate) fn word(&self, handler: Handler) -> u64 {
        code_word(handler, self.tail_calls)
    }

    /// The signature of a function type of this module.
    pub(crate) fn signature_at(&self, type_index: u32) -> Option<&Arc<Signature>> {
        self.signatures.get(type_index as usize)?.as_ref()
    }

    /// The signature of a function type that this module declares.
    pub(crate) fn signature_of(&self, id: TypeId) -> Option<&Signature> {
        self.by_type.get(&id)?.as_deref()
    }

    /// A structure or array type of this module. It stays where it is as long as the module lives.
    pub(crate) fn gc_type(&self, type_index: u32) -> Option<&GcType> {
        let place = self.gc_types.get(type_index as usize)?;
        if let Some(known) = place.get() {
            return Some(known);
        }
        let made = GcType::new(&self.types, *self.info.types.get(type_index as usize)?)?;
        Some(place.get_or_init(|| Box::new(made)))
    }

    /// Whether a type has no subtypes but itself.
    pub(crate) fn is_final(&self, id: TypeId) -> bool {
        self.types.get(id).is_some_and(|ty| ty.is_final)
    }

    /// The signature of any function type of the engine.
    pub(crate) fn signature(&self, id: TypeId) -> Option<Arc<Signature>> {
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = foreign.get(&id) {
            return Some(known.clone());
        }
        let made = Arc::new(Signature::new(&self.types, id)?);
        foreign.insert(id, made.clone());
        Some(made)
    }

    /// Translates a function, if that has not been done, and returns where it is entered. `charge`
    /// is asked whether the code's bytes may be kept; if not, none are. More than `most` are not even made.
    pub(crate) fn translate(
        &self,
        defined: u32,
        reason: &AtomicU32,
        most: u64,
        charge: impl FnOnce(u64) -> Result<(), TrapCode>,
    ) -> Result<*const u8, TrapCode> {
        let cell = self.code.get(defined as usize).ok_or(TrapCode::Internal)?;
        if let Some(code) = cell.get() {
            charge(code.bytes())?;
            return Ok(code.entry());
        }
        let code = Box::new(translate::function(self, defined, reason, most)?);
        charge(code.bytes())?;
        // Another thread may have been faster; then its code is used.
        let code = cell.get_or_init(|| code);
        let mut addresses = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.insert(code.entry() as usize, defined).is_none() {
            self.code_bytes.fetch_add(code.bytes(), Ordering::Relaxed);
        }
        Ok(code.entry())
    }

    /// What stands at a code address of this module.
    pub(crate) fn locate(&self, ip: usize) -> Option<Place> {
        let stubs = self.stubs.as_ptr() as usize;
        if let Some(offset) = ip.checked_sub(stubs)
            && offset < self.stubs.len() * 8
        {
            let defined = (offset / (STUB_WORDS * 8)) as u32;
            let id = self.info.funcs.get((self.info.imported_funcs + defined) as usize)?;
            let header = self.signature(*id)?.param_cells;
            let offset = self.info.bodies.get(defined as usize)?.range.start as u32;
            return Some(Place { defined, header, offset, is_frame: true });
        }
        if let Some((defined, header)) = self.native_stub_at(ip) {
            return Some(Place { defined, header, offset: 0, is_frame: false });
        }
        let (code, defined, within) = self.code_at(ip)?;
        let mark = code.marks.partition_point(|&(at, _)| at <= within);
        let offset = match mark.checked_sub(1).and_then(|i| code.marks.get(i)) {
            Some(&(_, offset)) => offset,
            None => self.info.bodies.get(defined as usize)?.range.start as u32,
        };
        Some(Place { defined, header: code.header, offset, is_frame: true })
    }

    /// The translated function that a code address belongs to, its index among the defined ones, and
    /// how many bytes from its first instruction the address is.
    pub(crate) fn code_at(&self, ip: usize) -> Option<(&FuncCode, u32, u32)> {
        let addresses = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let (&start, &defined) = addresses.range(..=ip).next_back()?;
        let code = self.code.get(defined as usize)?.get()?;
        let within = ip - start;
        (within <= code.words.len() * 8).then_some((&**code, defined, within as u32))
    }

    /// Where contexts hold the identity of a tag.
    pub(crate) fn tag_offset(&self, tag: u32) -> u32 {
        self.offsets.tag(TagIdx(tag))
    }

    /// How exceptions of a tag look, by the tag's index.
    pub(crate) fn exception(&self, tag: u32) -> Option<&StructLayout> {
        self.exceptions.get(self.info.tags.get(tag as usize)?)
    }

    /// The module, to be kept.
    pub(crate) fn shared_info(&self) -> &Arc<ModuleInfo> {
        &self.info
    }

    /// The index of a defined function among all functions.
    pub(crate) fn func_idx(&self, defined: u32) -> FuncIdx {
        FuncIdx(self.info.imported_funcs + defined)
    }

    /// The interpreter's view of a type.
    pub(crate) fn ty_of(&self, ty: ValType) -> Ty {
        Ty::of(ty, &self.types)
    }

    /// Whether a type of the module is a function type.
    pub(crate) fn is_func_type(&self, type_index: u32) -> bool {
        self.info.types.get(type_index as usize).is_some_and(|&id| self.types.is_func(id))
    }
}

/// What stands at a code address.
pub(crate) struct Place {
    pub(crate) defined: u32,
    /// The slot of the frame's header.
    pub(crate) header: u32,
    /// The offset in the module.
    pub(crate) offset: u32,
    /// Whether it belongs to a frame of Wasm, and not to something that leads to another engine.
    pub(crate) is_frame: bool,
}

/// The word that begins an instruction, for a dispatcher.
pub(crate) fn code_word(handler: Handler, tail_calls: bool) -> u64 {
    let forms = handler.forms();
    if tail_calls { forms.tail as usize as u64 } else { forms.step as usize as u64 }
}

/// Code that belongs to no function: where activations end, and where calls between instances
/// return to.
pub(crate) struct Glue {
    halt: [u64; 1],
    bridge: [u64; 1],
}

impl Glue {
    pub(crate) fn get(tail_calls: bool) -> &'static Self {
        static GLUE: OnceLock<[Glue; 2]> = OnceLock::new();
        let make = |tail_calls| Self {
            halt: [code_word(HALT, tail_calls)],
            bridge: [code_word(BRIDGE, tail_calls)],
        };
        &GLUE.get_or_init(|| [make(false), make(true)])[usize::from(tail_calls)]
    }

    pub(crate) fn halt_code(&self) -> *const u8 {
        self.halt.as_ptr().cast()
    }

    pub(crate) fn bridge_code(&self) -> *const u8 {
        self.bridge.as_ptr().cast()
    }
}
