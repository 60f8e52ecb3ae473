//! Sorting the words of a command line into options and the rest.
//!
//! Options may stand anywhere before `--`; what they mean never depends on where. So before
//! anything is parsed, the words are put into one order: options first, then `--`, then everything
//! that is not an option. A word that begins with `-` is never taken for a file name or for the
//! value of an option (`--fuel=-1` says so explicitly); numbers after `--invoke` are the exception.

use std::ffi::{OsStr, OsString};

use clap::{ArgAction, Command};

/// A sorted command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// Options with their values, in the order given.
    pub(crate) options: Vec<OsString>,
    /// Everything else, in the order given.
    pub(crate) rest: Vec<OsString>,
    /// Where the first of `rest` stands in the line, if it stands before `--`.
    pub(crate) first: Option<usize>,
}

impl Words {
    /// The words in the order that the parser gets.
    pub(crate) fn into_line(self, program: &str) -> Vec<OsString> {
        let mut line = Vec::with_capacity(self.options.len() + self.rest.len() + 2);
        line.push(OsString::from(program));
        line.extend(self.options);
        line.push(OsString::from("--"));
        line.extend(self.rest);
        line
    }
}

/// Sorts the words of a command line for `command`.
pub(crate) fn sort(command: &Command, words: &[OsString]) -> Words {
    let numbers_are_arguments = invokes(words);
    let mut sorted = Words::default();
    let mut words = words.iter().enumerate().peekable();
    while let Some((at, word)) = words.next() {
        if word == "--" {
            sorted.rest.extend(words.map(|(_, word)| word.clone()));
            break;
        }
        if !looks_like_option(word) || (numbers_are_arguments && is_negative_number(word)) {
            sorted.first = sorted.first.or(Some(at));
            sorted.rest.push(word.clone());
            continue;
        }
        sorted.options.push(word.clone());
        if takes_value(command, word)
            && let Some((_, value)) = words.next_if(|(_, next)| !looks_like_option(next))
        {
            sorted.options.push(value.clone());
        }
    }
    sorted
}

/// Whether `--invoke` stands before `--`, wherever that is.
fn invokes(words: &[OsString]) -> bool {
    words
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "--invoke" || word.as_encoded_bytes().starts_with(b"--invoke="))
}

fn looks_like_option(word: &OsStr) -> bool {
    let bytes = word.as_encoded_bytes();
    bytes.len() > 1 && bytes[0] == b'-'
}

/// Whether an option, written without `=`, takes the next word as its value.
fn takes_value(command: &Command, word: &OsStr) -> bool {
    let Some(name) = word.to_str() else { return false };
    let find = |wanted: &dyn Fn(&clap::Arg) -> bool| {
        command.get_arguments().find(|arg| wanted(arg)).is_some_and(|arg| {
            let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
            takes && !arg.is_require_equals_set()
        })
    };
    match name.strip_prefix("--") {
        Some(long) => find(&|arg| arg.get_long() == Some(long)),
        None => {
            let mut letters = name.chars().skip(1);
            match (letters.next(), letters.next()) {
                (Some(letter), None) => find(&|arg| arg.get_short() == Some(letter)),
                _ => false,
            }
        }
    }
}

/// Whether a word is what an export may be called with: `-1`, `-0x80`, `-1.5e3`, `-inf`, `-nan`.
fn is_negative_number(word: &OsStr) -> bool {
    let Some(number) = word.to_str().and_then(|w| w.strip_prefix('-')) else { return false };
    let first_is_digit =
        number.strip_prefix('.').unwrap_or(number).starts_with(|c: char| c.is_ascii_digit());
    first_is_digit || matches!(number, "inf" | "nan") || number.starts_with("nan:0x")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Arg;

    fn command() -> Command {
        Command::new("t")
            .arg(Arg::new("fuel").long("fuel"))
            .arg(Arg::new("invoke").long("invoke"))
            .arg(Arg::new("sandbox").long("sandbox").action(ArgAction::SetTrue))
    }

    fn words(line: &str) -> (String, String, Option<usize>) {
        let list: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let sorted = sort(&command(), &list);
        let join = |v: &[OsString]| {
            v.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        (join(&sorted.options), join(&sorted.rest), sorted.first)
    }

    #[test]
    fn options_come_first_wherever_they_stood() {
        for line in [
            "--fuel 5 --sandbox a.wasm x y",
            "a.wasm --fuel 5 x --sandbox y",
            "a.wasm x y --fuel 5 --sandbox",
        ] {
            let (options, rest, _) = words(line);
            assert_eq!((options.as_str(), rest.as_str()), ("--fuel 5 --sandbox", "a.wasm x y"));
        }
    }

    #[test]
    fn after_two_dashes_nothing_is_an_option() {
        assert_eq!(
            words("--sandbox a.wasm -- --fuel -- 5"),
            ("--sandbox".into(), "a.wasm --fuel -- 5".into(), Some(1))
        );
    }

    #[test]
    fn an_option_is_never_the_value_of_another() {
        assert_eq!(words("--invoke --sandbox a").0, "--invoke --sandbox");
        assert_eq!(words("--fuel=-1 a").0, "--fuel=-1");
        assert_eq!(words("--unknown a.wasm").0, "--unknown");
    }

    #[test]
    fn negative_numbers_need_no_dashes_after_invoke() {
        assert_eq!(words("a --invoke f -1 -0x2 -inf -nan -.5").1, "a -1 -0x2 -inf -nan -.5");
        assert_eq!(words("-1 a --invoke f").1, "-1 a");
        assert_eq!(words("a -1").0, "-1");
        assert_eq!(words("a -1 -- --invoke").0, "-1");
        assert_eq!(words("a --invoke f -x").0, "--invoke f -x");
    }
}
