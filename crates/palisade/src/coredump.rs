//! [`WasmCoreDump`]: what a store holds and where its guest stood, written for tools that look at it afterwards.
//!
//! Nothing is kept when a guest traps: the store still has it all, until something else runs in it.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use palisade_debug::coredump::{CoreDump, Frame, Instance, Memory, Value};
use palisade_module::info::ExportIdx;
use palisade_module::wasmparser::{BinaryReader, FunctionBody};
use palisade_module::{FuncIdx, GlobalIdx, MemoryIdx, ModuleInfo};
use palisade_vm::native::FrameValue;
use palisade_vm::{ImportValue, InstanceId};

use crate::error::{Error, Result};
use crate::externals::Extern;
use crate::global::Global;
use crate::memory::Memory as GuestMemory;
use crate::store::Store;
use crate::trap::{FrameInfo, WasmBacktrace};
use crate::val::Val;

/// How many bytes of memories a core dump holds unless something else is said: 1 GiB less what the rest may take,
/// which is as much as readers of modules accept.
pub const MOST_CORE_DUMP_BYTES: u64 = (1 << 30) - (16 << 20);

/// A core dump that was written.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct WasmCoreDump {
    omitted: u64,
}

impl WasmCoreDump {
    /// Writes the memories and globals of all instances of a store, and the frames of a backtrace, in the
    /// form that the tool conventions for WebAssembly describe. `name` is the program's. At most `most` bytes of memories
    /// are written; stretches of 64 KiB that are zero do not count and are left out.
    ///
    /// The store should be as the trap left it. Values of locals and operands are told where the backtrace has them
    /// ([`Store::keep_values`]), and as missing elsewhere; references as null. Where a
    /// store has several instances of the module of a frame, the frame is told as of the first.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn write<T: 'static>(
        store: &mut Store<T>,
        backtrace: &WasmBacktrace,
        name: &str,
        out: &mut dyn Write,
        most: u64,
    ) -> Result<Self> {
        let mut parts = Parts::default();
        let mut dump = CoreDump { name: name.to_owned(), ..CoreDump::default() };
        parts.instances(store, &mut dump)?;
        dump.frames = backtrace.frames().iter().filter_map(|frame| parts.frame(frame)).collect();
        let store = &*store;
        for memory in &parts.memories {
            dump.memories.push(guest_memory(store, memory)?);
        }
        let omitted = dump.write(out, most).map_err(|error| Error::msg(error.to_string()))?;
        Ok(Self { omitted })
    }

    /// How many bytes of memories were left out because there was no room for them.
    pub fn omitted_bytes(&self) -> u64 {
        self.omitted
    }
}

/// What has a number in a dump.
#[derive(Default)]
struct Parts {
    modules: HashMap<*const ModuleInfo, u32>,
    /// The first instance of each module.
    first: HashMap<*const ModuleInfo, u32>,
    memories: Vec<Extern>,
    known_memories: HashMap<u32, u32>,
    known_globals: HashMap<u32, u32>,
}

