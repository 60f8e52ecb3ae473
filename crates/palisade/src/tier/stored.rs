//! Machine code that outlives the process: what of a module goes into an artefact, and what comes out of one.
//!
//! Code is read by the batch, when a function of it is entered for the first time, or a loop of it is hot. Invariants: all of a
//! batch is checked before any of it is made executable or known; code that was read is taken as code that was just compiled
//! is; of a batch that is not what was written nothing ever runs, and its functions are as if nothing had been stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use palisade_jit::CompileError;
use palisade_vm::native::CodeObject;
use palisade_vm::native::code::{FuncKind, Tables};

use super::module::{LoopCode, NativeModule, Version};
use crate::artefact::{ArtefactError, Batch, BatchHead, Part, StoredCode, refused};
use crate::error::{Error, ErrorKind, Result};

/// A batch of code that is to be stored.
#[derive(Debug)]
pub(crate) enum StoredBatch {
    Made(Part, Arc<CodeObject>),
    Stubs(Box<(Vec<u8>, Tables)>),
}

impl StoredBatch {
    /// What it is, its code, and its tables.
    pub(crate) fn parts(&self) -> (Part, &[u8], &Tables) {
        match self {
            Self::Made(part, object) => (*part, object.code(), object.tables()),
            Self::Stubs(stubs) => (Part::Stubs, &stubs.0, &stubs.1),
        }
    }
}

/// What of a module is to be stored.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) batches: Vec<StoredBatch>,
    /// Of the versions with guards, and with comparisons, whether all functions were compiled, or refused.
    pub(crate) whole: [bool; 2],
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn inconsistent(_: CompileError) -> Error {
    refused(ArtefactError::Damaged("its code does not fit its module"))
}

impl NativeModule {
    /// Whether there was code before anything ran.
    pub(super) fn stored(&self) -> bool {
        self.stored.load(Ordering::Relaxed)
    }

    /// How many batches of code there are, read or not.
    pub(crate) fn batches(&self) -> usize {
        let count = |version: &Version| {
            let unread = version.unread.get().map_or(0, Unread::left);
            unread + lock(&version.objects).len()
        };
        [&self.guarded, &self.explicit].map(count).iter().sum()
    }

