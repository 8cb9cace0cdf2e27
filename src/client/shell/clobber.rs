//! Downloads to names that exist already: an unchanged file is skipped, and no other is replaced without a decision of
//! the user.

use std::fs;
use std::path::Path;

use jiff::Timestamp;

use crate::client::error::{ClientError, ErrorKind};
use crate::client::metadata::RemoteMetadata;
use crate::client::names::shown_path;
use crate::client::part::Part;
use crate::ftp::command::Type;

use super::clobber_rule::Clobber;
use super::given::{Flag, Given};
use super::progress::TransferBar;
use super::report::FileResult;
use super::state::Shell;

pub(super) const CLOBBER: Flag = Flag::long("clobber", "replace local files that differ");
pub(super) const NO_CLOBBER: Flag = Flag::long("no-clobber", "keep local files that exist");

/// Decision about a download to a local name. Notes are for the user.
#[derive(Debug)]
pub(super) enum Verdict {
    Write,
    /// The local file is the same.
    Unchanged(String),
    /// The local file differs, and stays.
    Kept(String),
}

impl Shell {
    /// Runs `act` with the rule that the options of a call set.
    pub(super) fn with_clobber<T>(&mut self, given: &Given, act: impl FnOnce(&mut Self) -> T) -> T {
        let usual = self.clobber;
        self.clobber = match given.last_of(&CLOBBER, &NO_CLOBBER) {
            Some(true) => Clobber::Replace,
            Some(false) => Clobber::Keep,
            None => usual,
        };
        let outcome = act(self);
        self.clobber = usual;
        outcome
    }

    /// Returns true if a download may write to this local name. Returns false if the file is to be skipped.
    ///
    /// # Errors
    /// As for [`Self::verdict`].
    pub(super) fn may_write(
        &mut self,
        remote: &[u8],
        local: &Path,
        known: Option<RemoteMetadata>,
    ) -> Result<bool, ClientError> {
        match self.verdict(remote, local, known)? {
            Verdict::Write => Ok(true),
            Verdict::Unchanged(note) => {
                self.note(&note);
                self.report(local, remote, FileResult::Unchanged);
                Ok(false)
            }
            Verdict::Kept(note) => {
                self.note(&note);
                self.report(local, remote, FileResult::Kept);
                Ok(false)
            }
        }
    }

    /// Decides about a download to a local name. Asks the user if there is no rule.
    ///
    /// # Errors
    /// [`ErrorKind::Local`], if a script has no rule for a file that differs.
    pub(super) fn verdict(
        &mut self,
        remote: &[u8],
        local: &Path,
        known: Option<RemoteMetadata>,
    ) -> Result<Verdict, ClientError> {
        let Ok(here) = fs::metadata(local) else { return Ok(Verdict::Write) };
        if !here.is_file() || self.clobber == Clobber::Replace {
            // The download itself refuses a directory or a device.
            return Ok(Verdict::Write);
        }
        let name = shown_path(local);
        if self.is_unchanged(remote, local, &here, known)? {
            Part::remove_left_identity(local);
            return Ok(Verdict::Unchanged(format!("{name}: unchanged, skipped")));
        }
        match self.clobber {
            Clobber::Keep => Ok(Verdict::Kept(format!("{name}: exists and differs, kept"))),
            Clobber::Ask if self.interactive && !self.messages.is_kept() => {
                Ok(if self.ask_to_replace(&name)? {
                    Verdict::Write
                } else {
                    Verdict::Kept(format!("{name}: kept"))
                })
            }
            _ => Err(ClientError::new(
                ErrorKind::Local,
                format!(
                    "{name} exists and differs from the remote file. Use --clobber to replace it, or --no-clobber to keep it."
                ),
            )),
        }
    }

    /// Compares size and time, or else a checksum.
    fn is_unchanged(
        &mut self,
        remote: &[u8],
        local: &Path,
        here: &fs::Metadata,
        known: Option<RemoteMetadata>,
    ) -> Result<bool, ClientError> {
        let there = if let Some(known) = known {
            known
        } else {
            let mut progress = TransferBar::new("", self.settings.quiet, &self.messages);
            self.client()?.with_retries(&mut progress, |client, _| client.metadata(remote))?
        };
        let modified = here.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        let same_time = matches!((modified, there.modified), (Some(here), Some(there))
            if here.as_second() == there.as_second());
        if self.representation == Type::Ascii {
            // Line ends change the size.
            return Ok(same_time);
        }
        if there.size != Some(here.len()) {
            return Ok(false);
        }
        Ok(same_time || self.client()?.is_same(remote, local)?)
    }

    /// Asks about one file. An answer that is no answer keeps the file, and runs as a command: it was typed ahead.
    fn ask_to_replace(&mut self, name: &str) -> Result<bool, ClientError> {
        let question =
            format!("{name} exists and differs. Replace it? [y]es, [n]o, [a]ll, [k]eep all: ");
        let Some(answer) = self.asker.ask(&question) else {
            return Err(ClientError::interrupted());
        };
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(true),
            "a" | "all" => {
                self.clobber = Clobber::Replace;
                Ok(true)
            }
            "k" | "keep" | "keep all" => {
                self.clobber = Clobber::Keep;
                Ok(false)
            }
            "n" | "no" | "" => Ok(false),
            _ => {
                self.typed_ahead.push_back(answer);
                Ok(false)
            }
        }
    }
}
