//! `palisade key`: pairs of keys for signed artefacts.

use crate::args::{Key, KeyAction};
use crate::escape;
use crate::failure::{self, Failure, Status};
use crate::keys;

pub(super) fn run(args: &Key) -> Result<Status, Failure> {
    match args.action {
        KeyAction::New => {
            keys::new_pair(&args.file)?;
            let shown = escape::path(&args.file);
            failure::print(&format!(
                "{shown}: the secret half, for `palisade compile --sign`\n\
                 {shown}.pub: the public half, for `palisade run --trust`\n"
            ))?;
        }
    }
    Ok(Status::Success)
}
