//! Actions of the shell's commands: each file has the descriptions of its commands, and their functions.

pub(super) mod connection;
pub(super) mod local;
pub(super) mod remote;
pub(super) mod transfers;
