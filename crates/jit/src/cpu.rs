//! For which processor code is made, and with which settings of the code generator.
//!
//! The settings are those that the runtime depends on: frame pointers are kept in every function, for frames
//! are walked by them; large frames touch each of their pages in order, so that a guard of one page stops every
//! overflow of the stack; results that do not fit registers go through an area that the caller names in front
//! of the context (see `link`). Code is position independent.

use std::sync::Arc;

use cranelift_codegen::isa::{self, OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable, Flags, SetError};

use crate::error::CompileError;
use crate::options::Options;

/// The binary logarithm of the smallest page of the machine.
const PAGE_LOG2: &str = "12";

/// The processor's extensions without which code would need helpers that there are not, by their names here and
/// in the code generator.
#[cfg(target_arch = "x86_64")]
const REQUIRED: [(&str, &str); 3] =
    [("SSE3", "has_sse3"), ("SSSE3", "has_ssse3"), ("SSE4.1", "has_sse41")];

/// Whether code can be made for this machine, without the work of getting ready for it.
///
/// # Errors
///
/// As [`isa`].
pub(crate) fn check(options: &Options) -> Result<(), CompileError> {
    #[cfg(target_arch = "x86_64")]
    {
        let _ = options;
        match REQUIRED.iter().find(|(_, setting)| !detected(setting)) {
            Some((name, _)) => Err(CompileError::Host(format!("the processor has no {name}"))),
            None => Ok(()),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    isa(options).map(drop)
}

/// The code generator for this machine.
///
/// # Errors
///
/// There is none for it, or it lacks an extension that code needs.
pub(crate) fn isa(options: &Options) -> Result<OwnedTargetIsa, CompileError> {
    let mut builder = builder(options.baseline)?;
    #[cfg(target_arch = "x86_64")]
    {
        check(options)?;
        for (_, setting) in REQUIRED {
            builder.enable(setting).map_err(refused)?;
        }
    }
    let flags = flags(options).map_err(refused)?;
    let isa = builder.finish(flags).map_err(|error| CompileError::Codegen(error.to_string()))?;
    Ok(isa)
}

fn builder(baseline: bool) -> Result<isa::Builder, CompileError> {
    let built = cranelift_native::builder_with_options(!baseline);
    built.map_err(|why| CompileError::Host(why.to_owned()))
}

fn refused(error: SetError) -> CompileError {
    CompileError::Codegen(format!("a setting: {error}"))
}

#[cfg(target_arch = "x86_64")]
fn detected(setting: &str) -> bool {
    match setting {
        "has_sse3" => std::is_x86_feature_detected!("sse3"),
        "has_ssse3" => std::is_x86_feature_detected!("ssse3"),
        "has_sse41" => std::is_x86_feature_detected!("sse4.1"),
        _ => false,
    }
}

fn flags(options: &Options) -> Result<Flags, SetError> {
    let flag = |on: bool| if on { "true" } else { "false" };
    let mut builder = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        ("enable_alias_analysis", "true"),
        ("is_pic", "true"),
        ("preserve_frame_pointers", "true"),
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
        ("probestack_size_log2", PAGE_LOG2),
        ("enable_multi_ret_implicit_sret", "true"),
        ("unwind_info", "false"),
        ("enable_verifier", flag(options.paranoid)),
        ("regalloc_checker", flag(options.paranoid)),
        // Where blocks begin and lead: for the places of loops.
        ("machine_code_cfg_info", "true"),
        ("enable_nan_canonicalization", flag(options.canonical_nans)),
    ] {
        builder.set(name, value)?;
    }
    Ok(Flags::new(builder))
}

/// All that the code depends on beside the module and the [`Options`]: for caches.
pub(crate) fn fingerprint(isa: &Arc<dyn TargetIsa>) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{} {}\n{}", isa.name(), isa.triple(), isa.flags());
    for value in isa.isa_flags() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_baseline_has_what_is_required_and_no_more() {
        let isa = isa(&Options { baseline: true, ..Options::default() }).unwrap();
        let on: Vec<_> =
            isa.isa_flags().iter().filter(|v| v.as_bool() == Some(true)).map(|v| v.name).collect();
        for (_, setting) in REQUIRED {
            assert!(on.contains(&setting), "{setting}");
        }
        for newer in ["has_avx", "has_avx2", "has_bmi1", "has_fma", "has_popcnt", "has_sse42"] {
            assert!(!on.contains(&newer), "{newer}");
        }
    }

    #[test]
    fn settings_follow_the_options() {
        let options = Options { paranoid: true, canonical_nans: true, ..Options::default() };
        let isa = isa(&options).unwrap();
        let flags = isa.flags();
        assert!(flags.enable_verifier() && flags.regalloc_checker());
        assert!(flags.enable_nan_canonicalization());
        assert!(
            flags.preserve_frame_pointers() && flags.enable_probestack() && !flags.unwind_info()
        );
        let plain = super::isa(&Options { paranoid: false, ..Options::default() }).unwrap();
        assert!(!plain.flags().enable_verifier() && !plain.flags().regalloc_checker());
        assert_ne!(fingerprint(&isa), fingerprint(&plain));
    }
}
