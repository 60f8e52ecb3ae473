#!/usr/bin/env python3
"""Runs the cases of manifest.json in some runtime and compares standard output and exit status.

    check.py                          in Wasmtime (the Python package `wasmtime`)
    check.py --node                   in Node (node:wasi)
    check.py --command 'palisade run --allow-all --dir .'
                                      in a command; the module and its arguments are added
    check.py --record NAME...         writes what Wasmtime (or Node, with --node) does into manifest.json: to be read before it is believed
Names of cases may be added. Each case runs in a fresh directory, made as its `files` say.
"""
import json, os, re, shlex, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

NODE = r"""
const fs = require('fs'), { WASI } = require('node:wasi');
const [file, spec] = process.argv.slice(1), { args, env, dir, invoke } = JSON.parse(spec);
const wasi = new WASI({ version: 'preview1', args, env, returnOnExit: true, preopens: dir ? { '.': process.cwd() } : {} });
(async () => {
  const { instance } = await WebAssembly.instantiate(fs.readFileSync(file), wasi.getImportObject());
  if (!invoke) { process.exitCode = wasi.start(instance); return; }
  wasi.initialize(instance);
  for (const call of invoke) {
    const type = t => v => t === 'i64' ? BigInt(v) : Number(v);
    const given = (call.args || []).map(a => type(a[0])(a[1]));
    try {
      const r = instance.exports[call.export](...given);
      console.log(r === undefined ? 'none' : typeof r === 'bigint' ? BigInt.asIntN(64, r).toString() : String(r));
    } catch (e) { console.log('trap'); }
  }
})().catch(e => { console.error(e.stack); process.exitCode = 134; });
"""

WASMTIME = r"""
import json, os, sys, wasmtime
file, spec = sys.argv[1], json.loads(sys.argv[2])
engine = wasmtime.Engine()
store = wasmtime.Store(engine)
wasi = wasmtime.WasiConfig()
wasi.argv = spec['args']
wasi.env = list(spec['env'].items())
wasi.inherit_stdin(); wasi.inherit_stdout(); wasi.inherit_stderr()
if spec['dir']: wasi.preopen_dir('.', '.')
store.set_wasi(wasi)
linker = wasmtime.Linker(engine)
linker.define_wasi()
instance = linker.instantiate(store, wasmtime.Module.from_file(engine, file))
exports = instance.exports(store)
try:
    if not spec['invoke']:
        exports['_start'](store)
        sys.exit(0)
    exports['_initialize'](store)
except wasmtime.ExitTrap as e: os._exit(e.code & 255)
except (wasmtime.Trap, wasmtime.WasmtimeError) as e: print(e, file=sys.stderr); os._exit(134)
for call in spec['invoke']:
    try:
        r = exports[call['export']](store, *[float(v) if t[0] == 'f' else int(v) for t, v in call.get('args', [])])
        print('none' if r is None else r if not isinstance(r, float) or r != int(r) else int(r))
    except (wasmtime.Trap, wasmtime.WasmtimeError): print('trap')
"""


def prepare(case, place):
    for path, what in (case.get("files") or {}).items():
        full = os.path.join(place, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if what is None:
            os.makedirs(full, exist_ok=True)
        elif isinstance(what, dict):
            os.symlink(what["symlink"], full)
        else:
            with open(full, "w", newline="") as f:
                f.write(what)


def after(place):
    found = {}
    for base, dirs, files in os.walk(place):
        for name in dirs + files:
            full = os.path.join(base, name)
            path = os.path.relpath(full, place)
            if os.path.islink(full): found[path] = {"symlink": os.readlink(full)}
            elif os.path.isdir(full): found[path] = None
            else: found[path] = open(full, "rb").read().decode("utf-8", "backslashreplace")
    return dict(sorted(found.items()))


def run(case, how):
    file = os.path.join(HERE, case["file"])
    spec = json.dumps({"args": [case["file"]] + case["args"], "env": case["env"], "dir": case["dir"], "invoke": case.get("invoke")})
    if how == "wasmtime": command = [sys.executable, "-c", WASMTIME, file, spec]
    elif how == "node": command = ["node", "--no-warnings", "-e", NODE, file, spec]
    else:
        command = shlex.split(how)
        for key, text in case["env"].items(): command += ["--env", f"{key}={text}"]
        command += [file] + case["args"]
    # The directory lies in a parent with something to steal beside it.
    with tempfile.TemporaryDirectory() as outer:
        place = os.path.join(outer, "dir")
        os.mkdir(place)
        with open(os.path.join(outer, "secret"), "w") as f: f.write("not for the guest\n")
        prepare(case, place)
        try:
            got = subprocess.run(command, cwd=place, input=case["stdin"].encode(), capture_output=True, timeout=30)
        except subprocess.TimeoutExpired as e:
            return (e.stdout or b"").decode("utf-8", "backslashreplace"), 124, after(place), "30 seconds were not enough"
        with open(os.path.join(outer, "secret")) as f: secret = f.read()
        if sorted(os.listdir(outer)) != ["dir", "secret"] or secret != "not for the guest\n":
            return "the guest got out of its directory\n", -1, {}, f"beside the directory: {os.listdir(outer)}"
        out = got.stdout.decode("utf-8", "backslashreplace")
        return out, got.returncode & 255 if got.returncode >= 0 else 134, after(place), got.stderr.decode("utf-8", "replace")


def main():
    words = sys.argv[1:]
    how, record = "wasmtime", False
    if "--node" in words: how = "node"; words.remove("--node")
    if "--record" in words: record = True; words.remove("--record")
    if "--command" in words:
        i = words.index("--command")
        how = words[i + 1]
        del words[i:i + 2]
    path = os.path.join(HERE, "manifest.json")
    manifest = json.load(open(path))
    bad = ran = 0

    def same_refusals(case, text):
        return re.sub(r"errno [1-9]\d*", "errno not 0", text) if case.get("refusals_only") else text
    for case in manifest["cases"]:
        if words and case["name"] not in words and case["file"].split(".")[0] not in words: continue
        if case.get("invoke") and how not in ("wasmtime", "node"): continue
        if record or how.split()[0] not in case.get("not_in", []):
            ran += 1
            out, status, left, err = run(case, how)
            for other in case.get("refused_as", []):
                out = re.sub(rf"errno {other}\b", "errno 76", out)
            if record:
                case["stdout"], case["exit"] = out, status
                if "after" in case: case["after"] = left
                continue
            problems = []
            if same_refusals(case, out) != same_refusals(case, case["stdout"]): problems.append(f"stdout\n--- expected\n{case['stdout']}--- got\n{out}--- stderr\n{err}")
            if status != case["exit"]: problems.append(f"exit {status}, expected {case['exit']}\n{err[-600:]}")
            if "after" in case and left != case["after"]: problems.append(f"left {left}, expected {case['after']}")
            for problem in problems: print(f"{case['name']}: {problem}")
            bad += bool(problems)
    if record:
        with open(path, "w") as f: f.write(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    print(f"{ran} cases, {bad} differ")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
