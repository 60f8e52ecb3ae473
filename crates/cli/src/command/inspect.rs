//! `palisade inspect`: what a module imports, exports and contains. Runs nothing.
//!
//! The text shows names escaped. JSON holds them as they are, with every character beyond ASCII
//! written as an escape, so that printing it is safe, too.

use std::fmt::Display;
use std::path::Path;

use palisade::{ExternType, Module};
use palisade_core::{MemoryType, TableType};
use palisade_wasi::{Caps, MODULE as WASI, WasiFunc};
use serde_json::{Value, json};

use super::validate::Look;
use super::wasi;
use crate::args::Inspect;
use crate::escape;
use crate::failure::{self, Failure, Status};
use crate::quantity::show_bytes;

pub(super) fn run(args: &Inspect) -> Result<Status, Failure> {
    let module = Look::start(&args.looking)?.module(&args.file)?;
    let found = Found::of(&module);
    let text = if args.json { found.as_json(&args.file) } else { found.as_text(&args.file) };
    failure::print(&text)?;
    Ok(Status::Success)
}

/// How a module is meant to be used.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Kind {
    Command,
    Reactor,
    Library,
}

impl Kind {
    fn of(module: &Module) -> Self {
        let exports_function =
            |name: &str| module.get_export(name).is_some_and(|ty| ty.func().is_some());
        if exports_function("_start") {
            Self::Command
        } else if exports_function("_initialize") {
            Self::Reactor
        } else {
            Self::Library
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Reactor => "reactor",
            Self::Library => "library",
        }
    }

    fn explain(self) -> &'static str {
        match self {
            Self::Command => "command (exports _start)",
            Self::Reactor => "reactor (exports _initialize)",
            Self::Library => "library (no _start: call an export with --invoke)",
        }
    }
}

/// A function of WASI that the module imports.
struct WasiImport<'a> {
    name: &'a str,
    /// `None` if there is no such function.
    caps: Option<Caps>,
}

/// An import or export that is not of WASI.
struct Item<'a> {
    module: Option<&'a str>,
    name: &'a str,
    ty: ExternType,
}

struct Found<'a> {
    module: &'a Module,
    kind: Kind,
    wasi: Vec<WasiImport<'a>>,
    imports: Vec<Item<'a>>,
    exports: Vec<Item<'a>>,
    /// What a list of the parts shows: name, how many, bytes where that says something.
    parts: Vec<(&'static str, u64, Option<u64>)>,
}

impl<'a> Found<'a> {
    fn of(module: &'a Module) -> Self {
        let mut wasi = Vec::new();
        let mut imports = Vec::new();
        for import in module.imports() {
            let item = Item {
                module: Some(import.module()),
                name: import.name(),
                ty: import.ty().clone(),
            };
            if import.module() == WASI && item.ty.func().is_some() {
                let caps = WasiFunc::by_name(import.name()).map(|f| f.info().caps.caps());
                wasi.push(WasiImport { name: import.name(), caps });
            } else {
                imports.push(item);
            }
        }
        let exports = module
            .exports()
            .map(|export| Item { module: None, name: export.name(), ty: export.ty().clone() })
            .collect();
        Self { module, kind: Kind::of(module), wasi, imports, exports, parts: parts(module) }
    }

    /// The capabilities that the imported functions of WASI can make use of.
    fn caps(&self) -> Caps {
        self.wasi
            .iter()
            .filter_map(|import| import.caps)
            .fold(Caps::empty(), |all, caps| all | caps)
    }

