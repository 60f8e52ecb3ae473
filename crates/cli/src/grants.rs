//! What a guest is given, from the options to its WASI context.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use palisade_wasi::{Caps, Overlap, Preopen, Stdio, Wasi, WasiCtx};

use crate::args::Run;
use crate::audit::Audit;
use crate::dirs::Grant;
use crate::escape;
use crate::failure::{self, Failure};
use crate::settings::Settings;

/// Opens what is granted. Whatever fails here is wrong usage.
pub(crate) fn build(args: &Run, settings: &Settings, audit: &Audit) -> Result<Wasi, Failure> {
    let grants = &args.grants;
    let mut builder = WasiCtx::builder()
        .caps(settings.capabilities)
        .inherit_env()
        .max_descriptors(settings.open_files)
        .arg(own_name(args));
    builder = settings.conduct.build(builder);
    builder = if audit.is_wanted() {
        builder.audit(audit.decisions())
    } else {
        builder.audit_denials(audit.decisions())
    };
    // With --invoke the arguments are the export's.
    if args.invoke.is_none() {
        builder = builder.args(args.args.iter().map(|arg| arg.as_bytes()));
    }
    for (name, value) in variables(&grants.env)? {
        builder = builder.env(name.as_bytes(), value.as_bytes());
    }
    if grants.no_stdio {
        builder = builder.stdin(Stdio::Null).stdout(Stdio::Null).stderr(Stdio::Null);
    }
    let mut warnings = Vec::new();
    for text in &grants.dir {
        let grant = Grant::parse(text)?;
        warnings.extend(uselessness(text, &grant, settings.capabilities));
        let preopen = Preopen::new(&grant.host, grant.guest);
        builder = builder.preopen(if grant.read_only { preopen.read_only() } else { preopen });
    }
    let ctx = builder.build().map_err(|error| Failure::usage(escape::lines(&error.to_string())))?;
    warnings.extend(ctx.overlapping_preopens().iter().map(describe));
    for warning in warnings {
        failure::warn(&warning);
    }
    Ok(Wasi::new(ctx))
}

/// What the guest finds as its own name: never a path of the host.
fn own_name(args: &Run) -> Vec<u8> {
    match &args.argv0 {
        Some(name) => name.clone().into_bytes(),
        None => args.file.file_name().unwrap_or(OsStr::new("")).as_bytes().to_vec(),
    }
}

fn variables(pairs: &[OsString]) -> Result<Vec<(&OsStr, &OsStr)>, Failure> {
    let mut found: Vec<(&OsStr, &OsStr)> = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let bytes = pair.as_bytes();
        let shown = || escape::os(pair);
        let Some(at) = bytes.iter().position(|&byte| byte == b'=') else {
            return Err(Failure::usage(format!("--env {}: `=` is missing", shown()))
                .hint("write --env NAME=VALUE; --allow-env shows all variables of this process"));
        };
        if at == 0 {
            return Err(Failure::usage(format!("--env {}: the name is missing", shown())));
        }
        let (name, value) = (OsStr::from_bytes(&bytes[..at]), OsStr::from_bytes(&bytes[at + 1..]));
        if found.iter().any(|(earlier, _)| *earlier == name) {
            return Err(Failure::usage(format!("--env {} is given twice", escape::os(name))));
        }
        found.push((name, value));
    }
    Ok(found)
}

/// A sentence if the guest can do nothing with a directory.
fn uselessness(text: &OsStr, grant: &Grant, capabilities: Caps) -> Option<String> {
    let mut usable = capabilities & Caps::FILES;
    if grant.read_only {
        usable.remove(Caps::WRITE);
    }
    let missing = if grant.read_only {
        "--allow-read or --allow-path"
    } else {
        "--allow-read, --allow-write or --allow-path"
    };
    usable.is_empty().then(|| format!("--dir {} gives nothing without {missing}", escape::os(text)))
}

fn describe(overlap: &Overlap) -> String {
    let (outer, inner) = (escape::name(&overlap.outer), escape::name(&overlap.inner));
    let stronger = match (overlap.outer_allows_more, overlap.inner_allows_more) {
        (true, false) => format!("more is allowed through `{outer}`"),
        (false, true) => format!("more is allowed through `{inner}`"),
        _ => "each allows something that the other does not".to_owned(),
    };
    format!(
        "the directory `{inner}` lies in (or is) `{outer}`, and {stronger}: a path is judged by the \
         one it is named through"
    )
}