    /// Compiles what has no code, where everything is to be compiled.
    pub(crate) fn compile_rest(&self, cancel: Option<&AtomicU32>) -> Result<()> {
        let stop = || cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed) != 0);
        self.compile_all(&stop).map_err(|error| match palisade_module::poll_cancel(cancel) {
            Err(stopped) => Error::new(ErrorKind::Module(stopped)),
            Ok(()) => Error::new(ErrorKind::Limit(format!(
                "the module cannot be compiled to machine code: {error}"
            ))),
        })
    }

    /// All code that there is by now.
    pub(crate) fn store(&self) -> Stored {
        let mut stored = Stored::default();
        for (at, version) in [&self.guarded, &self.explicit].into_iter().enumerate() {
            // What is written is whole, or less than it was.
            let lost = self.read_all(version).is_err();
            let short = version.short.load(Ordering::Relaxed);
            stored.whole[at] = *lock(&version.whole) && !lost && !short;
            stored.batches.extend(version.stored());
        }
        let mut keys = self.stub_keys().map(|(_, keys)| keys).unwrap_or_default();
        keys.sort_unstable();
        keys.dedup();
        // Without, they are made anew where they are needed.
        if !stored.batches.is_empty()
            && let Ok(stubs) = self.tier.stubs.image(&keys)
        {
            stored.batches.insert(0, StoredBatch::Stubs(Box::new(stubs)));
        }
        stored
    }

    /// Takes code over that was stored: stubs at once, all else when it is needed.
    pub(crate) fn adopt(&self, code: StoredCode, whole: [bool; 2]) -> Result<()> {
        let code = Arc::new(code);
        let mut unread = [Vec::new(), Vec::new()];
        let mut stubs = Vec::new();
        for (number, head) in code.batches.iter().enumerate() {
            let bounds = match head.part {
                Part::Stubs => {
                    match code.load(head, &self.tier.registry, &self.info) {
                        Ok(batch) => stubs.push(batch),
                        // There is no room: they are made when there is, or guests are interpreted.
                        Err(error) if is_full(&error) => {}
                        Err(error) => return Err(error),
                    }
                    continue;
                }
                Part::Functions(bounds) | Part::Loop(bounds, _) => bounds,
            };
            head.fits(self.info.bodies.len())?;
            let second = !std::ptr::eq(self.version(bounds), &self.guarded);
            unread[usize::from(second)].push(number);
        }
        // All that can be checked by now has been.
        stubs.into_iter().try_for_each(|batch| self.adopt_stubs(batch))?;
        for ((version, whole), batches) in
            [&self.guarded, &self.explicit].into_iter().zip(whole).zip(unread)
        {
            if !batches.is_empty() {
                version.adopt(Unread::new(code.clone(), batches));
                self.stored.store(true, Ordering::Relaxed);
            }
            if whole {
                *lock(&version.whole) = true;
                (0..self.info.bodies.len()).for_each(|defined| version.refuse_new(defined as u32));
            }
        }
        Ok(())
    }

    fn adopt_stubs(&self, batch: Batch) -> Result<()> {
        let Batch { mut code, mut tables, .. } = batch;
        let mut keys = self.stub_keys().map(|(_, keys)| keys).unwrap_or_default();
        keys.sort_unstable();
        keys.dedup();
        tables.counts_depth = false;
        match self.tier.stubs.adopt(&keys, code.bytes(), tables) {
            // There is no room for them in this engine: its guests are interpreted.
            Ok(()) | Err(CompileError::Limit { .. } | CompileError::Host(_)) => Ok(()),
            Err(error) => Err(inconsistent(error)),
        }
    }

    /// Reads a batch of stored code, unless that was done, if `pay` agrees to its bytes. What cannot be used is counted, and left
    /// alone from then on.
    pub(super) fn read_batch(
        &self,
        version: &Version,
        batch: usize,
        pay: &mut dyn FnMut(u32) -> bool,
    ) {
        let _ = self.try_read_batch(version, batch, pay);
    }

    fn try_read_batch(
        &self,
        version: &Version,
        batch: usize,
        pay: &mut dyn FnMut(u32) -> bool,
    ) -> Result<()> {
        let Some(unread) = version.unread.get() else { return Ok(()) };
        // Whoever comes second waits for the first.
        let mut open = lock(&unread.open);
        let (Some(is_open), Some(head)) = (open.get_mut(batch), unread.head(batch)) else {
            return Ok(());
        };
        if !*is_open || !pay(head.code.saturating_add(head.tables)) {
            return Ok(());
        }
        let read = self.read(version, unread, head);
        if read.as_ref().is_err_and(is_full) {
            // Another time there may be room.
            return read;
        }
        *is_open = false;
        unread.left.fetch_sub(1, Ordering::Relaxed);
        let functions = head.funcs.iter().map(|run| u64::from(run.end - run.start)).sum();
        match &read {
            Ok(()) => self.tier.read.add(functions, head.code.into()),
            Err(_) => {
                self.tier.read.damaged.fetch_add(functions, Ordering::Relaxed);
                unread.damaged.store(true, Ordering::Relaxed);
                if let Part::Loop(_, offset) = head.part {
                    head.functions().for_each(|defined| version.forget_loop(defined, offset));
                } else {
                    head.functions().for_each(|defined| version.set_lost(defined));
                }
            }
        }
        read
    }

    /// Reads a batch, checks all of it, and makes it known.
    fn read(&self, version: &Version, unread: &Unread, head: &BatchHead) -> Result<()> {
        let Batch { part, code, mut tables } =
            unread.code.load(head, &self.tier.registry, &self.info)?;
        tables.counts_depth = self.tier.compiler.options().depth;
        let kinds = || tables.funcs.iter().map(|func| func.kind);
        let osr = kinds().find_map(|kind| match kind {
            FuncKind::Osr(defined) => Some(defined),
            _ => None,
        });
        let is_loop = matches!(part, Part::Loop(..));
        if osr.is_some() != is_loop || (is_loop && kinds().count() != 1) {
            return Err(refused(ArtefactError::Damaged("its code is not what it says")));
        }
        // Where each function is entered.
        let entries: Vec<(u32, u32)> = tables
            .funcs
            .iter()
            .filter_map(|func| match func.kind {
                FuncKind::Defined(defined) => Some((defined, func.range.start)),
                _ => None,
            })
            .collect();
        if is_loop && self.stubs().is_none() {
            return Err(Error::new(ErrorKind::Limit("no room for stubs".to_owned())));
        }
        tables.module = Some((self.info.clone(), self.offsets.clone()));
        let object = code.publish(tables).map_err(|error| {
            Error::new(ErrorKind::Limit(format!("no room for the artefact's code: {error}")))
        })?;
        match (part, osr) {
            (Part::Loop(_, offset), Some(defined)) => {
                let code = self.loop_ready(version, defined, object).map_err(inconsistent)?;
                version.set_loop(defined, offset, code);
            }
            _ => version.add(object, &entries),
        }
        Ok(())
    }

    /// Reads all stored code that was not read yet.
    ///
    /// # Errors
    ///
    /// Some of it cannot be used, or could not when it was read.
    pub(crate) fn read_stored(&self) -> Result<()> {
        self.read_all(&self.guarded)?;
        self.read_all(&self.explicit)
    }

    fn read_all(&self, version: &Version) -> Result<()> {
        let Some(unread) = version.unread.get() else { return Ok(()) };
        let mut all = Ok(());
        for batch in 0..unread.batches.len() {
            all = all.and(self.try_read_batch(version, batch, &mut |_| true));
        }
        if all.is_ok() && unread.is_damaged() {
            return Err(refused(ArtefactError::Damaged("a part of it is not what was written")));
        }
        all
    }
}

/// Whether something failed for want of room.
fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Limit(_))
}

