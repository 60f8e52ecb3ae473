//! The tables of machine code, to bytes and back.
//!
//! Invariant: what comes out of [`read`] is consistent with the code and the module that it is read for: every offset and
//! index lies inside, every table is sorted. Whoever wrote it is known by then; this is so that a broken build cannot
//! lead the handler of faults, or the walk of a stack, astray.

use std::ops::Range;

use palisade_core::TrapCode;
use palisade_module::ModuleInfo;
use palisade_vm::native::POLL;
use palisade_vm::native::code::{
    CallSite, FuncKind, FuncRange, Handler, INLINED, Inlined, StackMap, Tables,
};

use super::wire::{Broken, Read, Reader, Writer};

/// No frame is larger: what a function may have on its stack is limited far below.
const MOST_FRAME: u32 = 1 << 30;

pub(super) fn write(w: &mut Writer, tables: &Tables) {
    w.var(tables.funcs.len() as u32);
    let mut last = 0;
    for func in &tables.funcs {
        let (kind, index) = match func.kind {
            FuncKind::Stub => (0, 0),
            FuncKind::Defined(index) => (1, index),
            FuncKind::Osr(index) => (2, index),
        };
        w.u8(kind);
        w.var(index);
        w.var(func.range.start - last);
        w.var(func.range.end - func.range.start);
        w.var(func.body);
        last = func.range.end;
    }
    w.var(tables.traps.len() as u32);
    let mut last = 0;
    for &(at, code) in &tables.traps {
        w.var(at - last);
        w.u8(code);
        last = at;
    }
    w.var(tables.inlined.len() as u32);
    for place in &tables.inlined {
        w.var(place.func);
        w.var(place.offset);
        w.var(place.call);
    }
    w.var(tables.srclocs.len() as u32);
    let mut last = (0, 0);
    for &(at, source) in &tables.srclocs {
        w.var(at - last.0);
        w.step(last.1, source);
        last = (at, source);
    }
    w.var(tables.handlers.len() as u32);
    for handler in &tables.handlers {
        match *handler {
            Handler::Context(at) => {
                w.u8(0);
                w.var(at);
            }
            Handler::Tag(tag, at) => {
                w.u8(1);
                w.var(tag);
                w.var(at);
            }
            Handler::Default(at) => {
                w.u8(2);
                w.var(at);
            }
        }
    }
    let calls = tables.calls.iter().map(|call| (call.ret, call.frame, &call.handlers));
    write_sites(w, calls);
    w.var(tables.slots.len() as u32);
    tables.slots.iter().for_each(|&slot| w.var(slot));
    write_sites(w, tables.maps.iter().map(|map| (map.ret, map.frame, &map.slots)));
}

fn write_sites<'a>(
    w: &mut Writer,
    sites: impl ExactSizeIterator<Item = (u32, u32, &'a Range<u32>)>,
) {
    w.var(sites.len() as u32);
    let mut last = 0;
    for (ret, frame, range) in sites {
        w.var(ret - last);
        w.var(frame);
        w.var(range.start);
        w.var(range.end - range.start);
        last = ret;
    }
}

/// What tables are read for.
pub(super) struct Bounds<'a> {
    /// The bytes of code.
    pub(super) code: u32,
    /// Whose code it is; `None` for stubs.
    pub(super) info: Option<&'a ModuleInfo>,
}

/// A number of the next entry of a sorted table: not below the last, and within the code.
fn after(last: u32, step: u32, code: u32) -> Read<u32> {
    let at = last.checked_add(step).filter(|&at| at <= code);
    at.ok_or(Broken("a table of its code leads outside"))
}

fn below(value: u32, limit: usize) -> Read<u32> {
    if (value as usize) < limit {
        Ok(value)
    } else {
        Err(Broken("an index in its tables leads outside"))
    }
}

