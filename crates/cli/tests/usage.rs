//! The command line itself: order of options, wrong usage, help.

mod common;

use common::Place;

const ADD: &str = r#"(module
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "sum64") (param i64 i64) (result i64) (i64.add (local.get 0) (local.get 1)))
  (func (export "f") (param f32 f64) (result f64 f32) (local.get 1) (local.get 0))
  (func (export "two") (result i32 i64) (i32.const -1) (i64.const 9223372036854775807))
  (func (export "null") (param funcref externref) (result funcref externref)
    (local.get 0) (local.get 1))
  (func $me (export "me") (result funcref) (ref.func $me))
  (func (export "spin") (loop (br 0)))
  (memory (export "memory") 1))"#;

fn place() -> Place {
    let place = Place::new();
    place.file("add.wat", ADD);
    place
}

/// All orders of a few things.
fn permutations<'a>(items: &[&'a str]) -> Vec<Vec<&'a str>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (i, &first) in items.iter().enumerate() {
        let rest: Vec<&str> =
            items.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, item)| *item).collect();
        for mut tail in permutations(&rest) {
            tail.insert(0, first);
            all.push(tail);
        }
    }
    all
}

#[test]
fn options_mean_the_same_wherever_they_stand() {
    let place = place();
    // The file and the arguments keep their order among themselves, so they move as one.
    let items = ["--invoke add", "--sandbox", "--fuel 1000", "add.wat 40 2"];
    for order in permutations(&items) {
        place.line(&order.join(" ")).code(0).prints("42\n").quietly();
        place.line(&format!("run {}", order.join(" "))).code(0).prints("42\n");
        // --fuel limits, whether --sandbox stands before or after it.
        let spin = order.join(" ").replace("--invoke add", "--invoke spin");
        let spin = spin.replace("add.wat 40 2", "add.wat");
        place.line(&spin).code(134).says(&["fuel", "--fuel"]);
    }
    place.line("add.wat --invoke add 40 --sandbox 2 --fuel 1000").code(0).prints("42\n");
    place.line("--sandbox run add.wat --invoke=add 40 2").code(0).prints("42\n");
}

#[test]
fn two_dashes_end_the_options() {
    let place = Place::new();
    let args = place.program("args");
    place
        .line(&format!("{args} x -- --sandbox -y -- z"))
        .code(0)
        .prints("5 arguments\n1: 1 [x]\n2: 9 [--sandbox]\n3: 2 [-y]\n4: 2 [--]\n5: 1 [z]\n");
    place.line(&format!("run -- {args} --help")).code(0).prints("1 arguments\n1: 6 [--help]\n");
    place.line(&format!("{args} a b")).code(0).prints("2 arguments\n1: 1 [a]\n2: 1 [b]\n");
    place.line(&format!("{args} -y")).code(2).says(&["'-y'"]);
    place.line(&format!("{args} -5")).code(2).says(&["'-5'"]);
}

#[test]
fn numbers_after_invoke_need_no_dashes() {
    let place = place();
    place.line("add.wat --invoke add -1 -2").code(0).prints("-3\n");
    place.line("add.wat -1 --invoke add -0x10").code(0).prints("-17\n");
    place.line("add.wat --invoke add -- -1 3").code(0).prints("2\n");
    place.line("add.wat --invoke f -1.5 -inf").code(0).prints("-inf\n-1.5\n");
}

#[test]
fn arguments_are_read_by_type_and_results_printed_one_per_line() {
    let place = place();
    place.line("add.wat --invoke two").code(0).prints("-1\n9223372036854775807\n");
    place.line("add.wat --invoke add 4294967295 1").code(0).prints("0\n");
    place.line("add.wat --invoke add 0x7fff_ffff 1").code(0).prints("-2147483648\n");
    place.line("add.wat --invoke sum64 18446744073709551615 0").code(0).prints("-1\n");
    place.line("add.wat --invoke f nan 1e3").code(0).prints("1000\nNaN\n");
    place.line("add.wat --invoke null null null").code(0).prints("null\nnull\n");
    place.line("add.wat --invoke me").code(0).prints("a function\n");
}

#[test]
fn objects_are_printed_as_what_they_are() {
    let place = place();
    place.file(
        "objects.wat",
        r#"(module (type $s (struct)) (type $a (array i8)) (func $f (export "all")
            (result anyref i31ref eqref structref externref anyref)
            (struct.new $s) (ref.i31 (i32.const -7)) (array.new $a (i32.const 1) (i32.const 2))
            (ref.null struct) (extern.convert_any (ref.i31 (i32.const 1))) (ref.i31 (i32.const 8))))"#,
    );
    let printed = "a structure\n-7\nan array\nnull\na host value\n8\n";
    place.line("objects.wat --invoke all").code(0).prints(printed);
}

