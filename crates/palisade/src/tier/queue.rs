//! What is to be compiled in the background, and the threads that do it.
//!
//! Threads start with the first request and end with the engine. A request names its module weakly: nobody
//! compiles for a module that is gone. Requests that wait for the same module are compiled as one batch.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use palisade_jit::{Bounds, CompileError, CompiledFunc};

use super::module::{LoopCode, NativeModule, Version};

/// The stack of a thread that compiles: the code generator recurses a little, by the nesting of expressions.
const STACK: usize = 4 << 20;

/// What compiling has done so far.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct CompileStats {
    /// Functions, and loops of functions, that have machine code.
    pub compiled: u64,
    /// The bytes of that code.
    pub code_bytes: u64,
    /// Functions that a limit of the compiler refused: they are interpreted.
    pub refused: u64,
    /// Functions at which the code generator failed or panicked, which is a bug: they are interpreted.
    pub failed: u64,
    /// How long threads were busy compiling batches of functions, all together; where all functions of a module
    /// are compiled at once, how long that took.
    pub time: Duration,
}

#[derive(Debug, Default)]
struct Counts {
    compiled: AtomicU64,
    code_bytes: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    nanos: AtomicU64,
}

/// What one request wants.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum What {
    Function(u32),
    Loop(u32, u32),
}

/// A request.
pub(super) struct Job {
    module: Weak<NativeModule>,
    bounds: Bounds,
    what: What,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    threads: Vec<JoinHandle<()>>,
    /// The most functions of a batch.
    batch: usize,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    stop: AtomicBool,
    counts: Counts,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The requests of an engine.
pub(super) struct Queue {
    shared: Arc<Shared>,
    threads: usize,
}

impl Queue {
    pub(super) fn new(threads: usize) -> Self {
        Self { shared: Arc::default(), threads: threads.max(1) }
    }

