//! The commands of the program: one attempt, and what attempts should lead to.

use std::ffi::OsStr;
use std::process::ExitCode;

use palisade_lockdown::Profile;

use crate::place::{Grant, Place, Want, Way};
use crate::{files, system};

/// The attempt succeeded.
const DONE: u8 = 0;
/// The kernel refused it.
const REFUSED: u8 = 10;
/// It could not be made.
const WRONG: u8 = 2;

fn ways() -> impl Iterator<Item = &'static Way> {
    files::WAYS.iter().chain(system::WAYS)
}

/// Does what the words of the command line say.
pub(crate) fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let code = match *words.as_slice() {
        ["list"] => list(),
        ["table"] => table(),
        ["try", name, profile, grant, base] => attempt(name, profile, grant, base, true),
        ["try", name, profile, grant, base, "--without-lock"] => {
            attempt(name, profile, grant, base, false)
        }
        ["lock-beside-a-thread"] => beside_a_thread(),
        _ => {
            eprintln!(
                "palisade-ways-out list\n\
                 palisade-ways-out table\n\
                 palisade-ways-out try NAME interpreter|compiler none|ro|rw BASE [--without-lock]\n\
                 BASE is a directory that holds `inside` with `file`, and `outside` with `secret`"
            );
            WRONG
        }
    };
    ExitCode::from(code)
}

/// Name, and what is expected in each of the six cases.
fn list() -> u8 {
    for way in ways() {
        let mut line = way.name.to_owned();
        for profile in [Profile::Interpreter, Profile::Compiler] {
            for grant in Grant::ALL {
                line.push('\t');
                line.push_str(way.want.expected(profile, grant));
            }
        }
        println!("{line}");
    }
    DONE
}

/// The table of the documentation.
fn table() -> u8 {
    println!("| what is tried | what comes of it | ways |\n|---|---|---|");
    let mut seen: Vec<(&str, Want)> = Vec::new();
    for way in ways() {
        if !seen.contains(&(way.group, way.want)) {
            seen.push((way.group, way.want));
        }
    }
    for (group, want) in seen {
        let names: Vec<String> = ways()
            .filter(|way| (way.group, way.want) == (group, want))
            .map(|way| way.name.replace('_', " "))
            .collect();
        println!("| {group} | {} | {} |", want.describe(), names.join(" · "));
    }
    DONE
}

fn attempt(name: &str, profile: &str, grant: &str, base: &str, locked: bool) -> u8 {
    let Some(way) = ways().find(|way| way.name == name) else {
        eprintln!("there is no way {name}");
        return WRONG;
    };
    let profile = match profile {
        "interpreter" => Profile::Interpreter,
        "compiler" => Profile::Compiler,
        _ => return WRONG,
    };
    let Some(grant) = Grant::ALL.into_iter().find(|g| g.name() == grant) else { return WRONG };
    let place = match Place::open(OsStr::new(base)) {
        Ok(place) => place,
        Err(error) => {
            eprintln!("{base}: {error}");
            return WRONG;
        }
    };
    if locked && let Err(error) = place.lock(profile, grant) {
        eprintln!("{error}");
        return WRONG;
    }
    match (way.run)(&place) {
        Ok(()) => {
            println!("done");
            DONE
        }
        Err(errno) => {
            println!("{errno}");
            REFUSED
        }
    }
}

/// A thread that exists before the lock.
fn beside_a_thread() -> u8 {
    let (stop, wait) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || wait.recv());
    let result = palisade_lockdown::Lockdown::builder().enforce();
    drop(stop);
    let _ = other.join();
    match result {
        Ok(report) => {
            println!("locked {report:?}");
            DONE
        }
        Err(error) => {
            println!("{error}");
            REFUSED
        }
    }
}
