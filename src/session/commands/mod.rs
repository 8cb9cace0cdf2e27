//! The commands, by subject: what each verb does.

pub(super) mod files;
pub(super) mod hash;
pub(super) mod info;
pub(super) mod listings;
pub(super) mod login;
pub(super) mod parameters;
pub(super) mod security;
pub(super) mod transfers;
