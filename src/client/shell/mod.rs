//! The interactive program: a prompt on a terminal, or a script.
//!
//! A script continues after a command that failed, unless `-e` is given; the first failure decides the exit status.
//! Data goes to standard output, and messages go to standard error.
//!
//! From the bottom to the top: the state, the transfers and the login, the actions of the commands, the table of
//! commands, completion, and the loop.

mod actions;
mod ask;
mod background_key;
mod clobber;
mod clobber_rule;
mod columns;
mod command;
mod complete;
mod connections;
mod copies;
mod flow;
mod gather;
mod given;
mod job_thread;
mod jobs;
mod login;
mod messages;
mod mode;
mod output;
mod place;
mod profile;
mod progress;
mod redirect;
mod report;
mod run;
mod secrets;
mod several;
mod state;
mod table;
mod transfers;
mod tree_progress;
mod walk;
mod words;

pub use background_key::BackgroundKey;
pub use clobber_rule::Clobber;
pub use login::DEFAULT_PORT;
pub use report::JsonReport;
pub use state::{Settings, Shell};
