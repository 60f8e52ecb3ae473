//! One function at a time through the code generator: what goes in, what comes out, and what may go wrong.
//!
//! What comes out is plain data with offsets from the function's own start ([`CompiledFunc`]); nothing in it
//! names an address, so that it can be put anywhere, by [`crate::link`], and kept in files.
//!
//! Invariants: whatever goes wrong in here leaves the function interpreted and the process running; equal
//! input gives equal bytes, on any thread; nothing is called by name but functions of the same batch.

use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{
    ExternalName, Function, Signature, SourceLoc, TrapCode as ClifTrap, UserExternalNameRef,
    UserFuncName, types,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::{
    CodegenError, CompiledCode, Context, ExceptionContextLoc, Final, FinalizedMachExceptionHandler,
    FinalizedRelocTarget, MachBufferFinalized,
};
use cranelift_frontend::FunctionBuilderContext;
use palisade_core::TrapCode;
use palisade_module::wasmparser::{BinaryReader, FunctionBody};
use palisade_module::{ModuleInfo, TypeRegistry};
use palisade_vm::VmOffsets;
use palisade_vm::native::POLL;
use palisade_vm::native::code::{CallSite, Handler, INLINED, Inlined, StackMap};
use palisade_vm::sys::host_stack;

use crate::error::{CompileError, MEMORY};
use crate::options::Options;
use crate::translate::{self, Env};
use crate::{cpu, limits};

/// How many integers, and how many floats or vectors, a native function returns in registers.
const RESULT_REGISTERS: usize = 8;

/// The stack of a thread that compiles. The passes keep their own lists; this is what threads have by default
/// elsewhere, for good measure.
const THREAD_STACK: usize = 8 << 20;

/// What must be left of the caller's stack for the code generator to run there. Its passes do not recurse by what they
/// work on, but have large frames; a guest decides, by recursion through the host, how much is left when its first
/// function becomes hot.
const STACK_LEFT: usize = 512 << 10;

/// Runs something that generates code: here, or on a thread of its own if there is not enough of a stack left.
///
/// # Errors
///
/// There is neither enough of a stack nor another thread.
pub(crate) fn on_enough_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, CompileError> {
    let here = host_stack::position();
    let enough = |bounds: host_stack::Bounds| {
        bounds.low <= here && here < bounds.high && here - bounds.low >= STACK_LEFT
    };
    if host_stack::bounds().is_some_and(enough) {
        return Ok(work());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("palisade-compile".to_owned())
            .stack_size(THREAD_STACK)
            .spawn_scoped(scope, work)
            .map_err(|error| CompileError::Host(format!("no thread for compiling: {error}")))?;
        thread.join().map_err(|_| CompileError::Internal("a panic outside of the code generator"))
    })
}

/// The module that functions are compiled of.
#[derive(Copy, Clone)]
pub struct CompileModule<'a> {
    /// Its description.
    pub info: &'a ModuleInfo,
    /// Where things stand in the contexts of its instances.
    pub offsets: &'a VmOffsets,
    /// The types of the engine.
    pub types: &'a TypeRegistry,
    /// Ends compilation soon once it says so.
    pub stop: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl std::fmt::Debug for CompileModule<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompileModule")
            .field("functions", &self.info.bodies.len())
            .finish_non_exhaustive()
    }
}

/// A compiled function. All offsets are bytes from the start of its code.
#[derive(Clone, Debug)]
pub struct CompiledFunc {
    /// The code, with constants behind it.
    pub code: Vec<u8>,
    /// What the address of the code must be a multiple of.
    pub alignment: u32,
    /// Where the innermost loop begins, if there are loops without calls.
    pub hot: Option<u32>,
    /// The offset of the body in the module.
    pub body: u32,
    /// Calls to functions of the same batch, whose addresses are to be filled in.
    pub relocations: Vec<Relocation>,
    /// See [`palisade_vm::native::code::Tables::traps`].
    pub traps: Vec<(u32, u8)>,
    /// See [`palisade_vm::native::code::Tables::srclocs`]. The first is at 0.
    pub srclocs: Vec<(u32, u32)>,
    /// See [`palisade_vm::native::code::Tables::inlined`]. Each is the source of some code.
    pub inlined: Vec<Inlined>,
    /// Calls that have handlers of exceptions.
    pub calls: Vec<CallSite>,
    /// See [`CallSite::handlers`].
    pub handlers: Vec<Handler>,
    /// Calls during which the frame holds references.
    pub maps: Vec<StackMap>,
    /// See [`StackMap::slots`].
    pub slots: Vec<u32>,
}

