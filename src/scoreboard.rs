//! The live sessions: who is connected, since when, and what each one transfers. The status page and other tools for
//! administrators read it.

mod board;
mod record;

pub(crate) use board::{ClientFacts, CurrentTransfer, Entry, Presence, Scoreboard, Seen};
pub(crate) use record::from_records;
