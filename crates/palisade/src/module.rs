//! [`Module`]: bytes that were decoded, counted against the limits and validated, all of it, once.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};

use palisade_interp::{Bytecode, InterpModule};
use palisade_module::{DecodeError, ModuleBytes, ModuleInfo};
use palisade_vm::layout::VmOffsets;

use crate::artefact::{
    self, Artefact, Contents, Found, HashedModule, Input, Outline, Seal, Source, StoredCode, Trust,
};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::tier::{NativeModule, StoredBatch, Strategy};
use crate::types::ExternType;

/// A validated module. Cloning it is cheap; it may be used by any number of stores and threads.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    info: Arc<ModuleInfo>,
    offsets: Arc<VmOffsets>,
    code: Arc<InterpModule>,
    native: Option<Arc<NativeModule>>,
    /// Stored code that nobody runs, where the interpreter runs everything.
    unused: OnceLock<StoredCode>,
}

/// What the compiler makes of a function: see [`Module::explain`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The intermediate form, as text: that of Cranelift, before it is optimised.
    pub ir: String,
    /// The machine code, for this processor, with constants behind it.
    pub code: Vec<u8>,
    /// From which offset in the code on it comes from which offset in the module. Offsets from 2^31 on are none: what
    /// stands there is the body of another function, and 2^31 less is a place in `inlined`.
    pub sources: Vec<(u32, u32)>,
    /// For each place in the body of another function, the offset in the module of the call that the body stands for.
    pub inlined: Vec<u32>,
}

/// Machine code of a function: see [`Module::native_code`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NativeCode {
    /// The function, by its index in the module, imported ones counted.
    pub func: u32,
    /// Whether it is the code that goes on at a loop of a function that the interpreter began.
    pub at_loop: bool,
    /// The address of its first byte. Valid as long as the module is.
    pub address: usize,
    /// How many bytes there are.
    pub bytes: u32,
}

/// An import of a module.
#[derive(Clone, Debug)]
pub struct ImportType<'module> {
    module: &'module str,
    name: &'module str,
    ty: ExternType,
}

impl<'module> ImportType<'module> {
    /// The first of its two names; not escaped.
    pub fn module(&self) -> &'module str {
        self.module
    }

    /// The second of its two names; not escaped.
    pub fn name(&self) -> &'module str {
        self.name
    }

    /// What has to be given.
    pub fn ty(&self) -> &ExternType {
        &self.ty
    }
}

/// An export of a module.
#[derive(Clone, Debug)]
pub struct ExportType<'module> {
    name: &'module str,
    ty: ExternType,
}

impl<'module> ExportType<'module> {
    /// Its name; not escaped.
    pub fn name(&self) -> &'module str {
        self.name
    }

    /// What it is.
    pub fn ty(&self) -> &ExternType {
        &self.ty
    }
}