impl CompiledFunc {
    /// What it takes, about.
    pub fn bytes(&self) -> u64 {
        let tables = [
            size_of_val(&self.relocations[..]),
            size_of_val(&self.traps[..]),
            size_of_val(&self.srclocs[..]),
            size_of_val(&self.inlined[..]),
            size_of_val(&self.calls[..]),
            size_of_val(&self.handlers[..]),
            size_of_val(&self.maps[..]),
            size_of_val(&self.slots[..]),
        ];
        (self.code.len() + size_of::<Self>() + tables.iter().sum::<usize>()) as u64
    }
}

/// The memory that several threads share while they compile. One alone always gets what it may have at all.
struct Room {
    limit: u64,
    /// In use now, and kept by what was made.
    used: Mutex<(u64, u64)>,
    changed: Condvar,
}

impl Room {
    fn new(limit: u64) -> Self {
        Self { limit, used: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits until there is room. An error if there never will be.
    fn take(&self, bytes: u64) -> Result<(), CompileError> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (now, kept) = *used;
            limits::check(MEMORY, self.limit, kept.saturating_add(bytes))?;
            if now == 0 || now.saturating_add(kept).saturating_add(bytes) <= self.limit {
                used.0 = now.saturating_add(bytes);
                return Ok(());
            }
            used = self.changed.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, bytes: u64, made: u64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = (used.0.saturating_sub(bytes), used.1.saturating_add(made));
        drop(used);
        self.changed.notify_all();
    }
}

/// A call, or a jump, to a function of the same batch.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Relocation {
    /// Where the four bytes stand that are the distance from behind them to the target.
    pub at: u32,
    /// The target, among the functions that the module defines.
    pub target: u32,
    /// Whether its results need an area in memory: then the context is its second argument.
    pub return_area: bool,
}

/// Of functions with more loops, none is looked for: each is compared with each.
const MOST_LOOPS: usize = 200;

thread_local! {
    static COMPILING: Cell<bool> = const { Cell::new(false) };
}

/// Whether the code generator runs on this thread. A panic of it is caught, leaves a function interpreted, and is
/// counted: a hook that reports panics may want to leave it out.
pub fn is_compiling() -> bool {
    COMPILING.try_with(Cell::get).unwrap_or(false)
}

/// Makes machine code. One for each engine; threads share it.
pub struct Compiler {
    /// Made when it is first needed: it takes longer than loading a small module.
    isa: OnceLock<Result<OwnedTargetIsa, CompileError>>,
    options: Options,
    /// What compiling may take at once, in bytes.
    memory: u64,
    /// The function at which the tests want a panic.
    #[cfg(test)]
    panic_at: Option<u32>,
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What a thread that compiles uses again for each function.
pub(crate) struct Workspace {
    pub(crate) context: Context,
    pub(crate) builder: FunctionBuilderContext,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        Self { context: Context::new(), builder: FunctionBuilderContext::new() }
    }
}

impl Compiler {
    /// A compiler for this machine.
    ///
    /// # Errors
    ///
    /// The machine is not one that code is made for; the error says what is missing.
    pub fn new(options: Options) -> Result<Self, CompileError> {
        cpu::check(&options)?;
        Ok(Self {
            isa: OnceLock::new(),
            options,
            memory: u64::MAX,
            #[cfg(test)]
            panic_at: None,
        })
    }

    /// Bounds what compiling takes at once, on all threads of [`Compiler::compile_all`] together, by what
    /// [`limits::memory`] says: what does not fit is refused, or waits. What was made counts there as well.
    #[must_use]
    pub fn with_memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// How code is made.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The processor, its extensions, and the settings of the code generator, as text: with the options, all
    /// that code depends on beside the module.
    pub fn fingerprint(&self) -> String {
        match self.isa() {
            Ok(isa) => cpu::fingerprint(isa),
            // Nothing is ever compiled.
            Err(error) => error.to_string(),
        }
    }

    /// # Errors
    ///
    /// A bug: the machine was looked at when the compiler was made.
    pub(crate) fn isa(&self) -> Result<&OwnedTargetIsa, CompileError> {
        self.isa.get_or_init(|| cpu::isa(&self.options)).as_ref().map_err(Clone::clone)
    }

