//! From the validated bytes of one function to code, in one pass.
//!
//! The operand stack becomes slots of the frame ([`stack`]); an instruction is emitted when all its
//! operands are known, and what it computes stays in an accumulator until someone needs it
//! elsewhere. Two kinds of instructions are taken back and made part of what follows: a comparison
//! that a branch uses, and an addition (and shift) that an address uses.
//!
//! Invariants: at every label all values are in their canonical slots and nothing is assumed of
//! the accumulators; nothing is emitted for code that cannot be reached; each basic block begins
//! with one charge for its fuel where fuel is consumed.

mod atomic;
mod calls;
mod canonical;
mod control;
pub(crate) mod emit;
mod exceptions;
mod gc;
mod operators;
mod simd;
mod stack;
mod values;
mod visit;

use std::sync::atomic::{AtomicU32, Ordering};

use palisade_core::TrapCode;
use palisade_module::fuel::BlockCosts;
use palisade_module::wasmparser::{self, BinaryReader, FunctionBody, Operator};

use crate::code::{FuncCode, InterpModule, Loops, Signature, Ty};
use crate::handlers::Handlers;
use crate::operands::Operands;
use crate::ops::arith::{BinIdx, FormIdx, Slots};
use crate::ops::call::HEADER_CELLS;
use crate::ops::control::{FUEL, NumberOps, ZERO, ZERO_FIXED};
use crate::ops::native::{COUNT_ENTRY, COUNT_LOOP, TierOps};
use crate::ops::refs;
use crate::state::{Handler, VecHandler};

use control::Frame;
pub(crate) use emit::Held;
use emit::{At, Emitter, Notes};
use exceptions::Try;
use gc::Asked;
use stack::{Entry, Loc, Stack};

/// Why a translation stopped.
enum Stop {
    /// The function holds references that the collector must find, which was not expected.
    NeedsRefs,
    /// It cannot be translated; calling it traps.
    Trap(TrapCode),
}

impl From<wasmparser::Error> for Stop {
    /// Bodies were validated before: this does not happen.
    fn from(_: wasmparser::Error) -> Self {
        Self::Trap(TrapCode::Internal)
    }
}

type Result<T> = std::result::Result<T, Stop>;

/// What validation excludes.
fn invalid<T>() -> Result<T> {
    Err(Stop::Trap(TrapCode::Internal))
}

/// Cells that a frame can have at most: slots are 16-bit numbers. A function that needs more
/// (half a megabyte) exhausts the stack when it is called.
const MAX_FRAME_CELLS: u32 = 65_000;

/// Operators between two looks at whether the guest is to be stopped. One may take microseconds: it can
/// move a thousand values.
const POLL_INTERVAL: u32 = 256;

/// Translates the function with a given index among those that its module defines.
///
/// `reason` is polled: a number of a trap code in it ends the translation of a huge function. So does code of more
/// than `most` bytes.
pub(crate) fn function(
    module: &InterpModule,
    defined: u32,
    reason: &AtomicU32,
    most: u64,
) -> std::result::Result<FuncCode, TrapCode> {
    translated(module, defined, reason, most, &Emitter::new).map(|(code, _)| code)
}

/// The same for people to look at: with notes on each instruction. Nothing keeps the code.
pub(crate) fn with_notes(
    module: &InterpModule,
    defined: u32,
) -> std::result::Result<(FuncCode, Notes), TrapCode> {
    let emitter = || Emitter::with_notes(None);
    let (code, notes) = translated(module, defined, &AtomicU32::new(0), u64::MAX, &emitter)?;
    Ok((code, notes.unwrap_or_default()))
}

/// Functions with larger bodies are not translated again to see what is on their operand stack.
const MOST_BODY_AGAIN: usize = 64 << 10;

/// The operand stack, the lowest first, when the instruction that begins at `at` runs, without what it takes itself. `None`
/// if the function is large, or there is no such instruction.
pub(crate) fn operands_at(module: &InterpModule, defined: u32, at: At) -> Option<Vec<(Ty, Held)>> {
    let body = module.info().bodies.get(defined as usize)?;
    if body.range.len() > MOST_BODY_AGAIN {
        return None;
    }
    let emitter = || Emitter::with_notes(Some(at));
    let done = translated(module, defined, &AtomicU32::new(0), u64::MAX, &emitter);
    done.ok()?.1?.operands
}