impl Module {
    /// Decodes and validates a module in the binary or (with the feature `wat`) the text format.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Module`]: what is wrong and where.
    pub fn new(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<Self> {
        Self::load(engine, bytes.as_ref(), None)
    }

    /// As [`Module::new`], but only the binary format is taken.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Module`]: what is wrong and where.
    pub fn from_binary(engine: &Engine, bytes: &[u8]) -> Result<Self> {
        if !bytes.starts_with(b"\0asm") {
            return Err(Error::msg(
                "expected a module in the binary format, which begins with `\\0asm`",
            ));
        }
        Self::load(engine, bytes, None)
    }

    /// As [`Module::new`], but the bytes are taken over, not copied: for large modules.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Module`]: what is wrong and where.
    pub fn from_vec(engine: &Engine, bytes: impl Into<Arc<Vec<u8>>>) -> Result<Self> {
        Self::load(engine, bytes.into(), None)
    }

    /// Reads a file and does with it as [`Module::new`] does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::File`] if it cannot be read; [`ErrorKind::Module`] if it is no module.
    pub fn from_file(engine: &Engine, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // One byte more than allowed is enough to be refused, however large the file is.
        let most = engine.config().limits.module_bytes.saturating_add(1);
        let bytes = read_at_most(path, most)
            .map_err(|source| Error::new(ErrorKind::File { path: path.to_owned(), source }))?;
        Self::from_vec(engine, bytes).map_err(|error| {
            error.context(palisade_module::error::escape_name(path.as_os_str().as_encoded_bytes()))
        })
    }

    /// As [`Module::new`], but gives up soon after another thread puts something other than 0 into
    /// `cancel`. Loading a large module takes a while; a deadline holds for it, too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Module`]: what is wrong and where, or that loading was stopped.
    pub fn new_cancellable(
        engine: &Engine,
        bytes: impl AsRef<[u8]>,
        cancel: &AtomicU32,
    ) -> Result<Self> {
        Self::load(engine, bytes.as_ref(), Some(cancel))
    }

    /// Does all the checks of [`Module::new`] and keeps nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Module`]: what is wrong and where.
    pub fn validate(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<()> {
        Self::decode(engine, bytes.as_ref(), None).map(|_| ())
    }

    fn decode(
        engine: &Engine,
        bytes: impl Into<ModuleBytes>,
        cancel: Option<&AtomicU32>,
    ) -> Result<ModuleInfo> {
        let config = engine.config();
        let (limits, features) = (&config.limits, config.wasm_features());
        let info = ModuleInfo::decode(bytes, limits, features, engine.types(), cancel);
        Self::fit(engine, info)
    }

    /// Refuses what the engine's configuration excludes.
    fn fit(engine: &Engine, info: Result<ModuleInfo, DecodeError>) -> Result<ModuleInfo> {
        let info = info.map_err(|error| Error::new(ErrorKind::Module(error)))?;
        let config = engine.config();
        match info.memories.iter().position(|memory| memory.shared) {
            Some(index) if config.deterministic => Err(Error::msg(format!(
                "memory {index} of the module is shared between threads, whose turns nothing makes alike: a \
                 deterministic engine (`Config::deterministic`, --deterministic) refuses it"
            ))),
            _ => Ok(info),
        }
    }

    fn load(
        engine: &Engine,
        bytes: impl Into<ModuleBytes>,
        cancel: Option<&AtomicU32>,
    ) -> Result<Self> {
        let info = Self::decode(engine, bytes, cancel)?;
        let (module, native) = Self::interpreted(engine, info)?;
        if let Some(native) = native.filter(|_| engine.strategy() == Strategy::Compiled) {
            native.compile_rest(cancel)?;
        }
        Ok(module)
    }

    /// A module of which nothing is compiled yet.
    fn interpreted(engine: &Engine, info: ModuleInfo) -> Result<(Self, Option<Arc<NativeModule>>)> {
        let info = Arc::new(info);
        if !engine.config().debug_info {
            info.ignore_debug_info();
        }
        let offsets = VmOffsets::new(&info).ok_or_else(|| {
            Error::new(ErrorKind::Limit("the module has too many parts for one instance".into()))
        })?;
        let offsets = Arc::new(offsets);
        let code = InterpModule::new(
            info.clone(),
            offsets.clone(),
            engine.types().clone(),
            engine.interp_config(),
        );
        let native = engine.tier().map(|tier| {
            let types = engine.types().clone();
            NativeModule::new(tier.clone(), info.clone(), offsets.clone(), types)
        });
        let kept = native.clone();
        let inner =
            Inner { engine: engine.clone(), info, offsets, code, native, unused: OnceLock::new() };
        Ok((Self { inner: Arc::new(inner) }, kept))
    }

    /// Compiles every function that has no machine code yet, on all processors; nothing where the interpreter runs everything. For
    /// [`Module::serialize`]; with [`Strategy::Compiled`] there is nothing left to do. [`Engine::compile_stats`] tells others how
    /// far it is.
    ///
    /// # Errors
    ///
    /// There is no room for the code. A function that a limit of the compiler refuses is no error.
    pub fn compile_all(&self) -> Result<()> {
        self.native().map_or(Ok(()), |native| native.compile_rest(None))
    }

    /// The module and all its machine code, in a form that [`Module::deserialize`] takes, vouched for by `seal`. With
    /// [`Strategy::Compiled`] that is the code of every function; with [`Strategy::Auto`] of those that are compiled by now.
    ///
    /// # Errors
    ///
    /// The engine makes no machine code.
    pub fn serialize(&self, seal: &Seal) -> Result<Vec<u8>> {
        self.write(true, seal)
    }

    /// The same without the module itself, for caches: [`Module::with_code`] takes it.
    ///
    /// # Errors
    ///
    /// The engine makes no machine code.
    pub fn serialize_code(&self, seal: &Seal) -> Result<Vec<u8>> {
        self.write(false, seal)
    }

    fn write(&self, with_module: bool, seal: &Seal) -> Result<Vec<u8>> {
        let Inner { engine, info, native, .. } = &*self.inner;
        let stored = native.as_ref().map(|native| native.store()).unwrap_or_default();
        let batches = stored.batches.iter().map(StoredBatch::parts).collect();
        artefact::write(engine, &Contents { info, with_module, whole: stored.whole, batches }, seal)
    }

    /// How many batches of machine code there are by now: what is new since a [`Module::serialize`] can be told by it.
    pub fn code_batches(&self) -> usize {
        self.native().map_or(0, |native| native.batches())
    }

    /// Loads what [`Module::serialize`] made, if it comes from somebody trusted and is just what this engine would make:
    /// same build, processor and options. The module's function bodies are validated again only if the limits of the decoder,
    /// or the proposals, are others than when it was made.
    ///
    /// What a start needs is checked at once: who vouches for it, and of the module all but function bodies and the contents of
    /// larger custom sections. Those, and machine code, are hashed and checked when they are needed first, by the piece and by
    /// the batch. A batch that is not what was written then never runs: its functions are interpreted, or compiled anew
    /// ([`Engine::stored_stats`] counts them). A piece of the module that is not ends the guest that needs it
    /// ([`TrapCode::ModuleLost`](crate::TrapCode::ModuleLost)). [`Module::read_all`] checks all of it at once.
    ///
    /// The bytes are copied. From [`Module::deserialize_file`] only what is needed is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Artefact`]: why it is refused. None of its code was made executable then.
    pub fn deserialize(engine: &Engine, bytes: &[u8], trust: &Trust) -> Result<Self> {
        Self::load_artefact(engine, Input::Bytes(bytes), trust)
    }

    /// As [`Module::deserialize`], from a file, which stays open as long as the module: its parts are read when they are needed.
    /// Whatever becomes of the file meanwhile, nothing is used that has not the right hash.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::File`] if it cannot be opened; as [`Module::deserialize`].
    pub fn deserialize_file(
        engine: &Engine,
        path: impl AsRef<Path>,
        trust: &Trust,
    ) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path)
            .map_err(|source| Error::new(ErrorKind::File { path: path.to_owned(), source }))?;
        Self::deserialize_open_file(engine, file, trust).map_err(|error| {
            error.context(palisade_module::error::escape_name(path.as_os_str().as_encoded_bytes()))
        })
    }

