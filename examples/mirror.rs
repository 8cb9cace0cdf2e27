//! Makes a local directory like a remote one. Shows the plan before it is executed.
//!
//! `cargo run --example mirror -- HOST PORT REMOTE LOCAL`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::process::ExitCode;

use poolftpd::{Client, ClientError, Mirror, MirrorEvent, MirrorReport};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, remote, local] = arguments.as_slice() else {
        eprintln!("usage: mirror HOST PORT REMOTE LOCAL");
        return ExitCode::from(2);
    };
    match mirror(host, port.parse().unwrap_or(21), remote, local) {
        Ok(report) if report.is_complete() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.status())
        }
    }
}

fn mirror(host: &str, port: u16, remote: &str, local: &str) -> Result<MirrorReport, ClientError> {
    let mut client = Client::builder(host).port(port).connect()?;
    let mirror = Mirror::download(remote, local).delete(true).parallel(4);
    let plan = client.plan_mirror(&mirror, &mut |_| {})?;
    for action in plan.actions() {
        println!("{action}");
    }
    client.run_mirror(&plan, &mut |event| match event {
        MirrorEvent::Failed(error) => eprintln!("{error}"),
        MirrorEvent::Note(note) => eprintln!("{note}"),
        _ => {}
    })
}
