//! Who is told of refusals of the ledger, beside the guest.
//!
//! It only observes: nothing that it does changes what was refused.

use std::fmt;
use std::sync::Arc;

use crate::ledger::Refusal;

type Hook = dyn Fn(&Refusal) + Send + Sync;

/// Nobody, or a hook.
#[derive(Clone, Default)]
pub(crate) struct Watcher(Option<Arc<Hook>>);

impl Watcher {
    pub(crate) fn new(hook: impl Fn(&Refusal) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    pub(crate) fn tell(&self, refusal: &Refusal) {
        if let Some(hook) = &self.0 {
            hook(refusal);
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Watcher(hook)" } else { "Watcher(nobody)" })
    }
}
