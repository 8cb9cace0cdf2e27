//! Actions on jobs: commands in the background.

#![allow(clippy::unnecessary_wraps, reason = "one shape for all functions of the table")]

use crate::client::error::ClientError;
use crate::client::shell::command::{ANY, Names, ShellCommand};
use crate::client::shell::flow::{Done, Flow};
use crate::client::shell::given::Given;
use crate::client::shell::jobs::JobRequest;
use crate::client::shell::state::Shell;
use crate::client::shell::words::CommandLine;

pub(in crate::client::shell) static JOBS: ShellCommand =
    ShellCommand::new("jobs", jobs, "list the commands that run in the background or are queued");

fn jobs(shell: &mut Shell, _: &Given) -> Done {
    shell.report_jobs();
    let text = shell.jobs.text();
    shell.print(&text);
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static QUEUE: ShellCommand = ShellCommand::new(
    "queue",
    queue,
    "run a command in the background, behind those queued before; without one: list the jobs",
)
.words(0, ANY, Names::Remote, "[COMMAND]")
.raw()
.patterns()
.example("queue get big.iso");

fn queue(shell: &mut Shell, given: &Given) -> Done {
    if given.words().is_empty() {
        return jobs(shell, given);
    }
    let line = CommandLine { words: given.words().to_vec(), ..CommandLine::default() };
    shell.jobs.request = Some(JobRequest { line, is_queued: true });
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static WAIT: ShellCommand =
    ShellCommand::new("wait", wait, "wait for a job, or for all")
        .words(0, 1, Names::Other, "[NUMBER]")
        .example("wait 1");

fn wait(shell: &mut Shell, given: &Given) -> Done {
    let number = given.text(0)?.map(|text| number(shell, text)).transpose()?;
    shell.wait_for_jobs(number)?;
    Ok(Flow::Continue)
}

pub(in crate::client::shell) static KILL: ShellCommand =
    ShellCommand::new("kill", kill, "stop jobs; a later download resumes")
        .words(1, ANY, Names::Other, "NUMBER... | all")
        .example("kill 1");

fn kill(shell: &mut Shell, given: &Given) -> Done {
    for word in given.words() {
        let wanted = match word.to_str() {
            Some("all") => None,
            text => Some(number(shell, text.unwrap_or_default())?),
        };
        for text in shell.jobs.kill(wanted) {
            shell.note(&text);
        }
    }
    Ok(Flow::Continue)
}

/// Returns the number of an existing job. A sign before it, as in sh, is accepted.
fn number(shell: &Shell, text: &str) -> Result<usize, ClientError> {
    let number = text.strip_prefix('%').unwrap_or(text).parse().ok();
    number
        .filter(|number| shell.jobs.list.contains_key(number))
        .ok_or_else(|| ClientError::usage(format!("'{text}' is not the number of a job")))
}
