//! The documentation says what is so.
//!
//! Tables that the code knows better are made from it and compared with what stands in the pages;
//! `PALISADE_BLESS=1 cargo test -p palisade-tests --test docs` writes them anew. Tests, files and links that a
//! page names have to exist. Rules of `docs/architecture.md` that can be read off the sources are
//! read off them. Whether the named tests ran and passed is compared by the example `reconcile`,
//! from the output of a whole run.

#[path = "docs_support/embedding.rs"]
mod embedding;
#[path = "docs_support/report.rs"]
mod report;
#[path = "docs_support/rows.rs"]
mod rows;
#[path = "docs_support/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use palisade::{LimitKind, Limits};
use report::{Report, Verdict};
use rows::ROWS;
use sources::{TestName, Tests, code_spans, files, named_tests, packages, read, root};

const SECURITY: &str = "docs/security.md";

/// Compares what stands between two markers of a page with what should, or writes it there.
fn compare_generated(page: &str, what: &str, table: &str) {
    let (begin, end) = (format!("<!-- {what}: begin -->\n"), format!("<!-- {what}: end -->"));
    let text = read(page);
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{page}: no {begin}"));
    let (found, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{page}: no {end}"));
    let table = format!("\n{table}\n");
    if found == table {
        return;
    }
    if std::env::var_os("PALISADE_BLESS").is_some() {
        let text = format!("{before}{begin}{table}{end}{after}");
        std::fs::write(root().join(page), text).expect("write the page");
        return;
    }
    let news = |a: &str, b: &str| -> String {
        let known: BTreeSet<&str> = b.lines().collect();
        a.lines().filter(|line| !known.contains(line)).map(|line| format!("  {line}\n")).collect()
    };
    panic!(
        "{page}: the table of {what} is not that of the code; PALISADE_BLESS=1 writes it\n\
         expected and not found:\n{}found and not expected:\n{}",
        news(&table, found),
        news(found, &table)
    );
}

/// The tables of one page together, since they may be written.
#[test]
fn tables_of_the_security_page_are_those_of_the_code() {
    compare_generated(SECURITY, "limits", &limits());
    let (table, without) = hostile_rows();
    compare_generated(SECURITY, "hostile rows", &table);
    assert!(without.is_empty(), "rows without a test: {without:?}");
}

/// The table of rows with their tests, and the rows that have none.
fn hostile_rows() -> (String, Vec<&'static str>) {
    let tests = Tests::scan();
    let mut by_row: BTreeMap<String, Vec<&TestName>> = BTreeMap::new();
    for test in &tests.functions {
        for row in test.rows() {
            by_row.entry(row).or_default().push(test);
        }
    }
    let known: BTreeSet<&str> = ROWS.iter().map(|(id, _)| *id).collect();
    let unknown: Vec<&String> = by_row.keys().filter(|id| !known.contains(id.as_str())).collect();
    assert!(unknown.is_empty(), "tests are named after rows that are not in rows.rs: {unknown:?}");
    let mut table = String::from("| row | what is tried | tests |\n|---|---|---|\n");
    let mut without = Vec::new();
    for (id, what) in ROWS {
        let tests = by_row.get(*id).map_or(&[][..], Vec::as_slice);
        if tests.is_empty() {
            without.push(*id);
        }
        let names: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
        table.push_str(&format!("| {id} | {what} | {} |\n", names.join("<br>")));
    }
    (table, without)
}

fn limits() -> String {
    let (default, strict) = (Limits::default(), Limits::strict());
    let mut table = String::from(
        "| name for `--limit` | default | strict, so `--sandbox` | can be raised to |\n|---|---|---|---|\n",
    );
    for &kind in LimitKind::ALL {
        let [default, strict, ceiling] =
            [default.get(kind), strict.get(kind), kind.ceiling()].map(grouped);
        table.push_str(&format!("| {} | {default} | {strict} | {ceiling} |\n", kind.name()));
    }
    table
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[test]
fn wasi_functions_are_those_of_the_code() {
    compare_generated("docs/wasi.md", "functions", &palisade_wasi::render_markdown());
}

#[test]
fn fuel_costs_are_those_of_the_code() {
    use palisade_wasi::CALL_FUEL;
    // Lines break where they must.
    for page in ["docs/embedding.md", "docs/wasi.md"] {
        let text = read(page).split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        let costs = text.contains(&format!("every wasi call costs {CALL_FUEL}"))
            || text.contains(&format!("every call costs {CALL_FUEL} units"));
        assert!(costs, "{page}");
    }
}

#[test]
fn the_example_of_embedding_runs() {
    let source = read("tests/tests/docs_support/embedding.rs");
    let (_, rest) = source.split_once("// example: begin\n").expect("a begin");
    let (example, _) = rest.split_once("    // example: end").expect("an end");
    assert!(read("docs/embedding.md").contains(example), "docs/embedding.md has another example");
    let engine = palisade::Engine::default();
    let data = root().join("docs").display().to_string();
    let (mut store, linker) = embedding::tenant(&engine, &data).expect("a store");
    let module = palisade::Module::from_file(&engine, root().join("tests/programs/hello.wasm"));
    let instance = linker.instantiate(&mut store, &module.expect("a module")).expect("an instance");
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start").expect("a command");
    start.call(&mut store, ()).expect("it runs");
    assert!(store.resource_use(palisade::Resource::OutputBytes) > 0);
}

#[test]
fn every_test_that_a_page_names_exists() {
    let tests = Tests::scan();
    let mut wrong = Vec::new();
    for page in pages() {
        for name in named_tests(&read(&page)) {
            if !tests.contains(&name) {
                wrong.push(format!("{page}: {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "these tests do not exist:\n{}", wrong.join("\n"));
}

/// The rows of the tables whose first cell is one of `ids`.
fn rows_of<'a>(page: &'a str, ids: &[&str]) -> BTreeMap<&'a str, Vec<TestName>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.filter_map(|line| line.split_once(" | "));
    rows.filter(|(id, _)| ids.contains(id))
        .map(|(id, rest)| (id, named_tests(rest).into_iter().collect()))
        .collect()
}

#[test]
fn every_promise_names_its_tests() {
    let promises = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9"];
    let layers = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let page = read(SECURITY);
    let rows = rows_of(&page, &[promises, layers].concat());
    for id in promises.iter().chain(&layers) {
        let tests = rows.get(id).unwrap_or_else(|| panic!("{SECURITY} has no row {id}"));
        assert!(!tests.is_empty(), "{SECURITY}: row {id} names no test");
    }
}

/// All pages of the repository, by their paths in it.
fn pages() -> Vec<String> {
    let root = root();
    let paths = files("", &["md"]).into_iter();
    paths.map(|path| path.strip_prefix(&root).expect("inside").display().to_string()).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    let mut links = 0;
    for page in pages() {
        let text = read(&page);
        let folder = Path::new(&page).parent().unwrap_or(Path::new(""));
        for rest in text.split("](").skip(1) {
            let Some((target, _)) = rest.split_once(')') else { continue };
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            if path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let file = if path.is_empty() { page.clone().into() } else { folder.join(path) };
            if !root().join(&file).exists() {
                wrong.push(format!("{page}: {target}: there is no such file"));
            } else if !anchor.is_empty()
                && !anchors(&read(&file.to_string_lossy())).contains(anchor)
            {
                wrong.push(format!("{page}: {target}: there is no such heading"));
            }
        }
    }
    assert!(links > 0, "no page links anywhere");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the headings of a page can be linked by.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn files_that_the_pages_name_exist() {
    let mut wrong = Vec::new();
    for page in ["architecture", "calls", "security", "embedding", "lockdown", "tests", "wasi"] {
        let page = format!("docs/{page}.md");
        for span in code_spans(&read(&page)) {
            let path = span.split("::").next().unwrap_or(span);
            let is_path = ["crates/", "tests/", "docs/", "bench/", ".ci/"]
                .iter()
                .any(|folder| path.starts_with(folder));
            // `tests/file::name` is a test and `crates/*` a pattern.
            if is_path
                && TestName::parse(span).is_none()
                && !path.contains(['*', ' ', '…'])
                && !root().join(path).exists()
            {
                wrong.push(format!("{page}: {span}"));
            }
        }
    }
    assert!(wrong.is_empty(), "these files do not exist:\n{}", wrong.join("\n"));
}

// ---- rules of docs/architecture.md ----

/// The names of the crates of ours, and of others, that a package may use when it runs.
fn dependencies(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("Cargo.toml")).expect("Cargo.toml");
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]"
                || line.starts_with("[target.") && line.ends_with(".dependencies]");
        } else if inside && line.starts_with(|c: char| c.is_ascii_lowercase()) {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            found.push(line[..end].to_owned());
        }
    }
    found
}

/// The crates of the product from the lowest up, and which of the lower ones each may know.
const LAYERS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("debug", &[]),
    ("module", &["core", "debug"]),
    ("vm", &["core", "module"]),
    ("interp", &["core", "module", "vm"]),
    ("jit", &["core", "module", "vm"]),
    ("palisade", &["core", "debug", "module", "vm", "interp", "jit"]),
    ("wasi", &["palisade"]),
    ("wast", &["palisade"]),
    ("lockdown", &[]),
    ("cli", &["core", "lockdown", "module", "palisade", "wasi", "wast"]),
    ("tests", &["palisade", "wasi", "wast"]),
];

#[test]
fn crates_know_only_lower_ones() {
    for (package, folder) in packages() {
        let layer = LAYERS.iter().find(|(name, _)| *name == package);
        let (_, may) = layer.unwrap_or_else(|| panic!("LAYERS does not know {package}"));
        for dependency in dependencies(&folder) {
            let ours = match &*dependency {
                "palisade" => "palisade",
                other => other.strip_prefix("palisade-").unwrap_or(""),
            };
            assert!(ours.is_empty() || may.contains(&ours), "{package} must not know {ours}");
        }
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let page = read("docs/architecture.md");
    let known: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once("` | ").map(|(name, _)| name))
        .collect();
    let mut used = BTreeSet::new();
    for (package, folder) in packages() {
        used.extend(dependencies(&folder).into_iter().filter(|_| package != "tests"));
    }
    used.retain(|name| !name.starts_with("palisade"));
    for name in &used {
        assert!(known.contains(&**name), "docs/architecture.md does not say why {name} is there");
    }
}

/// The files that hold code of the product, by their paths in the repository.
fn product_sources() -> Vec<String> {
    let root = root();
    let sources = files("crates", &["rs"]).into_iter();
    let paths = sources.map(|p| p.strip_prefix(&root).expect("inside").display().to_string());
    paths.filter(|path| path.contains("/src/") && !path.ends_with("_tests.rs")).collect()
}

#[test]
fn unsafe_code_stands_only_where_it_may() {
    for (package, folder) in packages() {
        if matches!(&*package, "vm" | "interp" | "lockdown" | "palisade" | "tests") {
            continue;
        }
        for root in ["src/lib.rs", "src/main.rs"] {
            let Ok(text) = std::fs::read_to_string(folder.join(root)) else { continue };
            assert!(text.contains("#![forbid(unsafe_code)]"), "{package}/{root}");
        }
    }
}

/// The files of some crates in which a word stands outside of comments.
fn files_with(word: &str, folder: &str) -> Vec<String> {
    let uses = |path: &String| {
        let text = read(path);
        let mut lines = text.lines().map(str::trim_start);
        path.starts_with(folder) && lines.any(|l| !l.starts_with("//") && l.contains(word))
    };
    product_sources().into_iter().filter(uses).collect()
}

#[test]
fn each_thing_is_done_in_its_one_place() {
    let none: [&str; 0] = [];
    assert_eq!(files_with("wasmparser", "crates/vm"), none);
    assert_eq!(files_with("wasmparser", "crates/wasi"), none);
    assert_eq!(files_with("palisade_interp", "crates/vm"), none);
    let calling = ["crates/wasi/src/path.rs", "crates/wasi/src/sys.rs"];
    assert_eq!(files_with("openat2(", "crates/wasi"), calling);
    for system in ["rustix::fs", "rustix::io::{", "rustix::event", "rustix::rand"] {
        let others = files_with(system, "crates/wasi");
        assert!(others.iter().all(|path| path == "crates/wasi/src/sys.rs"), "{system}: {others:?}");
    }
    assert_eq!(
        files_with("palisade_interp::call(", "crates"),
        ["crates/palisade/src/tier/drive.rs"]
    );
    let entering = ["crates/interp/src/ops/native.rs", "crates/palisade/src/tier/drive.rs"];
    assert_eq!(files_with("native::enter(", "crates"), entering);
    assert_eq!(files_with("cranelift", "crates/palisade"), none);
    assert_eq!(files_with("palisade_jit", "crates/interp"), none);
    // What decides about tiers, and what keeps their code.
    let places = ["/tier/", "/artefact/", "/config.rs", "/lib.rs"];
    let deciding = |path: &String| !places.iter().any(|place| path.contains(place));
    assert!(!files_with("palisade_jit", "crates/palisade").iter().any(deciding));
    assert_eq!(files_with("use palisade::", "crates/wasi"), ["crates/wasi/src/linker.rs"]);
    assert_eq!(files_with("process::Command", "crates"), none);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for path in product_sources() {
        let text = read(&path);
        let lines = text.lines().count();
        if lines > 800 {
            wrong.push(format!("{path} has {lines} lines"));
        }
        if !text.starts_with("//! ") {
            wrong.push(format!("{path} does not begin with what it is"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// ---- what checks the checks ----

#[test]
fn reports_of_both_tools_are_understood() {
    let cargo = "   Running unittests src/lib.rs (target/debug/deps/palisade_vm-0a1b)\n\
        test memory::tests::m2_grows ... ok\n\
        test memory::tests::fails ... FAILED\n\
        \u{1b}[1m     Running\u{1b}[0m tests/growth.rs (target/debug/deps/growth-0a1b)\n\
        test m2_more ... \u{1b}[32mok\u{1b}[0m\n\
        test by_loop::version_1 ... ok\n\
        test by_loop::version_2 ... ignored\n\
           Doc-tests palisade_vm\n\
        test crates/vm/src/lib.rs - doc (line 3) ... ok\n";
    let nextest = "        PASS [   0.731s] (11/64) palisade-vm memory::tests::m2_grows\n\
        FAIL [   0.2s] palisade-vm memory::tests::fails\n\
        PASS [   0.731s] palisade-vm::growth m2_more\n\
        PASS [   0.731s] palisade-vm::growth by_loop::version_1\n\
        SIGSEGV [   0.7s] palisade-vm::growth by_loop::version_2\n";
    for (output, reported) in [(cargo, 5), (nextest, 5)] {
        let report = Report::parse(output);
        assert_eq!(report.len(), reported, "{report:?}");
        let verdict = |name: &str| report.verdict(&TestName::parse(name).expect("a name"));
        assert_eq!(verdict("vm/memory::m2_grows"), Verdict::Passed);
        assert_eq!(verdict("vm/memory::fails"), Verdict::Failed);
        assert_eq!(verdict("vm/growth::m2_more"), Verdict::Passed);
        assert_eq!(verdict("vm/other::m2_more"), Verdict::NotRun);
        assert_eq!(verdict("vm/growth::by_loop"), Verdict::Failed);
        assert_eq!(verdict("vm/growth::version_1"), Verdict::Passed);
        assert_eq!(verdict("interp/memory::m2_grows"), Verdict::NotRun);
    }
}

#[test]
fn names_of_tests_are_told_from_other_words() {
    let name = TestName::parse("vm/growth::m2_memory").expect("a name");
    assert_eq!((name.to_string(), name.rows()), ("vm/growth::m2_memory".into(), vec!["M2".into()]));
    let several = TestName::parse("cli/status::x1_x3_x4_sleeps").expect("a name");
    assert_eq!(several.rows(), ["X1", "X3", "X4"]);
    for text in ["crates/vm/src/lib.rs", "vm::growth", "vm/growth", "vm/growth::", "a/b::c d"] {
        assert_eq!(TestName::parse(text), None, "{text}");
    }
    assert!(TestName::parse("vm/x::i32_adds").expect("a name").rows().is_empty());
    let here = TestName::parse("tests/docs::names_of_tests_are_told_from_other_words");
    assert!(Tests::scan().contains(&here.expect("a name")));
}
