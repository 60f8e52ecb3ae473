//! A function for people to look at: what the code generator was given, and what it made of it.

use crate::compiler::{CompileModule, CompiledFunc, Compiler, Workspace, on_enough_stack};
use crate::error::CompileError;

/// A function as the compiler sees it.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The intermediate form, before the code generator works on it, as text. Nothing in it comes from the names of
    /// the module.
    pub ir: String,
    /// What was made of it.
    pub func: CompiledFunc,
}

impl Compiler {
    /// Compiles a function as if it were alone in its batch, and keeps what is otherwise forgotten on the way.
    ///
    /// # Errors
    ///
    /// As [`Compiler::compile`].
    pub fn explain(
        &self,
        module: &CompileModule<'_>,
        defined: u32,
    ) -> Result<Explained, CompileError> {
        let own = |callee| callee == defined;
        let ir = on_enough_stack(|| {
            self.guarded(&mut Workspace::new(), |workspace| {
                self.translated(workspace, module, defined, None, &own)?;
                Ok(workspace.context.func.display().to_string())
            })
        })??;
        Ok(Explained { ir, func: self.compile(module, defined, &own)? })
    }
}
