//! What both sets of programs need: a guest run with given means, and how it ended.
//!
//! Nothing is taken from the process that runs the test but its clock and its random numbers,
//! and those only where a program asks for them.

pub mod corpus;
pub mod own;

use std::path::{Path, PathBuf};

use palisade::{Engine, Error, Instance, Linker, Module, Store, TrapCode, Val, ValType};
use palisade_wasi::{Caps, Halt, OutputBuffer, Preopen, Stdio, Wasi, WasiCtx};
use serde_json::Value;

/// More than any of these programs prints.
const MOST_OUTPUT: usize = 64 << 20;

/// What a program is given.
pub struct Means<'a> {
    pub file: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub stdin: Vec<u8>,
    pub caps: Caps,
    /// What is preopened as `.`, if anything is.
    pub dir: Option<&'a Path>,
}

/// A program that is ready to run.
pub struct Guest {
    pub store: Store<Wasi>,
    pub instance: Instance,
    stdout: OutputBuffer,
    stderr: OutputBuffer,
}

/// How a program ended.
#[derive(Debug)]
pub struct End {
    /// The exit status, as a command would report it.
    pub exit: u8,
    /// If it trapped: why, and the functions from the innermost one on.
    pub trap: Option<(TrapCode, Vec<String>)>,
    /// The error in words, if there was one.
    pub error: String,
}

impl Guest {
    /// Loads and instantiates a program; runs nothing but its start function.
    pub fn new(engine: &Engine, means: Means<'_>) -> Result<Self, Error> {
        let module = Module::from_file(engine, &means.file)?;
        let name = means.file.file_name().expect("a file").to_string_lossy().into_owned();
        let stdout = OutputBuffer::new(MOST_OUTPUT);
        let stderr = OutputBuffer::new(MOST_OUTPUT);
        let mut wasi = WasiCtx::builder()
            .arg(name)
            .args(&means.args)
            .caps(means.caps)
            .stdin(Stdio::Bytes(means.stdin))
            .stdout(Stdio::Buffer(stdout.clone()))
            .stderr(Stdio::Buffer(stderr.clone()));
        for (name, value) in &means.env {
            wasi = wasi.env(name, value);
        }
        if let Some(dir) = means.dir {
            wasi = wasi.preopen(Preopen::new(dir, "."));
        }
        let wasi = wasi.build().map_err(Error::from)?;
        let mut linker = Linker::new(engine);
        palisade_wasi::add_to_linker(&mut linker, |wasi| wasi)?;
        let mut store = Store::try_new(engine, Wasi::new(wasi))?;
        let instance = linker.instantiate(&mut store, &module)?;
        Ok(Self { store, instance, stdout, stderr })
    }

    /// Calls an export with values that are written as words, and returns its results as lines.
    pub fn call(&mut self, export: &str, words: &[&str]) -> Result<Vec<String>, Error> {
        let func = self.instance.get_func(&mut self.store, export);
        let func = func.ok_or_else(|| Error::msg(format!("there is no export {export}")))?;
        let ty = func.ty(&self.store)?;
        assert_eq!(ty.params().len(), words.len(), "{export}: arguments");
        let args: Vec<Val> = ty.params().iter().zip(words).map(|(ty, w)| value(ty, w)).collect();
        let mut results = vec![Val::I32(0); ty.results().len()];
        func.call(&mut self.store, &args, &mut results)?;
        Ok(results.iter().map(show).collect())
    }

    /// Runs it as a command.
    pub fn run(&mut self) -> End {
        let result = self.call("_start", &[]);
        End::of(result.map(drop))
    }

    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.contents()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.contents()).into_owned()
    }
}

impl End {
    pub fn of(result: Result<(), Error>) -> Self {
        let Err(error) = result else {
            return Self { exit: 0, trap: None, error: String::new() };
        };
        let text = error.to_string();
        if let Some(Halt::Exit(status)) = error.downcast_ref::<Halt>() {
            return Self { exit: (status & 0xff) as u8, trap: None, error: text };
        }
        let functions = error.backtrace().map_or_else(Vec::new, |backtrace| {
            let name = |frame: &palisade::FrameInfo| frame.func_name().unwrap_or("").to_owned();
            backtrace.frames().iter().map(name).collect()
        });
        let trap = error.trap_code().map(|code| (code, functions));
        Self { exit: if trap.is_some() { 134 } else { 126 }, trap, error: text }
    }
}

fn value(ty: &ValType, word: &str) -> Val {
    let parsed = match ty {
        ValType::I32 => word.parse().map(Val::I32).ok(),
        ValType::I64 => word.parse().map(Val::I64).ok(),
        ValType::F32 => word.parse().map(|x: f32| Val::F32(x.to_bits())).ok(),
        ValType::F64 => word.parse().map(|x: f64| Val::F64(x.to_bits())).ok(),
        _ => None,
    };
    parsed.unwrap_or_else(|| panic!("{word} is no {ty}"))
}

fn show(value: &Val) -> String {
    match value {
        Val::I32(x) => x.to_string(),
        Val::I64(x) => x.to_string(),
        Val::F32(x) => f32::from_bits(*x).to_string(),
        Val::F64(x) => f64::from_bits(*x).to_string(),
        other => panic!("no program returns {other:?}"),
    }
}

/// Reads a list in JSON.
pub fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A text of a list.
pub fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry[key].as_str().unwrap_or_else(|| panic!("no text {key} in {entry}"))
}

/// A list of texts of a list, empty if it is not there.
pub fn texts(entry: &Value, key: &str) -> Vec<String> {
    let list = entry[key].as_array().into_iter().flatten();
    list.map(|word| word.as_str().unwrap_or_else(|| panic!("{key} in {entry}")).to_owned())
        .collect()
}

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace").to_owned()
}

/// The first line that differs, to be read by people.
pub fn difference(expected: &str, found: &str) -> String {
    let pairs = expected.lines().map(Some).chain([None]).zip(found.lines().map(Some).chain([None]));
    for (i, (e, f)) in pairs.enumerate() {
        if e != f {
            let (e, f) = (e.unwrap_or("<end>"), f.unwrap_or("<end>"));
            return format!("line {}:\n  expected {e:?}\n  found    {f:?}", i + 1);
        }
    }
    format!("lengths {} and {}", expected.len(), found.len())
}
