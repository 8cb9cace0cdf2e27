//! The answer of a tree: at once, or later by another thread.

use std::io;

use crate::pool::Job;

/// The answer of a tree to one request.
#[derive(Debug)]
pub enum Pending<T> {
    /// The answer is here.
    Done(io::Result<T>),
    /// Another thread answers.
    Later(Job<T>),
}

/// A job, or the error that there is no thread for it.
impl<T> From<io::Result<Job<T>>> for Pending<T> {
    fn from(job: io::Result<Job<T>>) -> Self {
        job.map_or_else(|error| Self::Done(Err(error)), Self::Later)
    }
}
