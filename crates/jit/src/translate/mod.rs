//! From the validated bytes of one function to Cranelift's intermediate form, in one pass.
//!
//! The operand stack holds values of the intermediate form beside what they are ([`Kind`]); locals are
//! variables, for which the frontend builds SSA form. Code that cannot be reached is skipped. Each family of
//! operators has a file; an operator that no family takes is an internal error, so that none is missing silently.
//!
//! Invariants: every value of kind [`Kind::Ref`] on the stack, in a local or in a block's parameter is known
//! to the collector; what stands in the store's fuel is exact wherever somebody could look (see `fuel`).

mod atomic;
pub(crate) mod bounds;
mod calls;
mod control;
mod exceptions;
mod fuel;
mod gc;
mod inline;
mod memory;
mod numeric;
mod osr;
mod short;
mod simd;
mod tables;
mod values;

#[cfg(test)]
mod tests_gc;

use std::collections::HashMap;

use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{
    AbiParam, AliasRegion, AliasRegionData, Block, FuncRef, Function, InstBuilder, InstructionData,
    MemFlagsData, SigRef, Signature, SourceLoc, TrapCode as ClifTrap, Type, Value, types,
};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use palisade_core::types::ValClass;
use palisade_core::{TrapCode, TypeId, ValType};
use palisade_module::wasmparser::{self, BinaryReader, FunctionBody, Operator};
use palisade_module::{ModuleInfo, TypeRegistry};
use palisade_vm::VmOffsets;
use palisade_vm::layout::{VmCtx, VmStoreCtx};
use palisade_vm::native::code::Inlined;
use palisade_vm::native::{Builtin, POLL, POLL_BYTES};

use crate::error::CompileError;
use crate::limits;
use crate::mutation::Mutation;
use crate::options::Options;

use control::Control;

pub(crate) type Result<T> = std::result::Result<T, CompileError>;

/// What validation excludes.
pub(crate) fn invalid<T>(what: &'static str) -> Result<T> {
    Err(CompileError::Internal(what))
}

impl From<wasmparser::Error> for CompileError {
    /// Bodies were validated before: this does not happen.
    fn from(_: wasmparser::Error) -> Self {
        Self::Internal("a body that does not decode")
    }
}

/// What a value is, beyond its type in the intermediate form.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    I32,
    I64,
    F32,
    F64,
    V128,
    /// A reference to a function: the address of its `VmFuncRef`.
    Func,
    /// Any other reference: a `VmRef`, which the collector must find.
    Ref,
}

impl Kind {
    /// The type in the intermediate form. All vectors are [`types::I8X16`] between operators.
    pub(crate) fn ty(self) -> Type {
        match self {
            Self::I32 | Self::Ref => types::I32,
            Self::I64 | Self::Func => types::I64,
            Self::F32 => types::F32,
            Self::F64 => types::F64,
            Self::V128 => types::I8X16,
        }
    }

    /// How many cells it takes in a buffer of arguments.
    pub(crate) fn cells(self) -> u32 {
        if self == Self::V128 { 2 } else { 1 }
    }
}

/// What is compiled, and how.
#[derive(Copy, Clone)]
pub(crate) struct Env<'a> {
    pub(crate) info: &'a ModuleInfo,
    pub(crate) offsets: &'a VmOffsets,
    pub(crate) types: &'a TypeRegistry,
    pub(crate) options: &'a Options,
    /// Which defined functions are compiled together with this one, so that calls can be direct.
    pub(crate) in_batch: &'a dyn Fn(u32) -> bool,
}