pub(super) fn read(r: &mut Reader<'_>, bounds: &Bounds<'_>) -> Read<Tables> {
    let code = bounds.code;
    let bodies = bounds.info.map_or(0, |info| info.bodies.len());
    let bytes = bounds.info.map_or(0, |info| info.bytes.len());
    let tags = bounds.info.map_or(0, |info| info.tags.len());
    // An offset in the module may be that of its end.
    let place = |value| below(value, bytes.saturating_add(1));
    let mut tables = Tables::default();

    let count = r.count()?;
    tables.funcs.reserve_exact(count);
    let mut last = 0;
    for _ in 0..count {
        let kind = r.u8()?;
        let index = r.var()?;
        let kind = match kind {
            0 => FuncKind::Stub,
            1 => FuncKind::Defined(below(index, bodies)?),
            2 => FuncKind::Osr(below(index, bodies)?),
            _ => return Err(Broken("a function of its code is of no kind")),
        };
        let start = after(last, r.var()?, code)?;
        let end = after(start, r.var()?, code)?;
        if start == end {
            return Err(Broken("a function of its code is empty"));
        }
        let body = place(r.var()?)?;
        tables.funcs.push(FuncRange { range: start..end, kind, body });
        last = end;
    }

    let count = r.count()?;
    tables.traps.reserve_exact(count);
    let mut last = 0;
    for _ in 0..count {
        let at = after(last, r.var()?, code)?;
        let trap = r.u8()?;
        if trap != POLL && TrapCode::from_u8(trap).is_none() {
            return Err(Broken("an instruction of its code traps for no reason"));
        }
        tables.traps.push((at, trap));
        last = at;
    }

    let count = r.count()?;
    tables.inlined.reserve_exact(count);
    for _ in 0..count {
        let func = below(r.var()?, bodies)?;
        let (offset, call) = (place(r.var()?)?, place(r.var()?)?);
        tables.inlined.push(Inlined { func, offset, call });
    }

    let count = r.count()?;
    tables.srclocs.reserve_exact(count);
    let mut last = (0, 0);
    for _ in 0..count {
        let at = after(last.0, r.var()?, code)?;
        let source = r.step(last.1)?;
        match source.checked_sub(INLINED) {
            Some(index) => below(index, tables.inlined.len())?,
            None => place(source)?,
        };
        tables.srclocs.push((at, source));
        last = (at, source);
    }

    let count = r.count()?;
    tables.handlers.reserve_exact(count);
    for _ in 0..count {
        let kind = r.u8()?;
        tables.handlers.push(match kind {
            0 => Handler::Context(below(r.var()?, MOST_FRAME as usize)?),
            1 => Handler::Tag(below(r.var()?, tags)?, after(0, r.var()?, code)?),
            2 => Handler::Default(after(0, r.var()?, code)?),
            _ => return Err(Broken("a handler of its code is of no kind")),
        });
    }
    let handlers = &tables.handlers;
    tables.calls = read_sites(r, code, handlers.len(), |ret, frame, range| {
        let fits = |handler: &Handler| match *handler {
            Handler::Context(at) => at.checked_add(8).is_some_and(|end| end <= frame),
            _ => true,
        };
        let all = handlers.get(range.start as usize..range.end as usize).unwrap_or_default();
        all.iter().all(fits).then_some(CallSite { ret, frame, handlers: range })
    })?;

    let count = r.count()?;
    tables.slots.reserve_exact(count);
    for _ in 0..count {
        tables.slots.push(r.var()?);
    }
    let slots = &tables.slots;
    tables.maps = read_sites(r, code, slots.len(), |ret, frame, range| {
        let all = slots.get(range.start as usize..range.end as usize).unwrap_or_default();
        let fits = all.iter().all(|at| at.checked_add(4).is_some_and(|end| end <= frame));
        fits.then_some(StackMap { ret, frame, slots: range })
    })?;
    Ok(tables)
}

fn read_sites<T>(
    r: &mut Reader<'_>,
    code: u32,
    entries: usize,
    make: impl Fn(u32, u32, Range<u32>) -> Option<T>,
) -> Read<Vec<T>> {
    let count = r.count()?;
    let mut sites = Vec::with_capacity(count);
    let mut last = 0;
    for _ in 0..count {
        let ret = after(last, r.var()?, code)?;
        let frame = below(r.var()?, MOST_FRAME as usize)?;
        let start = r.var()?;
        let end = start.checked_add(r.var()?).filter(|&end| end as usize <= entries);
        let end = end.ok_or(Broken("an index in its tables leads outside"))?;
        let site = make(ret, frame, start..end);
        sites.push(site.ok_or(Broken("a table of its code leads out of its frame"))?);
        last = ret;
    }
    Ok(sites)
}
