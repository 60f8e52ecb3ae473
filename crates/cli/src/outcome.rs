//! From the runtime's errors to exit statuses, messages and hints.

use std::path::Path;

use palisade::{ArtefactError, Config, Engine, Error, ErrorKind, LinkError, TrapCode};
use palisade_module::error::DecodeErrorKind;
use palisade_wasi::{Halt, MODULE as WASI};

use crate::amounts;
use crate::escape;
use crate::failure::{Failure, Status};

/// The status with which the guest ended itself, if that is what the error says.
pub(crate) fn exit_status(error: &Error) -> Option<u8> {
    match error.downcast_ref::<Halt>() {
        // The low 8 bits are what a process can tell.
        Some(Halt::Exit(status)) => Some((status & 0xff) as u8),
        _ => None,
    }
}

/// Makes an engine.
pub(crate) fn engine(config: &Config) -> Result<Engine, Failure> {
    Engine::new(config).map_err(|error| Failure::new(Status::Internal, error.to_string()))
}

/// Why loading, linking or running `path` failed.
pub(crate) fn failure(path: &Path, error: &Error) -> Failure {
    let status = status(error);
    let mut failure = Failure::new(status, format!("{}: {error:#}", escape::path(path)));
    failure.hints.extend(hint(error));
    failure
}

fn status(error: &Error) -> Status {
    if error.is::<Halt>() {
        return Status::Trap;
    }
    match error.kind() {
        ErrorKind::Trap(TrapCode::DeadlineExceeded) => Status::Deadline,
        ErrorKind::Trap(TrapCode::Internal)
        | ErrorKind::HostPanic(_)
        | ErrorKind::Internal(_)
        | ErrorKind::Poisoned
        | ErrorKind::WrongStore { .. }
        | ErrorKind::WrongEngine { .. } => Status::Internal,
        ErrorKind::Trap(_) | ErrorKind::Exception(_) | ErrorKind::Limit(_) | ErrorKind::Host(_) => {
            Status::Trap
        }
        ErrorKind::File { .. } => Status::Unreadable,
        _ => Status::Module,
    }
}

fn hint(error: &Error) -> Option<String> {
    match error.kind() {
        ErrorKind::Module(decode) => match decode.kind() {
            DecodeErrorKind::Component => Some(
                "build it as a module of WASI preview 1 (the Rust target wasm32-wasip1, wasi-sdk)"
                    .to_owned(),
            ),
            _ => None,
        },
        ErrorKind::Link(link) => hint_on_imports(link),
        ErrorKind::Trap(TrapCode::ModuleLost) => Some(
            "what is read of an artefact when it is needed is not what it was: do not change or replace its bytes while it \
             runs; copy it again, or compile the module again"
                .to_owned(),
        ),
        ErrorKind::Artefact(ArtefactError::Option { .. }) => Some(
            "palisade compile takes --sandbox, --fuel, --call-depth, --deterministic, --baseline-cpu and --paranoid, \
             for runs with --sandbox, --fuel, --max-call-depth and so on"
                .to_owned(),
        ),
        _ => error.refusal().map(amounts::hint),
    }
}

fn hint_on_imports(error: &LinkError) -> Option<String> {
    let module = match error {
        LinkError::Missing { module, .. } => module,
        LinkError::Duplicate { .. } => {
            return Some("two modules of --link, or one of them and WASI, offer it".to_owned());
        }
        _ => return None,
    };
    Some(match module.as_str() {
        WASI => "WASI preview 1 has no function of that name".to_owned(),
        "wasi_unstable" | "wasi" => {
            format!("this module was built for another version of WASI; what is offered is {WASI}")
        }
        other => format!(
            "--link {}=FILE offers the exports of another module under that name",
            escape::name(other)
        ),
    })
}
