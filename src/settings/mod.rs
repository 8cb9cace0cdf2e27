//! The settings of a server: one table with a row for each, and what is generated from the rows.
//!
//! From a row come the field of [`Config`], the flag, the key in the file, the environment variable, the help, the pages
//! of the manual, the line in the message to slave processes, and the report of a reload. A later source overrides an
//! earlier one: default, file, environment, flags.
//!
//! Invariant: a value is text until its row reads it, so each source accepts and rejects the same values. Not here: what
//! is opened or served (`startup`, `check`).

mod accessor;
mod define;
mod directory;
mod environment;
mod error;
mod field;
mod file;
mod flags;
mod given;
mod group;
mod host;
mod include;
mod kind;
mod listen;
mod message;
mod mount;
mod nearest;
mod origin;
pub mod pages;
mod ports;
mod report;
mod resolve;
mod row;
#[cfg(test)]
mod samples;
mod show;
mod sources;
mod table;
#[cfg(test)]
mod tests;
mod user_entry;
mod value;
mod words;

pub use environment::with_user_files;
pub use error::ConfigError;
pub use given::{Given, Settings};
pub use host::VirtualHost;
pub use include::ReadFiles;
pub use kind::Kind;
pub use listen::Listen;
pub use origin::{Origin, Problem};
pub use ports::{default_workers, processors};
pub use report::Changes;
pub use row::{Change, Flags, Row, Scope, Switch};
pub use show::quoted;
pub use table::{Arguments, Config, Limits, ROWS, per_address_share, row};
pub use user_entry::UserEntry;
pub use value::{Rules, Unit, rate, time};
