"""One module in wasmtime (its Python package), with WASI as its command gives it, and with all limits that it has:
fuel, memory, table elements. Prints nothing of its own but errors."""

import sys

from wasmtime import Config, Engine, ExitTrap, Linker, Module, Store, WasiConfig

module, grant = sys.argv[1:3]
config = Config()
config.consume_fuel = True
for name in ("wasm_gc", "wasm_function_references", "wasm_exceptions"):
    if hasattr(Config, name):
        setattr(config, name, True)
engine = Engine(config)
store = Store(engine)
store.set_fuel(1_000_000_000)
store.set_limits(memory_size=256 << 20, table_elements=1_000_000)
wasi = WasiConfig()
wasi.inherit_stdin()
wasi.inherit_stdout()
wasi.inherit_stderr()
wasi.preopen_dir(grant, "/")
store.set_wasi(wasi)
linker = Linker(engine)
linker.define_wasi()
try:
    instance = linker.instantiate(store, Module.from_file(engine, module))
    instance.exports(store)["_start"](store)
except ExitTrap as ended:
    sys.exit(ended.code)
except Exception as error:
    print(str(error).strip().splitlines()[-1], file=sys.stderr)
    sys.exit(134)