    /// Compiles a function, by its index among those that the module defines. `in_batch` says which others
    /// will stand beside it, so that it can call them directly.
    ///
    /// # Errors
    ///
    /// The function stays interpreted. All errors but [`CompileError::Limit`] and [`CompileError::Stopped`] are bugs.
    pub fn compile(
        &self,
        module: &CompileModule<'_>,
        defined: u32,
        in_batch: &(dyn Fn(u32) -> bool + Sync),
    ) -> Result<CompiledFunc, CompileError> {
        on_enough_stack(|| self.compile_in(&mut Workspace::new(), module, defined, in_batch))?
    }

    /// Compiles a function, to be entered at one of its loops: at the `loop` operator at this offset in the module. The
    /// function takes the context and a buffer with the locals and the operand stack there.
    ///
    /// # Errors
    ///
    /// As [`Compiler::compile`].
    pub fn compile_loop(
        &self,
        module: &CompileModule<'_>,
        defined: u32,
        offset: u32,
    ) -> Result<CompiledFunc, CompileError> {
        on_enough_stack(|| {
            self.guarded(&mut Workspace::new(), |workspace| {
                self.function(workspace, module, defined, Some(offset), &|_| false)
            })
        })?
    }

    /// Compiles all functions that a module defines, as one batch, on so many threads.
    pub fn compile_all(
        &self,
        module: &CompileModule<'_>,
        threads: usize,
    ) -> Vec<Result<CompiledFunc, CompileError>> {
        let all: Vec<u32> = (0..module.info.bodies.len() as u32).collect();
        self.compile_some(module, &all, threads, &|_| ())
    }

    /// The same for some functions, in their order; `tell` hears of each function when it is compiled, or not, on the thread that
    /// did it. They call all functions of the module as if these stood in their batch.
    pub fn compile_some(
        &self,
        module: &CompileModule<'_>,
        wanted: &[u32],
        threads: usize,
        tell: &(dyn Fn(&Result<CompiledFunc, CompileError>) + Sync),
    ) -> Vec<Result<CompiledFunc, CompileError>> {
        let count = wanted.len();
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::with_capacity(count));
        let room = Room::new(self.memory);
        let work = || {
            let mut workspace = Workspace::new();
            let mut own = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(&defined) = wanted.get(at) else { break };
                let all = |_| true;
                let body =
                    module.info.bodies.get(defined as usize).map_or(0, |body| body.range.len());
                let taken = limits::memory(body as u64);
                let result = room.take(taken).and_then(|()| {
                    let result = self.compile_in(&mut workspace, module, defined, &all);
                    room.give_back(taken, result.as_ref().map_or(0, CompiledFunc::bytes));
                    result
                });
                tell(&result);
                own.push((at, result));
            }
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).append(&mut own);
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.clamp(1, count.max(1)) {
                let thread = std::thread::Builder::new()
                    .name("palisade-compile".to_owned())
                    .stack_size(THREAD_STACK);
                // Where there are no more threads, those that there are do the work.
                if thread.spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            // Without, whatever other threads there are do it all.
            let _ = on_enough_stack(work);
        });
        let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if done.len() < count {
            // Nobody could work at all.
            let none = || CompileError::Host("no thread for compiling".to_owned());
            return (0..count).map(|_| Err(none())).collect();
        }
        done.sort_unstable_by_key(|&(at, _)| at);
        done.into_iter().map(|(_, result)| result).collect()
    }

    pub(crate) fn compile_in(
        &self,
        workspace: &mut Workspace,
        module: &CompileModule<'_>,
        defined: u32,
        in_batch: &dyn Fn(u32) -> bool,
    ) -> Result<CompiledFunc, CompileError> {
        self.guarded(workspace, |workspace| {
            self.function(workspace, module, defined, None, in_batch)
        })
    }

    /// Runs the code generator. After an error or a panic the workspace is a new one: nobody knows what the
    /// old one holds.
    pub(crate) fn guarded<T>(
        &self,
        workspace: &mut Workspace,
        work: impl FnOnce(&mut Workspace) -> Result<T, CompileError>,
    ) -> Result<T, CompileError> {
        let outer = COMPILING.replace(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| work(workspace)));
        COMPILING.set(outer);
        let result = outcome.unwrap_or_else(|payload| Err(CompileError::Panic(message(&*payload))));
        if result.is_err() {
            *workspace = Workspace::new();
        }
        result
    }

    fn function(
        &self,
        workspace: &mut Workspace,
        module: &CompileModule<'_>,
        defined: u32,
        at_loop: Option<u32>,
        in_batch: &dyn Fn(u32) -> bool,
    ) -> Result<CompiledFunc, CompileError> {
        let (body, inlined) = self.translated(workspace, module, defined, at_loop, in_batch)?;
        proceed(module)?;
        let mut compiled = self.generate(&mut workspace.context, body)?;
        compiled.inlined = used(&mut compiled.srclocs, &inlined)?;
        proceed(module)?;
        Ok(compiled)
    }

    /// Translates a function to the intermediate form, which the workspace holds then. Where the body begins, and what
    /// else stands in it.
    pub(crate) fn translated(
        &self,
        workspace: &mut Workspace,
        module: &CompileModule<'_>,
        defined: u32,
        at_loop: Option<u32>,
        in_batch: &dyn Fn(u32) -> bool,
    ) -> Result<(u32, Vec<Inlined>), CompileError> {
        proceed(module)?;
        let range =
            module.info.bodies.get(defined as usize).map_or(0..0, |body| body.range.clone());
        limits::check(MEMORY, self.memory, limits::memory(range.len() as u64))?;
        #[cfg(test)]
        assert_ne!(self.panic_at, Some(defined), "as the test wants it");
        let body = size(module, defined)?;
        let env = Env {
            info: module.info,
            offsets: module.offsets,
            types: module.types,
            options: &self.options,
            in_batch,
        };
        workspace.context.clear();
        // A new one, since a limit looks at how far its lists have grown: not for another function.
        let func = &mut workspace.context.func;
        *func = Function::with_name_signature(
            UserFuncName::user(0, defined),
            Signature::new(CallConv::Tail),
        );
        let inlined = translate::function(
            env,
            &**self.isa()?,
            &mut workspace.builder,
            func,
            defined,
            at_loop,
        )?;
        limits::translated(func)?;
        Ok((body, inlined))
    }

    /// From the intermediate form that the context holds to code, where no other body stands in it.
    pub(crate) fn generate(
        &self,
        context: &mut Context,
        body: u32,
    ) -> Result<CompiledFunc, CompileError> {
        if let Err(error) = context.compile(&**self.isa()?, &mut ControlPlane::default()) {
            return Err(describe(&error.inner));
        }
        let Some(code) = context.take_compiled_code() else {
            return Err(CompileError::Internal("no code"));
        };
        harvest(&context.func, &code, body)
    }
}

