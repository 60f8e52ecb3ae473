// One module in V8 with node's WASI.
import { readFileSync } from 'node:fs';
import { WASI } from 'node:wasi';
const [module, grant] = process.argv.slice(2);
const wasi = new WASI({ version: 'preview1', args: ['program'], env: {}, preopens: { '/': grant } });
try {
  const { instance } = await WebAssembly.instantiate(readFileSync(module), wasi.getImportObject());
  process.exit(wasi.start(instance));
} catch (error) {
  console.error(String(error));
  process.exit(134);
}
