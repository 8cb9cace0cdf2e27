//! The commands about the server itself: `status`, `ready`, `certificates` and `limit`.

use std::time::Duration;

use jiff::Timestamp;

use crate::balancer::request::Answer;
use crate::balancer::{Dispatcher, Load};
use crate::ftp::path::Escaped;
use crate::settings::{Change, ROWS, row as setting};

use super::output::{Cell, Form, list, row};
use super::scope::Scope;

const SLAVE_COLUMNS: [&str; 6] = ["slave", "process", "sessions", "transfers", "bytes", "state"];
/// The facts of the whole server.
const FACTS: [&str; 9] = [
    "version",
    "process",
    "listening",
    "state",
    "uptime",
    "clients",
    "sessions",
    "transfers",
    "bytes",
];
const CERTIFICATE_COLUMNS: [&str; 3] = ["file", "expires", "days"];
const LIMIT_COLUMNS: [&str; 3] = ["setting", "value", "applies"];

impl Scope<'_> {
    /// Lists the slaves; a server without slaves is a row of its own. JSON also has the facts of the whole server.
    pub(super) fn status(&self) -> String {
        let loads = self.controls.balancer.loads();
        let rows: Vec<String> = loads.iter().map(|load| self.slave(load)).collect();
        let rows = list(self.form, &SLAVE_COLUMNS, &rows);
        match self.form {
            Form::Text => rows,
            Form::Json => {
                let facts = row(Form::Json, &FACTS, &self.facts(&loads));
                let facts = facts.trim_end_matches('}');
                format!("{facts},\"slaves\":{}}}\n", rows.trim_end())
            }
        }
    }

    fn slave(&self, load: &Load) -> String {
        let state = if self.controls.live.is_replaced() {
            "leaving"
        } else if load.draining {
            "draining"
        } else {
            "serving"
        };
        let process = match (load.process, self.form) {
            (Some(process), _) => Cell::Number(process.into()),
            (None, Form::Text) => Cell::text("in master"),
            (None, Form::Json) => Cell::None,
        };
        let cells = [
            load.slave.map_or(Cell::None, |slave| Cell::Number(slave.into())),
            process,
            count(load.sessions),
            Cell::Number(load.transfers),
            Cell::Number(load.bytes),
            Cell::text(&state),
        ];
        row(self.form, &SLAVE_COLUMNS, &cells)
    }

    fn facts(&self, loads: &[Load]) -> [Cell; FACTS.len()] {
        let controls = self.controls;
        let age = Timestamp::now().as_second() - controls.begun.as_second();
        let limits = controls.live.connection_limits();
        [
            Cell::text(&env!("CARGO_PKG_VERSION")),
            Cell::Number(std::process::id().into()),
            Cell::text(&self.listeners()),
            Cell::text(self.state().0),
            Cell::Time(Duration::from_secs(age.unsigned_abs())),
            count(limits.taken()),
            count(loads.iter().map(|load| load.sessions).sum()),
            Cell::Number(loads.iter().map(|load| load.transfers).sum()),
            Cell::Number(loads.iter().map(|load| load.bytes).sum()),
        ]
    }

    fn listeners(&self) -> String {
        let addresses = self.controls.acceptors.iter().flat_map(|acceptors| acceptors.addresses());
        addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Returns the state of the server, and the reason why it should get no new clients, if there is one.
    fn state(&self) -> (&'static str, Option<String>) {
        let controls = self.controls;
        let loads = controls.balancer.loads();
        let reason = if controls.service.is_stopping() {
            "stopping"
        } else if controls.live.is_replaced() {
            "leaving"
        } else if !loads.is_empty() && loads.iter().all(|load| load.draining) {
            "draining"
        } else if controls.live.connection_limits().are_full() {
            "full"
        } else {
            let problem = self.root_problem();
            return (if problem.is_some() { "root-unavailable" } else { "serving" }, problem);
        };
        (reason, Some(reason.to_owned()))
    }

    /// Returns a root that cannot be served, and the reason, if there is one.
    fn root_problem(&self) -> Option<String> {
        let mut roots = self.controls.live.roots().into_iter();
        let (directory, problem) = roots.find_map(|root| Some((root.directory, root.problem?)))?;
        Some(format!("{} {problem}", Escaped(directory.as_os_str().as_encoded_bytes())))
    }

    /// Succeeds while the server takes new clients.
    pub(super) fn ready(&self) -> Answer {
        match self.state().1 {
            None if self.form == Form::Json => Ok("{\"ready\":true}\n".to_owned()),
            None => Ok("ready\n".to_owned()),
            Some(reason) => Err(format!("not ready: {reason}.")),
        }
    }

    /// Lists the served certificates with their ends.
    pub(super) fn certificates(&self) -> String {
        let now = Timestamp::now().as_second();
        let ends = self.controls.service.security.iter();
        let ends = ends.flat_map(|security| security.acceptor.ends());
        let rows: Vec<String> = ends
            .map(|(file, at)| {
                let days = (at.as_second() - now).div_euclid(24 * 3600);
                let days = u64::try_from(days).map_or_else(|_| Cell::text("expired"), Cell::Number);
                let cells =
                    [Cell::text(&file.display()), Cell::text(&format_args!("{at:.0}")), days];
                row(self.form, &CERTIFICATE_COLUMNS, &cells)
            })
            .collect();
        list(self.form, &CERTIFICATE_COLUMNS, &rows)
    }

    pub(super) fn set_draining(&self, number: &[&str], is_draining: bool) -> Answer {
        let slave = match number {
            [] => None,
            [number] => match number.parse() {
                Ok(number) => Some(number),
                Err(_) => return Err(format!("no such slave: {number}.")),
            },
            _ => return Err("use drain or resume with at most one slave.".to_owned()),
        };
        if !self.controls.balancer.set_draining(slave, is_draining) {
            return Err(format!("no such slave: {}.", number.join(" ")));
        }
        let who = slave.map_or_else(|| "the server".to_owned(), |slave| format!("slave {slave}"));
        let what = if is_draining { "accepts no new clients" } else { "accepts new clients" };
        Ok(format!("{who} {what}\n"))
    }

    /// Shows the settings that may change while the server runs, or changes one until the next reload.
    pub(super) fn limit(&self, arguments: &[&str]) -> Answer {
        let [name, value @ ..] = arguments else { return Ok(self.limits(None)) };
        let Some(row) = setting(name) else {
            return Err(format!("no setting has the name {name}."));
        };
        if row.change == Change::Restart {
            return Err(format!("{} changes only with a restart.", row.name()));
        }
        match value {
            [] => Ok(self.limits(Some(row.id))),
            [value] => {
                self.may_change()?;
                let applied = self.controls.live.set(row, value);
                applied.map_err(|problem| format!("{}: {problem}.", row.name()))?;
                self.controls.live.adjustments().remember(&[name], value);
                // Slave processes get all settings of their master.
                if let Some(registry) = self.controls.registry.as_ref().filter(|_| !self.is_part) {
                    registry.reload_slaves(self.controls.live.effective().settings());
                }
                Ok(format!(
                    "{} is {value} until the next reload ({})\n",
                    row.name(),
                    row.change.name()
                ))
            }
            _ => Err("use limit, limit SETTING or limit SETTING VALUE.".to_owned()),
        }
    }

    fn limits(&self, only: Option<&str>) -> String {
        let config = self.controls.live.effective();
        let shown = ROWS.iter().filter(|row| row.change != Change::Restart);
        let rows: Vec<String> = shown
            .filter(|row| only.is_none_or(|id| id == row.id))
            .map(|found| {
                let value = Cell::text(&found.value(&config).join(", "));
                let cells = [Cell::text(&found.name()), value, Cell::text(&found.change.name())];
                row(self.form, &LIMIT_COLUMNS, &cells)
            })
            .collect();
        list(self.form, &LIMIT_COLUMNS, &rows)
    }
}

fn count(number: usize) -> Cell {
    Cell::Number(u64::try_from(number).unwrap_or(u64::MAX))
}
