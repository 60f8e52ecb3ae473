#!/usr/bin/env python3
"""Checks the kernels of kernels.json in Wasmtime (the Python package), and in Node with --node.

    check.py [--node] [NAME...]     compares `run(arg)` with `result`, tells how long it took
    check.py --record [NAME...]     writes Wasmtime's results into kernels.json, after Node agreed
    check.py --calibrate [NAME...]  finds an `arg` that takes about 50 ms in Wasmtime, prints it
"""
import json, os, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
NODE = """
const fs = require('fs');
const [file, arg] = process.argv.slice(1);
const { run } = new WebAssembly.Instance(new WebAssembly.Module(fs.readFileSync(file))).exports;
const t = performance.now(), r = run(Number(arg));
console.log(r.toString(), (performance.now() - t).toFixed(1));
"""


def in_wasmtime(file, arg):
    import wasmtime
    config = wasmtime.Config()
    config.wasm_tail_call = True
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    run = wasmtime.Instance(store, wasmtime.Module.from_file(engine, file), []).exports(store)["run"]
    start = time.perf_counter()
    result = run(store, arg)
    return result, (time.perf_counter() - start) * 1000


def in_node(file, arg):
    out = subprocess.run(["node", "-e", NODE, file, str(arg)], capture_output=True, text=True, check=True).stdout.split()
    return int(out[0]), float(out[1])


def main():
    words = sys.argv[1:]
    flags = {w for w in words if w.startswith("--")}
    names = [w for w in words if not w.startswith("--")]
    path = os.path.join(HERE, "kernels.json")
    kernels = json.load(open(path))
    bad = 0
    for k in kernels["kernels"]:
        if names and k["name"] not in names: continue
        file = os.path.join(HERE, k["file"])
        if "--calibrate" in flags:
            low, high = k["arg"], k["arg"]
            while in_wasmtime(file, high)[1] < 50 and high < 2**30: low, high = high, high * 2 if high > 40 else high + 1
            print(k["name"], low, [round(in_wasmtime(file, a)[1]) for a in (low, (low + high) // 2, high)], high)
            continue
        result, ms = (in_node if "--node" in flags else in_wasmtime)(file, k["arg"])
        if "--record" in flags:
            other, _ = in_node(file, k["arg"])
            if other != result: print(f"{k['name']}: {result}, but Node says {other}"); bad += 1; continue
            k["result"] = str(result)
            k["small_result"] = str(in_wasmtime(file, k["small_arg"])[0])
        small, _ = (in_node if "--node" in flags else in_wasmtime)(file, k["small_arg"])
        wrong = str(result) != k["result"] or str(small) != k["small_result"]
        bad += wrong
        print(f"{k['name']:12} {ms:8.1f} ms  {result}{'  WRONG, expected ' + k['result'] if wrong else ''}")
    if "--record" in flags:
        with open(path, "w") as f: f.write(json.dumps(kernels, indent=1) + "\n")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
