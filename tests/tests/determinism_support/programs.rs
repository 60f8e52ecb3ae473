//! Real programs, run twice in every engine under a deterministic context: output, files, end, fuel and memory.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use palisade::{Engine, Linker, Module, Resource, Store};
use palisade_tests::Kind;
use palisade_wasi::{Caps, OutputBuffer, Preopen, Stdio, Wasi, WasiCtx};
use serde_json::Value;

/// One dispatcher, machine code alone, and both mixed: the other kinds differ in what generated programs show.
const KINDS: [Kind; 3] = [Kind::TailCall, Kind::Compiled, Kind::Tiering];

/// All that two runs must have in common.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    stdout: String,
    stderr: String,
    end: String,
    fuel: Option<u64>,
    /// Of the exported memory: its size, and a hash of its bytes.
    memory: Option<(usize, u64)>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// Bytes of a module that is not compiled as a whole.
const LARGE: u64 = 300_000;

struct Given<'a> {
    args: Vec<&'a str>,
    env: Vec<(&'a str, &'a str)>,
    stdin: &'a str,
    /// What is preopened as `.`.
    dir: Option<&'a Path>,
    fuel: u64,
}

fn run(module: &Module, given: &Given<'_>) -> Outcome {
    let engine = module.engine();
    let (stdout, stderr) = (OutputBuffer::new(64 << 20), OutputBuffer::new(64 << 20));
    let mut wasi = WasiCtx::builder()
        .deterministic(42)
        .arg("program")
        .args(&given.args)
        .caps(Caps::ALL)
        .stdin(Stdio::Bytes(given.stdin.as_bytes().to_vec()))
        .stdout(Stdio::Buffer(stdout.clone()))
        .stderr(Stdio::Buffer(stderr.clone()));
    for (name, value) in &given.env {
        wasi = wasi.env(name, value);
    }
    if let Some(dir) = given.dir {
        wasi = wasi.preopen(Preopen::new(dir, "."));
    }
    let mut linker = Linker::new(engine);
    palisade_wasi::add_to_linker(&mut linker, |wasi| wasi).expect("nothing is there yet");
    let mut store = Store::new(engine, Wasi::new(wasi.build().expect("a context")));
    store.set_fuel(given.fuel).expect("metered");
    store.set_resource_limit(Resource::MemoryBytes, Some(256 << 20));
    let instance = linker.instantiate(&mut store, module).expect("WASI is all it needs");
    let end = match instance.get_typed_func::<(), ()>(&mut store, "_start") {
        Ok(start) => match start.call(&mut store, ()) {
            Ok(()) => "returned".to_owned(),
            Err(error) => error.to_string(),
        },
        Err(_) => "a reactor".to_owned(),
    };
    let memory = instance.get_memory(&mut store, "memory").map(|memory| {
        let mut hasher = DefaultHasher::new();
        memory.data(&store).hash(&mut hasher);
        (memory.data_size(&store), hasher.finish())
    });
    let text = |buffer: &OutputBuffer| String::from_utf8_lossy(&buffer.contents()).into_owned();
    Outcome {
        stdout: text(&stdout),
        stderr: text(&stderr),
        end,
        fuel: store.fuel_consumed(),
        memory,
        files: given.dir.map(files).unwrap_or_default(),
    }
}

/// A program in each engine.
fn load(engines: &[(Kind, Engine)], file: &Path) -> Vec<(Kind, Module)> {
    let module = |engine| Module::from_file(engine, file).expect("a module");
    engines.iter().map(|(kind, engine)| (*kind, module(engine))).collect()
}

