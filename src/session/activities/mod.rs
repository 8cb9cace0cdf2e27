//! The activities of a session, one file each, and what several of them share: `ending` and `polling`. `idle`, which
//! reads commands, is above: it leads to all of these.

pub(super) mod closing;
mod committing;
pub(super) mod connecting;
pub(super) mod digesting;
mod ending;
mod judging;
mod keeping;
pub(super) mod logging_in;
mod polling;
mod scanning;
pub(super) mod status;
mod transferring;
pub(super) mod waiting;