    /// As [`Module::deserialize_file`], from a file that is open: all of it, wherever it was read to.
    ///
    /// # Errors
    ///
    /// As [`Module::deserialize`].
    pub fn deserialize_open_file(engine: &Engine, file: File, trust: &Trust) -> Result<Self> {
        match Input::of_file(file) {
            Ok(input) => Self::load_artefact(engine, input, trust),
            Err(file) => Self::deserialize_from(engine, file, trust),
        }
    }

    /// As [`Module::deserialize`], from wherever it can be read; all of it is, at once.
    ///
    /// # Errors
    ///
    /// As [`Module::deserialize`].
    pub fn deserialize_from(engine: &Engine, mut from: impl Read, trust: &Trust) -> Result<Self> {
        Self::load_artefact(engine, Input::Stream(&mut from), trust)
    }

    fn load_artefact(engine: &Engine, input: Input<'_>, trust: &Trust) -> Result<Self> {
        let artefact = artefact::read(engine, input, Source::Inside, trust)?;
        Self::of_artefact(engine, artefact, None)
    }

    /// Reads and checks at once what of an artefact was left until it is needed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Artefact`]: something is not what was written, or has changed since. The module can be used all the same, as
    /// [`Module::deserialize`] says.
    pub fn read_all(&self) -> Result<()> {
        self.native().map_or(Ok(()), |native| native.read_stored())?;
        self.inner.unused.get().map_or(Ok(()), StoredCode::check)?;
        match self.inner.info.bytes.whole() {
            Some(_) => Ok(()),
            None => Err(artefact::lost_module()),
        }
    }

