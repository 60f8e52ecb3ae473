//! Every operator on numbers, vectors and memory, compiled: with each way of addressing, for this processor and
//! for the oldest one that is supported. The verifier looks at what the translation makes, and no code may call
//! a function of a library.
//!
//! What operators do is tested where code runs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::FunctionBuilderContext;
use palisade_core::Limits;
use palisade_module::wasmparser::{self, BinaryReader, FunctionBody};
use palisade_module::{ModuleInfo, TypeRegistry, default_features};
use palisade_vm::VmOffsets;

use super::super::{Env, function};
use crate::options::{Bounds, Options};

/// Operators by their signatures. `#` stands for each number of the list before the bar.
const OPERATORS: &[(&str, &str)] = &[
    ("32 64 | i#.clz i#.ctz i#.popcnt i#.extend8_s i#.extend16_s", "i# -> i#"),
    (
        "32 64 | i#.add i#.sub i#.mul i#.div_s i#.div_u i#.rem_s i#.rem_u i#.and i#.or i#.xor \
         i#.shl i#.shr_s i#.shr_u i#.rotl i#.rotr",
        "i# i# -> i#",
    ),
    (
        "32 64 | i#.eq i#.ne i#.lt_s i#.lt_u i#.gt_s i#.gt_u i#.le_s i#.le_u i#.ge_s i#.ge_u",
        "i# i# -> i32",
    ),
    ("32 64 | i#.eqz", "i# -> i32"),
    ("i64.extend32_s", "i64 -> i64"),
    ("32 64 | f#.abs f#.neg f#.ceil f#.floor f#.trunc f#.nearest f#.sqrt", "f# -> f#"),
    ("32 64 | f#.add f#.sub f#.mul f#.div f#.min f#.max f#.copysign", "f# f# -> f#"),
    ("32 64 | f#.eq f#.ne f#.lt f#.gt f#.le f#.ge", "f# f# -> i32"),
    ("i32.wrap_i64", "i64 -> i32"),
    ("i64.extend_i32_s i64.extend_i32_u", "i32 -> i64"),
    ("32 64 | i32.trunc_f#_s i32.trunc_f#_u i32.trunc_sat_f#_s i32.trunc_sat_f#_u", "f# -> i32"),
    ("32 64 | i64.trunc_f#_s i64.trunc_f#_u i64.trunc_sat_f#_s i64.trunc_sat_f#_u", "f# -> i64"),
    ("32 64 | f32.convert_i#_s f32.convert_i#_u", "i# -> f32"),
    ("32 64 | f64.convert_i#_s f64.convert_i#_u", "i# -> f64"),
    ("f32.demote_f64", "f64 -> f32"),
    ("f64.promote_f32", "f32 -> f64"),
    ("32 64 | i#.reinterpret_f#", "f# -> i#"),
    ("32 64 | f#.reinterpret_i#", "i# -> f#"),
    ("i64.add128 i64.sub128", "i64 i64 i64 i64 -> i64 i64"),
    ("i64.mul_wide_s i64.mul_wide_u", "i64 i64 -> i64 i64"),
    // Vectors.
    ("v128.const,i64x2,0x0123456789abcdef,-2", "-> v128"),
    ("v128.not", "v128 -> v128"),
    ("v128.and v128.andnot v128.or v128.xor", "v128 v128 -> v128"),
    ("v128.bitselect", "v128 v128 v128 -> v128"),
    ("v128.any_true", "v128 -> i32"),
    ("i8x16.shuffle,0,17,2,19,4,21,6,23,8,25,10,27,12,29,14,31", "v128 v128 -> v128"),
    ("i8x16.shuffle,15,15,15,15,0,1,2,3,31,30,29,28,7,7,16,16", "v128 v128 -> v128"),
    ("i8x16.swizzle i8x16.relaxed_swizzle", "v128 v128 -> v128"),
    ("8x16 16x8 | i#.extract_lane_s,7 i#.extract_lane_u,7", "v128 -> i32"),
    ("i32x4.extract_lane,3", "v128 -> i32"),
    ("i64x2.extract_lane,1", "v128 -> i64"),
    ("f32x4.extract_lane,3", "v128 -> f32"),
    ("f64x2.extract_lane,1", "v128 -> f64"),
    ("8x16 16x8 | i#.replace_lane,7", "v128 i32 -> v128"),
    ("i32x4.replace_lane,3", "v128 i32 -> v128"),
    ("i64x2.replace_lane,1", "v128 i64 -> v128"),
    ("f32x4.replace_lane,3", "v128 f32 -> v128"),
    ("f64x2.replace_lane,1", "v128 f64 -> v128"),
    ("8x16 16x8 32x4 | i#.splat", "i32 -> v128"),
    ("i64x2.splat", "i64 -> v128"),
    ("f32x4.splat", "f32 -> v128"),
    ("f64x2.splat", "f64 -> v128"),
    ("8x16 16x8 32x4 64x2 | i#.abs i#.neg", "v128 -> v128"),
    ("8x16 16x8 32x4 64x2 | i#.all_true i#.bitmask", "v128 -> i32"),
    ("8x16 16x8 32x4 64x2 | i#.shl i#.shr_s i#.shr_u", "v128 i32 -> v128"),
    (
        "8x16 16x8 32x4 64x2 | i#.add i#.sub i#.eq i#.ne i#.lt_s i#.gt_s i#.le_s i#.ge_s",
        "v128 v128 -> v128",
    ),
    (
        "8x16 16x8 32x4 | i#.lt_u i#.gt_u i#.le_u i#.ge_u i#.min_s i#.min_u i#.max_s i#.max_u",
        "v128 v128 -> v128",
    ),
    (
        "8x16 16x8 | i#.add_sat_s i#.add_sat_u i#.sub_sat_s i#.sub_sat_u i#.avgr_u",
        "v128 v128 -> v128",
    ),
    ("16x8 32x4 64x2 | i#.mul", "v128 v128 -> v128"),
    ("i8x16.popcnt", "v128 -> v128"),
    ("i16x8.q15mulr_sat_s i16x8.relaxed_q15mulr_s i32x4.dot_i16x8_s", "v128 v128 -> v128"),
    (
        "i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u i16x8.narrow_i32x4_s i16x8.narrow_i32x4_u",
        "v128 v128 -> v128",
    ),
    (
        "low high | i16x8.extmul_#_i8x16_s i16x8.extmul_#_i8x16_u i32x4.extmul_#_i16x8_s \
         i32x4.extmul_#_i16x8_u i64x2.extmul_#_i32x4_s i64x2.extmul_#_i32x4_u",
        "v128 v128 -> v128",
    ),
    (
        "low high | i16x8.extend_#_i8x16_s i16x8.extend_#_i8x16_u i32x4.extend_#_i16x8_s \
         i32x4.extend_#_i16x8_u i64x2.extend_#_i32x4_s i64x2.extend_#_i32x4_u",
        "v128 -> v128",
    ),
    (
        "i16x8.extadd_pairwise_i8x16_s i16x8.extadd_pairwise_i8x16_u \
         i32x4.extadd_pairwise_i16x8_s i32x4.extadd_pairwise_i16x8_u",
        "v128 -> v128",
    ),
    ("32x4 64x2 | f#.abs f#.neg f#.ceil f#.floor f#.trunc f#.nearest f#.sqrt", "v128 -> v128"),
    (
        "32x4 64x2 | f#.add f#.sub f#.mul f#.div f#.min f#.max f#.pmin f#.pmax f#.eq f#.ne f#.lt \
         f#.gt f#.le f#.ge f#.relaxed_min f#.relaxed_max",
        "v128 v128 -> v128",
    ),
    (
        "i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u i32x4.trunc_sat_f64x2_s_zero \
         i32x4.trunc_sat_f64x2_u_zero i32x4.relaxed_trunc_f32x4_s i32x4.relaxed_trunc_f32x4_u \
         i32x4.relaxed_trunc_f64x2_s_zero i32x4.relaxed_trunc_f64x2_u_zero",
        "v128 -> v128",
    ),
    (
        "f32x4.convert_i32x4_s f32x4.convert_i32x4_u f64x2.convert_low_i32x4_s \
         f64x2.convert_low_i32x4_u f32x4.demote_f64x2_zero f64x2.promote_low_f32x4",
        "v128 -> v128",
    ),
    ("32x4 64x2 | f#.relaxed_madd f#.relaxed_nmadd", "v128 v128 v128 -> v128"),
    ("8x16 16x8 32x4 64x2 | i#.relaxed_laneselect", "v128 v128 v128 -> v128"),
    ("i16x8.relaxed_dot_i8x16_i7x16_s", "v128 v128 -> v128"),
    ("i32x4.relaxed_dot_i8x16_i7x16_add_s", "v128 v128 v128 -> v128"),
    // Vectors and memory.
    (
        "v128.load v128.load8x8_s v128.load8x8_u v128.load16x4_s v128.load16x4_u v128.load32x2_s \
         v128.load32x2_u v128.load8_splat v128.load16_splat v128.load32_splat v128.load64_splat \
         v128.load32_zero v128.load64_zero",
        "at -> v128",
    ),
    ("v128.store", "at v128 ->"),
    ("8 16 32 64 | v128.load#_lane,1", "at v128 -> v128"),
    ("8 16 32 64 | v128.store#_lane,1", "at v128 ->"),
    // Atomic operators.
    ("atomic.fence", "->"),
    ("memory.atomic.notify", "at i32 -> i32"),
    ("memory.atomic.wait32", "at i32 i64 -> i32"),
    ("memory.atomic.wait64", "at i64 i64 -> i32"),
    ("i32.atomic.load i32.atomic.load8_u i32.atomic.load16_u", "at -> i32"),
    ("i64.atomic.load i64.atomic.load8_u i64.atomic.load16_u i64.atomic.load32_u", "at -> i64"),
    ("i32.atomic.store i32.atomic.store8 i32.atomic.store16", "at i32 ->"),
    ("i64.atomic.store i64.atomic.store8 i64.atomic.store16 i64.atomic.store32", "at i64 ->"),
    (
        "add sub and or xor xchg | i32.atomic.rmw.# i32.atomic.rmw8.#_u i32.atomic.rmw16.#_u",
        "at i32 -> i32",
    ),
    (
        "add sub and or xor xchg | i64.atomic.rmw.# i64.atomic.rmw8.#_u i64.atomic.rmw16.#_u \
         i64.atomic.rmw32.#_u",
        "at i64 -> i64",
    ),
    (
        "i32.atomic.rmw.cmpxchg i32.atomic.rmw8.cmpxchg_u i32.atomic.rmw16.cmpxchg_u",
        "at i32 i32 -> i32",
    ),
    (
        "i64.atomic.rmw.cmpxchg i64.atomic.rmw8.cmpxchg_u i64.atomic.rmw16.cmpxchg_u \
         i64.atomic.rmw32.cmpxchg_u",
        "at i64 i64 -> i64",
    ),
];

