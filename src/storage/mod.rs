//! The files that are served and the users who may see them: the tree beneath a root, and the accounts.
//!
//! Real paths stay in this room: other rooms name files by [`VirtualPath`](crate::ftp::VirtualPath).
//! Not here: sockets, replies, the clock.

pub mod account;
mod authenticator;
mod durability;
mod explain;
mod exposed;
mod external_users;
mod groups;
mod health;
mod host_rules;
mod hosts;
pub mod import;
pub mod list;
mod listing;
mod loaded_user;
mod memory;
mod mode;
mod mounts;
mod partials;
pub mod password;
mod pending;
mod permissions;
mod permit;
mod quota;
mod quota_report;
mod rate_limit;
mod reader;
mod reserved_names;
mod rights;
mod root;
mod rules;
mod shared_roots;
mod stat;
mod tree;
mod unique;
mod upload;
mod user_settings;
pub mod users;
mod writer;

pub use account::{
    Account, Accounts, Admission, Credentials, Decision, Denied, NewRate, Rates, Verdict,
    Verification,
};
pub use authenticator::Authenticator;
pub use durability::Durability;
pub use explain::Explanation;
pub use exposed::{Secrets, whereabouts};
pub use groups::{Group, complete};
pub use health::{HealthWatch, PlaceHealth};
pub use hosts::{HostUsers, Hosts, ReloadedUsers};
pub use listing::{Grants, Listing, Progress};
pub use memory::MemoryTree;
pub use mounts::Mount;
pub use partials::{Swept, all_recovered};
pub use pending::Pending;
pub use permissions::Permissions;
pub use permit::EntryPermissions;
pub use quota_report::{QuotaOwner, QuotaReport};
pub use rate_limit::{RateLimit, SharedRates, TransferRates};
pub use reader::{Chunk, Reader};
pub use rights::{Rights, Surroundings};
pub use root::Root;
pub use rules::{Access, DirectoryRule, Subject, Whom};
pub use tree::{Files, Store, Tree};
pub use upload::{
    ABORTED, ClientState, Committed, Completeness, Content, DataEnd, Go, Owner, Signs, Start,
    UploadError, VANISHED, judge,
};
pub use writer::Writer;
