//! Validation of function bodies, on as many threads as are worth it.
//!
//! The specification's rules are wasmparser's to check. What is added here are the limits that have
//! to be watched inside a body (locals, nesting, branch tables), cancellation, and the order: the
//! error that is reported is the one of the first bad function, however many threads looked.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use palisade_core::{LimitKind, Limits};
use wasmparser::{
    BinaryReader, Catch, CompositeInnerType, FuncToValidate, FuncValidator,
    FuncValidatorAllocations, Operator, ValType, ValidatorResources, WasmFeatures,
    WasmModuleResources,
};

use crate::decode::poll;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::info::FuncBody;

/// More code than this is validated on several threads.
const PARALLEL_FROM: usize = 256 << 10;
/// A thread more for each such amount of code.
const PER_THREAD: usize = 128 << 10;
/// More threads than this are never used.
const MOST_THREADS: usize = 16;
/// Functions that a thread takes at once.
const BATCH: usize = 16;
/// The first byte of `br_table`.
const BR_TABLE: u8 = 0x0e;
/// A `br_table` with no more targets than this goes to the parser as it is.
const SHORT_TABLE: u32 = 64;
/// Operators that take and give no more operands than this are not worth counting.
const WIDE: usize = 32;
/// Operands that a thread counts before it tells the others.
const CHECKS_AT_ONCE: u64 = 10_000;
/// Operators between two looks at the cancellation flag.
const POLL_EVERY: u32 = 1024;

/// The features of WebAssembly 3.0 and the finished proposals on top of it: the default.
pub fn default_features() -> WasmFeatures {
    WasmFeatures::WASM3 | WasmFeatures::CUSTOM_PAGE_SIZES | WasmFeatures::WIDE_ARITHMETIC
}

/// Every feature that may be enabled. Others are taken out of what [`crate::ModuleInfo::decode`]
/// is given.
pub fn supported_features() -> WasmFeatures {
    default_features() | WasmFeatures::COMPACT_IMPORTS
}

/// The bodies of one module, and what is needed to validate each by itself.
pub(crate) struct Bodies<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) bodies: &'a [FuncBody],
    pub(crate) imported_funcs: u32,
    pub(crate) resources: ValidatorResources,
    pub(crate) features: WasmFeatures,
    pub(crate) limits: &'a Limits,
    pub(crate) cancel: Option<&'a AtomicU32>,
}

/// What the threads share.
struct Progress {
    next: AtomicUsize,
    /// The lowest function that failed.
    failed: AtomicUsize,
    /// Operands that were taken and given in bodies that are done.
    checks: AtomicU64,
    /// Whether those are counted.
    wide: bool,
    error: Mutex<Option<(usize, DecodeError)>>,
}

