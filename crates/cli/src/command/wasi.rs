//! `palisade wasi`: the 46 functions of WASI preview 1, from the table that the checks use.

use palisade_wasi::{CALL_FUEL, CapRule, Caps, FUNCTIONS, MODULE, Rights, ValType};
use serde_json::{Value, json};

use crate::args::Wasi;
use crate::failure::{self, Failure, Status};

pub(super) fn run(args: &Wasi) -> Result<Status, Failure> {
    failure::print(&if args.json { as_json() } else { as_text() })?;
    Ok(Status::Success)
}

/// What a function needs, for people.
fn needs(rule: CapRule) -> String {
    let names = rule.caps().names();
    let any = names.replace(", ", " or ");
    match rule {
        CapRule::Nothing => "nothing".to_owned(),
        CapRule::Needs(_) => names,
        CapRule::AnyOf(_) => any,
        CapRule::ByRequest(_) => format!("{any}, by what is asked"),
        CapRule::ByDescriptor(_) => format!("{any}, by descriptor"),
    }
}

/// How the capabilities of a rule combine, for programs.
fn rule(rule: CapRule) -> &'static str {
    match rule {
        CapRule::Nothing => "none",
        CapRule::Needs(_) => "all",
        CapRule::AnyOf(_) => "any",
        CapRule::ByRequest(_) => "by-request",
        CapRule::ByDescriptor(_) => "by-descriptor",
    }
}

/// The names of the capabilities in a set.
pub(super) fn capabilities(caps: Caps) -> Vec<&'static str> {
    Caps::SWITCHES
        .iter()
        .filter(|(one, ..)| one.bits().count_ones() == 1 && caps.contains(*one))
        .map(|(_, name, _)| *name)
        .collect()
}

fn rights(rights: Rights) -> Vec<String> {
    rights.iter_names().map(|(name, _)| name.to_lowercase()).collect()
}

fn type_name(ty: ValType) -> &'static str {
    match ty {
        ValType::I32 => "i32",
        ValType::I64 => "i64",
    }
}

fn as_json() -> String {
    let functions: Vec<Value> = FUNCTIONS
        .iter()
        .map(|f| {
            let params: Vec<Value> = f
                .param_names
                .iter()
                .zip(f.params)
                .map(|(name, ty)| json!({ "name": name, "type": type_name(*ty) }))
                .collect();
            let results: Vec<&str> = f.results.iter().map(|ty| type_name(*ty)).collect();
            json!({
                "name": f.name,
                "params": params,
                "results": results,
                "capabilities": capabilities(f.caps.caps()),
                "rule": rule(f.caps),
                "rights": rights(f.rights),
                "target_rights": rights(f.target_rights),
                "fuel": f.fuel,
                "may_block": f.may_block,
                "notes": f.notes,
            })
        })
        .collect();
    super::json_text(&json!({ "module": MODULE, "functions": functions }))
}

fn as_text() -> String {
    let mut out = format!(
        "The {} functions of {MODULE}, and what each needs. A call costs {} units of fuel and more \
         for what it moves.\n\n",
        FUNCTIONS.len(),
        CALL_FUEL
    );
    let width = FUNCTIONS.iter().map(|f| f.name.len()).max().unwrap_or(0);
    for f in FUNCTIONS {
        let mut line = format!("{:width$}  {}", f.name, needs(f.caps));
        if f.may_block {
            line.push_str("; may wait");
        }
        if !f.notes.is_empty() {
            line.push_str(&format!(" ({})", f.notes));
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}
