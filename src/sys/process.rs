//! The rights of this process, and the end of others.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;

use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, Signal, pidfd_open, set_dumpable_behavior,
    set_parent_process_death_signal,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// The capabilities that override the mode bits of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Overrides {
    /// Reads, writes and enters everything (`CAP_DAC_OVERRIDE`).
    pub(crate) all: bool,
    /// Reads and enters everything (`CAP_DAC_READ_SEARCH`).
    pub(crate) read: bool,
    /// Acts as the owner of every file (`CAP_FOWNER`).
    pub(crate) owner: bool,
}

/// Returns the capabilities of this process that override the mode bits of files.
pub(crate) fn overrides() -> Overrides {
    let sets = capabilities(None).map(|sets| sets.effective);
    let has = |capability| sets.is_ok_and(|sets| sets.contains(capability));
    Overrides {
        all: has(CapabilitySet::DAC_OVERRIDE),
        read: has(CapabilitySet::DAC_READ_SEARCH),
        owner: has(CapabilitySet::FOWNER),
    }
}

/// Gives up every capability but the one that reads and enters everything.
pub(crate) fn keep_read_override() -> io::Result<()> {
    let kept = CapabilitySet::DAC_READ_SEARCH;
    let inheritable = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?)
}

/// Denies this process new privileges, and others the look into its memory.
pub(crate) fn deny_privileges() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(set_no_new_privs(true)?)
}

/// Makes the kernel send this process SIGTERM when its parent ends, even if the parent is killed.
pub(crate) fn end_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::TERM))?)
}

/// Returns a descriptor that is readable when the process has ended.
pub(crate) fn exit_of(child: &Child) -> io::Result<OwnedFd> {
    Ok(pidfd_open(Pid::from_child(child), PidfdFlags::empty())?)
}