/// An error if somebody wants compilation to end.
fn proceed(module: &CompileModule<'_>) -> Result<(), CompileError> {
    match module.stop {
        Some(stop) if stop() => Err(CompileError::Stopped),
        _ => Ok(()),
    }
}

/// Whether a body is small enough; where it begins.
fn size(module: &CompileModule<'_>, defined: u32) -> Result<u32, CompileError> {
    let unknown = CompileError::Internal("an unknown function");
    let info = module.info;
    let range = info.bodies.get(defined as usize).ok_or(unknown.clone())?.range.clone();
    let bytes = info.bytes.get(range.clone()).ok_or(unknown.clone())?;
    limits::check("bytes of a body", limits::BODY_BYTES, bytes.len() as u64)?;
    let index = (info.imported_funcs as usize).saturating_add(defined as usize);
    let ty = info.funcs.get(index).and_then(|&id| module.types.func_type(id)).ok_or(unknown)?;
    let mut locals = ty.params.len() as u64;
    for group in
        FunctionBody::new(BinaryReader::new(bytes, range.start as u64)).get_locals_reader()?
    {
        locals += u64::from(group?.0);
    }
    limits::check("locals", limits::LOCALS, locals)?;
    Ok(range.start as u32)
}

/// What a panic said.
fn message(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "no message".to_owned(),
    }
}

fn describe(error: &CodegenError) -> CompileError {
    CompileError::Codegen(match error {
        CodegenError::Verifier(errors) => errors.to_string(),
        CodegenError::Regalloc(errors) => format!("register allocation: {errors:?}"),
        other => other.to_string(),
    })
}

/// Whether native functions of a signature give their results through an area in memory, whose address comes
/// before all other arguments: when registers do not suffice.
pub(crate) fn return_area(signature: &Signature) -> bool {
    let integers = signature.returns.iter().filter(|result| result.value_type.is_int()).count();
    integers > RESULT_REGISTERS || signature.returns.len() - integers > RESULT_REGISTERS
}