/// The locals of a function, parameters first: what each is, and its slot, as translated code has them.
pub(crate) fn local_slots(module: &InterpModule, defined: u32) -> Option<Vec<(Ty, u32)>> {
    let info = module.info();
    let range = info.bodies.get(defined as usize)?.range.clone();
    let bytes = info.bytes.get(range.clone())?;
    let signature = module.signature_of(*info.funcs.get(module.func_idx(defined).index())?)?;
    let mut slots = Slotting::default();
    let mut locals: Vec<_> = signature.params.iter().map(|&ty| (ty, slots.next(ty))).collect();
    slots.cells += HEADER_CELLS;
    let body = FunctionBody::new(BinaryReader::new(bytes, range.start as u64));
    for group in body.get_locals_reader().ok()? {
        let (count, ty) = group.ok()?;
        let ty = values::ty_in(module, ty);
        locals.extend((0..count).map(|_| (ty, slots.next(ty))));
    }
    Some(locals)
}

/// How many slots are taken.
#[derive(Default)]
struct Slotting {
    cells: u32,
    refs: u32,
}

impl Slotting {
    /// The slot of the next local.
    fn next(&mut self, ty: Ty) -> u32 {
        let slot = if ty == Ty::Ref { self.refs } else { self.cells };
        self.cells = self.cells.saturating_add(ty.cells());
        self.refs = self.refs.saturating_add(ty.refs());
        slot
    }
}

fn translated(
    module: &InterpModule,
    defined: u32,
    reason: &AtomicU32,
    most: u64,
    emitter: &dyn Fn() -> Emitter,
) -> std::result::Result<(FuncCode, Option<Notes>), TrapCode> {
    let result = match Translator::run(module, defined, reason, most, emitter(), false) {
        Err(Stop::NeedsRefs) => Translator::run(module, defined, reason, most, emitter(), true),
        other => other,
    };
    result.map_err(|stop| match stop {
        Stop::Trap(code) => code,
        Stop::NeedsRefs => TrapCode::Internal,
    })
}

/// An instruction with two operands that may still be taken back.
#[derive(Copy, Clone, Debug)]
struct Last {
    at: At,
    end: At,
    op: BinIdx,
    form: FormIdx,
    a: u16,
    b: u16,
    imm: u64,
    /// The slot that it stores its result to, if that was asked for since.
    stored: Option<u16>,
    /// The slot that had the same value as its accumulator before it. (Nothing was pending there.)
    held: Option<u32>,
}

/// A copy between slots that may still be taken back.
#[derive(Copy, Clone, Debug)]
struct Copied {
    at: At,
    end: At,
    to: u16,
    from: u16,
}

/// An instruction that made a reference or a vector, and can still put it elsewhere.
#[derive(Copy, Clone)]
struct Made {
    at: At,
    end: At,
    ty: Ty,
    /// The slot that its result goes to.
    slot: u32,
    /// The operation that a sum with the result becomes, and the two factors.
    product: Option<(VecHandler, u16, u16)>,
}

struct Local {
    ty: Ty,
    slot: u32,
}

struct Translator<'m> {
    module: &'m InterpModule,
    signature: &'m Signature,
    emitter: Emitter,
    stack: Stack,
    locals: Vec<Local>,
    frames: Vec<Frame<'m>>,
    /// The `try_table`s among them.
    tries: Vec<Try>,
    handlers: Handlers,
    /// Whether the operator at hand can be reached.
    reachable: bool,
    /// The newest instructions, if they may be taken back: the newest one first.
    last: [Option<Last>; 3],
    /// The newest instruction, if it is a copy that may be taken back.
    copied: Option<Copied>,
    /// The newest instruction, if it made a reference or a vector.
    made: Option<Made>,
    /// The newest instruction, if it asked about references.
    asked: Option<Asked>,
    with_refs: bool,
    defined: u32,
    /// Where the window of references is entered.
    enter: Option<At>,
    /// The offset of the operator at hand in the module.
    offset: u32,
    /// What is noted of loops, where they are counted.
    loops: Option<Loops>,
    costs: BlockCosts,
    /// Where the charge for the current block stands.
    charge: Option<At>,
}

