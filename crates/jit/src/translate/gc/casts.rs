//! Tests and casts.
//!
//! What null, a small integer, the object's type and the row of that type ([`palisade_vm::gc::display`]) can
//! answer is answered inline; for the rest the runtime is asked, which fills the row. Both answers are blocks, so
//! that no answer has to be made only to be tested.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, MemFlagsData, Value, types};
use palisade_core::{HeapType, TrapCode};
use palisade_module::wasmparser::{self, Operator};
use palisade_vm::gc::display;
use palisade_vm::gc::layout::EXTERN;
use palisade_vm::layout::{VmFuncRef, VmStoreCtx};
use palisade_vm::native::{Builtin, HeapCode};

use crate::error::CompileError;
use crate::mutation::Mutation;
use crate::translate::{Kind, Operand, Result, Translator, at, invalid, trap_code};

/// What is asked about a reference.
#[derive(Copy, Clone, Debug)]
struct Test {
    nullable: bool,
    heap: HeapType,
    defined: Option<Defined>,
}

/// A defined type that is asked for.
#[derive(Copy, Clone, Debug)]
struct Defined {
    index: u32,
    /// Whether it has no subtypes.
    is_final: bool,
    /// How many supertypes it has.
    depth: usize,
}

/// Where a test goes on. Both blocks are sealed and empty.
struct Answers {
    yes: Block,
    no: Block,
}