impl Bodies<'_> {
    /// Validates all of them.
    pub(crate) fn validate(&self) -> Result<(), DecodeError> {
        self.validate_on(self.threads())
    }

    /// How many threads the code is worth.
    fn threads(&self) -> usize {
        let code: usize = self.bodies.iter().map(|body| body.range.len()).sum();
        if code < PARALLEL_FROM {
            return 1;
        }
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        cores.min(code / PER_THREAD).clamp(1, MOST_THREADS)
    }

    /// Validates all of them on at most so many threads: the outcome does not depend on how many.
    pub(crate) fn validate_on(&self, threads: usize) -> Result<(), DecodeError> {
        let progress = Progress {
            next: AtomicUsize::new(0),
            failed: AtomicUsize::new(usize::MAX),
            checks: AtomicU64::new(0),
            wide: self.has_wide_types(),
            error: Mutex::new(None),
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                let helper = thread::Builder::new().name("palisade-validate".into());
                // Without another thread the work gets done all the same.
                if helper.spawn_scoped(scope, || self.work(&progress)).is_err() {
                    break;
                }
            }
            self.work(&progress);
        });
        // In which function a sum over all of them becomes too large depends on who was how far. One thread alone finds the
        // function that is first in the file, and has no more to do than the limit gives.
        if threads > 1 && progress.checks.into_inner() > self.limits.operand_checks {
            return self.validate_on(1);
        }
        let error = progress.error.into_inner().unwrap_or_else(PoisonError::into_inner);
        error.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Whether a type of the module makes operators take or give many operands.
    fn has_wide_types(&self) -> bool {
        let mut types = (0..).map_while(|index| self.resources.sub_type_at(index));
        types.any(|ty| match &ty.composite_type.inner {
            CompositeInnerType::Func(func) => func.params().len() + func.results().len() > WIDE,
            CompositeInnerType::Struct(fields) => fields.fields.len() > WIDE,
            CompositeInnerType::Array(_) | CompositeInnerType::Cont(_) => false,
        })
    }

    fn work(&self, progress: &Progress) {
        let mut allocations = FuncValidatorAllocations::default();
        loop {
            // Batches are handed out in order: whoever stops has nothing lower left to do.
            let start = progress.next.fetch_add(BATCH, Ordering::Relaxed);
            if start >= self.bodies.len() {
                return;
            }
            for func in start..self.bodies.len().min(start + BATCH) {
                if func > progress.failed.load(Ordering::Relaxed) {
                    return;
                }
                match self.validate_one(func, allocations, progress) {
                    Ok(back) => allocations = back,
                    Err(error) => return progress.fail(func, error),
                }
            }
        }
    }

    fn validate_one(
        &self,
        func: usize,
        allocations: FuncValidatorAllocations,
        progress: &Progress,
    ) -> Result<FuncValidatorAllocations, DecodeError> {
        poll(self.cancel)?;
        let body = self.bodies.get(func).map(|body| body.range.clone()).unwrap_or_default();
        let start = body.start as u64;
        let data = self.bytes.get(body).unwrap_or_default();
        let index = self.imported_funcs.saturating_add(func as u32);
        let Some(ty) = self.resources.type_index_of_function(index) else {
            return Err(DecodeError::invalid(start, "a body without a function"));
        };
        let resources = &self.resources;
        let features = self.features;
        let to_validate = FuncToValidate { resources, index, ty, features };
        let mut validator = to_validate.into_validator(allocations);
        let mut reader = BinaryReader::new_features(data, start, features);
        self.locals(&mut validator, &mut reader)?;
        let checks = progress.wide.then_some(&progress.checks);
        self.operators(&mut validator, reader, data, checks)?;
        Ok(validator.into_allocations())
    }

    fn locals(
        &self,
        validator: &mut FuncValidator<&ValidatorResources>,
        reader: &mut BinaryReader<'_>,
    ) -> Result<(), DecodeError> {
        let mut total = u64::from(validator.len_locals());
        self.limit(LimitKind::Locals, reader.original_position(), total)?;
        for _ in 0..reader.read_var_u32().map_err(malformed)? {
            let offset = reader.original_position();
            let count = reader.read_var_u32().map_err(malformed)?;
            let ty: ValType = reader.read().map_err(malformed)?;
            total += u64::from(count);
            self.limit(LimitKind::Locals, offset, total)?;
            validator.define_locals(offset, count, ty).map_err(invalid)?;
        }
        Ok(())
    }

    fn operators(
        &self,
        validator: &mut FuncValidator<&ValidatorResources>,
        mut reader: BinaryReader<'_>,
        data: &[u8],
        all_checks: Option<&AtomicU64>,
    ) -> Result<(), DecodeError> {
        let mut until_poll = POLL_EVERY;
        let mut checks = 0;
        while !reader.eof() {
            until_poll -= 1;
            if until_poll == 0 {
                poll(self.cancel)?;
                until_poll = POLL_EVERY;
            }
            let offset = reader.original_position();
            if let Some(all_checks) = all_checks {
                checks += operands_of(validator, &reader);
                if checks > CHECKS_AT_ONCE {
                    self.count_checks(all_checks, offset, std::mem::take(&mut checks))?;
                }
            }
            if data.get(reader.current_position()) == Some(&BR_TABLE) {
                self.br_table(validator, &mut reader)?;
            } else {
                visit(validator, &mut reader, offset)?;
            }
            // The function itself is the outermost frame.
            let nesting = u64::from(validator.control_stack_height()).saturating_sub(1);
            if nesting > self.limits.nesting {
                return self.limit(LimitKind::Nesting, offset, nesting);
            }
            let operands = u64::from(validator.operand_stack_height());
            if operands > self.limits.operands {
                return self.limit(LimitKind::Operands, offset, operands);
            }
        }
        if let Some(all_checks) = all_checks {
            self.count_checks(all_checks, reader.original_position(), checks)?;
        }
        reader.finish_expression(&validator.visitor(reader.original_position())).map_err(malformed)
    }

    /// Validates a `br_table`. What its targets have to be depends on each by itself, so of a long
    /// table only the distinct ones are given to the parser: it compares the types of all results
    /// for each target, and a megabyte of targets would keep it busy for seconds.
    fn br_table(
        &self,
        validator: &mut FuncValidator<&ValidatorResources>,
        reader: &mut BinaryReader<'_>,
    ) -> Result<(), DecodeError> {
        let offset = reader.original_position();
        let mut table = reader.clone();
        let count = table.read_u8().and_then(|_| table.read_var_u32()).map_err(malformed)?;
        self.limit(LimitKind::BrTable, offset, u64::from(count))?;
        if count <= SHORT_TABLE {
            return visit(validator, reader, offset);
        }
        let mut targets = Vec::new();
        for _ in 0..count {
            targets.push(table.read_var_u32().map_err(malformed)?);
        }
        let default = table.read_var_u32().map_err(malformed)?;
        targets.sort_unstable();
        targets.dedup();
        let mut short = vec![BR_TABLE];
        let len = targets.len() as u32;
        for number in [len].into_iter().chain(targets).chain([default]) {
            push_leb(&mut short, number);
        }
        *reader = table;
        let mut reader = BinaryReader::new_features(&short, offset, self.features);
        visit(validator, &mut reader, offset)
    }

    /// Adds to the operands of the whole module.
    fn count_checks(&self, all: &AtomicU64, offset: u64, checks: u64) -> Result<(), DecodeError> {
        let all = all.fetch_add(checks, Ordering::Relaxed).saturating_add(checks);
        self.limit(LimitKind::OperandChecks, offset, all)
    }

    fn limit(&self, kind: LimitKind, offset: u64, found: u64) -> Result<(), DecodeError> {
        let limit = self.limits.get(kind);
        if found > limit { Err(DecodeError::limit(kind, offset, found, limit)) } else { Ok(()) }
    }
}

