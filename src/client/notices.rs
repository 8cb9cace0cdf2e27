//! Notices: one-line messages about the connection that no command asked for.

use std::fmt;
use std::sync::Arc;

/// A function that shows a notice.
type Show = dyn Fn(&str) + Send + Sync;

/// Receiver of notices, such as the one about a reconnect. The default drops them.
#[derive(Clone, Default)]
pub struct Notices(Option<Arc<Show>>);

impl Notices {
    /// Creates a receiver that passes each notice to `show`, without a line end.
    pub fn to(show: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(show)))
    }

    /// Passes on a notice.
    pub(super) fn show(&self, notice: &str) {
        if let Some(show) = &self.0 {
            show(notice);
        }
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Notices").field(&self.0.is_some()).finish()
    }
}
