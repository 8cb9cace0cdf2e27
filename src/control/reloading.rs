//! The command `reload`, whose files may hang.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::balancer::request::Answer;
use crate::reload::try_reload;

use super::scope::Controls;

/// Maximum time until the answer. It is shorter than the time that an administrator's program waits for one.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(6);

impl Controls {
    /// Reloads on a thread of its own. A reload whose files do not respond in time continues: it may not be ended halfway.
    pub(super) fn reload(self: &Arc<Self>) -> Answer {
        let (done, outcome) = bounded(1);
        let controls = Arc::clone(self);
        let run = move || {
            let reloaded =
                try_reload(&controls.service, &controls.live, controls.registry.as_deref());
            // The administrator may have been answered.
            let _sent = done.send(reloaded);
        };
        let started = std::thread::Builder::new().name("reload".to_owned()).spawn(run);
        started.map_err(|error| format!("cannot start a thread: {error}."))?;
        match outcome.recv_timeout(RELOAD_TIMEOUT) {
            Ok(reloaded) => reloaded.map(|()| "reloaded\n".to_owned()),
            Err(_) => Err(
                "a file does not respond; the reload continues, and the log will have its outcome."
                    .to_owned(),
            ),
        }
    }
}