/// Where the loop begins that most other loops are around, of those in which nothing is called; of several, the
/// smallest. Where functions call, it matters more how they begin themselves. `starts` are those of the blocks, in order;
/// `edges` lead from the start of one to that of another; `calls` are the addresses that calls return to.
fn innermost_loop(starts: &[u32], edges: &[(u32, u32)], calls: &[u32]) -> Option<u32> {
    let end = |last: u32| *starts.iter().find(|&&start| start > last).unwrap_or(&u32::MAX);
    let mut loops: Vec<(u32, u32)> =
        edges.iter().filter(|(from, to)| to <= from).map(|&(from, to)| (to, from)).collect();
    loops.sort_unstable();
    // Of loops with one head, the largest.
    loops.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        kept.1 = if same { kept.1.max(next.1) } else { kept.1 };
        same
    });
    if loops.len() > MOST_LOOPS {
        return None;
    }
    let depth = |&(start, end): &(u32, u32)| {
        loops.iter().filter(|around| around.0 < start && end <= around.1).count()
    };
    let quiet = loops.iter().filter(|&&(start, last)| {
        let end = end(last);
        !calls.iter().any(|&ret| ret > start && ret <= end)
    });
    let best = quiet.max_by_key(|one| (depth(one), std::cmp::Reverse(one.1 - one.0)));
    best.map(|&(start, _)| start)
}

/// Takes out of the code generator's result what outlives it.
fn harvest(func: &Function, code: &CompiledCode, body: u32) -> Result<CompiledFunc, CompileError> {
    let buffer = &code.buffer;
    limits::check("bytes of machine code", limits::CODE_BYTES, buffer.data().len() as u64)?;
    let (calls, handlers) = calls(buffer)?;
    let returns: Vec<u32> = buffer.call_sites().map(|site| site.ret_addr).collect();
    let (maps, slots) = maps(buffer)?;
    Ok(CompiledFunc {
        code: buffer.data().to_vec(),
        alignment: buffer.alignment.max(1),
        hot: innermost_loop(&code.bb_starts, &code.bb_edges, &returns),
        body,
        relocations: relocations(func, buffer)?,
        traps: traps(buffer)?,
        srclocs: srclocs(buffer, body),
        inlined: Vec::new(),
        calls,
        handlers,
        maps,
        slots,
    })
}

fn relocations(
    func: &Function,
    buffer: &MachBufferFinalized<Final>,
) -> Result<Vec<Relocation>, CompileError> {
    if buffer.relocs().is_empty() {
        return Ok(Vec::new());
    }
    let mut areas: HashMap<UserExternalNameRef, bool> = HashMap::new();
    for callee in func.dfg.ext_funcs.values() {
        if let ExternalName::User(name) = callee.name {
            areas.insert(name, return_area(&func.dfg.signatures[callee.signature]));
        }
    }
    let mut found = Vec::with_capacity(buffer.relocs().len());
    for reloc in buffer.relocs() {
        let FinalizedRelocTarget::ExternalName(ExternalName::User(name)) = reloc.target else {
            return Err(CompileError::Codegen(format!("a call of {:?}", reloc.target)));
        };
        let named = func.params.user_named_funcs().get(name);
        let target = named.filter(|named| named.namespace == 0).map(|named| named.index);
        let (Reloc::X86CallPCRel4, -4, Some(target), Some(&return_area)) =
            (reloc.kind, reloc.addend, target, areas.get(&name))
        else {
            return Err(CompileError::Codegen(format!("a relocation {reloc:?}")));
        };
        found.push(Relocation { at: reloc.offset, target, return_area });
    }
    Ok(found)
}

fn traps(buffer: &MachBufferFinalized<Final>) -> Result<Vec<(u32, u8)>, CompileError> {
    let mut found = Vec::with_capacity(buffer.traps().len());
    for trap in buffer.traps() {
        found.push((trap.offset, trap_number(trap.code)?));
    }
    found.sort_unstable();
    // An instruction that may fault for two reasons would be told wrongly.
    if found.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0 && a.1 != b.1)) {
        return Err(CompileError::Codegen("two traps at one instruction".to_owned()));
    }
    found.dedup();
    Ok(found)
}

