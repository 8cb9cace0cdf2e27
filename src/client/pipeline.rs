//! Pipelining: commands that were sent ahead, and the replies that are still to come.
//!
//! In block mode every file has its own end, all files use one data connection, and the server answers the lines in
//! order. So the commands for the next files can be sent while the current file arrives. Nothing else changes: the code
//! that sends a command finds that it was sent already, and reads its reply.
//!
//! Any other course (a file that is to be resumed, a server that refuses, Ctrl-C) abandons the lines in front of the
//! next command: their replies are read and dropped, without their data.

use std::collections::VecDeque;

/// Maximum number of bytes of commands sent ahead. Any socket buffers this much, so that the two ends never both wait
/// for the other to read.
const AHEAD_BYTES_MAX: usize = 8 * 1024;

/// Maximum number of lines sent ahead, two per file. With the maximum size of a file that is requested ahead, it limits
/// the data that a server hashes in vain to 8 MiB, if the files are not wanted after all.
const AHEAD_LINES_MAX: usize = 64;

/// Maximum number of times per connection that files requested ahead may turn out not to be wanted. Each time costs a
/// data connection and all data under way.
const WASTED_MAX: u32 = 3;

/// Lines sent ahead, and the number of replies to come.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// Lines sent ahead, in order, that no command has claimed yet.
    ahead: VecDeque<Vec<u8>>,
    /// Number of final replies to lines that a command has claimed or abandoned. A command that was interrupted, or
    /// failed half way, leaves its replies here.
    pending_replies: u32,
    /// Number of times that files requested ahead were not wanted.
    wasted: u32,
}

impl Pipeline {
    /// Creates the pipeline of a new connection, on which only the greeting is to come.
    pub(super) fn new() -> Self {
        Self { ahead: VecDeque::new(), pending_replies: 1, wasted: 0 }
    }

    /// Returns true if no line was sent ahead that is still to be claimed.
    pub(super) fn is_empty(&self) -> bool {
        self.ahead.is_empty()
    }

    /// Returns true if replies to earlier lines must be read before the next line is sent.
    pub(super) fn has_pending_replies(&self) -> bool {
        self.pending_replies > 0
    }

    /// Counts a line that was sent now.
    pub(super) fn sent(&mut self) {
        self.pending_replies += 1;
    }

    /// Counts a final reply.
    pub(super) fn replied(&mut self) {
        self.pending_replies = self.pending_replies.saturating_sub(1);
    }

    /// Resets the number of replies to come, once a reply has shown that all of them have come.
    pub(super) fn settle(&mut self) {
        self.pending_replies = 0;
    }

    /// Claims the first line sent ahead, which is the next command. Returns false if there is none.
    pub(super) fn claim(&mut self) -> bool {
        let is_claimed = self.ahead.pop_front().is_some();
        self.pending_replies += u32::from(is_claimed);
        is_claimed
    }

    /// Returns the lines of the next requests that should be sent ahead now.
    pub(super) fn select(&self, requests: impl IntoIterator<Item = Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
        let mut count = self.ahead.len();
        let mut bytes = self.ahead.iter().map(Vec::len).sum::<usize>();
        let mut lines = Vec::new();
        // Waits until half of the lines are answered, so that many lines leave together.
        let is_full = count > AHEAD_LINES_MAX / 2 || bytes > AHEAD_BYTES_MAX / 2;
        if is_full || self.wasted >= WASTED_MAX {
            return lines;
        }
        for request in requests {
            if request.iter().all(|line| self.ahead.contains(line)) {
                continue;
            }
            count += request.len();
            bytes += request.iter().map(Vec::len).sum::<usize>();
            if count > AHEAD_LINES_MAX || bytes > AHEAD_BYTES_MAX {
                break;
            }
            lines.extend(request);
        }
        lines
    }

    /// Adds lines that were sent ahead.
    pub(super) fn extend(&mut self, lines: Vec<Vec<u8>>) {
        self.ahead.extend(lines);
    }

    /// Abandons the lines in front of `line`. Returns true if one of them requests a file.
    pub(super) fn skip_to(&mut self, line: &[u8]) -> bool {
        let mut requests_file = false;
        while let Some(skipped) = self.ahead.pop_front_if(|ahead| ahead != line) {
            requests_file |= skipped.starts_with(b"RETR ") || skipped.starts_with(b"MLSD ");
            self.pending_replies += 1;
        }
        self.wasted += u32::from(requests_file);
        requests_file
    }

    /// Abandons all lines, and returns their number.
    pub(super) fn abandon(&mut self) -> u32 {
        let count = u32::try_from(std::mem::take(&mut self.ahead).len()).unwrap_or(u32::MAX);
        self.pending_replies += count;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: usize) -> Vec<Vec<u8>> {
        ["RETR", "HASH"].map(|verb| format!("{verb} {number}").into_bytes()).into()
    }

    fn filled() -> Pipeline {
        let mut pipeline = Pipeline::new();
        pipeline.replied();
        let lines = pipeline.select((0..100).map(request));
        assert_eq!(lines.len(), AHEAD_LINES_MAX);
        pipeline.extend(lines);
        pipeline
    }

    #[test]
    fn the_next_requests_leave_when_half_of_the_lines_are_answered() {
        let mut pipeline = filled();
        for _ in 0..AHEAD_LINES_MAX / 2 {
            assert!(pipeline.select((0..100).map(request)).is_empty());
            assert!(pipeline.claim());
            pipeline.replied();
        }
        let next = pipeline.select((16..100).map(request));
        assert_eq!(next.first(), Some(&b"RETR 32".to_vec()));
        assert_eq!(next.len(), AHEAD_LINES_MAX / 2);
    }

    #[test]
    fn lines_in_front_of_another_command_are_abandoned_with_their_replies() {
        let mut pipeline = filled();
        assert!(!pipeline.skip_to(b"RETR 0") && pipeline.claim());
        pipeline.replied();
        assert!(!pipeline.skip_to(b"RETR 1"), "only HASH is left out");
        assert!(pipeline.has_pending_replies() && pipeline.claim());
        assert!(pipeline.skip_to(b"NOOP"));
        assert_eq!((pipeline.pending_replies, pipeline.abandon()), (2 + 61, 0));
        pipeline.settle();
        assert!(!pipeline.has_pending_replies() && !pipeline.claim());
    }

    #[test]
    fn no_requests_leave_after_too_many_were_in_vain() {
        let mut pipeline = filled();
        for _ in 0..WASTED_MAX {
            pipeline.extend(request(0));
            assert!(pipeline.skip_to(b"NOOP"));
        }
        assert!(pipeline.select([request(0)]).is_empty());
    }
}