/// Stored code of one form of bounds checks, and what of it was not read yet.
pub(super) struct Unread {
    code: Arc<StoredCode>,
    /// Which of its batches these are.
    batches: Vec<usize>,
    /// Whether each was not read yet, nor tried to.
    open: Mutex<Vec<bool>>,
    /// How many that are.
    left: AtomicUsize,
    /// Whether one could not be used.
    damaged: AtomicBool,
    /// The functions that batches have code of: first, behind the last, the batch, in order.
    runs: Vec<(u32, u32, usize)>,
}

impl Unread {
    fn new(code: Arc<StoredCode>, batches: Vec<usize>) -> Self {
        let mut runs = Vec::new();
        for (number, &batch) in batches.iter().enumerate() {
            if let Some(head) = code.batches.get(batch)
                && matches!(head.part, Part::Functions(_))
            {
                runs.extend(head.funcs.iter().map(|run| (run.start, run.end, number)));
            }
        }
        // Where two have the same function, one is as good as the other: none of these overlap.
        runs.sort_unstable();
        let mut end = 0;
        runs.retain_mut(|run| {
            run.0 = run.0.max(end);
            end = end.max(run.1);
            run.0 < run.1
        });
        let (open, left) = (Mutex::new(vec![true; batches.len()]), AtomicUsize::new(batches.len()));
        Self { code, batches, open, left, damaged: AtomicBool::new(false), runs }
    }

    fn head(&self, batch: usize) -> Option<&BatchHead> {
        self.code.batches.get(*self.batches.get(batch)?)
    }

    /// The batch that has the code of a function.
    pub(super) fn batch_of(&self, defined: u32) -> Option<usize> {
        let after = self.runs.partition_point(|&(start, ..)| start <= defined);
        let &(_, end, batch) = self.runs.get(after.checked_sub(1)?)?;
        (defined < end).then_some(batch)
    }

    /// Whether a batch could not be used.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }
}

/// What was read of stored code so far.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct StoredStats {
    /// Functions, and loops of functions, whose code was read.
    pub functions: u64,
    /// The bytes of that code.
    pub code_bytes: u64,
    /// Functions, and loops, whose code was not what was written when it was needed, or that could not be read: they are
    /// interpreted, or compiled anew.
    pub damaged: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    functions: AtomicU64,
    code_bytes: AtomicU64,
    damaged: AtomicU64,
}

impl Counts {
    fn add(&self, functions: u64, bytes: u64) {
        self.functions.fetch_add(functions, Ordering::Relaxed);
        self.code_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> StoredStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        StoredStats {
            functions: read(&self.functions),
            code_bytes: read(&self.code_bytes),
            damaged: read(&self.damaged),
        }
    }
}

impl BatchHead {
    /// The functions that it has code of.
    fn functions(&self) -> impl Iterator<Item = u32> {
        self.funcs.iter().cloned().flatten()
    }

    /// Whether there are such functions in a module.
    fn fits(&self, functions: usize) -> Result<()> {
        let inside = self.funcs.iter().all(|run| run.end as usize <= functions);
        let alone = || self.functions().take(2).count() == 1;
        if inside && (matches!(self.part, Part::Functions(_)) || alone()) {
            return Ok(());
        }
        Err(refused(ArtefactError::Damaged("its code does not fit its module")))
    }
}

impl Version {
    /// Notes what is stored.
    fn adopt(&self, unread: Unread) {
        for &(start, end, _) in &unread.runs {
            (start..end).for_each(|defined| self.set_stored(defined));
        }
        for number in 0..unread.batches.len() {
            if let Some(head) = unread.head(number)
                && let Part::Loop(_, offset) = head.part
            {
                for defined in head.functions() {
                    self.set_loop(defined, offset, LoopCode::Stored(number));
                }
            }
        }
        // A module takes code over once, when it is made.
        let _ = self.unread.set(unread);
    }

    /// All its code, by what it is, in the order of its functions.
    fn stored(&self) -> Vec<StoredBatch> {
        let loops: std::collections::HashMap<usize, u32> = self
            .loops()
            .values()
            .flatten()
            .filter_map(|(&offset, code)| match *code {
                LoopCode::Ready { code, .. } => Some((code, offset)),
                _ => None,
            })
            .collect();
        let objects = lock(&self.objects);
        let part = |object: &CodeObject| -> Option<Part> {
            let osr = object.tables().funcs.iter().any(|f| matches!(f.kind, FuncKind::Osr(_)));
            if !osr {
                return Some(Part::Functions(self.bounds));
            }
            // Somebody else's was there first, or it is not known yet.
            loops.get(&object.start().addr()).map(|&offset| Part::Loop(self.bounds, offset))
        };
        let known = objects.iter().filter_map(|object| Some((part(object)?, object.clone())));
        let mut known: Vec<_> = known.collect();
        known.sort_by_key(|(part, object)| {
            let first = object.tables().funcs.first().map(|func| func.kind);
            match (part, first) {
                (Part::Loop(_, offset), _) => (1, *offset),
                (_, Some(FuncKind::Defined(defined))) => (0, defined),
                _ => (0, 0),
            }
        });
        known.into_iter().map(|(part, object)| StoredBatch::Made(part, object)).collect()
    }
}