/// The number of a trap: those of the code generator itself become ours.
fn trap_number(code: ClifTrap) -> Result<u8, CompileError> {
    let number = match code {
        ClifTrap::STACK_OVERFLOW => TrapCode::StackOverflow as u8,
        ClifTrap::INTEGER_OVERFLOW => TrapCode::IntegerOverflow as u8,
        ClifTrap::HEAP_OUT_OF_BOUNDS => TrapCode::MemoryOutOfBounds as u8,
        ClifTrap::INTEGER_DIVISION_BY_ZERO => TrapCode::IntegerDivideByZero as u8,
        ClifTrap::BAD_CONVERSION_TO_INTEGER => TrapCode::InvalidConversionToInteger as u8,
        user => user.as_raw().get(),
    };
    if number == POLL || TrapCode::from_u8(number).is_some() {
        Ok(number)
    } else {
        Err(CompileError::Codegen(format!("an unknown trap {code}")))
    }
}

/// Code without a location belongs to what stands before it.
fn srclocs(buffer: &MachBufferFinalized<Final>, body: u32) -> Vec<(u32, u32)> {
    let mut found = vec![(0, body)];
    for entry in buffer.get_srclocs_sorted() {
        if entry.loc == SourceLoc::default() {
            continue;
        }
        let here = (entry.start, entry.loc.bits());
        match found.last_mut() {
            Some(last) if last.1 == here.1 => {}
            Some(last) if last.0 == here.0 => last.1 = here.1,
            _ => found.push(here),
        }
    }
    // It is kept as long as the code is.
    found.shrink_to_fit();
    found
}

/// Those places in inlined bodies that code comes from, to which its sources are made to refer.
fn used(srclocs: &mut [(u32, u32)], all: &[Inlined]) -> Result<Vec<Inlined>, CompileError> {
    let mut kept = Vec::new();
    let mut known = HashMap::new();
    for (_, source) in srclocs {
        let Some(index) = source.checked_sub(INLINED) else { continue };
        let Some(&place) = all.get(index as usize) else {
            return Err(CompileError::Internal("a source that is nowhere"));
        };
        let index = *known.entry(place).or_insert_with(|| {
            kept.push(place);
            kept.len() as u32 - 1
        });
        *source = INLINED + index;
    }
    Ok(kept)
}

type Calls = (Vec<CallSite>, Vec<Handler>);

fn calls(buffer: &MachBufferFinalized<Final>) -> Result<Calls, CompileError> {
    let (mut calls, mut handlers) = (Vec::new(), Vec::new());
    for call in buffer.call_sites().filter(|call| !call.exception_handlers.is_empty()) {
        let start = handlers.len() as u32;
        for &handler in call.exception_handlers {
            handlers.push(match handler {
                FinalizedMachExceptionHandler::Tag(tag, at) => Handler::Tag(tag.as_u32(), at),
                FinalizedMachExceptionHandler::Default(at) => Handler::Default(at),
                FinalizedMachExceptionHandler::Context(ExceptionContextLoc::SPOffset(at)) => {
                    Handler::Context(at)
                }
                FinalizedMachExceptionHandler::Context(ExceptionContextLoc::GPR(_)) => {
                    let what = "a context of exceptions in a register";
                    return Err(CompileError::Codegen(what.to_owned()));
                }
            });
        }
        let Some(frame) = call.frame_offset else {
            return Err(CompileError::Codegen("a frame of unknown size".to_owned()));
        };
        let handlers = start..handlers.len() as u32;
        calls.push(CallSite { ret: call.ret_addr, frame, handlers });
    }
    calls.sort_by_key(|call| call.ret);
    Ok((calls, handlers))
}

type Maps = (Vec<StackMap>, Vec<u32>);

fn maps(buffer: &MachBufferFinalized<Final>) -> Result<Maps, CompileError> {
    let (mut maps, mut slots) = (Vec::new(), Vec::new());
    for (ret, frame, map) in buffer.user_stack_maps() {
        let start = slots.len() as u32;
        for (ty, at) in map.entries() {
            if ty != types::I32 {
                return Err(CompileError::Codegen(format!("a reference of type {ty}")));
            }
            slots.push(at);
        }
        maps.push(StackMap { ret: *ret, frame: *frame, slots: start..slots.len() as u32 });
    }
    maps.sort_by_key(|map| map.ret);
    Ok((maps, slots))
}

#[cfg(test)]
#[path = "compiler_tests.rs"]
mod tests;