    /// Loads a module in the binary format together with its machine code, from what [`Module::serialize_code`] made.
    /// Otherwise as [`Module::deserialize_from`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Artefact`] as [`Module::deserialize`]; [`ErrorKind::Module`].
    pub fn with_code(
        engine: &Engine,
        module: HashedModule,
        mut code: impl Read,
        trust: &Trust,
        cancel: &AtomicU32,
    ) -> Result<Self> {
        Self::load_code(engine, module, Input::Stream(&mut code), trust, cancel)
    }

    /// As [`Module::with_code`], from a file that is open, which stays so: code is read when it is needed.
    ///
    /// # Errors
    ///
    /// As [`Module::with_code`].
    pub fn with_code_file(
        engine: &Engine,
        module: HashedModule,
        code: File,
        trust: &Trust,
        cancel: &AtomicU32,
    ) -> Result<Self> {
        match Input::of_file(code) {
            Ok(input) => Self::load_code(engine, module, input, trust, cancel),
            Err(file) => Self::with_code(engine, module, file, trust, cancel),
        }
    }

    fn load_code(
        engine: &Engine,
        module: HashedModule,
        code: Input<'_>,
        trust: &Trust,
        cancel: &AtomicU32,
    ) -> Result<Self> {
        let artefact = artefact::read(engine, code, Source::Given(module), trust)?;
        Self::of_artefact(engine, artefact, Some(cancel))
    }

    /// The name under which a cache keeps the code of a module: equal for equal modules and equal
    /// configurations, builds and processors, as far as they change code.
    ///
    /// # Errors
    ///
    /// The engine makes no machine code.
    pub fn cache_key(engine: &Engine, module: &HashedModule) -> Result<[u8; 32]> {
        artefact::cache_key(engine, module)
    }

    fn of_artefact(
        engine: &Engine,
        artefact: Artefact,
        cancel: Option<&AtomicU32>,
    ) -> Result<Self> {
        let Artefact { module, validated, whole, code } = artefact;
        let config = engine.config();
        let (limits, features) = (&config.limits, config.wasm_features());
        let types = engine.types();
        let info = match module {
            Found::Outline(outline) if validated => {
                let (bodies, keep) = (outline.bodies(), |outline: Box<Outline>| outline.keep());
                ModuleInfo::decode_outline(outline, bodies, keep, limits, features, types, cancel)
            }
            Found::Outline(outline) => {
                let bytes = outline.keep();
                if bytes.whole().is_none() {
                    return Err(artefact::lost_module());
                }
                ModuleInfo::decode(bytes, limits, features, types, cancel)
            }
            Found::Whole(bytes) if validated => {
                ModuleInfo::decode_vouched(bytes, limits, features, types, cancel)
            }
            Found::Whole(bytes) => ModuleInfo::decode(bytes, limits, features, types, cancel),
        };
        let (module, native) = Self::interpreted(engine, Self::fit(engine, info)?)?;
        if let Some(native) = native {
            native.adopt(code, whole)?;
            if engine.strategy() == Strategy::Compiled {
                native.compile_rest(cancel)?;
            }
        } else {
            let _ = module.inner.unused.set(code);
        }
        Ok(module)
    }

    /// The engine that it was made with.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// The name that it gives itself; not escaped.
    pub fn name(&self) -> Option<&str> {
        self.inner.info.module_name()
    }

