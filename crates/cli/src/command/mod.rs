//! The subcommands, and finding out which one is meant.

mod cache;
mod columns;
mod compile;
mod explore;
mod features;
mod inspect;
mod key;
mod run;
mod validate;
mod wasi;
mod wast;

use std::ffi::OsString;

use clap::error::ErrorKind;

use crate::args;
use crate::escape;
use crate::failure::{self, Failure, Status};
use crate::words;

/// What the words of the command line ask for.
struct Request {
    /// The subcommand.
    name: String,
    /// Whether it stood on the command line; otherwise it is `run`.
    named: bool,
    /// The words without the subcommand.
    words: Vec<OsString>,
}

/// Does what the command line says.
pub(crate) fn dispatch(words: &[OsString]) -> Result<Status, Failure> {
    let request = Request::of(words);
    match request.name.as_str() {
        "run" => match request.parse() {
            Ok(run) => run::run(&run),
            Err(error) => request.answer(&error),
        },
        "compile" => match request.parse() {
            Ok(compile) => compile::run(&compile),
            Err(error) => request.answer(&error),
        },
        "cache" => match request.parse() {
            Ok(cache) => cache::run(&cache),
            Err(error) => request.answer(&error),
        },
        "key" => match request.parse() {
            Ok(key) => key::run(&key),
            Err(error) => request.answer(&error),
        },
        "validate" => match request.parse() {
            Ok(validate) => validate::run(&validate),
            Err(error) => request.answer(&error),
        },
        "inspect" => match request.parse() {
            Ok(inspect) => inspect::run(&inspect),
            Err(error) => request.answer(&error),
        },
        "explore" => match request.parse() {
            Ok(explore) => explore::run(&explore),
            Err(error) => request.answer(&error),
        },
        "features" => match request.parse() {
            Ok(features) => features::run(&features),
            Err(error) => request.answer(&error),
        },
        "wasi" => match request.parse() {
            Ok(wasi) => wasi::run(&wasi),
            Err(error) => request.answer(&error),
        },
        "wast" => match request.parse() {
            Ok(wast) => wast::run(&wast),
            Err(error) => request.answer(&error),
        },
        _ => help(&request.words),
    }
}

impl Request {
    /// The first word that is no option and no option's value is the subcommand, if it is the name
    /// of one; otherwise it is a file to run.
    fn of(words: &[OsString]) -> Self {
        let first = args::subcommand("run").and_then(|run| words::sort(&run, words).first);
        let name = first
            .and_then(|at| words.get(at))
            .and_then(|word| word.to_str())
            .filter(|word| *word == "help" || args::SUBCOMMANDS.contains(word));
        match (first, name) {
            (Some(at), Some(name)) => {
                let mut rest = words.to_vec();
                rest.remove(at);
                Self { name: name.to_owned(), named: true, words: rest }
            }
            _ => Self { name: "run".to_owned(), named: false, words: words.to_vec() },
        }
    }

    fn parse<T: clap::FromArgMatches>(&self) -> Result<T, clap::Error> {
        args::parse(&self.name, &self.words)
    }

    /// What the parser has to say when it gives no values: help, version or what is wrong.
    fn answer(&self, error: &clap::Error) -> Result<Status, Failure> {
        match error.kind() {
            ErrorKind::DisplayHelp if !self.named => {
                let short = self.words.iter().any(|word| word == "-h");
                let mut whole = args::whole();
                let text = if short { whole.render_help() } else { whole.render_long_help() };
                failure::print(&text.to_string())?;
                Ok(Status::Success)
            }
            ErrorKind::DisplayVersion => {
                failure::print(concat!("palisade ", env!("CARGO_PKG_VERSION"), "\n"))?;
                Ok(Status::Success)
            }
            ErrorKind::DisplayHelp => {
                failure::print(&error.render().to_string())?;
                Ok(Status::Success)
            }
            _ => Err(wrong_usage(error)),
        }
    }
}

fn wrong_usage(error: &clap::Error) -> Failure {
    let text = escape::lines(&error.render().to_string());
    Failure::usage(text.strip_prefix("error: ").unwrap_or(&text).trim_end())
}

/// `palisade help [COMMAND]`.
fn help(words: &[OsString]) -> Result<Status, Failure> {
    let text = match words {
        [] => args::whole().render_long_help().to_string(),
        [name] => match name.to_str().and_then(args::subcommand) {
            // The same text as `--help`.
            Some(command) => match command.try_get_matches_from(["palisade", "--help"]) {
                Err(help) => help.render().to_string(),
                Ok(_) => String::new(),
            },
            None => {
                return Err(Failure::usage(format!("there is no command `{}`", escape::os(name)))
                    .hint(format!("the commands are {}", args::SUBCOMMANDS.join(", "))));
            }
        },
        _ => return Err(Failure::usage("`palisade help` takes the name of one command")),
    };
    failure::print(&text)?;
    Ok(Status::Success)
}

/// JSON as the subcommands print it: indented, in ASCII, one line end at the end.
fn json_text(value: &serde_json::Value) -> String {
    ascii(&format!("{value:#}\n"))
}

/// JSON with everything beyond ASCII written as an escape.
pub(crate) fn ascii(json: &str) -> String {
    let mut out = String::new();
    for c in json.chars() {
        // Controls are escaped already; what is left beyond ASCII stands in strings only.
        if c.is_ascii() && c != '\x7f' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_ascii_and_means_the_same() {
        let value = serde_json::json!({ "a\u{202e}\u{1b}": ["\u{1f600}\u{7f}", "x\ny"] });
        let text = json_text(&value);
        assert!(text.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
        assert_eq!(read, value);
    }

    #[test]
    fn the_command_may_stand_behind_options() {
        for (line, name) in [
            ("a.wasm", "run"),
            ("run a.wasm", "run"),
            ("--sandbox run a.wasm", "run"),
            ("--fuel 3 a.wasm validate", "run"),
            ("--invoke validate a.wasm", "run"),
            ("-- validate", "run"),
            ("validate a.wasm", "validate"),
            ("--json inspect a.wasm", "inspect"),
            ("./wasi", "run"),
            ("help", "help"),
        ] {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(Request::of(&words).name, name, "{line}");
        }
    }
}