impl<'m> Translator<'m> {
    fn run(
        module: &'m InterpModule,
        defined: u32,
        reason: &AtomicU32,
        most: u64,
        emitter: Emitter,
        with_refs: bool,
    ) -> Result<(FuncCode, Option<Notes>)> {
        let info = module.info();
        let range = match info.bodies.get(defined as usize) {
            Some(body) => body.range.clone(),
            None => return invalid(),
        };
        let Some(bytes) = info.bytes.get(range.clone()) else {
            return if info.bytes.are_lost() {
                Err(Stop::Trap(TrapCode::ModuleLost))
            } else {
                invalid()
            };
        };
        let body = FunctionBody::new(BinaryReader::new(bytes, range.start as u64));
        let type_id = info.funcs.get(module.func_idx(defined).index());
        let Some(signature) = type_id.and_then(|&id| module.signature_of(id)) else {
            return invalid();
        };
        let mut this = Self {
            module,
            signature,
            emitter,
            stack: Stack::default(),
            locals: Vec::new(),
            frames: Vec::new(),
            tries: Vec::new(),
            handlers: Handlers::default(),
            reachable: true,
            last: [None; 3],
            copied: None,
            made: None,
            asked: None,
            with_refs,
            enter: None,
            offset: range.start as u32,
            loops: None,
            defined,
            costs: BlockCosts::new(0),
            charge: None,
        };
        this.prologue(&body)?;
        let mut reader = body.get_operators_reader()?;
        let mut operators = 0u32;
        while !reader.eof() {
            operators = operators.wrapping_add(1);
            if operators.is_multiple_of(POLL_INTERVAL) {
                let reason = u8::try_from(reason.load(Ordering::Relaxed)).unwrap_or_default();
                if let Some(code) = TrapCode::from_u8(reason) {
                    return Err(Stop::Trap(code));
                }
                if this.emitter.bytes() > most {
                    return Err(Stop::Trap(TrapCode::LimitExceeded));
                }
            }
            let (op, offset) = reader.read_with_offset()?;
            this.offset = offset as u32;
            this.operator(&op)?;
        }
        this.finish()
    }

