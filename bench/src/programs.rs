//! Whole processes: the `palisade` command beside the command of another runtime, over a folder of programs; and
//! how long either takes to start.
//!
//! The folder has a `programs.json`: a list of objects with `name`, `file`, `args`, `dir` (where it runs, beneath
//! the folder), `stdout` (the file with what it prints), `exit`. Nothing of the host's environment is shown to them. Programs with an `invoke` are left out: how a
//! function is named differs from command to command.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;

use crate::measure::{Mean, Pairs, in_turns};

/// What to run and how.
pub struct Options {
    pub ours: PathBuf,
    /// The other command and its options, to which file and arguments are added.
    pub rival: Vec<String>,
    pub folder: PathBuf,
    pub pairs: usize,
    pub names: Vec<String>,
}

/// All but the host's environment.
const ALLOWED: [&str; 6] = [
    "--allow-read",
    "--allow-write",
    "--allow-path",
    "--allow-clock",
    "--allow-random",
    "--allow-proc",
];

#[derive(Deserialize)]
struct Program {
    name: String,
    file: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    invoke: Option<String>,
    dir: Option<PathBuf>,
    stdout: Option<PathBuf>,
    #[serde(default)]
    exit: i32,
}

fn output(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

impl Program {
    fn commands(&self, options: &Options) -> [Command; 2] {
        let dir = self.dir.as_deref().unwrap_or(Path::new(""));
        let here = options.folder.join(dir);
        // Some programs print what they were called: the path from where they run.
        let file = match self.file.strip_prefix(dir) {
            Ok(file) => file.to_owned(),
            Err(_) => options.folder.join(&self.file),
        };
        let mut ours = Command::new(&options.ours);
        ours.args(["run", "--dir", "."]).args(ALLOWED).arg(&file).arg("--").args(&self.args);
        let mut theirs = Command::new(&options.rival[0]);
        theirs.args(&options.rival[1..]).arg(&file).args(&self.args);
        ours.current_dir(&here);
        theirs.current_dir(&here);
        [ours, theirs]
    }

    /// Whether the outputs are the same to the last byte, or but for numbers (times, mostly); an error says why not.
    fn compare(&self, options: &Options, ours: &Output, theirs: &Output) -> Result<bool, String> {
        for (whose, output) in [("ours", ours), ("the other", theirs)] {
            if output.status.code() != Some(self.exit) {
                let code = output.status.code();
                return Err(format!("{whose} ends with {code:?}, not {}", self.exit));
            }
        }
        let mut exact = ours.stdout == theirs.stdout;
        if !exact && without_numbers(&ours.stdout) != without_numbers(&theirs.stdout) {
            return Err("they print different things".into());
        }
        if let Some(file) = &self.stdout {
            let expected = std::fs::read(options.folder.join(file)).map_err(|e| e.to_string())?;
            exact &= ours.stdout == expected;
            if !exact && without_numbers(&ours.stdout) != without_numbers(&expected) {
                return Err("ours prints something else than recorded".into());
            }
        }
        Ok(exact)
    }
}

fn without_numbers(output: &[u8]) -> Vec<u8> {
    let number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let mut kept = output.to_vec();
    kept.iter_mut().filter(|byte| number(byte)).for_each(|byte| *byte = b'0');
    kept.dedup_by(|a, b| *a == b'0' && *b == b'0');
    kept
}

fn print(name: &str, pairs: &Pairs) {
    println!(
        "{name:<22} {:>9.1}ms {:>9.1}ms {:>7.3}",
        pairs.ours * 1e3,
        pairs.theirs * 1e3,
        pairs.ratio
    );
}

fn measure(pairs: usize, [ours, theirs]: &mut [Command; 2]) -> Pairs {
    in_turns(pairs, || drop(output(ours)), || drop(output(theirs)))
}

/// Measures programs; whether all of them printed what they should.
pub fn run(options: &Options) -> bool {
    let list = options.folder.join("programs.json");
    let text = std::fs::read_to_string(&list).unwrap_or_else(|e| panic!("{}: {e}", list.display()));
    let programs: Vec<Program> = serde_json::from_str(&text).expect("programs.json");
    println!("{:<22} {:>11} {:>11} {:>7}", "program", "palisade", "other", "ratio");
    let (mut mean, mut good) = (Mean::default(), true);
    for program in programs {
        let wanted = options.names.is_empty() || options.names.contains(&program.name);
        if !wanted || program.invoke.is_some() {
            continue;
        }
        let mut commands = program.commands(options);
        let [ours, theirs] = commands.each_mut().map(output);
        let exact = match program.compare(options, &ours, &theirs) {
            Ok(exact) => exact,
            Err(reason) => {
                println!("{:<22} not measured: {reason}", program.name);
                good = false;
                continue;
            }
        };
        let pairs = measure(options.pairs, &mut commands);
        mean.add(pairs.ratio);
        let mark = if exact { "" } else { " *" };
        print(&format!("{}{mark}", program.name), &pairs);
    }
    mean.print();
    println!("*: the outputs are the same but for numbers");
    good
}

/// Measures a program that does nothing, which is all start and end.
pub fn start(options: &Options) {
    let file = std::env::temp_dir().join(format!("nothing-{}.wasm", std::process::id()));
    let nothing =
        wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    std::fs::write(&file, nothing.expect("a module")).expect("a temporary file");
    let mut ours = Command::new(&options.ours);
    ours.arg("run").arg(&file);
    let mut theirs = Command::new(&options.rival[0]);
    theirs.args(&options.rival[1..]).arg(&file);
    let mut locked = Command::new(&options.ours);
    locked.args(["run", "--sandbox"]).arg(&file);
    println!("{:<22} {:>11} {:>11} {:>7}", "start", "palisade", "other", "ratio");
    let mut commands = [ours, theirs];
    for ended in commands.each_mut().map(output) {
        assert!(ended.status.success(), "{ended:?}");
    }
    print("nothing", &measure(options.pairs, &mut commands));
    commands[0] = locked;
    print("nothing, --sandbox", &measure(options.pairs, &mut commands));
    std::fs::remove_file(&file).expect("the temporary file");
}