impl Parts {
    fn instances<T: 'static>(
        &mut self,
        store: &mut Store<T>,
        dump: &mut CoreDump<'_>,
    ) -> Result<()> {
        for index in 0..store.opaque().vm().instance_count() {
            let id = InstanceId(index as u32);
            // An instance whose start function trapped is not known yet.
            let Some(module) = store.opaque().module_of(id).cloned() else { continue };
            let info = module.info();
            let number = *self.modules.entry(Arc::as_ptr(info)).or_insert_with(|| {
                dump.modules.push(info.module_name().unwrap_or_default().to_owned());
                dump.modules.len() as u32 - 1
            });
            let mut instance = Instance { module: number, memories: vec![], globals: vec![] };
            for memory in 0..info.memories.len() as u32 {
                let at = ExportIdx::Memory(MemoryIdx(memory));
                let Some(value) = store.opaque().vm().export_at(id, at) else { continue };
                let ImportValue::Memory(known) = value else { continue };
                let number = *self.known_memories.entry(known.0).or_insert_with(|| {
                    self.memories.push(Extern::from_vm(store.opaque(), value));
                    self.memories.len() as u32 - 1
                });
                instance.memories.push(number);
            }
            for global in 0..info.globals.len() as u32 {
                let at = ExportIdx::Global(GlobalIdx(global));
                let value = store.opaque().vm().export_at(id, at);
                let Some(ImportValue::Global(known)) = value else { continue };
                let next = dump.globals.len() as u32;
                let number = *self.known_globals.entry(known.0).or_insert(next);
                if number == next {
                    let handle = Global::from_id(store.opaque().id, known);
                    let mutable =
                        info.globals.get(global as usize).is_some_and(|global| global.ty.mutable);
                    dump.globals.push((value_of(handle.get(&mut *store)?), mutable));
                }
                instance.globals.push(number);
            }
            self.first.entry(Arc::as_ptr(info)).or_insert(dump.instances.len() as u32);
            dump.instances.push(instance);
        }
        Ok(())
    }

    fn frame(&self, frame: &FrameInfo) -> Option<Frame> {
        let info = frame.module_info();
        let instance = *self.first.get(&Arc::as_ptr(info))?;
        let func = FuncIdx(frame.func_index());
        let body = info.bodies.get(func.0.checked_sub(info.imported_funcs)? as usize)?;
        let offset = frame.module_offset().saturating_sub(body.range.start) as u32;
        let count = locals(info, func)?;
        let all = |values: &[FrameValue]| values.iter().map(|value| known(*value)).collect();
        let (mut locals, operands): (Vec<_>, _) = (all(frame.locals()), all(frame.operands()));
        locals.truncate(count as usize);
        let missing_locals = count - locals.len() as u32;
        Some(Frame { instance, func: func.0, offset, locals, missing_locals, operands })
    }
}

/// How many locals a function has, its parameters included.
fn locals(info: &ModuleInfo, func: FuncIdx) -> Option<u32> {
    let defined = func.0.checked_sub(info.imported_funcs)?;
    let range = info.bodies.get(defined as usize)?.range.clone();
    let reader = BinaryReader::new(info.bytes.get(range.clone())?, range.start as u64);
    let declared = FunctionBody::new(reader).get_locals_reader().ok()?;
    let declared: u32 = declared.into_iter().map_while(|group| Some(group.ok()?.0)).sum();
    let ty = info.registered.registry().func_type(*info.funcs.get(func.index())?)?;
    Some(declared + ty.params.len() as u32)
}

fn known(value: FrameValue) -> Option<Value> {
    Some(match value {
        FrameValue::Missing => return None,
        FrameValue::I32(n) => Value::I32(n),
        FrameValue::I64(n) => Value::I64(n),
        FrameValue::F32(bits) => Value::F32(bits),
        FrameValue::F64(bits) => Value::F64(bits),
    })
}

fn value_of(value: Val) -> Value {
    match value {
        Val::I32(n) => Value::I32(n),
        Val::I64(n) => Value::I64(n),
        Val::F32(bits) => Value::F32(bits),
        Val::F64(bits) => Value::F64(bits),
        Val::V128(bits) => Value::V128(bits.into()),
        _ => Value::Ref,
    }
}

fn guest_memory<'a, T: 'static>(store: &'a Store<T>, memory: &'a Extern) -> Result<Memory<'a>> {
    Ok(match memory {
        Extern::SharedMemory(shared) => Memory {
            wide: shared.ty().is_64(),
            page_size_log2: shared.page_size().trailing_zeros() as u8,
            size: shared.data_size() as u64,
            read: Box::new(|at, buffer| {
                let _ = shared.read(at as usize, buffer);
            }),
        },
        Extern::Memory(memory) => own_memory(store, memory)?,
        _ => return Err(Error::msg("a memory of the store is no memory")),
    })
}

fn own_memory<'a, T: 'static>(store: &'a Store<T>, memory: &GuestMemory) -> Result<Memory<'a>> {
    let ty = memory.ty(store)?;
    let data = memory.data(store);
    Ok(Memory {
        wide: ty.is_64(),
        page_size_log2: ty.page_size().trailing_zeros() as u8,
        size: data.len() as u64,
        read: Box::new(move |at, buffer| {
            let from = data.get(at as usize..).unwrap_or_default();
            let length = from.len().min(buffer.len());
            buffer[..length].copy_from_slice(&from[..length]);
        }),
    })
}