    /// Whether the engine ends.
    pub(super) fn ending(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// Takes a request. Where no thread can be started, what waits is refused: it stays interpreted, and nobody asks
    /// again.
    pub(super) fn push(&self, job: Job, batch: usize) {
        let mut waiting = self.shared.lock();
        waiting.batch = batch.max(1);
        waiting.jobs.push_back(job);
        if waiting.threads.len() < self.threads {
            let shared = self.shared.clone();
            let thread = thread::Builder::new().name("palisade-tier".into()).stack_size(STACK);
            match thread.spawn(move || work(&shared)) {
                Ok(thread) => waiting.threads.push(thread),
                Err(_) if waiting.threads.is_empty() => {
                    let jobs = std::mem::take(&mut waiting.jobs);
                    drop(waiting);
                    return refuse_all(jobs);
                }
                Err(_) => {}
            }
        }
        drop(waiting);
        self.shared.changed.notify_one();
    }

    /// Counts what became of a function.
    pub(super) fn count(&self, result: &Result<CompiledFunc, CompileError>) {
        self.shared.counts.add(result);
    }

    /// Counts the time since then.
    pub(super) fn took(&self, since: Instant) {
        self.shared.counts.took(since);
    }

    pub(super) fn stats(&self) -> CompileStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.shared.counts;
        CompileStats {
            compiled: read(&counts.compiled),
            code_bytes: read(&counts.code_bytes),
            refused: read(&counts.refused),
            failed: read(&counts.failed),
            time: Duration::from_nanos(read(&counts.nanos)),
        }
    }
}

impl Counts {
    fn took(&self, since: Instant) {
        let nanos = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn add(&self, result: &Result<CompiledFunc, CompileError>) {
        let one = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(func) => {
                one(&self.compiled);
                self.code_bytes.fetch_add(func.code.len() as u64, Ordering::Relaxed);
            }
            Err(CompileError::Limit { .. }) => {
                one(&self.refused);
            }
            Err(CompileError::Stopped) => {}
            Err(_) => {
                one(&self.failed);
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.shared.lock().threads);
        self.shared.changed.notify_all();
        for thread in threads {
            // The engine may end on such a thread, with the last of its modules.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// What a thread does until the engine ends.
fn work(shared: &Shared) {
    loop {
        let mut waiting = shared.lock();
        let first = loop {
            if shared.stop.load(Ordering::Relaxed) {
                return;
            }
            match waiting.jobs.pop_front() {
                Some(job) => break job,
                None => {
                    let woken = shared.changed.wait(waiting);
                    waiting = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        let mut jobs = vec![first];
        while jobs.len() < waiting.batch
            && waiting.jobs.front().is_some_and(|next| next.goes_with(&jobs[0]))
        {
            jobs.extend(waiting.jobs.pop_front());
        }
        drop(waiting);
        run(&jobs, &shared.counts, &|| false);
    }
}

impl Job {
    pub(super) fn function(module: &Arc<NativeModule>, bounds: Bounds, defined: u32) -> Self {
        Self { module: Arc::downgrade(module), bounds, what: What::Function(defined) }
    }

    pub(super) fn at_loop(
        module: &Arc<NativeModule>,
        bounds: Bounds,
        defined: u32,
        offset: u32,
    ) -> Self {
        Self { module: Arc::downgrade(module), bounds, what: What::Loop(defined, offset) }
    }

    /// Does the request at once, on this thread, unless `stop` says that it is to end: then it may be asked for again.
    pub(super) fn run(self, queue: &Queue, stop: &(dyn Fn() -> bool + Sync)) {
        run(&[self], &queue.shared.counts, stop);
    }

    fn goes_with(&self, other: &Self) -> bool {
        self.module.ptr_eq(&other.module) && self.bounds == other.bounds
    }
}

/// Compiles what jobs for one module want.
fn run(jobs: &[Job], counts: &Counts, stop: &(dyn Fn() -> bool + Sync)) {
    let Some(first) = jobs.first() else { return };
    let Some(module) = first.module.upgrade() else { return };
    let version = module.version(first.bounds);
    if module.stubs().is_none() {
        refuse(jobs, version);
        return;
    }
    let mut wanted: Vec<u32> = Vec::new();
    for job in jobs {
        if let What::Function(defined) = job.what
            && version.open(defined)
            && !wanted.contains(&defined)
        {
            wanted.push(defined);
        }
    }
    let began = Instant::now();
    functions(&module, version, &wanted, counts, stop);
    for job in jobs {
        if let What::Loop(defined, offset) = job.what {
            let code = module.compile_loop(version, defined, offset, |result| counts.add(result));
            version.set_loop(defined, offset, code.unwrap_or(LoopCode::Refused));
        }
    }
    counts.took(began);
}

/// None of these is compiled, whatever their modules are.
fn refuse_all(jobs: impl IntoIterator<Item = Job>) {
    for job in jobs {
        if let Some(module) = job.module.upgrade() {
            let version = module.version(job.bounds);
            refuse(&[job], version);
        }
    }
}

/// Nothing of the module is compiled.
fn refuse(jobs: &[Job], version: &Version) {
    for job in jobs {
        match job.what {
            What::Function(defined) => version.refuse(defined),
            What::Loop(defined, offset) => version.set_loop(defined, offset, LoopCode::Refused),
        }
    }
}

/// Compiles functions as one batch.
fn functions(
    module: &NativeModule,
    version: &Version,
    wanted: &[u32],
    counts: &Counts,
    stop: &(dyn Fn() -> bool + Sync),
) {
    let Ok(compiler) = module.compiler(version) else {
        wanted.iter().for_each(|&defined| version.refuse(defined));
        return;
    };
    let mut compiled = Vec::with_capacity(wanted.len());
    let ending = || module.ending() || stop();
    for &defined in wanted {
        let in_batch = |other| wanted.contains(&other);
        let result = compiler.compile(&module.module(&ending), defined, &in_batch);
        counts.add(&result);
        match result {
            Ok(func) => compiled.push((defined, func)),
            Err(CompileError::Stopped) if !module.ending() => version.forget_asked(defined),
            Err(_) => version.refuse(defined),
        }
    }
    if module.publish(version, compiled).is_err() {
        wanted.iter().for_each(|&defined| version.refuse(defined));
    }
}
