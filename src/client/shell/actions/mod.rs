//! Actions of the shell's commands: each file has the descriptions of its commands, and their functions.

pub(super) mod change;
pub(super) mod classic;
pub(super) mod connection;
pub(super) mod jobs;
pub(super) mod listing;
pub(super) mod local;
pub(super) mod mirror;
pub(super) mod remote;
pub(super) mod settings;
pub(super) mod transfers;
pub(super) mod view;
