//! Downloads one file over four connections, and prints its progress.
//!
//! `cargo run --example download -- HOST PORT REMOTE LOCAL`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::process::ExitCode;

use poolftpd::{Client, ClientError, TransferEvent};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, remote, local] = arguments.as_slice() else {
        eprintln!("usage: download HOST PORT REMOTE LOCAL");
        return ExitCode::from(2);
    };
    match download(host, port.parse().unwrap_or(21), remote, local) {
        Ok(bytes) => {
            println!("{bytes} bytes");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.status())
        }
    }
}

fn download(host: &str, port: u16, remote: &str, local: &str) -> Result<u64, ClientError> {
    let mut client = Client::builder(host).port(port).connect()?;
    let mut observe = |event: TransferEvent<'_>| {
        if let TransferEvent::Note(note) = event {
            eprintln!("{note}");
        }
    };
    client.download(remote).to(local).parallel(4).observe(&mut observe).run()
}