impl Env<'_> {
    /// The kind of a type.
    pub(crate) fn kind(&self, ty: ValType) -> Kind {
        match ty {
            ValType::I32 => Kind::I32,
            ValType::I64 => Kind::I64,
            ValType::F32 => Kind::F32,
            ValType::F64 => Kind::F64,
            ValType::V128 => Kind::V128,
            ValType::Ref(_) => match ty.class(|id| self.types.is_func(id)) {
                ValClass::Ref => Kind::Ref,
                _ => Kind::Func,
            },
        }
    }

    /// The canonical type of a type index.
    pub(crate) fn type_id(&self, type_index: u32) -> Result<TypeId> {
        let id = self.info.types.get(type_index as usize);
        id.copied().ok_or(CompileError::Internal("an unknown type index"))
    }
}

/// The kinds of the parameters and results of a function type.
#[derive(Clone, Debug)]
pub(crate) struct FuncKinds {
    pub(crate) params: Vec<Kind>,
    pub(crate) results: Vec<Kind>,
}

impl FuncKinds {
    pub(crate) fn of(env: &Env<'_>, id: TypeId) -> Result<Self> {
        let Some(ty) = env.types.func_type(id) else { return invalid("a type of functions") };
        let kinds = |list: &[ValType]| list.iter().map(|&ty| env.kind(ty)).collect();
        Ok(Self { params: kinds(&ty.params), results: kinds(&ty.results) })
    }

    /// The signature of native functions of this type: the context, then the parameters.
    pub(crate) fn signature(&self) -> Signature {
        let mut signature = Signature::new(CallConv::Tail);
        signature.params.push(AbiParam::new(types::I64));
        signature.params.extend(self.params.iter().map(|kind| AbiParam::new(kind.ty())));
        signature.returns.extend(self.results.iter().map(|kind| AbiParam::new(kind.ty())));
        signature
    }
}

/// An entry of the operand stack.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Operand {
    pub(crate) value: Value,
    pub(crate) kind: Kind,
}

/// A function while it is translated.
pub(crate) struct Translator<'a, 'f> {
    pub(crate) env: Env<'a>,
    pub(crate) b: FunctionBuilder<'f>,
    pub(crate) vmctx: Value,
    /// The kinds of the function's own results.
    pub(crate) results: Vec<Kind>,
    pub(crate) stack: Vec<Operand>,
    pub(crate) frames: Vec<Control>,
    pub(crate) locals: Vec<(Variable, Kind)>,
    /// How many of the locals are references, those of the caller included where a body is inlined.
    pub(crate) ref_locals: u64,
    /// See [`limits::ROOTS`].
    roots: u64,
    /// Whether the operator at hand can be reached.
    pub(crate) reachable: bool,
    /// The offset of the operator at hand in the module.
    pub(crate) offset: u32,
    /// Where the function's body begins in the module.
    pub(crate) body_start: u32,
    /// The defined function that is translated.
    pub(crate) defined: u32,
    /// What is left of the fuel, where it is consumed.
    fuel: Option<Variable>,
    /// What each basic block costs, in order, and which is next.
    costs: std::vec::IntoIter<u64>,
    /// The offsets of the loops in which something is called, in order.
    calling_loops: Vec<u32>,
    /// How the function is entered, if at a loop.
    osr: Option<osr::Entry>,
    /// How many polls there are in this function.
    polls: u32,
    signatures: HashMap<TypeId, SigRef>,
    builtin_signatures: HashMap<(usize, bool), SigRef>,
    /// Functions of the batch that were called directly.
    direct: HashMap<u32, FuncRef>,
    /// What linear memories, tables and globals have in common with nothing else.
    memory_region: AliasRegion,
    table_region: AliasRegion,
    global_region: AliasRegion,
    /// The handlers around the operator at hand.
    handlers: exceptions::Handlers,
    /// What is known about objects of the heap.
    objects: gc::Objects,
    /// The bodies that stand in the middle of this function's code.
    inlining: inline::Inlining,
}

/// The trap code of a load or a check, as Cranelift carries it.
pub(crate) fn trap_code(code: TrapCode) -> ClifTrap {
    ClifTrap::unwrap_user(code as u8)
}

/// Where a field of a structure of the runtime stands.
pub(crate) fn at(offset: usize) -> Offset32 {
    Offset32::new(offset as i32)
}

