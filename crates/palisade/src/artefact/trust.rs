//! Who vouches for machine code: [`Key`], a secret shared with oneself, or a pair of keys for signatures.
//!
//! Invariants: secrets are not printed and are overwritten when they go; proofs are compared in constant time;
//! a proof for one use of a key is none for another.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroize as _;

/// What separates the uses of keys from each other, and from those of other programs.
const MAC_CONTEXT: &str = "palisade 2026 artefact authentication";
const SIGN_CONTEXT: &str = "palisade 2026 artefact signature";
const DERIVE_CONTEXT: &str = "palisade 2026 key derivation";

/// Overwrites a secret. Its address is given away, so that this cannot be left out as useless.
fn wipe(secret: &mut [u8; 32]) {
    secret.fill(0);
    std::hint::black_box(secret);
}

/// A secret of 32 random bytes: whoever has it can make artefacts that are run, and check that they were made so.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// From bytes that came from a good source of randomness and that nobody else has.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Another key, which says nothing about this one. Equal purposes give equal keys.
    pub fn derive(&self, purpose: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(DERIVE_CONTEXT);
        hasher.update(&self.0).update(purpose);
        let derived = Self(*hasher.finalize().as_bytes());
        hasher.zeroize();
        derived
    }

    fn mac(&self, message: &[u8]) -> blake3::Hash {
        let mut key = blake3::derive_key(MAC_CONTEXT, &self.0);
        let mac = blake3::keyed_hash(&key, message);
        wipe(&mut key);
        mac
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The secret half of a pair of keys (Ed25519): with it artefacts are signed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// From 32 bytes that came from a good source of randomness and that nobody else has.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// The half that others may have.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// The public half of a pair of keys (Ed25519): with it signatures are checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// From its 32 bytes; `None` if they are none of a key, or of one that anybody could sign for.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak()).map(Self)
    }

    /// Its 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

/// How an artefact is vouched for when it is made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Seal {
    /// By a secret that those who run it have, too.
    Key(Key),
    /// By a signature.
    Signature(SecretKey),
}

/// Whose machine code is run. Empty: nobody's.
///
/// Machine code can do anything that the process can. So trust those alone who may do that.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    keys: Vec<Key>,
    public: Vec<PublicKey>,
}

impl Trust {
    /// Trusts nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts whoever has this key.
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        self.keys.push(key);
        self
    }

    /// Trusts whoever has the other half of this key.
    #[must_use]
    pub fn signer(mut self, key: PublicKey) -> Self {
        self.public.push(key);
        self
    }
}

/// The bytes of a proof in a file.
pub(super) const PROOF: usize = 64;

/// How a file says what its proof is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Mac,
    Signature,
}

impl Kind {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Mac => 1,
            Self::Signature => 2,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::Mac, Self::Signature].into_iter().find(|kind| kind.number() == number)
    }
}

impl Seal {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Key(_) => Kind::Mac,
            Self::Signature(_) => Kind::Signature,
        }
    }

    pub(super) fn prove(&self, message: &[u8]) -> [u8; PROOF] {
        match self {
            Self::Key(key) => {
                let mut proof = [0; PROOF];
                proof[..32].copy_from_slice(key.mac(message).as_bytes());
                proof
            }
            Self::Signature(key) => key.0.sign(&signed(message)).to_bytes(),
        }
    }
}

/// What a signature is of.
fn signed(message: &[u8]) -> [u8; 32] {
    blake3::derive_key(SIGN_CONTEXT, message)
}

impl Trust {
    /// Whether anybody trusted vouches for the message.
    pub(super) fn check(&self, kind: Kind, message: &[u8], proof: &[u8; PROOF]) -> bool {
        match kind {
            Kind::Mac => {
                let (mac, rest) = proof.split_at(32);
                let Ok(mac) = <[u8; 32]>::try_from(mac) else { return false };
                // Hashes of that library are compared in constant time.
                let mac = blake3::Hash::from_bytes(mac);
                rest.iter().all(|&byte| byte == 0)
                    && self.keys.iter().any(|key| key.mac(message) == mac)
            }
            Kind::Signature => {
                let (signature, signed) = (Signature::from_bytes(proof), signed(message));
                self.public.iter().any(|key| key.0.verify_strict(&signed, &signature).is_ok())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_message_by_one_key_in_one_use() {
        let (key, other) = (Key::from_bytes([1; 32]), Key::from_bytes([2; 32]));
        let proof = Seal::Key(key.clone()).prove(b"m");
        let trust = Trust::new().key(other.clone()).key(key.clone());
        assert!(trust.check(Kind::Mac, b"m", &proof));
        assert!(!trust.check(Kind::Mac, b"n", &proof));
        assert!(!trust.check(Kind::Signature, b"m", &proof));
        for wrong in [other, key.derive(b""), key.derive(b"a")] {
            assert!(!Trust::new().key(wrong).check(Kind::Mac, b"m", &proof));
        }
        assert!(!Trust::new().check(Kind::Mac, b"m", &proof));
        let mut longer = proof;
        longer[40] = 1;
        assert!(!trust.check(Kind::Mac, b"m", &longer));
    }

    #[test]
    fn signatures_are_checked_by_the_other_half_alone() {
        let (pair, other) = (SecretKey::from_bytes(&[3; 32]), SecretKey::from_bytes(&[4; 32]));
        let proof = Seal::Signature(pair.clone()).prove(b"m");
        let trusts = |key: &SecretKey| Trust::new().signer(key.public());
        assert!(trusts(&pair).check(Kind::Signature, b"m", &proof));
        assert!(!trusts(&pair).check(Kind::Signature, b"n", &proof));
        assert!(!trusts(&other).check(Kind::Signature, b"m", &proof));
        assert!(!Trust::new().key(Key::from_bytes([3; 32])).check(Kind::Signature, b"m", &proof));
        assert_eq!(PublicKey::from_bytes(&pair.public().to_bytes()), Some(pair.public()));
        // A point of small order: anything is signed by it.
        let mut weak = [0; 32];
        weak[0] = 1;
        assert_eq!(PublicKey::from_bytes(&weak), None);
    }

    #[test]
    fn secrets_are_not_printed() {
        let (key, pair) = (Key::from_bytes([7; 32]), SecretKey::from_bytes(&[7; 32]));
        let trust = Trust::new().key(key.clone());
        let shown = format!("{key:?} {pair:?} {trust:?} {:?}", Seal::Signature(pair.clone()));
        assert!(!shown.contains('7'), "{shown}");
    }
}
