//! Mirrors: copies of whole trees, in which only what differs is transferred.
//!
//! [`scan`] reads both sides into a [`tree::Tree`] each, [`plan`] compares them and lists the actions, and [`execute`]
//! does these on several connections. [`options`] is the part that users see. A plan is data: it can be inspected before
//! it is executed, and `--dry-run` prints it.
//!
//! A mirror may be interrupted at any moment, because each file gets its name only when it is complete. The next run
//! finds what is missing.

mod execute;
mod filter;
mod options;
mod plan;
mod prepare;
mod report;
mod scan;
mod tree;

pub use options::Mirror;
pub use plan::{Difference, MirrorAction, Obstacle, Plan};
pub use prepare::MirrorPlan;
pub use report::{MirrorEvent, MirrorReport};
pub use tree::{Item, ItemKind, Stamp};