    /// Gives parameters and locals their slots, and emits what clears the latter.
    fn prologue(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        let signature = self.signature;
        for &ty in &signature.params {
            self.declare(ty);
        }
        let (params, ref_params) = (self.stack.cells, self.stack.refs);
        self.stack.cells += HEADER_CELLS;
        let first = self.stack.cells;
        let mut declared = 0;
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            let ty = self.ty(ty);
            declared += u64::from(count);
            for _ in 0..count {
                self.declare(ty);
            }
        }
        let cells = self.stack.cells - first;
        self.stack.reserve(0, 0);
        if self.stack.cells > MAX_FRAME_CELLS || self.stack.refs > MAX_FRAME_CELLS {
            return Err(Stop::Trap(TrapCode::StackOverflow));
        }
        if self.stack.refs > 0 || signature.ref_results > 0 {
            self.need_refs()?;
        }
        let slots = |d: u32, a: u32, b: u32| Slots {
            handler: 0,
            d: d as u16,
            a: a as u16,
            b: b as u16,
            c: 0,
        };
        if let Some(&fixed) = (cells as usize).checked_sub(1).and_then(|i| ZERO_FIXED.get(i)) {
            self.emit(fixed, slots(first, 0, 0));
        } else if cells > 0 {
            self.emit(ZERO, slots(first, 0, cells));
        }
        if self.with_refs {
            // The size of the window is patched in when it is known.
            self.emitter.mark(self.offset);
            self.enter = Some(self.emit(refs::ENTER, slots(ref_params, 0, self.stack.refs)));
        }
        debug_assert_eq!(params, signature.param_cells);
        self.costs = BlockCosts::new(declared);
        self.frames.push(Frame::function(&self.stack, &signature.results));
        self.count_entry();
        if self.module.config().fuel {
            self.begin_charge();
        }
        Ok(())
    }

    fn declare(&mut self, ty: Ty) {
        let slot = if ty == Ty::Ref { self.stack.refs } else { self.stack.cells };
        self.locals.push(Local { ty, slot });
        self.stack.cells += ty.cells();
        self.stack.refs += ty.refs();
    }

    fn finish(mut self) -> Result<(FuncCode, Option<Notes>)> {
        let cells = self.stack.max_cells + 1;
        if cells > MAX_FRAME_CELLS || self.stack.max_refs > MAX_FRAME_CELLS {
            return Err(Stop::Trap(TrapCode::StackOverflow));
        }
        if let Some(at) = self.enter {
            self.emitter.patch(at, 10, self.stack.max_refs as u16);
        }
        let signature: *const Signature = self.signature;
        let notes = self.emitter.notes.take();
        let (words, marks) = self.emitter.finish(signature as u64, u64::from(cells) * 8);
        let code = FuncCode {
            words,
            marks: marks.into_boxed_slice(),
            handlers: self.handlers.finish(),
            header: self.signature.param_cells,
            loops: self.loops.map(Box::new),
        };
        Ok((code, notes))
    }

    /// Lets entries of the function be counted, where that is wanted.
    fn count_entry(&mut self) {
        let Some(tier) = self.module.config().tier else { return };
        let locals = self.locals.iter().map(|local| (local.ty, local.slot)).collect();
        self.loops = Some(Loops { locals, stacks: Vec::new() });
        let counter = self.module.offsets().counter(self.defined);
        let (limit, defined) = (tier.threshold, self.defined);
        self.emit_marked(
            COUNT_ENTRY,
            TierOps { handler: 0, counter, limit, defined, which: 0, offset: 0, header: 0 },
        );
    }

    /// Lets the turns of a loop be counted, where that is wanted. All values are in their slots.
    fn count_loop(&mut self) {
        let (Some(tier), Some(loops)) = (self.module.config().tier, &mut self.loops) else {
            return;
        };
        let which = loops.stacks.len() as u32;
        loops.stacks.push(self.stack.entries.iter().map(|entry| (entry.ty, entry.slot)).collect());
        let counter = self.module.offsets().counter(self.defined);
        let (limit, defined) = (tier.threshold, self.defined);
        let header = self.signature.param_cells;
        self.emit_marked(
            COUNT_LOOP,
            TierOps { handler: 0, counter, limit, defined, which, offset: self.offset, header },
        );
    }

    /// Translates one operator.
    fn operator(&mut self, op: &Operator<'_>) -> Result<()> {
        if !self.reachable {
            return self.unreachable_operator(op);
        }
        if self.module.config().fuel {
            self.pay_for(op);
        }
        self.visit(op)?;
        if self.module.config().canonical_nans { self.canonical(op) } else { Ok(()) }
    }

    /// Adds an operator to what its block costs.
    fn pay_for(&mut self, op: &Operator<'_>) {
        if self.charge.is_none() && palisade_module::fuel::cost(op) > 0 {
            self.begin_charge();
        }
        let ended = self.costs.next(op);
        let charge = self.charge;
        if let (Some(cost), Some(at)) = (ended, charge) {
            self.emitter.patch(at, 8, cost);
        }
        if ended.is_some() {
            self.charge = None;
        }
    }

    /// Emits the charge for the block that begins here; what it costs is patched in at its end.
    fn begin_charge(&mut self) {
        self.emitter.mark(self.offset);
        let at = self.emit(FUEL, NumberOps { handler: 0, number: 0 });
        self.charge = Some(at);
    }

    /// Emits an instruction. Its operands begin with a word for the handler.
    fn emit<T: Operands>(&mut self, handler: Handler, operands: T) -> At {
        let at = self.emitter.push(operands);
        self.emitter.note::<T>(at, self.offset, handler);
        self.note_operands(at);
        self.set_handler(at, handler);
        self.forget_newest();
        at
    }

    /// Notes what is on the operand stack, if that is wanted of the instruction at `at`.
    fn note_operands(&mut self, at: At) {
        let Some(operands) = self.emitter.watched(at) else { return };
        let held = |entry: &Entry| match entry.loc {
            _ if entry.ty == Ty::Ref => Held::Lost,
            Loc::Slot => Held::Slot(entry.slot),
            Loc::Local(slot) => Held::Slot(slot),
            Loc::Const(cell) => Held::Const(cell),
            Loc::Acc => Held::Lost,
        };
        *operands = Some(self.stack.entries.iter().map(|entry| (entry.ty, held(entry))).collect());
    }

    /// Sets what the instruction at `at` does.
    fn set_handler(&mut self, at: At, handler: Handler) {
        self.emitter.patch(at, 0, self.module.word(handler));
        self.emitter.rename(at, handler);
    }

    /// Nothing that was emitted may be taken back: something leads to here, or it was moved.
    fn forget_newest(&mut self) {
        self.last = [None; 3];
        self.copied = None;
        self.made = None;
        self.asked = None;
    }

    /// Emits an instruction that may trap, or that calls.
    fn emit_marked<T: Operands>(&mut self, handler: Handler, operands: T) -> At {
        self.emitter.mark(self.offset);
        self.emit(handler, operands)
    }

    /// Asks for the reference part of the frame.
    fn need_refs(&self) -> Result<()> {
        if self.with_refs { Ok(()) } else { Err(Stop::NeedsRefs) }
    }

    /// A slot as instructions hold it. One that is too high is found out at the end.
    fn slot(&self, slot: u32) -> u16 {
        slot as u16
    }
}