    /// The switches that allow all that the imported functions of WASI can do.
    fn switches(&self) -> Vec<&'static str> {
        Caps::SWITCHES
            .iter()
            .filter(|(cap, ..)| cap.bits().count_ones() == 1 && self.caps().contains(*cap))
            .map(|(.., switch)| *switch)
            .collect()
    }

    /// The imported functions of WASI under each capability that they can make use of; under `none` those that need
    /// nothing. A function that needs one of several stands under each.
    fn by_capability(&self) -> Value {
        let mut groups = serde_json::Map::new();
        for import in &self.wasi {
            let Some(caps) = import.caps else { continue };
            let names = wasi::capabilities(caps);
            for name in if names.is_empty() { vec!["none"] } else { names } {
                let group = groups.entry(name).or_insert_with(|| json!([]));
                if let Some(list) = group.as_array_mut() {
                    list.push(json!(import.name));
                }
            }
        }
        Value::Object(groups)
    }

    fn as_json(&self, file: &Path) -> String {
        let info = self.module.info();
        let wasi: Vec<Value> = self
            .wasi
            .iter()
            .map(|import| {
                json!({
                    "name": import.name,
                    "known": import.caps.is_some(),
                    "capabilities": wasi::capabilities(import.caps.unwrap_or(Caps::empty())),
                })
            })
            .collect();
        let item = |item: &Item<'_>| {
            let mut value = json!({
                "name": item.name,
                "kind": kind(&item.ty),
                "type": item.ty.to_string(),
            });
            if let (Some(module), Some(map)) = (item.module, value.as_object_mut()) {
                map.insert("module".to_owned(), json!(module));
            }
            value
        };
        let sections: Vec<Value> = self
            .module
            .custom_sections()
            .map(|(name, content)| json!({ "name": name, "bytes": content.len() }))
            .collect();
        let parts: serde_json::Map<String, Value> = self
            .parts
            .iter()
            .map(|(name, count, bytes)| {
                let value = match bytes {
                    Some(bytes) => json!({ "count": count, "bytes": bytes }),
                    None => json!({ "count": count }),
                };
                ((*name).replace(' ', "_"), value)
            })
            .collect();
        super::json_text(&json!({
            "file": file.to_string_lossy(),
            "name": self.module.name(),
            "kind": self.kind.name(),
            "bytes": info.bytes.len(),
            "start_function": info.start.map(|f| f.0),
            "wasi": wasi,
            "wasi_by_capability": self.by_capability(),
            "flags": self.switches(),
            "capabilities": wasi::capabilities(self.caps()),
            "imports": self.imports.iter().map(item).collect::<Vec<_>>(),
            "exports": self.exports.iter().map(item).collect::<Vec<_>>(),
            "memories": info.memories.iter().map(memory_json).collect::<Vec<_>>(),
            "tables": info.tables.iter().map(|table| table_json(&table.ty)).collect::<Vec<_>>(),
            "parts": parts,
            "custom_sections": sections,
        }))
    }

    fn as_text(&self, file: &Path) -> String {
        let info = self.module.info();
        let mut out = format!("{}\n", escape::path(file));
        if let Some(name) = self.module.name() {
            line(&mut out, "name", escape::name(name));
        }
        line(&mut out, "kind", self.kind.explain());
        line(&mut out, "size", show_bytes(info.bytes.len() as u64));
        if let Some(start) = info.start {
            line(&mut out, "start function", format!("function {}", start.0));
        }
        self.wasi_as_text(&mut out);
        items(&mut out, "Imports", &self.imports);
        items(&mut out, "Exports", &self.exports);
        list(&mut out, "Memories", info.memories.iter().map(memory_text).collect());
        list(&mut out, "Tables", info.tables.iter().map(|t| table_text(&t.ty)).collect());
        out.push_str("\nParts\n");
        for (name, count, bytes) in &self.parts {
            let bytes = bytes.map(|b| format!("  ({})", show_bytes(b))).unwrap_or_default();
            line(&mut out, name, format!("{count}{bytes}"));
        }
        let sections = self
            .module
            .custom_sections()
            .map(|(name, content)| {
                format!("{}  ({})", escape::name(name), show_bytes(content.len() as u64))
            })
            .collect();
        list(&mut out, "Custom sections", sections);
        out
    }

    fn wasi_as_text(&self, out: &mut String) {
        if self.wasi.is_empty() {
            return;
        }
        out.push_str(&format!("\nImports from {WASI}, by what they need\n"));
        let named = |wanted: Option<Caps>| {
            let names: Vec<String> = self
                .wasi
                .iter()
                .filter(|import| import.caps == wanted)
                .map(|import| escape::name(import.name))
                .collect();
            names.join(" ")
        };
        let mut groups: Vec<Caps> = self.wasi.iter().filter_map(|import| import.caps).collect();
        groups.sort_by_key(|caps| (caps.bits().count_ones(), caps.bits()));
        groups.dedup();
        for caps in groups {
            let label = if caps.is_empty() { "nothing".to_owned() } else { caps.names() };
            line(out, &label.replace(", ", " or "), named(Some(caps)));
        }
        let unknown = named(None);
        if !unknown.is_empty() {
            line(out, "no such function", unknown);
        }
        let switches = self.switches();
        if !switches.is_empty() {
            out.push_str(&format!("  It can make use of {}\n", switches.join(" ")));
        }
    }
}

