//! Threads for work that blocks, which no worker may do: flushing a file can take seconds, checking a password is slow on
//! purpose, and a disk may hang. Each pool has its own rule for which job runs next.

mod disks;
mod fair;
mod homes;
mod job;

pub use disks::DiskPool;
pub use fair::FairPool;
pub use homes::HomePool;
pub use job::Job;