    /// What it needs, in order.
    pub fn imports(&self) -> impl ExactSizeIterator<Item = ImportType<'_>> {
        self.inner.info.imports.iter().map(|import| ImportType {
            module: &import.module,
            name: &import.name,
            ty: ExternType::from_core(&self.inner.engine, import.ty),
        })
    }

    /// What it offers, in order.
    pub fn exports(&self) -> impl Iterator<Item = ExportType<'_>> {
        let info = &self.inner.info;
        info.exports.iter().filter_map(|export| {
            let ty = info.extern_type_of_export(export.index)?;
            let ty = ExternType::from_core(&self.inner.engine, ty);
            Some(ExportType { name: &export.name, ty })
        })
    }

    /// The type of an export.
    pub fn get_export(&self, name: &str) -> Option<ExternType> {
        let info = &self.inner.info;
        let export = info.exports.iter().find(|export| &*export.name == name)?;
        let ty = info.extern_type_of_export(export.index)?;
        Some(ExternType::from_core(&self.inner.engine, ty))
    }

    /// Its custom sections, in order: name (not escaped) and content.
    pub fn custom_sections(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let info = &self.inner.info;
        info.custom_sections
            .iter()
            .map(|(name, range)| (&**name, info.bytes.get(range.clone()).unwrap_or_default()))
    }

    /// Gives it the file with the debug information that was split off when it was stripped, for backtraces. Where both
    /// have a build-id, or both hold code, these have to be the same.
    ///
    /// # Errors
    ///
    /// The file has no debug information, or is of another build.
    pub fn set_debug_file(&self, bytes: Vec<u8>) -> Result<()> {
        self.inner.info.set_debug_file(bytes).map_err(Error::msg)
    }

    /// Where it says that its debug information is to be found (its custom section `external_debug_info`); not
    /// escaped. Nothing opens that: a guest does not choose what its host reads.
    pub fn debug_file_hint(&self) -> Option<&str> {
        self.inner.info.debug_file_hint()
    }

    /// What the compiler makes of a function, by its index in the module, imported ones counted: for people to look at.
    ///
    /// # Errors
    ///
    /// The module defines no such function; the engine has no compiler; the function cannot be compiled.
    pub fn explain(&self, func: u32) -> Result<Explanation> {
        let defined = self.defined(func)?;
        let Some(native) = self.native() else {
            return Err(Error::msg("this engine makes no machine code"));
        };
        let explained = native.explain(defined).map_err(Error::msg)?;
        Ok(Explanation {
            ir: explained.ir,
            code: explained.func.code,
            sources: explained.func.srclocs,
            inlined: explained.func.inlined.iter().map(|place| place.call).collect(),
        })
    }

    /// What the interpreter runs of a function, by its index in the module, imported ones counted: for people to look at.
    ///
    /// # Errors
    ///
    /// The module defines no such function; the function needs too large a frame to be translated.
    pub fn bytecode(&self, func: u32) -> Result<Bytecode> {
        let defined = self.defined(func)?;
        self.inner.code.explain(defined).map_err(|code| {
            Error::msg(format!("the interpreter does not translate it: calling it ends in: {code}"))
        })
    }

    /// The index of a function among those that it defines.
    fn defined(&self, func: u32) -> Result<u32> {
        let info = &self.inner.info;
        let body = func.checked_sub(info.imported_funcs);
        body.filter(|&defined| (defined as usize) < info.bodies.len())
            .ok_or_else(|| Error::not_found(format!("the module defines no function {func}")))
    }

    /// Where its machine code stands that there is by now, for tools that look at this process from outside.
    pub fn native_code(&self) -> Vec<NativeCode> {
        let imported = self.inner.info.imported_funcs;
        let code = self.native().map(|native| native.code()).unwrap_or_default();
        let one = |(defined, at_loop, address, bytes)| NativeCode {
            func: imported + defined,
            at_loop,
            address,
            bytes,
        };
        code.into_iter().map(one).collect()
    }

    /// How many functions it defines.
    pub fn function_count(&self) -> usize {
        self.inner.info.bodies.len()
    }

    /// How many functions have been translated to the interpreter's code so far, and the bytes of
    /// that code. Functions are translated when they are first called.
    pub fn translated(&self) -> (usize, u64) {
        self.inner.code.translated()
    }

    /// The description that it was decoded to.
    pub fn info(&self) -> &Arc<ModuleInfo> {
        &self.inner.info
    }

    pub(crate) fn offsets(&self) -> &Arc<VmOffsets> {
        &self.inner.offsets
    }

    pub(crate) fn native(&self) -> Option<&Arc<NativeModule>> {
        self.inner.native.as_ref()
    }

    pub(crate) fn code(&self) -> &Arc<InterpModule> {
        &self.inner.code
    }
}

/// What a file holds, or as much of it as is asked for, in a buffer that is no larger than that.
fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // One byte more than the file has, so that its end is seen without growing the buffer.
    let expected = file.metadata()?.len().saturating_add(1).min(most);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(expected).unwrap_or(0))?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl From<DecodeError> for ErrorKind {
    fn from(error: DecodeError) -> Self {
        Self::Module(error)
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.name())
            .field("imports", &self.inner.info.imports.len())
            .field("exports", &self.inner.info.exports.len())
            .field("functions", &self.function_count())
            .finish_non_exhaustive()
    }
}