/// A module with a function for each operator; those on memory have an offset.
fn module(memory: &str, index: &str, offset: u64) -> String {
    let mut text = format!("(module (memory {memory})");
    for (operators, signature) in OPERATORS {
        let (variants, operators) = operators.split_once(" | ").unwrap_or(("-", operators));
        for variant in variants.split(' ') {
            for operator in operators.split_whitespace() {
                let signature = signature.replace('#', variant);
                let (params, results) = signature.split_once("->").unwrap();
                let mut operator = operator.replace('#', variant);
                if params.starts_with("at") {
                    let end = operator.find(',').unwrap_or(operator.len());
                    operator.insert_str(end, &format!(" offset={offset}"));
                }
                let params = params.replace("at", index);
                write!(text, "\n(func (param {params}) (result {results})").unwrap();
                for i in 0..params.split_whitespace().count() {
                    write!(text, " local.get {i}").unwrap();
                }
                write!(text, " {})", operator.replace(',', " ")).unwrap();
            }
        }
    }
    text + ")"
}

/// A code generator with no more extensions than these, or for this processor.
fn isa(extensions: Option<&[&str]>, canonical_nans: bool, level: &str) -> OwnedTargetIsa {
    let mut builder = cranelift_native::builder_with_options(extensions.is_none()).unwrap();
    for extension in extensions.unwrap_or_default() {
        builder.enable(extension).unwrap();
    }
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", level),
        ("preserve_frame_pointers", "true"),
        ("enable_multi_ret_implicit_sret", "true"),
        ("enable_verifier", "true"),
        ("regalloc_checker", "true"),
        ("enable_nan_canonicalization", if canonical_nans { "true" } else { "false" }),
    ] {
        flags.set(name, value).unwrap();
    }
    builder.finish(settings::Flags::new(flags)).unwrap()
}

