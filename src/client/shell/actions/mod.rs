//! Actions of the shell's commands: one function per row of the table, all with one signature.

pub(super) mod connection;
pub(super) mod local;
pub(super) mod remote;
pub(super) mod transfers;