/// Puts the body of a defined function into `func`, which is empty but for its name. With the offset of a loop, it
/// is entered there (see `osr`). Returns the places in other bodies that its instructions may come from.
pub(crate) fn function(
    env: Env<'_>,
    isa: &dyn TargetIsa,
    context: &mut FunctionBuilderContext,
    func: &mut Function,
    defined: u32,
    at_loop: Option<u32>,
) -> Result<Vec<Inlined>> {
    let info = env.info;
    let Some(body) = info.bodies.get(defined as usize) else {
        return invalid("an unknown function");
    };
    let range = body.range.clone();
    let Some(bytes) = info.bytes.get(range.clone()) else { return invalid("an unknown body") };
    let body = FunctionBody::new(BinaryReader::new(bytes, range.start as u64));
    let type_id = info.funcs.get((info.imported_funcs + defined) as usize);
    let Some(&type_id) = type_id else { return invalid("a function without a type") };
    let kinds = FuncKinds::of(&env, type_id)?;
    func.signature = match at_loop {
        None => kinds.signature(),
        Some(_) => osr::signature(&kinds),
    };
    let (_, costs) = fuel::costs(&body)?;
    let mut region = |user_id, description: &'static str| {
        let data = AliasRegionData { user_id, description: description.into() };
        func.dfg.alias_regions.insert(data)
    };
    let memory_region = region(1, "linear memory");
    let table_region = region(2, "tables");
    let global_region = region(3, "globals");
    let object_region = region(4, "objects of the heap");
    let mut b = FunctionBuilder::new(func, context);
    b.set_srcloc(SourceLoc::new(range.start as u32));
    b.make_stack_map_alias_region(Box::new(|regions, _, _, _| {
        let description = "references in the frame".into();
        Some(regions.insert(AliasRegionData { user_id: 5, description }))
    }));
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let vmctx = match b.block_params(entry) {
        [vmctx, ..] => *vmctx,
        [] => return invalid("no context"),
    };
    let mut this = Translator {
        env,
        b,
        vmctx,
        results: kinds.results.clone(),
        stack: Vec::new(),
        frames: Vec::new(),
        locals: Vec::new(),
        ref_locals: 0,
        roots: 0,
        reachable: true,
        offset: range.start as u32,
        body_start: range.start as u32,
        defined,
        fuel: None,
        costs: costs.costs.into_iter(),
        calling_loops: costs.calling_loops,
        polls: 0,
        signatures: HashMap::new(),
        builtin_signatures: HashMap::new(),
        direct: HashMap::new(),
        memory_region,
        table_region,
        global_region,
        handlers: exceptions::Handlers::default(),
        objects: gc::Objects::new(object_region),
        osr: None,
        inlining: inline::Inlining::new(bytes.len()),
    };
    let arguments = this.b.block_params(entry).to_vec();
    this.parameters(&arguments, &kinds.params, at_loop.is_some());
    this.declared_locals(&body)?;
    this.enter(costs.calls)?;
    if let Some(offset) = at_loop {
        let Some(&cells) = arguments.get(1) else { return invalid("no buffer") };
        this.enter_at(cells, osr::path(&body, offset)?);
    }
    this.body(&body)?;
    limits::check("loops", limits::LOOPS, u64::from(this.polls))?;
    this.b.seal_all_blocks();
    this.b.finalize(isa.frontend_config());
    Ok(this.inlining.into_places())
}

impl Translator<'_, '_> {
    /// Whether the code is to be wrong in this respect, for a test.
    pub(crate) fn mutated(&self, mutation: Mutation) -> bool {
        self.env.options.mutated(mutation)
    }

    /// Declares the parameters; where the function is entered at a loop, they come later.
    fn parameters(&mut self, arguments: &[Value], params: &[Kind], later: bool) {
        for (index, &kind) in params.iter().enumerate() {
            let local = self.declare(kind);
            let value = match arguments.get(index + 1) {
                Some(&value) if !later => value,
                _ => self.zero(kind),
            };
            self.b.def_var(local, value);
        }
    }

