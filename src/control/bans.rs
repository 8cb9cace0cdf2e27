//! The commands about bans and lockouts: `ban`, `bans` and `unban`.
//!
//! An administrator bans networks. Too many wrong passwords lock out an address or a user for some time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::balancer::request::Answer;
use crate::settings::time;
use crate::units::network;

use super::output::{Cell, row};
use super::scope::Scope;
use super::sessions::Kicked;

const COLUMNS: [&str; 6] = ["network", "kind", "failures", "remaining", "user", "host"];

impl Scope<'_> {
    /// Refuses connections from a network, and ends its sessions.
    pub(super) fn ban(&self, text: &str, for_time: Option<&str>) -> Answer {
        self.may_change()?;
        let network = network(text).map_err(sentence)?;
        let until = for_time.map(time).transpose().map_err(sentence)?.map(|time| self.now + time);
        let added = self.controls.live.connection_limits().bans().add(network, until, self.now);
        added.map_err(|_| "there are too many bans; remove some with unban.".to_owned())?;
        if self.is_part {
            return self.kick(&Kicked::Network(network));
        }
        // The slaves ban it as well; a network without sessions is no error.
        let ended =
            self.kick(&Kicked::Network(network)).unwrap_or_else(|_| "0 sessions end\n".to_owned());
        Ok(format!("{network} is banned; {ended}"))
    }

    /// Refuses a change while a new server takes the state of this one over, and would not have the change.
    pub(super) fn may_change(&self) -> Result<(), String> {
        if self.controls.handing_over.load(Ordering::Acquire) {
            return Err("a new server is taking the place of this one; try again.".to_owned());
        }
        Ok(())
    }

    /// Bans the networks of the master in a slave process: pairs of a network and the seconds, or 0 for ever.
    pub(super) fn adopt_bans(&self, bans: &[&str]) -> Answer {
        for pair in bans.chunks_exact(2) {
            let [text, seconds] = pair else { continue };
            let seconds: u64 = seconds.parse().unwrap_or_default();
            let until = (seconds > 0).then(|| self.now + Duration::from_secs(seconds));
            let list = self.controls.live.connection_limits().bans();
            // The list of the master is not longer.
            let _added = list.add(network(text).map_err(sentence)?, until, self.now);
        }
        Ok(String::new())
    }

    /// Lists bans and lockouts.
    pub(super) fn bans(&self) -> String {
        let mut rows = Vec::new();
        // Slave processes have the bans of the master; they count failures themselves.
        if !self.is_part {
            let bans = self.controls.live.connection_limits().bans().all(self.now);
            rows.extend(bans.into_iter().map(|(network, left)| {
                let left = left.map_or(Cell::None, Cell::Time);
                let (network, kind) = (Cell::text(&network), Cell::text("ban"));
                row(self.form, &COLUMNS, &[network, kind, Cell::None, left, Cell::None, Cell::None])
            }));
        }
        let locked = self.service().locked_out(self.now).into_iter();
        let locked = locked.map(|lockout| {
            let (host, user) = lockout.shown_user();
            let cells = [
                Cell::optional(lockout.address),
                Cell::text("lockout"),
                Cell::Number(lockout.failures.into()),
                Cell::Time(lockout.remaining),
                Cell::optional(user),
                Cell::optional(host),
            ];
            row(self.form, &COLUMNS, &cells)
        });
        rows.extend(locked);
        self.joined(&COLUMNS, rows)
    }

    /// Ends the bans and the lockouts of a network.
    pub(super) fn unban(&self, text: &str) -> Answer {
        self.may_change()?;
        let network = network(text).map_err(sentence)?;
        let bans = self.controls.live.connection_limits().bans().remove(&network);
        let lockouts =
            self.service().forgive_addresses(self.now, |address| network.contains(&address));
        self.unbanned(text, bans + lockouts)
    }

    /// Ends the lockout of a user.
    pub(super) fn unban_user(&self, name: &str) -> Answer {
        self.may_change()?;
        self.unbanned(name, self.service().forgive_user(self.now, name.as_bytes()))
    }

    fn unbanned(&self, what: &str, here: usize) -> Answer {
        let count = here + self.count_of_slaves();
        match count {
            _ if self.is_part => Ok(count.to_string()),
            0 => Err(format!("{what} is not banned.")),
            _ => Ok(format!("{what} is not banned any more\n")),
        }
    }
}

/// Ends the clause of a wrong argument.
fn sentence(clause: String) -> String {
    clause + "."
}