#[test]
fn wrong_arguments_say_which() {
    let place = place();
    for (line, parts) in [
        ("add.wat --invoke add 1", &["2 arguments are wanted, 1 given", "[i32 i32] -> [i32]"][..]),
        ("add.wat --invoke two 1", &["0 arguments are wanted, 1 given"]),
        ("add.wat --invoke add 1 x", &["argument 2", "`x`", "i32"]),
        ("add.wat --invoke add 4294967296 1", &["argument 1", "between"]),
        ("add.wat --invoke add 1.5 1", &["argument 1", "i32"]),
        ("add.wat --invoke f 1 one", &["argument 2", "float"]),
        ("add.wat --invoke null 1 null", &["argument 1", "null"]),
        ("add.wat --invoke memory", &["no function", "memory"]),
        ("add.wat --invoke nothing", &["no such export", "add [i32 i32] -> [i32]"]),
        ("add.wat", &["_start", "--invoke NAME", "add [i32 i32] -> [i32]", "two"]),
    ] {
        place.line(line).code(2).prints("").says(parts);
    }
}

#[test]
fn wrong_usage_is_status_2_and_one_clear_message() {
    let place = place();
    for (line, part) in [
        ("", "FILE"),
        ("run", "FILE"),
        ("--sandbix add.wat", "--sandbox"),
        ("add.wat --unknown", "--unknown"),
        ("--unknown", "--unknown"),
        ("-q", "-q"),
        ("--fuel --sandbox add.wat", "--fuel"),
        ("--invoke --sandbox add.wat", "--invoke"),
        ("--fuel", "--fuel"),
        ("--fuel 1 --fuel 2 add.wat", "--fuel"),
        ("--fuel -1 add.wat", "'-1'"),
        ("--fuel 1.5 add.wat", "whole number"),
        ("--timeout 5 add.wat", "5s"),
        ("--timeout 1fortnight add.wat", "unit"),
        ("--max-memory 64M add.wat", "64MiB"),
        ("--max-memory lots add.wat", "64MiB"),
        ("--max-stack 1KiB add.wat", "smallest"),
        ("--max-open-files 4294967296 add.wat", "4294967295"),
        ("--limit locals add.wat", "="),
        ("--limit loco=1 add.wat", "no such limit"),
        ("--limit locals=9999999 add.wat", "50000"),
        ("--engine steam add.wat", "interp"),
        ("--link add.wat add.wat", "="),
        ("--link a= add.wat", "file"),
        ("--env X add.wat", "="),
        ("--env =X add.wat", "name"),
        ("--env A=1 --env A=2 add.wat", "twice"),
        ("--dir a::b::c add.wat", "::"),
        ("--dir ::x add.wat", "--dir"),
        ("--dir no-such-directory add.wat", "no-such-directory"),
        ("--dir add.wat add.wat", "add.wat"),
        ("validate", "FILE"),
        ("inspect", "FILE"),
        ("inspect a b", "'b'"),
        ("wast", "FILE"),
        ("wasi x", "'x'"),
        ("features --jason", "--json"),
        ("help nonsense", "nonsense"),
    ] {
        let ended = place.line(line).code(2).prints("");
        let ended = ended.says(&[part]);
        assert!(ended.stderr.lines().count() < 16, "{line}: {ended:#?}");
    }
}

#[test]
fn d7_what_the_user_typed_is_shown_escaped() {
    let place = place();
    for word in ["--\x1b[31m", "\x1b]0;x\x07.wasm", "\u{202e}gpj.wasm"] {
        let ended = place.run([word]);
        assert!(matches!(ended.code, Some(2 | 127)), "{ended:#?}");
        assert!(!ended.stderr.contains(['\x1b', '\x07', '\u{202e}']), "{ended:#?}");
    }
    let ended = place.run(["add.wat", "--invoke", "\x1b[2J"]).code(2);
    ended.says(&["\\u{1b}[2J"]);
}

#[test]
fn help_and_version() {
    let place = Place::new();
    for line in ["--help", "help", "-h", "x.wasm --help", "--sandbox -h"] {
        let ended = place.line(line).code(0).quietly();
        assert!(ended.stdout.contains("--sandbox") && ended.stdout.contains("validate"), "{line}");
    }
    for name in ["run", "validate", "inspect", "features", "wasi", "wast"] {
        let asked = place.line(&format!("{name} --help")).code(0).quietly();
        let told = place.line(&format!("help {name}")).code(0).quietly();
        assert!(asked.stdout.contains(&format!("palisade {name}")) || name == "run");
        assert_eq!(asked.stdout, told.stdout, "{name}");
    }
    let long = place.line("--help").stdout;
    for status in ["124", "125", "126", "127", "130", "134", "143"] {
        assert!(long.contains(status), "{status} is missing in the help");
    }
    let version = place.line("--version").code(0);
    assert_eq!(version.stdout, format!("palisade {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(place.line("wasi --version").code(0).stdout, version.stdout);
}

#[test]
fn a_file_may_have_the_name_of_a_command() {
    let place = Place::new();
    place.file("validate", "(module (func (export \"_start\")))");
    place.line("./validate").code(0);
    place.line("run validate").code(0);
    place.line("validate validate").code(0).prints("validate: valid\n");
}
