//! The calls that only Linux has, and the waiting for descriptors: what a port to another system writes again.
//!
//! Each call stands in one function here, under a name of its effect, so that all of them can be audited in
//! one place. All other rooms use calls that every Unix has. Not here: Landlock, which is all of `sandbox`, and files
//! of `/proc`, which each reader treats as absent where there is none.

#![cfg_attr(
    not(feature = "cli"),
    allow(unused_imports, reason = "each part of the crate uses some of these")
)]

mod copy;
mod event;
mod file;
mod process;
mod ready;
mod socket;

pub(crate) use copy::{Pipe, copy_range, drain_to_file, memory_file, send_file, share_blocks};
pub(crate) use event::{Timer, Wakeup};
pub(crate) use file::{Access, RawDir, allows, birth, copy_attributes, rename_new, reserve};
pub(crate) use process::{
    Overrides, deny_privileges, end_with_parent, exit_of, keep_read_override, overrides,
};
pub(crate) use ready::{EpollSet, Interest, is_ready, wait, wait_any};
#[cfg(feature = "server")]
pub(crate) use socket::peer;
pub(crate) use socket::{
    MORE, RECEIVED_CLOSE_ON_EXEC, abstract_name, accept, acknowledge_at_once, discard,
    send_full_packets, tcp_socket, unix_pair, unix_socket, use_reno,
};
