//! The commands about users: `quota`, and the rates of `limit user`.

use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use crate::balancer::request::Answer;
use crate::ftp::path::Escaped;
use crate::settings::rate;
use crate::storage::{NewRate, QuotaOwner, QuotaReport};

use super::output::{Cell, list, row};
use super::scope::Scope;

const QUOTA_COLUMNS: [&str; 6] = ["user", "host", "bytes", "bytes-limit", "files", "files-limit"];
const RATE_COLUMNS: [&str; 3] = ["user", "down", "up"];

/// Maximum time to count the files of users without a session.
const COUNT_TIMEOUT: Duration = Duration::from_secs(6);

/// A user with a quota, and the name of the host.
type Owner = (Option<String>, QuotaOwner);

impl Scope<'_> {
    /// Lists the quotas with their usage; `-` for a usage that cannot be counted in time.
    pub(super) fn quota(&self, user: Option<&str>) -> Answer {
        let owners = self.controls.service.hosts.quota_owners(user.map(str::as_bytes));
        if let (Some(user), true) = (user, owners.is_empty()) {
            return Err(format!("{user} has no quota."));
        }
        let mut found: Vec<(Option<String>, QuotaReport)> =
            owners.iter().map(|(host, owner)| (host.clone(), owner.report())).collect();
        let counted = self.counted(owners, QuotaOwner::counted);
        let until = self.now + COUNT_TIMEOUT;
        for (_, place) in &mut found {
            let Ok(report) = counted.recv_deadline(until) else { break };
            *place = report;
        }
        let rows: Vec<String> = found.iter().map(|found| self.quota_row(found)).collect();
        Ok(list(self.form, &QUOTA_COLUMNS, &rows))
    }

    fn quota_row(&self, (host, report): &(Option<String>, QuotaReport)) -> String {
        let number = |number: Option<u64>| number.map_or(Cell::None, Cell::Number);
        let cells = [
            Cell::text(&Escaped(&report.name)),
            Cell::optional(host.as_ref()),
            number(report.used.map(|(bytes, _)| bytes)),
            number(report.bytes_max),
            number(report.used.map(|(_, files)| files)),
            number(report.files_max),
        ];
        row(self.form, &QUOTA_COLUMNS, &cells)
    }

    /// Runs a function for each owner, in order, on a thread of its own: a disk may hang. Returns the results.
    fn counted<T: Send + 'static>(
        &self,
        owners: Vec<Owner>,
        count: impl Fn(&QuotaOwner) -> T + Send + 'static,
    ) -> Receiver<T> {
        let (results, counted) = bounded(owners.len().max(1));
        let counting = std::sync::Arc::clone(&self.controls.counting);
        let run = move || {
            // Behind a disk that hangs, one thread stays, and not one for each command.
            let Some(_alone) = counting.try_lock_for(COUNT_TIMEOUT) else { return };
            for (_, owner) in &owners {
                if results.send(count(owner)).is_err() {
                    break;
                }
            }
        };
        // Without a thread, nothing is counted.
        let _started = std::thread::Builder::new().name("quota".to_owned()).spawn(run);
        counted
    }

    /// Counts the files of a user again, for changes by other programs.
    pub(super) fn recount(&self, user: &str) -> Answer {
        let owners = self.controls.service.hosts.quota_owners(Some(user.as_bytes()));
        if owners.is_empty() {
            return Err(format!("{user} has no quota."));
        }
        let mut left = owners.len();
        let counted = self.counted(owners, QuotaOwner::recount);
        let until = self.now + COUNT_TIMEOUT;
        while let Ok(true) = counted.recv_deadline(until) {
            left -= 1;
        }
        let _slaves = self.slaves();
        match left {
            _ if self.is_part => Ok(String::new()),
            0 => Ok(format!("the files of {user} are counted again\n")),
            _ => Err(format!("the files of {user} change, or do not respond; try again later.")),
        }
    }

    /// Shows or sets the rates of a user, also for the transfers that run.
    pub(super) fn limit_user(&self, user: &str, arguments: &[&str]) -> Answer {
        let new = |text: &str| rate(text).map_err(|clause| clause + ".").map(Some);
        let (down, up): (NewRate, NewRate) = match arguments {
            [] => (None, None),
            ["down", value] => (new(value)?, None),
            ["up", value] => (None, new(value)?),
            _ => return Err("use limit user NAME, followed by down RATE or up RATE.".to_owned()),
        };
        if let [_, _] = arguments {
            self.may_change()?;
        }
        let found = self.controls.service.hosts.set_rates(user.as_bytes(), down, up);
        if let [direction, value] = arguments {
            if !found.is_empty() {
                self.controls.live.adjustments().remember(&["user", user, direction], value);
            }
            // A transfer may wait for the rate that has changed.
            self.controls.live.wake_all();
        }
        if self.is_part {
            return Ok(String::new());
        }
        if found.is_empty() {
            return Err(format!("there is no user {user}."));
        }
        let _slaves = self.slaves();
        let cell = |rate: Option<std::num::NonZeroU64>| {
            rate.map_or(Cell::None, |rate| Cell::Number(rate.get()))
        };
        let row =
            |(down, up)| row(self.form, &RATE_COLUMNS, &[Cell::text(&user), cell(down), cell(up)]);
        let rows: Vec<String> = found.into_iter().map(row).collect();
        Ok(list(self.form, &RATE_COLUMNS, &rows))
    }
}