/// Everything in a directory: the contents of files, the targets of links, nothing of directories.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in std::fs::read_dir(&at).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(dir).expect("beneath it").to_owned();
            let kind = path.symlink_metadata().expect("it is there").file_type();
            if kind.is_symlink() {
                let target = std::fs::read_link(&path).expect("a link");
                found.insert(name, target.into_os_string().into_encoded_bytes());
            } else if kind.is_dir() {
                found.insert(name, Vec::new());
                todo.push(path);
            } else {
                found.insert(name, std::fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

/// Runs a program in a fresh directory in every engine, in the first one twice, and compares.
fn compare(
    name: &str,
    modules: &[(Kind, Module)],
    fill: &dyn Fn(&Path),
    run: &dyn Fn(&Module, &Path) -> Outcome,
) {
    let mut first: Option<Outcome> = None;
    for (kind, module) in modules.iter().take(1).chain(modules) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fill(dir.path());
        let found = run(module, dir.path());
        match &first {
            None => first = Some(found),
            Some(expected) => {
                assert_eq!(found.stdout, expected.stdout, "{name} ({kind:?})");
                assert!(found == *expected, "{name} ({kind:?}): {found:#?}\nis not\n{expected:#?}");
            }
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

fn texts<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    value[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn json(path: &Path) -> Value {
    let bytes = std::fs::read(path).expect("the list of programs");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// The programs of this repository, each with the arguments and files of each of its cases.
pub fn own(deterministic: &dyn Fn(Kind) -> Engine) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
    let manifest = json(&folder.join("manifest.json"));
    let cases = manifest["cases"].as_array().expect("cases");
    let engines: Vec<(Kind, Engine)> = KINDS.iter().map(|k| (*k, deterministic(*k))).collect();
    // One module for all cases of a program: how much of it is machine code already must not matter either.
    let mut modules = BTreeMap::new();
    for case in cases {
        let file = text(case, "file");
        modules.entry(file).or_insert_with(|| load(&engines, &folder.join(file)));
    }
    for case in cases {
        let fill = |place: &Path| {
            for (path, what) in case["files"].as_object().into_iter().flatten() {
                let full = place.join(path);
                std::fs::create_dir_all(full.parent().expect("a parent")).expect("mkdir");
                match what {
                    Value::Null => std::fs::create_dir_all(&full).expect("mkdir"),
                    Value::String(text) => std::fs::write(&full, text).expect("write"),
                    link => {
                        std::os::unix::fs::symlink(text(link, "symlink"), &full).expect("symlink")
                    }
                }
            }
        };
        let go = |module: &Module, dir: &Path| {
            let env = case["env"].as_object().into_iter().flatten();
            let given = Given {
                args: texts(case, "args"),
                env: env.filter_map(|(k, v)| Some((k.as_str(), v.as_str()?))).collect(),
                stdin: text(case, "stdin"),
                dir: (case["dir"] == true).then_some(dir),
                // Some programs wait for what never comes; that they end is not what is asked here.
                fuel: 30_000_000,
            };
            run(module, &given)
        };
        compare(text(case, "name"), &modules[text(case, "file")], &fill, &go);
    }
    println!("{} cases in {} engines", cases.len(), KINDS.len());
}

/// Other people's programs, where they lie beside the workspace: those that take less than a second.
pub fn corpus(deterministic: &dyn Fn(Kind) -> Engine) {
    let folder = match std::env::var_os("PALISADE_PROGRAMS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/programs"),
    };
    if !folder.join("programs.json").is_file() {
        println!("not run: there is no corpus of programs at {}", folder.display());
        return;
    }
    let list = json(&folder.join("programs.json"));
    let entries = list.as_array().expect("a list").iter();
    let short: Vec<&Value> = entries
        .filter(|entry| text(entry, "file").starts_with("wasi/") && entry["invoke"].is_null())
        .collect();
    let engines: Vec<(Kind, Engine)> = KINDS.iter().map(|k| (*k, deterministic(*k))).collect();
    for entry in &short {
        let file = folder.join(text(entry, "file"));
        // To compile the large ones as a whole takes longer than everything else here.
        let large = file.metadata().expect("it is there").len() > LARGE;
        let engines: Vec<(Kind, Engine)> =
            engines.iter().filter(|(k, _)| !large || *k != Kind::Compiled).cloned().collect();
        let modules = load(&engines, &file);
        let go = |module: &Module, dir: &Path| {
            let given = Given {
                args: texts(entry, "args"),
                env: Vec::new(),
                stdin: "",
                dir: entry["dir"].is_string().then_some(dir),
                fuel: 30_000_000,
            };
            run(module, &given)
        };
        compare(text(entry, "name"), &modules, &|_| {}, &go);
    }
    assert!(!short.is_empty(), "the corpus has no short programs");
    println!("{} programs of the corpus", short.len());
}