fn compile(text: String, options: &Options, isa: &OwnedTargetIsa) -> ModuleInfo {
    let types = TypeRegistry::new();
    let (limits, features) = (Limits::default(), default_features());
    let info = ModuleInfo::decode(text.into_bytes(), &limits, features, &types, None).unwrap();
    let offsets = VmOffsets::new(&info).unwrap();
    let in_batch = |_| true;
    let env = Env { info: &info, offsets: &offsets, types: &types, options, in_batch: &in_batch };
    let mut builder = FunctionBuilderContext::new();
    for defined in 0..info.bodies.len() as u32 {
        let mut context = Context::new();
        function(env, &**isa, &mut builder, &mut context.func, defined, None)
            .unwrap_or_else(|error| panic!("{:?}: {error}", operators_of(&info, defined)));
        let form = context.func.display().to_string();
        if let Err(error) = context.compile(&**isa, &mut ControlPlane::default()) {
            panic!("{:?}: {:?}\n{form}", operators_of(&info, defined), error.inner);
        }
        let code = context.compiled_code().unwrap();
        assert!(code.buffer.relocs().is_empty(), "{:?} calls", operators_of(&info, defined));
    }
    info
}

/// The names of the operators of a body, as the parser has them.
fn operators_of(info: &ModuleInfo, defined: u32) -> Vec<String> {
    let range = info.bodies[defined as usize].range.clone();
    let body = FunctionBody::new(BinaryReader::new(
        info.bytes.get(range.clone()).unwrap(),
        range.start as u64,
    ));
    let operators = body.get_operators_reader().unwrap().into_iter();
    operators
        .map(|op| format!("{:?}", op.unwrap()))
        .map(|text| text.split([' ', '(']).next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn every_operator_becomes_code_without_calls() {
    let text = module("1 1 shared", "i32", 16);
    let oldest: Option<&[&str]> = Some(&["has_sse3", "has_ssse3", "has_sse41"]);
    let extensions = if cfg!(target_arch = "x86_64") { oldest } else { None };
    for canonical_nans in [false, true] {
        for (extensions, level) in [(extensions, "speed"), (None, "speed"), (None, "none")] {
            let isa = isa(extensions, canonical_nans, level);
            compile(text.clone(), &Options { canonical_nans, ..Options::default() }, &isa);
        }
    }
}

#[test]
fn every_operator_works_with_every_kind_of_memory() {
    let isa = isa(None, false, "speed");
    for fuel in [false, true] {
        for bounds in [Bounds::Guard, Bounds::Explicit] {
            let options = Options { fuel, bounds, depth: fuel, ..Options::default() };
            compile(module("1", "i32", 0xffff_fff8), &options, &isa);
            compile(module("1 1 (pagesize 1)", "i32", 8), &options, &isa);
            compile(module("i64 1", "i64", 0xffff_ffff_ffff_fff8), &options, &isa);
            compile(module("i64 1 1 shared", "i64", 8), &options, &isa);
        }
    }
}

#[test]
fn no_operator_is_forgotten() {
    let info = compile(module("1", "i32", 0), &Options::default(), &isa(None, false, "none"));
    let tested: BTreeSet<String> =
        (0..info.bodies.len() as u32).flat_map(|body| operators_of(&info, body)).collect();
    macro_rules! all {
        ($( @$proposal:ident $op:ident $({ $($arg:ident: $ty:ty),* })? => $visit:ident ($($ann:tt)*) )*) => {
            [$( (stringify!($proposal), stringify!($op)), )*]
        };
    }
    let ours = |proposal: &str, op: &str| match proposal {
        // Of the first version, what works on numbers alone.
        "mvp" => {
            ["I32", "I64", "F32", "F64"].iter().any(|ty| op.starts_with(ty))
                && !["Load", "Store", "Const"].iter().any(|what| op.contains(what))
        }
        "simd"
        | "relaxed_simd"
        | "threads"
        | "wide_arithmetic"
        | "sign_extension"
        | "saturating_float_to_int" => true,
        _ => false,
    };
    let missing: Vec<_> = wasmparser::for_each_operator!(all)
        .into_iter()
        .filter(|&(proposal, op)| ours(proposal, op) && !tested.contains(op))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