impl Translator<'_, '_> {
    /// Translates an operator that tests a reference.
    pub(super) fn casts(&mut self, op: &Operator<'_>) -> Result<bool> {
        match *op {
            Operator::RefTestNonNull { hty } => self.ref_test(hty, false)?,
            Operator::RefTestNullable { hty } => self.ref_test(hty, true)?,
            Operator::RefCastNonNull { hty } => self.ref_cast(hty, false)?,
            Operator::RefCastNullable { hty } => self.ref_cast(hty, true)?,
            Operator::BrOnCast { relative_depth, to_ref_type, .. } => {
                self.branch_on_cast(relative_depth, to_ref_type, true)?;
            }
            Operator::BrOnCastFail { relative_depth, to_ref_type, .. } => {
                self.branch_on_cast(relative_depth, to_ref_type, false)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn ref_test(&mut self, heap: wasmparser::HeapType, nullable: bool) -> Result<()> {
        let test = self.test(heap, nullable)?;
        let operand = self.pop_operand()?;
        let answers = self.ask(operand, test)?;
        let done = self.b.create_block();
        let result = self.b.append_block_param(done, types::I32);
        for (block, answer) in [(answers.yes, 1), (answers.no, 0)] {
            self.b.switch_to_block(block);
            let answer = self.b.ins().iconst(types::I32, answer);
            self.b.ins().jump(done, &[BlockArg::Value(answer)]);
        }
        self.b.seal_block(done);
        self.b.switch_to_block(done);
        self.push(Kind::I32, result);
        Ok(())
    }

    fn ref_cast(&mut self, heap: wasmparser::HeapType, nullable: bool) -> Result<()> {
        let test = self.test(heap, nullable)?;
        let operand = self.pop_operand()?;
        let answers = self.ask(operand, test)?;
        self.b.set_cold_block(answers.no);
        self.b.switch_to_block(answers.no);
        self.b.ins().trap(trap_code(TrapCode::CastFailure));
        self.b.switch_to_block(answers.yes);
        self.stack.push(operand);
        Ok(())
    }

    fn branch_on_cast(
        &mut self,
        depth: u32,
        to: wasmparser::RefType,
        if_passes: bool,
    ) -> Result<()> {
        let test = self.test(to.heap_type(), to.is_nullable())?;
        let Some(&operand) = self.stack.last() else { return invalid("an empty operand stack") };
        let Answers { yes, no } = self.ask(operand, test)?;
        let (taken, after) = if if_passes { (yes, no) } else { (no, yes) };
        self.b.switch_to_block(taken);
        if self.is_return(depth) {
            let values = self.uppermost(self.results.len())?;
            self.leave();
            self.b.ins().return_(&values);
        } else {
            let (label, count) = self.label(depth)?;
            let args = self.uppermost(count)?.into_iter().map(BlockArg::Value);
            let args: Vec<BlockArg> = args.collect();
            self.b.ins().jump(label, &args);
        }
        self.b.switch_to_block(after);
        Ok(())
    }

    /// The uppermost values, the lowest one first. They stay.
    fn uppermost(&self, count: usize) -> Result<Vec<Value>> {
        let start = self.stack.len().checked_sub(count);
        let values = start.and_then(|start| self.stack.get(start..));
        match values {
            Some(values) => Ok(values.iter().map(|operand| operand.value).collect()),
            None => invalid("an empty operand stack"),
        }
    }

    /// What a test asks for.
    fn test(&self, heap: wasmparser::HeapType, nullable: bool) -> Result<Test> {
        use wasmparser::HeapType as H;
        let (heap, defined) = match heap {
            H::Concrete(index) | H::Exact(index) => {
                let index = index.as_module_index();
                let index = index.ok_or(CompileError::Internal("a type of no module"))?;
                let id = self.env.type_id(index)?;
                let Some(ty) = self.env.types.get(id) else { return invalid("an unknown type") };
                let depth = ty.display.len().saturating_sub(1);
                let defined = Defined { index, is_final: ty.is_final, depth };
                (HeapType::Concrete(id), Some(defined))
            }
            H::Abstract { ty, .. } => match palisade_module::abstract_heap_type(ty) {
                Some(heap) => (heap, None),
                None => return invalid("an unknown heap type"),
            },
        };
        Ok(Test { nullable, heap, defined })
    }

    /// Asks about a reference. Afterwards the block at hand is full.
    fn ask(&mut self, operand: Operand, test: Test) -> Result<Answers> {
        use HeapType as H;
        let answers = Answers { yes: self.b.create_block(), no: self.b.create_block() };
        let there = self.b.create_block();
        let nullable = test.nullable ^ self.mutated(Mutation::NullTestSwapped);
        let if_null = if nullable { answers.yes } else { answers.no };
        let reference = operand.value;
        let not_null = self.b.ins().icmp_imm_s(IntCC::NotEqual, reference, 0);
        self.b.ins().brif(not_null, there, &[], if_null, &[]);
        self.b.seal_block(there);
        self.b.switch_to_block(there);
        match test.heap {
            H::Any | H::Extern | H::Exn | H::Func => {
                self.b.ins().jump(answers.yes, &[]);
            }
            H::None | H::NoExtern | H::NoExn | H::NoFunc => {
                self.b.ins().jump(answers.no, &[]);
            }
            H::I31 => {
                let number = self.b.ins().band_imm_s(reference, 1);
                self.b.ins().brif(number, answers.yes, &[], answers.no, &[]);
            }
            H::Eq => {
                let word = self.first_word(reference, answers.yes);
                // Host values are above all types; exceptions are of another family.
                let object =
                    self.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, word, i64::from(EXTERN));
                self.b.ins().brif(object, answers.yes, &[], answers.no, &[]);
            }
            H::Struct | H::Array => {
                let word = self.first_word(reference, answers.no);
                let wanted = if test.heap == H::Struct { display::STRUCT } else { display::ARRAY };
                let wanted = self.b.ins().iconst(types::I32, i64::from(wanted));
                self.look(word, display::DEPTHS, wanted, reference, test, &answers)?;
            }
            H::Concrete(_) => self.ask_defined(operand, test, &answers)?,
        }
        self.b.seal_block(answers.yes);
        self.b.seal_block(answers.no);
        Ok(answers)
    }

    /// The first word of an object that is not null; small integers go elsewhere.
    fn first_word(&mut self, reference: Value, number: Block) -> Value {
        let object = self.b.create_block();
        let odd = self.b.ins().band_imm_s(reference, 1);
        self.b.ins().brif(odd, number, &[], object, &[]);
        self.b.seal_block(object);
        self.b.switch_to_block(object);
        let object = self.object(reference);
        self.load_word(types::I32, object, 0)
    }

    /// Asks whether a reference that is not null is of a defined type.
    fn ask_defined(&mut self, operand: Operand, test: Test, answers: &Answers) -> Result<()> {
        let Some(Defined { index, is_final, depth }) = test.defined else {
            return invalid("an unknown type");
        };
        let is_func = operand.kind == Kind::Func;
        let found = if is_func {
            // What a function is does not change, and its reference lives as long as the store.
            let flags = MemFlagsData::trusted().with_readonly();
            let place = at(std::mem::offset_of!(VmFuncRef, type_id));
            self.b.ins().load(types::I32, flags, operand.value, place)
        } else {
            self.first_word(operand.value, answers.no)
        };
        let wanted = self.canonical_type(index);
        let same = self.b.ins().icmp(IntCC::Equal, found, wanted);
        if is_final {
            self.b.ins().brif(same, answers.yes, &[], answers.no, &[]);
            return Ok(());
        }
        let other = self.b.create_block();
        self.b.ins().brif(same, answers.yes, &[], other, &[]);
        self.b.seal_block(other);
        self.b.switch_to_block(other);
        if is_func {
            self.ask_runtime(Builtin::FuncIs, operand.value, test, answers)
        } else if depth < display::DEPTHS {
            self.look(found, depth, wanted, operand.value, test, answers)
        } else {
            self.ask_runtime(Builtin::RefIs, operand.value, test, answers)
        }
    }

    /// Asks the row of the type `word`, where one is known, whether `wanted` stands in a place.
    fn look(
        &mut self,
        word: Value,
        place: usize,
        wanted: Value,
        reference: Value,
        test: Test,
        answers: &Answers,
    ) -> Result<()> {
        let [row, other, ask] = [(); 3].map(|()| self.b.create_block());
        self.b.set_cold_block(ask);
        let store = self.store_ctx();
        let count = self.field(types::I64, store, std::mem::offset_of!(VmStoreCtx, displays_len));
        let number = self.zero_extend(word);
        let known = self.b.ins().icmp(IntCC::UnsignedLessThan, number, count);
        self.b.ins().brif(known, row, &[], ask, &[]);
        self.b.seal_block(row);

        self.b.switch_to_block(row);
        let rows = self.field(types::I64, store, std::mem::offset_of!(VmStoreCtx, displays));
        let offset = self.b.ins().imul_imm_u(number, size_of::<display::Row>() as i64);
        let at = self.b.ins().iadd(rows, offset);
        let found = self.field(types::I32, at, place * size_of::<u32>());
        let same = self.b.ins().icmp(IntCC::Equal, found, wanted);
        self.b.ins().brif(same, answers.yes, &[], other, &[]);
        self.b.seal_block(other);

        self.b.switch_to_block(other);
        let unknown = i64::from(display::UNKNOWN);
        let unknown = self.b.ins().icmp_imm_u(IntCC::Equal, found, unknown);
        self.b.ins().brif(unknown, ask, &[], answers.no, &[]);
        self.b.seal_block(ask);
        self.b.switch_to_block(ask);
        self.ask_runtime(Builtin::RefIs, reference, test, answers)
    }

    fn ask_runtime(
        &mut self,
        builtin: Builtin,
        reference: Value,
        test: Test,
        answers: &Answers,
    ) -> Result<()> {
        let heap = self.number(HeapCode::pack(test.heap, test.nullable));
        let ty = match test.defined {
            Some(defined) => self.canonical_type(defined.index),
            None => self.number(0),
        };
        let passes = self.builtin_value(builtin, &[reference, heap, ty])?;
        self.b.ins().brif(passes, answers.yes, &[], answers.no, &[]);
        Ok(())
    }
}