impl Progress {
    fn fail(&self, func: usize, error: DecodeError) {
        self.failed.fetch_min(func, Ordering::Relaxed);
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|(known, _)| func < *known) {
            *first = Some((func, error));
        }
    }
}

/// How many operands the operator that comes next takes and gives, for each of its targets if it is a
/// branch table. Of one that is not well-formed, the validator will tell.
fn operands_of(
    validator: &mut FuncValidator<&ValidatorResources>,
    reader: &BinaryReader<'_>,
) -> u64 {
    let offset = reader.original_position();
    let Ok(op) = reader.peek_operator(&validator.visitor(offset)) else { return 0 };
    let targets = match &op {
        Operator::BrTable { targets } => u64::from(targets.len().min(SHORT_TABLE)) + 1,
        _ => 1,
    };
    let (takes, gives) = op.operator_arity(validator).unwrap_or_default();
    // What each clause of a `try_table` gives is compared with what its label takes.
    let caught: u64 = match &op {
        Operator::TryTable { try_table } => {
            let clause = |catch: &Catch| match *catch {
                Catch::One { tag, .. } | Catch::OneRef { tag, .. } => {
                    validator.resources().tag_at(tag).map_or(0, |ty| ty.params().len() as u64)
                }
                Catch::All { .. } | Catch::AllRef { .. } => 0,
            };
            try_table.catches.iter().map(clause).sum()
        }
        _ => 0,
    };
    (u64::from(takes) + u64::from(gives)).saturating_mul(targets).saturating_add(caught)
}

/// Reads and validates one operator.
#[inline]
fn visit(
    validator: &mut FuncValidator<&ValidatorResources>,
    reader: &mut BinaryReader<'_>,
    offset: u64,
) -> Result<(), DecodeError> {
    reader.visit_operator(&mut validator.visitor(offset)).map_err(malformed)?.map_err(invalid)
}

fn push_leb(out: &mut Vec<u8>, mut value: u32) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn malformed(error: wasmparser::Error) -> DecodeError {
    DecodeError::from_parser(DecodeErrorKind::Malformed, &error)
}

fn invalid(error: wasmparser::Error) -> DecodeError {
    // To the specification this is a matter of the format, to the parser one of validity.
    let kind = match error.message() {
        "data count section required" => DecodeErrorKind::Malformed,
        _ => DecodeErrorKind::Invalid,
    };
    DecodeError::from_parser(kind, &error)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