fn parts(module: &Module) -> Vec<(&'static str, u64, Option<u64>)> {
    let info = module.info();
    let code: u64 = info.bodies.iter().map(|body| body.range.len() as u64).sum();
    let data: u64 = info.data.iter().map(|data| data.range.len() as u64).sum();
    let elements: u64 = info.elements.iter().map(|segment| segment.items.len() as u64).sum();
    let count = |n: usize| n as u64;
    vec![
        ("types", count(info.types.len()), None),
        ("functions", count(info.bodies.len()), Some(code)),
        ("globals", count(info.globals.len()), None),
        ("tags", count(info.tags.len()), None),
        ("data segments", count(info.data.len()), Some(data)),
        ("element segments", count(info.elements.len()), None),
        ("elements", elements, None),
    ]
}

fn memory_json(ty: &MemoryType) -> Value {
    json!({
        "minimum_pages": ty.minimum,
        "maximum_pages": ty.maximum,
        "page_bytes": ty.page_size(),
        "memory64": ty.memory64,
        "shared": ty.shared,
    })
}

fn memory_text(ty: &MemoryType) -> String {
    let bytes = |pages: u64| match pages.checked_mul(ty.page_size()) {
        Some(bytes) => show_bytes(bytes),
        None => format!("{pages} pages"),
    };
    let most =
        ty.maximum.map_or_else(|| "no maximum".to_owned(), |max| format!("at most {}", bytes(max)));
    format!(
        "{} at first, {most}{}{}",
        bytes(ty.minimum),
        if ty.memory64 { ", 64-bit" } else { "" },
        if ty.shared { ", shared" } else { "" }
    )
}

fn table_json(ty: &TableType) -> Value {
    json!({
        "element": ty.element.to_string(),
        "minimum": ty.minimum,
        "maximum": ty.maximum,
        "table64": ty.table64,
    })
}

fn table_text(ty: &TableType) -> String {
    let most = ty.maximum.map_or_else(|| "no maximum".to_owned(), |max| format!("at most {max}"));
    format!(
        "{} of {} at first, {most}{}",
        ty.minimum,
        ty.element,
        if ty.table64 { ", 64-bit" } else { "" }
    )
}

fn kind(ty: &ExternType) -> &'static str {
    match ty {
        ExternType::Func(_) => "function",
        ExternType::Table(_) => "table",
        ExternType::Memory(_) => "memory",
        ExternType::Global(_) => "global",
        ExternType::Tag(_) => "tag",
    }
}

fn line(out: &mut String, label: &str, value: impl Display) {
    out.push_str(&format!("  {label:22} {value}\n"));
}

fn list(out: &mut String, title: &str, entries: Vec<String>) {
    if entries.is_empty() {
        return;
    }
    out.push_str(&format!("\n{title}\n"));
    for entry in entries {
        out.push_str(&format!("  {entry}\n"));
    }
}

fn items(out: &mut String, title: &str, items: &[Item<'_>]) {
    let entries = items
        .iter()
        .map(|item| {
            let name = escape::name(item.name);
            match item.module {
                Some(module) => format!("{}::{name}  {}", escape::name(module), item.ty),
                None => format!("{name}  {}", item.ty),
            }
        })
        .collect();
    list(out, title, entries);
}
