//! Why an artefact is refused, and what to do about it.

use palisade_module::error::escape_name;

/// Why an artefact is refused. None of its code was made executable then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtefactError {
    /// It begins in another way.
    #[error("this is no compiled artefact: it does not begin as one")]
    NotOne,
    /// Its format is that of another version.
    #[error(
        "the artefact has format {found}, and this Palisade reads format {expected}: compile the module again"
    )]
    Format {
        /// The format that it says.
        found: u32,
        /// The format that is read.
        expected: u32,
    },
    /// It is shorter, longer or otherwise not what it says.
    #[error("the artefact is damaged: {0}; copy it again, or compile the module again")]
    Damaged(&'static str),
    /// Nobody who is trusted vouches for it.
    #[error("nobody who is trusted vouches for the artefact: {}", untrusted(*signed))]
    Untrusted {
        /// Whether it is signed, as opposed to being made with a secret key.
        signed: bool,
    },
    /// It was made by another build of Palisade.
    #[error("the artefact was made by Palisade {}, and this is {here}: compile the module again with this one", escape_name(found.as_bytes()))]
    Build {
        /// The build that made it.
        found: String,
        /// This one.
        here: String,
    },
    /// It was made for another processor, or for other settings of the code generator.
    #[error(
        "the artefact was made for another processor: compile the module again on this machine, or there with `baseline_cpu` (--baseline-cpu) and here with the same"
    )]
    Processor,
    /// It was made with other options.
    #[error("the artefact was made with other options: {name} {}, here {here}; give the same options for compiling and for running", escape_name(found.as_bytes()))]
    Option {
        /// Which option.
        name: String,
        /// What it was made with.
        found: String,
        /// What is asked for here.
        here: String,
    },
    /// It holds the code of another module, or no module at all.
    #[error("the artefact belongs to another module")]
    OtherModule,
}

fn untrusted(signed: bool) -> &'static str {
    if signed {
        "it is signed with another key than those given (`Trust::signer`, --trust), or it was changed"
    } else {
        "it was made by another user or on another machine, or it was changed; compile the module again, or have it \
         signed (compile --sign) and say whom you trust (run --trust)"
    }
}