    fn declared_locals(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            let kind = self.wasm_kind(ty);
            let zero = self.zero(kind);
            for _ in 0..count {
                let local = self.declare(kind);
                self.b.def_var(local, zero);
            }
        }
        Ok(())
    }

    /// Makes a variable for the next local.
    fn declare(&mut self, kind: Kind) -> Variable {
        let variable = self.variable(kind);
        self.locals.push((variable, kind));
        self.ref_locals += u64::from(kind == Kind::Ref);
        variable
    }

    /// Makes a variable that the collector knows of if it has to.
    pub(crate) fn variable(&mut self, kind: Kind) -> Variable {
        let variable = self.b.declare_var(kind.ty());
        if kind == Kind::Ref && !self.mutated(Mutation::LocalRootForgotten) {
            self.b.declare_var_needs_stack_map(variable);
        }
        variable
    }

    /// Adds a parameter to a block, which the collector knows of if it has to.
    pub(crate) fn block_param(&mut self, block: Block, kind: Kind) -> Value {
        let value = self.b.append_block_param(block, kind.ty());
        if !self.mutated(Mutation::BlockRootForgotten) {
            self.note(value, kind);
        }
        value
    }

    /// Lets the collector know of a value if it has to.
    pub(crate) fn note(&mut self, value: Value, kind: Kind) {
        if kind == Kind::Ref && !self.mutated(Mutation::RootForgotten) {
            self.b.declare_value_needs_stack_map(value);
        }
    }

    /// Zero, or null.
    pub(crate) fn zero(&mut self, kind: Kind) -> Value {
        match kind {
            Kind::I32 | Kind::Ref => self.b.ins().iconst(types::I32, 0),
            Kind::I64 | Kind::Func => self.b.ins().iconst(types::I64, 0),
            Kind::F32 => self.b.ins().f32const(0.0),
            Kind::F64 => self.b.ins().f64const(0.0),
            Kind::V128 => {
                let zero = self.b.func.dfg.constants.insert(vec![0; 16].into());
                self.b.ins().vconst(types::I8X16, zero)
            }
        }
    }

    fn body(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        self.frames.push(Control::function(&mut self.b, &self.results));
        self.operators(body)
    }

    /// Translates the operators of a body, whose own construct has begun.
    fn operators(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        self.charge()?;
        let mut charged = true;
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() {
            let (op, offset) = reader.read_with_offset()?;
            // Joins make values in numbers that only the product of locals and nesting bounds.
            limits::intermediate(self.b.func)?;
            limits::check("operands", limits::OPERANDS, self.stack.len() as u64)?;
            limits::check("references across calls", limits::ROOTS, self.roots)?;
            self.offset = offset as u32;
            // A block is charged for where its first operator stands that costs anything: there, a backtrace says
            // that the fuel ran out.
            if !charged && palisade_module::fuel::cost(&op) > 0 {
                self.locate();
                self.charge()?;
                charged = true;
            }
            if self.reachable {
                self.operator(&op)?;
            } else {
                self.unreachable_operator(&op)?;
            }
            if palisade_module::fuel::ends_block(&op) {
                if !charged {
                    // It costs nothing.
                    self.charge()?;
                }
                charged = false;
            }
        }
        if self.frames.is_empty() { Ok(()) } else { invalid("a body that does not end") }
    }

    /// Translates an operator that can be reached.
    ///
    /// Instructions come from the newest operator that can trap, whatever operators were between: the code generator
    /// makes a load part of the instruction that uses its value if nothing that can trap stands between them, and
    /// the fault has to be said to be where the load was.
    fn operator(&mut self, op: &Operator<'_>) -> Result<()> {
        let may_trap = numeric::may_trap(op);
        if self.control(op)? || self.values(op)? || (!may_trap && self.numeric(op)?) {
            return Ok(());
        }
        if self.simd(op)? {
            return Ok(());
        }
        self.locate();
        if may_trap {
            // An instruction that faults for a reason of its own takes no load into itself.
            self.b.ins().sequence_point();
        }
        let taken = self.numeric(op)?
            || self.memory(op)?
            || self.simd_memory(op)?
            || self.calls(op)?
            || self.tables(op)?
            || self.atomic(op)?
            || self.gc(op)?
            || self.exceptions(op)?;
        if taken { Ok(()) } else { invalid("an operator that nobody translates") }
    }

    /// Says that the instructions from here on come from the operator at hand.
    pub(crate) fn locate(&mut self) {
        let wrong = self.mutated(Mutation::InlinedPlaceWrong);
        let source = self.inlining.source(self.defined, self.offset, wrong);
        self.b.set_srcloc(SourceLoc::new(source));
    }

    /// Lets no load that may fault become part of what follows, if `value` is one: of instructions that come from
    /// the operator at hand, such as a comparison of what an operator before has read. What the code generator
    /// itself makes of several instructions comes from nowhere, that is, from where the one before it does: no
    /// instruction may be said to come from an earlier operator than its neighbours.
    pub(crate) fn settle(&mut self, value: Value) {
        let dfg = &self.b.func.dfg;
        let mut made = dfg.value_def(dfg.resolve_aliases(value)).inst();
        // Through what extends it or takes a part of it.
        while let Some(InstructionData::Unary { arg, .. }) = made.map(|made| dfg.insts[made]) {
            made = dfg.value_def(dfg.resolve_aliases(arg)).inst();
        }
        if made.is_some_and(|made| dfg.insts[made].opcode().can_load()) {
            self.b.ins().sequence_point();
        }
    }

    // ---- the operand stack ----

    /// Pushes a value; the collector is told of references.
    pub(crate) fn push(&mut self, kind: Kind, value: Value) {
        debug_assert_eq!(self.b.func.dfg.value_type(value), kind.ty());
        self.note(value, kind);
        self.stack.push(Operand { value, kind });
    }

    /// Pops what validation says is there.
    pub(crate) fn pop(&mut self) -> Result<Value> {
        self.pop_operand().map(|operand| operand.value)
    }

    /// Pops a value with its kind.
    pub(crate) fn pop_operand(&mut self) -> Result<Operand> {
        self.stack.pop().ok_or(CompileError::Internal("an empty operand stack"))
    }

    /// Pops two values, the lower one first.
    pub(crate) fn pop2(&mut self) -> Result<(Value, Value)> {
        let second = self.pop()?;
        Ok((self.pop()?, second))
    }

    /// Pops three values, the lowest one first.
    pub(crate) fn pop3(&mut self) -> Result<(Value, Value, Value)> {
        let third = self.pop()?;
        let (first, second) = self.pop2()?;
        Ok((first, second, third))
    }

    /// Pops as many values, the lowest one first.
    pub(crate) fn pop_many(&mut self, count: usize) -> Result<Vec<Value>> {
        let Some(start) = self.stack.len().checked_sub(count) else {
            return invalid("an empty operand stack");
        };
        Ok(self.stack.drain(start..).map(|operand| operand.value).collect())
    }

    // ---- types ----

    /// The kind of a type as the parser has it.
    pub(crate) fn wasm_kind(&self, ty: wasmparser::ValType) -> Kind {
        match ty {
            wasmparser::ValType::I32 => Kind::I32,
            wasmparser::ValType::I64 => Kind::I64,
            wasmparser::ValType::F32 => Kind::F32,
            wasmparser::ValType::F64 => Kind::F64,
            wasmparser::ValType::V128 => Kind::V128,
            wasmparser::ValType::Ref(reference) => self.heap_kind(reference.heap_type()),
        }
    }

    /// The kind of references of a heap type as the parser has it.
    pub(crate) fn heap_kind(&self, ty: wasmparser::HeapType) -> Kind {
        use wasmparser::{AbstractHeapType as A, HeapType as H};
        match ty {
            H::Abstract { ty: A::Func | A::NoFunc, .. } => Kind::Func,
            H::Abstract { .. } => Kind::Ref,
            H::Concrete(index) | H::Exact(index) => {
                let id = index.as_module_index().and_then(|i| self.env.info.types.get(i as usize));
                if id.is_some_and(|&id| self.env.types.is_func(id)) {
                    Kind::Func
                } else {
                    Kind::Ref
                }
            }
        }
    }

    /// The signature of native functions of a type, declared in this function.
    pub(crate) fn sig_ref(&mut self, id: TypeId) -> Result<SigRef> {
        if let Some(&known) = self.signatures.get(&id) {
            return Ok(known);
        }
        let made = self.b.import_signature(FuncKinds::of(&self.env, id)?.signature());
        self.signatures.insert(id, made);
        Ok(made)
    }

    // ---- what stands in contexts ----

    /// Loads something that never changes while an instance lives. It may be loaded earlier, once.
    pub(crate) fn constant_field(&mut self, ty: Type, base: Value, offset: u32) -> Value {
        let flags = MemFlagsData::trusted().with_readonly().with_can_move();
        self.b.ins().load(ty, flags, base, Offset32::new(offset as i32))
    }

    /// Loads something that changes.
    pub(crate) fn field(&mut self, ty: Type, base: Value, offset: usize) -> Value {
        self.b.ins().load(ty, MemFlagsData::trusted(), base, at(offset))
    }

    /// Stores to a field of a structure of the runtime.
    pub(crate) fn set_field(&mut self, base: Value, offset: usize, value: Value) {
        self.b.ins().store(MemFlagsData::trusted(), value, base, at(offset));
    }

    /// The store's context.
    pub(crate) fn store_ctx(&mut self) -> Value {
        self.constant_field(types::I64, self.vmctx, std::mem::offset_of!(VmCtx, store) as u32)
    }

    /// The canonical type of a type index. Code does not know its number.
    pub(crate) fn canonical_type(&mut self, type_index: u32) -> Value {
        let offset = self.env.offsets.type_id(type_index);
        self.constant_field(types::I32, self.vmctx, offset)
    }

    // ---- traps ----

    /// Ends the guest. Nothing after it is reached.
    pub(crate) fn trap(&mut self, code: TrapCode) {
        self.b.ins().trap(trap_code(code));
        self.reachable = false;
    }

    /// Ends the guest if `condition` is not zero.
    pub(crate) fn trap_if(&mut self, condition: Value, code: TrapCode) {
        let code = match code {
            TrapCode::TableOutOfBounds if self.mutated(Mutation::TrapCodeWrong) => {
                TrapCode::MemoryOutOfBounds
            }
            code => code,
        };
        self.b.ins().trapnz(condition, trap_code(code));
    }

    /// Ends the guest if `condition` is zero.
    pub(crate) fn trap_unless(&mut self, condition: Value, code: TrapCode) {
        self.b.ins().trapz(condition, trap_code(code));
    }

    /// Ends the guest if a reference is null.
    pub(crate) fn trap_if_null(&mut self, reference: Value, code: TrapCode) {
        if !self.mutated(Mutation::NullUnchecked) {
            self.trap_unless(reference, code);
        }
    }

    /// Counts the references that a call at this place may have to keep.
    pub(crate) fn count_roots(&mut self) {
        let operands = self.stack.iter().filter(|operand| operand.kind == Kind::Ref).count();
        self.roots = self.roots.saturating_add(self.ref_locals + operands as u64);
    }

    // ---- built-ins ----

    /// Calls a built-in with the context and these numbers, each zero-extended to 64 bits. What it took from
    /// the fuel is known afterwards.
    pub(crate) fn builtin(&mut self, builtin: Builtin, args: &[Value]) -> Option<Value> {
        debug_assert_eq!(args.len(), builtin.params());
        let address = self.builtin_address(builtin);
        let mut values = vec![self.vmctx];
        for &arg in args {
            values.push(self.zero_extend(arg));
        }
        let signature = self.builtin_signature(args.len(), builtin.returns(), CallConv::SystemV);
        self.count_roots();
        let call = self.b.ins().call_indirect(signature, address, &values);
        let result = self.b.inst_results(call).first().copied();
        self.reload_fuel();
        result
    }

    /// As [`Translator::builtin`], for one that gives a number.
    pub(crate) fn builtin_value(&mut self, builtin: Builtin, args: &[Value]) -> Result<Value> {
        let result = self.builtin(builtin, args);
        result.ok_or(CompileError::Internal("a built-in without a result"))
    }

    /// Where a built-in is entered.
    pub(crate) fn builtin_address(&mut self, builtin: Builtin) -> Value {
        let table = std::mem::offset_of!(VmCtx, builtins) as u32;
        let table = self.constant_field(types::I64, self.vmctx, table);
        self.constant_field(types::I64, table, builtin as u32 * 8)
    }

    /// The signature of a built-in with so many numbers beside the context.
    pub(crate) fn builtin_signature(
        &mut self,
        params: usize,
        returns: bool,
        conv: CallConv,
    ) -> SigRef {
        // The convention follows from neither number, but those that may throw are few.
        let key = (params + if conv == CallConv::Tail { 100 } else { 0 }, returns);
        if let Some(&known) = self.builtin_signatures.get(&key) {
            return known;
        }
        let mut signature = Signature::new(conv);
        signature.params.extend(vec![AbiParam::new(types::I64); params + 1]);
        signature.returns.extend(returns.then(|| AbiParam::new(types::I64)));
        let made = self.b.import_signature(signature);
        self.builtin_signatures.insert(key, made);
        made
    }

    /// An integer as one of 64 bits, its upper half zero.
    pub(crate) fn zero_extend(&mut self, value: Value) -> Value {
        if self.b.func.dfg.value_type(value) == types::I64 {
            return value;
        }
        self.settle(value);
        self.b.ins().uextend(types::I64, value)
    }

    /// Two numbers below 2^32 as built-ins take them.
    pub(crate) fn packed(&mut self, low: u32, high: u32) -> Value {
        self.b.ins().iconst(types::I64, (u64::from(low) | u64::from(high) << 32) as i64)
    }

    /// A number.
    pub(crate) fn number(&mut self, value: u64) -> Value {
        self.b.ins().iconst(types::I64, value as i64)
    }

    // ---- polls ----

    /// Looks at whether the guest is to stop: a load that faults then. Each in a function has an address of
    /// its own ([`limits::LOOPS`]), for the optimiser merges loads of one address, and removes such polls silently.
    ///
    /// Where the region is kept in a register, the load is one instruction and not two; a poll that is `repeated` with
    /// no call in between wants that. Elsewhere the register would have to survive calls, which costs every
    /// activation of the function a place in its frame.
    pub(crate) fn poll(&mut self, repeated: bool) {
        if !self.env.options.polls {
            return;
        }
        let field = std::mem::offset_of!(VmCtx, poll);
        let region = if repeated {
            self.constant_field(types::I64, self.vmctx, field as u32)
        } else {
            self.field(types::I64, self.vmctx, field)
        };
        let flags =
            MemFlagsData::new().with_aligned().with_trap_code(Some(ClifTrap::unwrap_user(POLL)));
        let offset = (self.polls * 4) % POLL_BYTES;
        self.polls += 1;
        self.b.ins().load(types::I32, flags, region, Offset32::new(offset as i32));
    }
}

const _: () = assert!(std::mem::offset_of!(VmStoreCtx, fuel) == 0);
