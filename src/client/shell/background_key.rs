//! Ctrl-Z: the key that puts the running transfer into the background.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
///
/// The numbers are read from `/proc`: a process, group or session outside the PID namespace has the number 0, which
/// the calls of rustix do not allow.
fn is_under_job_control() -> bool {
    let Some(own) = Process::read("self") else { return false };
    let leader = Process::read(&own.group.to_string());
    let parent = Process::read(&leader.unwrap_or(own).parent.to_string());
    parent.is_some_and(|parent| parent.session == own.session && parent.group != own.group)
}

/// The place of a process among the groups and sessions, as `/proc` says it.
#[derive(Clone, Copy)]
struct Process {
    parent: u32,
    group: u32,
    session: u32,
}

impl Process {
    fn read(process: &str) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name of the program, in parentheses, may have spaces and parentheses.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut numbers = fields.split_whitespace().skip(1).map_while(|field| field.parse().ok());
        let [parent, group, session] = [numbers.next()?, numbers.next()?, numbers.next()?];
        Some(Self { parent, group, session })
    }
}
