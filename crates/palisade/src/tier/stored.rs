//! Machine code that outlives the process: what of a module goes into an artefact, and what comes out of one.
//!
//! Invariant: code that was stored is taken as code that was just compiled is; nobody later can tell the difference,
//! but that instances take it over before they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{MutexGuard, PoisonError};

use palisade_jit::CompileError;
use palisade_vm::native::CodeObject;
use palisade_vm::native::code::{FuncKind, Tables};

use super::module::{LoopCode, NativeModule, Version};
use crate::artefact::{ArtefactError, Batch, Part, refused};
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

    /// How many batches of code there are.
    pub(crate) fn batches(&self) -> usize {
        [&self.guarded, &self.explicit].map(|version| lock(&version.objects).len()).iter().sum()
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
            stored.whole[at] = *lock(&version.whole);
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

    /// Takes code over that was stored.
    pub(crate) fn adopt(&self, batches: Vec<Batch>, whole: [bool; 2]) -> Result<()> {
        for Batch { part, mut code, mut tables } in batches {
            tables.counts_depth = self.tier.compiler.options().depth;
            let kinds = tables.funcs.iter().map(|func| func.kind);
            if part == Part::Stubs {
                let mut keys = self.stub_keys().map(|(_, keys)| keys).unwrap_or_default();
                keys.sort_unstable();
                keys.dedup();
                tables.counts_depth = false;
                self.tier.stubs.adopt(&keys, code.bytes(), tables).map_err(inconsistent)?;
                continue;
            }
            let bounds = match part {
                Part::Functions(bounds) | Part::Loop(bounds, _) => bounds,
                Part::Stubs => continue,
            };
            let osr = kinds.clone().any(|kind| matches!(kind, FuncKind::Osr(_)));
            let defined = kinds.clone().find_map(|kind| match kind {
                FuncKind::Osr(defined) => Some(defined),
                _ => None,
            });
            if osr != matches!(part, Part::Loop(..)) || (osr && kinds.count() != 1) {
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
            tables.module = Some((self.info.clone(), self.offsets.clone()));
            let object = code.publish(tables).map_err(|error| {
                Error::new(ErrorKind::Limit(format!("no room for the artefact's code: {error}")))
            })?;
            let version = self.version(bounds);
            match (part, defined) {
                (Part::Loop(_, offset), Some(defined)) => {
                    let code = self.loop_ready(version, defined, object).map_err(inconsistent)?;
                    version.set_loop(defined, offset, code);
                }
                _ => version.add(object, &entries),
            }
            self.stored.store(true, Ordering::Relaxed);
        }
        for (version, whole) in [&self.guarded, &self.explicit].into_iter().zip(whole) {
            if whole {
                *lock(&version.whole) = true;
                (0..self.info.bodies.len()).for_each(|defined| version.refuse(defined as u32));
            }
        }
        Ok(())
    }
}

impl Version {
    /// All its code, by what it is.
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
        known.map(|(part, object)| StoredBatch::Made(part, object)).collect()
    }
}
