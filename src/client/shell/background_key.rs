//! Ctrl-Z: the key that puts the running transfer into the background.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, getpgid, getpgrp, getppid, getsid};

/// Flags shared with the handlers of SIGTSTP.
#[derive(Debug, Clone)]
pub struct BackgroundKey {
    pressed: Arc<AtomicBool>,
    suspends: Arc<AtomicBool>,
}

impl Default for BackgroundKey {
    fn default() -> Self {
        let suspends = Arc::new(AtomicBool::new(is_under_job_control()));
        Self { pressed: Arc::default(), suspends }
    }
}

impl BackgroundKey {
    /// Returns the flag that each SIGTSTP sets.
    #[must_use]
    pub fn pressed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.pressed)
    }

    /// Returns the flag that is true while SIGTSTP suspends the program as usual.
    #[must_use]
    pub fn suspends(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.suspends)
    }

    /// Begins or ends the time in which the key is for a transfer.
    pub(super) fn watch(&self, is_watched: bool) {
        self.pressed.store(false, Ordering::SeqCst);
        self.suspends.store(!is_watched && is_under_job_control(), Ordering::SeqCst);
    }

    /// Returns true if the key was pressed.
    pub(super) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::SeqCst)
    }
}

/// Returns true if another process of the session could continue the process group after a suspension. Without one, the
/// kernel ignores SIGTSTP (POSIX: orphaned process groups), and a suspended client would never run again.
fn is_under_job_control() -> bool {
    let group = getpgrp();
    let stat = fs::read_to_string(format!("/proc/{}/stat", group.as_raw_nonzero()));
    let parent_of_leader = stat.ok().and_then(|stat| {
        let (_, fields) = stat.rsplit_once(')')?;
        Pid::from_raw(fields.split_whitespace().nth(1)?.parse().ok()?)
    });
    parent_of_leader.or_else(getppid).is_some_and(|parent| {
        let is_of_session = getsid(Some(parent)).is_ok_and(|session| getsid(None) == Ok(session));
        is_of_session && getpgid(Some(parent)) != Ok(group)
    })
}
