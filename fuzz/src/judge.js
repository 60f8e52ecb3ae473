// Carries plans out in V8: one line of JSON in, one line of JSON out.
'use strict';

const { createInterface } = require('readline');

const f32 = new Float32Array(1);
const f32Bits = new Uint32Array(f32.buffer);
const f64 = new Float64Array(1);
const f64Bits = new BigUint64Array(f64.buffer);

function given([type, text]) {
  switch (type) {
    case 'i32': return Number(text);
    case 'i64': return BigInt(text);
    case 'f32': f32Bits[0] = Number(text); return f32[0];
    case 'f64': f64Bits[0] = BigInt(text); return f64[0];
    case 'i31': return Number(text);
    default: return null;
  }
}

function shown(type, value) {
  switch (type) {
    case 'i32': return `i32:${value}`;
    case 'i64': return `i64:${value}`;
    case 'f32':
      if (Number.isNaN(value)) return 'f32:nan';
      f32[0] = value;
      return `f32:${f32Bits[0]}`;
    case 'f64':
      if (Number.isNaN(value)) return 'f64:nan';
      f64[0] = value;
      return `f64:${f64Bits[0]}`;
    case 'anyref':
      if (typeof value === 'number') return `i31:${value}`;
      // falls through
    default:
      return value === null ? 'null' : 'ref';
  }
}

function weight(type, value) {
  switch (type) {
    case 'i32': return BigInt(value >>> 0);
    case 'i64': return BigInt.asUintN(64, value);
    case 'f32':
      if (Number.isNaN(value)) return 0x7fc00000n;
      f32[0] = value;
      return BigInt(f32Bits[0]);
    case 'f64':
      if (Number.isNaN(value)) return 0x7ff8000000000000n;
      f64[0] = value;
      return f64Bits[0];
    default: return value === null ? 0n : 1n;
  }
}

function mixed([type, text], sum) {
  const value = given([type, text]);
  if (type === 'i32') return value ^ Number(BigInt.asIntN(32, sum));
  if (type === 'i64') return BigInt.asIntN(64, value ^ sum);
  return value;
}

function limits({ initial, maximum, wide }) {
  const number = wide ? BigInt : Number;
  const made = { initial: number(initial) };
  if (maximum !== null) made.maximum = number(maximum);
  if (wide) made.address = 'i64';
  return made;
}

function imported(what) {
  switch (what.kind) {
    case 'func':
      return (...args) => {
        let sum = 0n;
        args.forEach((arg, at) => {
          sum = BigInt.asUintN(64, sum * 31n) ^ weight(what.params[at], arg);
        });
        const results = what.results.map((result) => mixed(result, sum));
        return results.length === 1 ? results[0] : results;
      };
    case 'global':
      return new WebAssembly.Global({ value: what.type, mutable: what.mutable }, given(what.value));
    case 'memory':
      return new WebAssembly.Memory({ ...limits(what.limits), shared: what.shared });
    case 'table':
      return new WebAssembly.Table({ ...limits(what.limits), element: what.element }, null);
    case 'tag':
      return new WebAssembly.Tag({ parameters: what.params });
    default:
      throw new Error(`no plan for ${what.kind}`);
  }
}

// Pieces of V8's messages, in the order in which they are looked for.
const CLASSES = [
  ['unreachable', 'unreachable'],
  ['memory access out of bounds', 'memory'],
  ['data segment', 'memory'],
  ['table index is out of bounds', 'table'],
  ['table access out of bounds', 'table'],
  ['table initializer', 'table'],
  ['element segment', 'table'],
  ['table index', 'table'],
  ['null function or function signature mismatch', 'signature'],
  ['divide by zero', 'zero'],
  ['remainder by zero', 'zero'],
  ['float unrepresentable', 'number'],
  ['divide result unrepresentable', 'number'],
  ['dereferencing a null', 'null'],
  ['rethrowing null', 'null'],
  ['illegal cast', 'cast'],
  ['array element access', 'array'],
  ['requested new array is too large', 'limit:heap'],
  ['unaligned', 'unaligned'],
  ['Maximum call stack', 'limit:stack'],
  ['out of memory', 'limit:memory'],
];

function trapped(error) {
  if (error instanceof WebAssembly.Exception) return 'exception';
  if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) {
    const found = CLASSES.find(([piece]) => error.message.includes(piece));
    if (found) return found[1];
  }
  return `other: ${error}`;
}

function hashed(bytes) {
  let a = 0x12345678;
  let b = 0x9e3779b9 | 0;
  const { length } = bytes;
  for (let at = 0; at < length; at += 4) {
    const word = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    a = Math.imul(a ^ word, 0x9e3779b1);
    a = (a << 13) | (a >>> 19);
    b = Math.imul((b + a) | 0, 0x85ebca77) ^ (b >>> 15);
  }
  const hex = (x) => (x >>> 0).toString(16).padStart(8, '0');
  return `${length}:${hex(a)}${hex(b)}`;
}

function state(plan, exports) {
  return plan.exports.map(([name, kind, type]) => {
    const it = exports[name];
    try {
      if (kind === 'memory') return hashed(new Uint8Array(it.buffer));
      if (kind === 'global') return shown(type, it.value);
      const nulls = new Uint8Array(Number(it.length));
      const wide = typeof it.length === 'bigint';
      for (let at = 0; at < nulls.length; at += 1) {
        nulls[at] = it.get(wide ? BigInt(at) : at) === null ? 1 : 0;
      }
      return hashed(nulls);
    } catch (error) {
      // Values that JavaScript cannot have.
      if (error instanceof TypeError) return '?';
      throw error;
    }
  });
}

function run({ wasm, plan }) {
  const bytes = Buffer.from(wasm, 'base64');
  if (!WebAssembly.validate(bytes)) {
    try {
      return { invalid: `${new WebAssembly.Module(bytes)}` };
    } catch (error) {
      return { invalid: error.message };
    }
  }
  if (!plan) return { valid: true };
  const module = new WebAssembly.Module(bytes);
  const imports = {};
  for (const [from, name, what] of plan.imports) {
    imports[from] ??= {};
    imports[from][name] = imported(what);
  }
  let instance;
  try {
    instance = new WebAssembly.Instance(module, imports);
  } catch (error) {
    if (error instanceof WebAssembly.LinkError) return { refused: `${error}` };
    return { failed: trapped(error), calls: [] };
  }
  const calls = [];
  for (const act of plan.acts) {
    if (act.write !== undefined) {
      instance.exports[act.write].value = given(act.value);
      continue;
    }
    let outcome;
    try {
      const result = instance.exports[act.call](...act.args.map(given));
      const { results } = act;
      const all = results.length === 0 ? [] : results.length === 1 ? [result] : [...result];
      outcome = { ok: all.map((value, at) => shown(results[at], value)) };
    } catch (error) {
      outcome = { trap: trapped(error) };
    }
    calls.push({ ...outcome, state: state(plan, instance.exports) });
  }
  return { calls };
}

createInterface({ input: process.stdin }).on('line', (line) => {
  let answer;
  try {
    answer = run(JSON.parse(line));
  } catch (error) {
    answer = { refused: `${error}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
