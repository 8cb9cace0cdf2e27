//! The files that are served and the users who may see them: the tree beneath a root, and the accounts.
//!
//! Real paths stay in this room: other rooms name files by [`VirtualPath`](crate::ftp::VirtualPath). Depends on `ftp`.
//! Not here: sockets, replies, the clock.

pub mod account;
mod durability;
mod exposed;
mod hosts;
mod partials;
pub mod password;
mod permissions;
mod quota;
mod rate_limit;
mod reader;
mod reserved_names;
mod rights;
mod root;
mod stat;
mod unique;
mod upload;
pub mod users;

pub use account::{Account, Accounts, Admission, Denied, Verdict, Verification};
pub use durability::Durability;
pub use exposed::{Secrets, whereabouts};
pub use hosts::{Hosts, ReloadedUsers};
pub use partials::all_recovered;
pub use permissions::Permissions;
pub use rate_limit::RateLimit;
pub use reader::Reader;
pub use rights::{Rights, Surroundings};
pub use root::{Directory, Root};
pub use upload::{
    ABORTED, CancelOnDrop, ClientState, Committed, Completeness, DataEnd, Flush, Go, Owner, Signs,
    Start, Terms, Unable, Upload, VANISHED, judge,
};
