//! The commands about bans and lockouts: `ban`, `bans` and `unban`.
//!
//! An administrator bans networks. Too many wrong passwords lock out an address or a user for some time. Both end with the
//! process.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::balancer::request::Answer;

use super::output::{Cell, row};
use super::scope::Scope;
use super::sessions::Kicked;

const COLUMNS: [&str; 4] = ["network", "kind", "failures", "remaining"];

/// Parses an address or a network.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let found = text.parse().ok().or_else(address);
    found.ok_or_else(|| format!("'{text}' is not an address or a network, such as 10.0.0.0/8."))
}

/// Parses a time, such as `90`, `90s`, `10m`, `2h` or `1d`.
fn time(text: &str) -> Result<Duration, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86400)];
    let found =
        units.into_iter().find_map(|(letter, unit)| Some((text.strip_suffix(letter)?, unit)));
    let (digits, unit) = found.unwrap_or((text, 1));
    let seconds = digits.parse::<u32>().ok().filter(|number| *number > 0);
    let seconds = seconds.and_then(|number| number.checked_mul(unit));
    seconds
        .map(|seconds| Duration::from_secs(seconds.into()))
        .ok_or_else(|| format!("'{text}' is not a time, such as 90s, 10m, 2h or 1d."))
}

impl Scope<'_> {
    /// Refuses connections from a network, and ends its sessions.
    pub(super) fn ban(&self, text: &str, for_time: Option<&str>) -> Answer {
        let network = network(text)?;
        let until = for_time.map(time).transpose()?.map(|time| self.now + time);
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

    /// Lists bans and lockouts.
    pub(super) fn bans(&self) -> String {
        let controls = self.controls;
        let banned = controls.live.connection_limits().bans().all(self.now).into_iter().map(
            |(network, left)| {
                let left = left.map_or(Cell::None, Cell::Time);
                row(
                    self.form,
                    &COLUMNS,
                    &[Cell::text(&network), Cell::text("ban"), Cell::None, left],
                )
            },
        );
        let locked = self.service().locked_out(self.now).into_iter();
        let locked = locked.map(|(address, failures, left)| {
            let failures = Cell::Number(failures.into());
            let cells = [Cell::text(&address), Cell::text("lockout"), failures, Cell::Time(left)];
            row(self.form, &COLUMNS, &cells)
        });
        // Slave processes have the bans of the master; they count failures themselves.
        let mut rows: Vec<String> = banned.chain(locked).collect();
        if self.is_part {
            rows.retain(|row| row.contains("lockout"));
        }
        self.joined(&COLUMNS, rows)
    }

    /// Ends the bans and the lockouts of a network.
    pub(super) fn unban(&self, text: &str) -> Answer {
        let network = network(text)?;
        let bans = self.controls.live.connection_limits().bans().remove(&network);
        let lockouts =
            self.service().forgive_addresses(self.now, |address| network.contains(&address));
        self.unbanned(text, bans + lockouts)
    }

    /// Ends the lockout of a user.
    pub(super) fn unban_user(&self, name: &str) -> Answer {
        self.unbanned(name, self.service().forgive_user(self.now, name.as_bytes()))
    }

    fn unbanned(&self, what: &str, here: usize) -> Answer {
        let there =
            self.slaves().into_iter().filter_map(|answer| answer.trim().parse::<usize>().ok());
        let count = here + there.sum::<usize>();
        match count {
            _ if self.is_part => Ok(count.to_string()),
            0 => Err(format!("{what} is not banned.")),
            _ => Ok(format!("{what} is not banned any more\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_in_seconds() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400)]
        {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "-1", "1w", "m", "99999999d"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
