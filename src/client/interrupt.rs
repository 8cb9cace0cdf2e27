//! Ctrl-C: a flag that every wait checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::ClientError;

/// A flag shared between the signal handler that sets it and the waits that it ends.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Returns the flag, for the code that sets it.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Clears an earlier interrupt.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Sets the flag.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns true if the flag is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn check(&self) -> Result<(), ClientError> {
        if self.is_set() { Err(ClientError::interrupted()) } else { Ok(()) }
    }
}
