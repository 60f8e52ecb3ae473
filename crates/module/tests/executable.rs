//! Valid modules that need what no engine executes, and such as only look like it.

mod common;

use palisade_core::Limits;
use palisade_module::{
    DecodeError, DecodeErrorKind, ModuleInfo, TypeRegistry, default_features, executable_features,
};

fn to_run(bytes: &[u8]) -> Result<ModuleInfo, DecodeError> {
    let registry = TypeRegistry::new();
    let limits = Limits::default();
    let result = ModuleInfo::decode_executable(bytes, &limits, default_features(), &registry, None);
    assert!(result.is_ok() || registry.is_empty(), "types are left behind");
    result
}

const STRUCT: &str = "(type $s (struct (field i32))) (type $a (array i32)) ";

/// What is refused: the feature, what of it, the module.
const REFUSED: &[(&str, &str, &str)] = &[
    // Objects.
    ("gc", "struct.new_default", "(func (drop (struct.new_default $s)))"),
    ("gc", "array.len", "(func (param (ref $a)) (drop (array.len (local.get 0))))"),
    ("gc", "ref.eq", "(func (drop (ref.eq (ref.null eq) (ref.null eq))))"),
    ("gc", "ref.test", "(func (drop (ref.test (ref func) (ref.null func))))"),
    ("gc", "ref.cast", "(func (drop (ref.cast funcref (ref.null func))))"),
    (
        "gc",
        "br_on_cast",
        "(func (result funcref) (br_on_cast 0 funcref (ref func) (ref.null func)))",
    ),
    ("gc", "any.convert_extern", "(func (drop (any.convert_extern (ref.null extern))))"),
    ("gc", "ref.i31", "(func unreachable ref.i31 drop)"),
    // Objects that constant expressions make.
    ("gc", "struct.new", "(global (ref $s) (struct.new $s (i32.const 1)))"),
    ("gc", "array.new", "(table 1 (ref $a) (array.new $a (i32.const 1) (i32.const 2)))"),
    ("gc", "ref.i31", "(elem i31ref (ref.null i31) (ref.i31 (i32.const 1)))"),
    ("gc", "extern.convert_any", "(global externref (extern.convert_any (ref.null any)))"),
];

#[test]
fn what_is_not_executed_is_named_with_its_place() {
    for (feature, what, fields) in REFUSED {
        let wat = format!("(module {STRUCT}{fields})");
        common::text(&wat).unwrap_or_else(|error| panic!("it is valid: {wat}: {error}"));
        let error = to_run(wat.as_bytes()).expect_err(&wat);
        assert_eq!(error.kind(), DecodeErrorKind::NotExecuted, "{wat}: {error}");
        let offset = error.offset().expect("a place");
        let said = format!("the feature `{feature}` ({what} at offset {offset:#x})");
        assert!(error.to_string().contains(&said), "{wat}: {error}");
        assert_eq!(error.to_string(), error.message());
    }
}

#[test]
fn types_alone_need_no_execution() {
    for fields in [
        "(rec (type $f (func)) (type (func (param (ref $f)))))",
        "(type $open (sub (func))) (type (sub $open (func)))",
        "(func (param anyref eqref i31ref (ref null $s) exnref) (result nullref) (ref.null none))",
        "(global anyref (ref.null any)) (global $g i32 (i32.const 1)) (global i32 (global.get $g))",
        "(table 1 arrayref) (elem structref (ref.null $s))",
        r#"(tag (export "t") (param i32)) (import "" "" (tag))"#,
        "(tag $t) (func (block (try_table (catch_all 0) (throw $t)))) (func (throw_ref (ref.null exn)))",
        "(memory 1 1 shared) (func (drop (i32.load (i32.const 0))))",
        "(func (param v128) (local v128) (local.set 1 (i8x16.neg (local.get 0))))",
    ] {
        // Imports stand first.
        let (first, rest) = match fields.find("(import") {
            Some(at) => (&fields[at..], &fields[..at]),
            None => ("", fields),
        };
        let types = if rest.contains("$f") || rest.contains("$open") { "" } else { STRUCT };
        let wat = format!("(module {types}{first}{rest})");
        to_run(wat.as_bytes()).unwrap_or_else(|error| panic!("{wat}: {error}"));
    }
}

#[test]
fn the_first_of_several_is_named() {
    // The second function's fence stands behind the first one's object.
    let wat = "(module (func) (func unreachable ref.i31 drop) (func atomic.fence) (func))";
    let error = to_run(wat.as_bytes()).unwrap_err();
    assert!(error.message().contains("`gc` (ref.i31"), "{error}");
    // What stands between the bodies and the types comes before the bodies.
    let wat = "(module (func atomic.fence) (global i31ref (ref.i31 (i32.const 0))))";
    let error = to_run(wat.as_bytes()).unwrap_err();
    assert!(error.message().contains("`gc` (ref.i31"), "{error}");
}

#[test]
fn an_invalid_module_is_called_that() {
    for wat in [
        "(module (func atomic.fence (i32.add)))",
        "(module (func throw_ref) (func unreachable ref.i31 drop))",
        "(module (global i31ref (ref.i31 (i64.const 1))))",
    ] {
        let error = to_run(wat.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), DecodeErrorKind::Invalid, "{wat}: {error}");
    }
    // A limit is named first, too.
    let mut limits = Limits::default();
    limits.locals = 1;
    let wat = "(module (func (local i32 i32) atomic.fence))";
    let types = TypeRegistry::new();
    let result =
        ModuleInfo::decode_executable(wat.as_bytes(), &limits, default_features(), &types, None);
    common::limit(result);
}

#[test]
fn a_feature_that_is_off_is_invalid_rather_than_not_executed() {
    let types = TypeRegistry::new();
    let result = ModuleInfo::decode_executable(
        b"(module (func unreachable ref.i31 drop))".as_slice(),
        &Limits::default(),
        executable_features(),
        &types,
        None,
    );
    assert_eq!(result.unwrap_err().kind(), DecodeErrorKind::Invalid);
}

/// Many functions, on several threads: the one that stands first is found.
#[test]
fn large_modules_are_looked_at_as_a_whole() {
    let padding = "(drop (i32.add (i32.const 1000) (i32.const 2000))) ".repeat(100);
    let mut functions = vec![format!("(func {padding})"); 600];
    functions[571] = "(func (drop (ref.eq (ref.null eq) (ref.null eq))))".to_owned();
    functions[599] = "(func unreachable ref.i31 drop)".to_owned();
    let error = to_run(format!("(module {})", functions.concat()).as_bytes()).unwrap_err();
    assert!(error.message().contains("`gc` (ref.eq"), "{error}");
}
