//! The example of `docs/embedding.md`: it compiles, runs, and stands there as it stands here.

use std::time::Duration;

use palisade::{Engine, Linker, Store};
use palisade_wasi::{Caps, OutputBuffer, Preopen, Stdio, Wasi, WasiCtx};

/// Makes a store for one tenant that may read `data`.
pub fn tenant(engine: &Engine, data: &str) -> palisade::Result<(Store<Wasi>, Linker<Wasi>)> {
    // example: begin
    let output = OutputBuffer::new(1 << 20);
    let wasi = WasiCtx::builder()
        .arg("tool")
        .caps(Caps::READ)
        .preopen(Preopen::new(data, "/data").read_only())
        .stdin(Stdio::Null)
        .stdout(Stdio::Buffer(output.clone()))
        .stderr(Stdio::Null)
        .max_descriptors(64)
        .build()?;
    let mut linker = Linker::new(engine);
    palisade_wasi::add_to_linker(&mut linker, |wasi| wasi)?;
    let mut store = Store::new(engine, Wasi::new(wasi));
    store.set_timeout(Some(Duration::from_secs(10)))?;
    // example: end
    Ok((store, linker))
}
