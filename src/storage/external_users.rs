//! The users whom an authenticator has admitted: their session counts and rates are those of all their sessions.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::authenticator::{Authenticator, Question};
use super::exposed::Secrets;
use super::groups::Groups;
use super::loaded_user::LoadedUser;
use super::users::User;
use crate::ftp::path::Escaped;

/// Maximum number of users without a session who are remembered.
const REMEMBERED_MAX: usize = 4096;

/// The users of an authenticator.
#[derive(Debug)]
pub(super) struct ExternalUsers {
    authenticator: Authenticator,
    /// The users who have logged in, as they were at their last login.
    admitted: Mutex<HashMap<Vec<u8>, Arc<LoadedUser>>>,
    /// Files that must not be beneath a home.
    secrets: RwLock<Arc<Secrets>>,
    groups: Arc<Groups>,
}

impl ExternalUsers {
    pub(super) fn new(authenticator: Authenticator, groups: Arc<Groups>) -> Self {
        Self { authenticator, admitted: Mutex::default(), secrets: RwLock::default(), groups }
    }

    /// Sets the files that must not be beneath a home.
    pub(super) fn guard(&self, secrets: Arc<Secrets>) {
        *self.secrets.write() = secrets;
    }

    /// Asks the authenticator again at the next login of each user.
    pub(super) fn forget(&self) {
        self.authenticator.forget();
    }

    /// Returns true if a user of this name has logged in.
    pub(super) fn knows(&self, name: &[u8]) -> bool {
        self.admitted.lock().contains_key(name)
    }

    /// Returns the users who have logged in.
    pub(super) fn admitted(&self) -> Vec<(Vec<u8>, Arc<LoadedUser>)> {
        let admitted = self.admitted.lock();
        admitted.iter().map(|(name, loaded)| (name.clone(), Arc::clone(loaded))).collect()
    }

    /// Returns the user, or `None` if name or password is wrong. May take as long as the authenticator.
    ///
    /// # Errors
    /// One sentence for the log.
    pub(super) fn verify(&self, question: Question<'_>) -> Result<Option<Arc<LoadedUser>>, String> {
        let Some(settings) = self.authenticator.verify(question)? else { return Ok(None) };
        let settings = self.groups.complete(question.name, settings)?;
        if let Some(home) = &settings.home {
            let of = format!("the home of {}", Escaped(question.name));
            self.secrets.read().check(&of, home)?;
        }
        let mut admitted = self.admitted.lock();
        if admitted.len() >= REMEMBERED_MAX {
            admitted.retain(|_, loaded| loaded.has_sessions());
        }
        let before = admitted.get(question.name);
        let count = before.map(|loaded| Arc::clone(&loaded.count)).unwrap_or_default();
        let user = User { hash: String::new(), settings };
        let loaded = Arc::new(LoadedUser::new(user, count, before.map(AsRef::as_ref)));
        admitted.insert(question.name.to_vec(), Arc::clone(&loaded));
        Ok(Some(loaded))
    }
}
