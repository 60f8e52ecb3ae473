//! What was seen of a run, in words that all engines share, and the comparison of two runs.

/// How a call ended, and what could be seen of the instance's state after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub outcome: Outcome,
    /// One entry for each exported memory, global and table; `?` for what the engine cannot show.
    pub state: Vec<String>,
}

/// Results in words, or the class of a trap.
pub type Outcome = Result<Vec<String>, String>;

/// A run: the instantiation, then the calls.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trace {
    /// Why the instance was not made, if it was not.
    pub failed: Option<String>,
    pub calls: Vec<Seen>,
    /// What only runs of the same engine have in common: where traps were, fuel that was left.
    pub own: Vec<String>,
}

/// The class of what ended for want of something (fuel, stack, memory), which is no verdict.
pub fn limit(what: &str) -> String {
    format!("limit:{what}")
}

pub fn is_limit(class: &str) -> bool {
    class.starts_with("limit:")
}

impl Trace {
    /// The number of calls before the first that a limit ended.
    fn conclusive(&self) -> usize {
        self.calls.iter().position(Seen::is_limited).unwrap_or(self.calls.len())
    }

    /// The calls that a limit ended.
    pub fn limited(&self) -> Vec<usize> {
        (0..self.calls.len()).filter(|at| self.calls[*at].is_limited()).collect()
    }
}

impl Seen {
    fn is_limited(&self) -> bool {
        self.outcome.as_ref().is_err_and(|class| is_limit(class))
    }
}

/// Classes that wasmtime does not keep apart.
pub fn as_wasmtime(class: &str) -> &str {
    match class {
        "undefined" => "table",
        // An access that is neither aligned nor within bounds is the one or the other.
        "unaligned" => "memory",
        other => other,
    }
}

/// Classes that V8 does not keep apart.
pub fn as_v8(class: &str) -> &str {
    match class {
        "undefined" => "table",
        "overflow" | "conversion" => "number",
        "uninitialized" | "signature" => "signature",
        "unaligned" => "memory",
        other => other,
    }
}

fn alike(a: &str, b: &str) -> bool {
    // V8 shows of an object that it is one.
    let object = |a: &str, b: &str| a == "ref" && b.starts_with(['{', '[']);
    a == b || a == "?" || b == "?" || object(a, b) || object(b, a)
}

fn same_values(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
}

/// The first difference between our run and theirs, or how many calls were compared. What comes after a limit
/// on either side is not.
pub fn compare(ours: &Trace, theirs: &Trace, class: fn(&str) -> &str) -> Result<usize, String> {
    let same_class = |a: &str, b: &str| class(a) == class(b);
    match (&ours.failed, &theirs.failed) {
        (Some(a), Some(b)) if same_class(a, b) || is_limit(a) || is_limit(b) => return Ok(1),
        (None, None) => {}
        (Some(a), _) if is_limit(a) => return Ok(0),
        (_, Some(b)) if is_limit(b) => return Ok(0),
        (a, b) => return Err(format!("instantiation: ours {a:?}, theirs {b:?}")),
    }
    let count = ours.conclusive().min(theirs.conclusive());
    for (number, (a, b)) in ours.calls.iter().zip(&theirs.calls).take(count).enumerate() {
        let same = match (&a.outcome, &b.outcome) {
            (Ok(a), Ok(b)) => same_values(a, b),
            (Err(a), Err(b)) => same_class(a, b),
            _ => false,
        };
        if !same {
            return Err(format!("call {number}: ours {:?}, theirs {:?}", a.outcome, b.outcome));
        }
        if !same_values(&a.state, &b.state) {
            let at = a.state.iter().zip(&b.state).position(|(a, b)| !alike(a, b));
            let pair = at.map(|at| (&a.state[at], &b.state[at]));
            return Err(format!("state after call {number}: {at:?} {pair:?}"));
        }
    }
    Ok(count)
}

/// How deep objects are looked into, and at how many elements of arrays.
pub const DEPTH: u32 = 3;
pub const ELEMENTS: u32 = 12;

/// A hash that JavaScript computes quickly, too.
pub fn hash(bytes: &[u8]) -> String {
    let (mut a, mut b) = (0x1234_5678u32, 0x9E37_79B9u32);
    for chunk in bytes.chunks(4) {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u32::from_le_bytes(word);
        a = (a ^ word).wrapping_mul(0x9E37_79B1).rotate_left(13);
        b = b.wrapping_add(a).wrapping_mul(0x85EB_CA77) ^ (b >> 15);
    }
    format!("{}:{a:08x}{b:08x}", bytes.len())
}

/// The same for the nulls of a table.
pub fn nulls(nulls: impl Iterator<Item = bool>) -> String {
    let bytes: Vec<u8> = nulls.map(u8::from).collect();
    hash(&bytes)
}

pub fn show_f32(bits: u32) -> String {
    if f32::from_bits(bits).is_nan() { "f32:nan".into() } else { format!("f32:{bits}") }
}

pub fn show_f64(bits: u64) -> String {
    if f64::from_bits(bits).is_nan() { "f64:nan".into() } else { format!("f64:{bits}") }
}
