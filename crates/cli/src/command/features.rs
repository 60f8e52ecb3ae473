//! `palisade features`: what this build and this machine can do.

use palisade::{Config, Dispatch, LimitKind, Limits};
use palisade_lockdown::Support;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use serde_json::{Map, Value, json};

use crate::args::Features;
use crate::failure::{self, Failure, Status};
use crate::lock;
use crate::outcome;
use crate::settings::Switches;

pub(super) fn run(args: &Features) -> Result<Status, Failure> {
    let found = Found::look(&Switches::of(&args.proposals)?)?;
    failure::print(&if args.json { found.as_json() } else { found.as_text() })?;
    Ok(Status::Success)
}

/// A proposal, and whether modules may need it. A test tries each and compares.
struct Proposal {
    name: String,
    on: bool,
}

struct Found {
    proposals: Vec<Proposal>,
    dispatcher: &'static str,
    /// Why there is no machine code; `None` if there is.
    no_machine_code: Option<String>,
    kernel: String,
    /// `None` if it works, otherwise why it does not.
    openat2: Option<String>,
    /// What the kernel has of the lock around the process.
    lock: Support,
}

impl Found {
    fn look(switches: &Switches) -> Result<Self, Failure> {
        let mut config = Config::new();
        config.strategy(palisade::Strategy::Interpreter);
        switches.apply(&mut config)?;
        let engine = outcome::engine(&config)?;
        let uname = rustix::system::uname();
        Ok(Self {
            proposals: config
                .features()
                .map(|(switch, on)| Proposal { name: proposal(switch), on })
                .collect(),
            dispatcher: match engine.dispatcher() {
                Dispatch::TailCall => "tail calls",
                _ => "loop",
            },
            no_machine_code: why_no_machine_code(),
            kernel: format!(
                "{} {} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy(),
                uname.machine().to_string_lossy()
            ),
            openat2: why_no_openat2(),
            lock: Support::probe(),
        })
    }

    fn as_text(&self) -> String {
        let mut out = format!("palisade {}\n", env!("CARGO_PKG_VERSION"));
        out.push_str("\nEngines\n");
        out.push_str(&format!("  interpreter          on, dispatching by {}\n", self.dispatcher));
        let machine_code = match &self.no_machine_code {
            None => "on, by Cranelift",
            Some(why) => why,
        };
        out.push_str(&format!("  machine code         {machine_code}\n"));
        out.push_str("\nProposals (--wasm NAME=on|off)\n");
        for Proposal { name, on } in &self.proposals {
            out.push_str(&format!("  {name:24} {}\n", if *on { "on" } else { "off" }));
        }
        out.push_str("\nSystem\n");
        out.push_str(&format!("  kernel               {}\n", crate::escape::name(&self.kernel)));
        let openat2 = match &self.openat2 {
            None => "works: files can be reached beneath granted directories".to_owned(),
            Some(why) => format!("{why}: guests cannot open any file"),
        };
        out.push_str(&format!("  openat2              {openat2}\n"));
        out.push_str(&format!("  Landlock             {}\n", self.lock.landlock()));
        let filtered = if self.lock.seccomp { "works" } else { "not to be had" };
        out.push_str(&format!("  seccomp              {filtered}\n"));
        out.push_str(&format!("  lockdown             {}\n", lock::outlook(&self.lock)));
        out.push_str("\nLimits of the decoder (--limit NAME=N)\n");
        out.push_str("  name                       default   --sandbox     highest\n");
        let (wide, strict) = (Limits::default(), Limits::strict());
        for &kind in LimitKind::ALL {
            out.push_str(&format!(
                "  {:20} {:>13} {:>11} {:>11}\n",
                kind.name(),
                wide.get(kind),
                strict.get(kind),
                kind.ceiling()
            ));
        }
        out
    }

    fn as_json(&self) -> String {
        let proposals: Map<String, Value> = self
            .proposals
            .iter()
            .map(|Proposal { name, on }| {
                // Whatever is validated is executed. Both keys stay, for whoever reads them.
                (name.clone(), json!({ "validated": on, "executed": on }))
            })
            .collect();
        let (wide, strict) = (Limits::default(), Limits::strict());
        let limits: Map<String, Value> = LimitKind::ALL
            .iter()
            .map(|&kind| {
                let value = json!({
                    "default": wide.get(kind),
                    "sandbox": strict.get(kind),
                    "highest": kind.ceiling(),
                });
                (kind.name().to_owned(), value)
            })
            .collect();
        super::json_text(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "engines": {
                "interpreter": { "dispatcher": self.dispatcher },
                "machine code": { "available": self.no_machine_code.is_none() },
            },
            "proposals": proposals,
            "system": {
                "kernel": self.kernel,
                "openat2": self.openat2.is_none(),
                "landlock": self.lock.landlock_abi,
                "seccomp": self.lock.seccomp,
                "lockdown lacks": self.lock.missing(),
            },
            "limits": limits,
        }))
    }
}

/// `wasm_tail_call` is the switch of the proposal `tail-call`.
fn proposal(switch: &str) -> String {
    switch.strip_prefix("wasm_").unwrap_or(switch).replace('_', "-")
}

/// Makes an engine that has nothing but machine code.
fn why_no_machine_code() -> Option<String> {
    let mut config = Config::new();
    config.strategy(palisade::Strategy::Compiled);
    palisade::Engine::new(&config).err().map(|error| crate::escape::name(&error.to_string()))
}

/// Tries the call that all access to files goes through.
fn why_no_openat2() -> Option<String> {
    let opened = rustix::fs::openat2(
        CWD,
        ".",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    );
    match opened {
        Ok(_) => None,
        Err(rustix::io::Errno::NOSYS) => Some("not in this kernel".to_owned()),
        Err(rustix::io::Errno::PERM) => Some("refused by a filter around this process".to_owned()),
        Err(error) => Some(format!("fails ({error})")),
    }
}
