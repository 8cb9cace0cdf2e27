//! Copies of trees by `mirror`, with their sum.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::client::error::ClientError;
use crate::client::mirror::{Mirror, MirrorEvent};
use crate::client::names::join;

use super::flow::{Done, Flow};
use super::report::{FileReport, FileResult};
use super::state::Shell;
use super::tree_progress::{TreeBar, TreeSum};

impl Shell {
    /// Makes one tree like another, and prints a sum.
    pub(super) fn copy_tree(&mut self, mirror: &Mirror) -> Done {
        let bar = TreeBar::new("mirror", self.settings.quiet, &self.messages);
        let json = self.settings.json.clone();
        let mut observe = |event: &MirrorEvent<'_>| {
            bar.event(event);
            if let (Some(report), MirrorEvent::FileEnded { path, outcome }) = (&json, event) {
                let local = mirror.local.join(OsStr::from_bytes(path));
                let result = match outcome {
                    Ok((bytes, took)) => FileResult::Done { bytes: *bytes, took: *took },
                    Err(error) => FileResult::Failed(error),
                };
                let remote = join(&mirror.remote, path);
                report.file(&FileReport { local: &local, remote: &remote, result });
            }
        };
        let client = self.client()?;
        let outcome = client
            .plan_mirror(mirror, &mut observe)
            .and_then(|plan| client.run_mirror(&plan, &mut observe));
        let took = bar.clear();
        self.forget_names();
        let report = outcome?;
        self.note(&TreeSum::of(&report).text(took));
        self.all_of(report.errors)
    }

    /// Prints all errors but the last, which is returned.
    pub(super) fn all_of(&mut self, mut errors: Vec<ClientError>) -> Done {
        let last = errors.pop();
        for error in &errors {
            self.fail(error);
        }
        last.map_or(Ok(Flow::Continue), Err)
    }
}
