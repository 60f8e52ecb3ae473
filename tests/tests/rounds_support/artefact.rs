//! Damaged artefacts: whatever becomes of one that was sealed, it is refused, and nothing else comes of it.

use palisade::{Config, Engine, ErrorKind, Key, Module, Seal, Strategy, Trust};

use super::Rng;
use super::text::TEXTS;

/// An engine, and artefacts that it made.
pub struct Sealed {
    engine: Engine,
    artefacts: Vec<Vec<u8>>,
}

fn key() -> Key {
    Key::from_bytes([0x5a; 32])
}

impl Sealed {
    /// The artefacts of all texts.
    pub fn new() -> palisade::Result<Self> {
        let mut config = Config::new();
        config.strategy(Strategy::Compiled);
        let engine = Engine::new(&config)?;
        let seal = |text: &&str| Module::new(&engine, text)?.serialize(&Seal::Key(key()));
        let artefacts = TEXTS.iter().map(seal).collect::<palisade::Result<_>>()?;
        Ok(Self { engine, artefacts })
    }

    /// Damages one, or leaves it as it is, and loads it; says whether it was loaded.
    pub fn round(&self, seed: u64) -> Result<bool, String> {
        let mut rng = Rng::new(seed);
        let whole = rng.pick(&self.artefacts);
        let mut bytes = whole.clone();
        for _ in 0..rng.below(4) {
            let at = rng.below(bytes.len() + 1);
            let end = (at + 1 + rng.below(64)).min(bytes.len());
            match rng.below(6) {
                0 | 1 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(at..end)),
                4 => {
                    // A piece of another one, at the same place.
                    let other = rng.pick(&self.artefacts);
                    let piece = other.get(at..end.min(other.len())).unwrap_or_default().to_vec();
                    bytes.splice(at..end, piece);
                }
                _ => {
                    let noise: Vec<u8> = (0..1 + rng.below(16)).map(|_| rng.next() as u8).collect();
                    bytes.splice(at..at, noise);
                }
            }
        }
        let genuine = self.artefacts.contains(&bytes);
        // What a start does not need is read when it is needed: here all of it, at once.
        let loaded = Module::deserialize(&self.engine, &bytes, &Trust::new().key(key()));
        match loaded.and_then(|module| module.read_all()) {
            Ok(()) if genuine => Ok(true),
            Ok(()) => Err(format!("seed {seed}: what nobody sealed was loaded")),
            Err(error) if genuine => {
                Err(format!("seed {seed}: what was sealed is refused: {error:#}"))
            }
            Err(error) if matches!(error.kind(), ErrorKind::Artefact(_)) => Ok(false),
            Err(error) => Err(format!("seed {seed}: an error of another kind: {error:#}")),
        }
    }
}
