//! The limit of the machine, as an FTP server: one thread per client, one sendfile for a whole file, splice for
//! uploads, and one stat per name of a directory. It has nothing else that a server needs: no accounts, no limits, no
//! safe names. `stress/compare.sh` measures it beside real servers: the difference is the cost of a server.
//!
//! Usage: bare DIRECTORY [ADDRESS=127.0.0.1]. It serves the directory on a port of this address, which it prints.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "not a server to run: it opens what it is told"
)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, RawDir, statat};
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, pipe, splice};

const SLICE_BYTES: usize = 1 << 30;
const PIPE_BYTES: usize = 1 << 20;
const NAMES_BYTES: usize = 32 * 1024;

fn main() -> io::Result<()> {
    let root = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    let address = std::env::args().nth(2).unwrap_or_else(|| "127.0.0.1".into());
    let listener = TcpListener::bind((address.as_str(), 0))?;
    println!("listening on {}", listener.local_addr()?);
    for client in listener.incoming() {
        let (client, root) = (client?, root.clone());
        client.set_nodelay(true)?;
        std::thread::spawn(move || converse(&client, &root));
    }
    Ok(())
}

fn converse(mut control: &TcpStream, root: &Path) -> io::Result<()> {
    let mut passive = None;
    control.write_all(b"220 bare\r\n")?;
    for line in BufReader::new(control).lines() {
        let line = line?;
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let path = root.join(argument.trim_start_matches('/'));
        let reply = match verb {
            "USER" => "331 go on".to_owned(),
            "PASS" => "230 go on".to_owned(),
            "QUIT" => return control.write_all(b"221 bye\r\n"),
            "SIZE" => fs::metadata(path)
                .map_or_else(|_| "550 no".to_owned(), |found| format!("213 {}", found.len())),
            "DELE" => fs::remove_file(path)
                .map_or_else(|_| "550 no".to_owned(), |()| "250 done".to_owned()),
            "EPSV" => {
                let listener = TcpListener::bind((control.local_addr()?.ip(), 0))?;
                let port = listener.local_addr()?.port();
                passive = Some(listener);
                format!("229 here (|||{port}|)")
            }
            "RETR" | "STOR" | "LIST" | "MLSD" => {
                control.write_all(b"150 now\r\n")?;
                let listener = passive.take().ok_or(io::ErrorKind::NotConnected)?;
                let (data, _) = listener.accept()?;
                match verb {
                    "RETR" => send(&path, &data)?,
                    "STOR" => receive(&path, &data)?,
                    _ => list(&path, &data)?,
                }
                drop(data);
                "226 done".to_owned()
            }
            "TYPE" | "NOOP" => "200 fine".to_owned(),
            _ => "500 no".to_owned(),
        };
        control.write_all(format!("{reply}\r\n").as_bytes())?;
    }
    Ok(())
}

fn send(path: &Path, data: &TcpStream) -> io::Result<()> {
    let file = File::open(path)?;
    while rustix::fs::sendfile(data, &file, None, SLICE_BYTES)? > 0 {}
    Ok(())
}

fn receive(path: &Path, data: &TcpStream) -> io::Result<()> {
    let file = File::create(path)?;
    let (out, into) = pipe()?;
    fcntl_setpipe_size(&into, PIPE_BYTES)?;
    let move_on = |from: std::os::fd::BorrowedFd<'_>, to: std::os::fd::BorrowedFd<'_>, count| {
        splice(from, None, to, None, count, SpliceFlags::MOVE)
    };
    loop {
        let mut left = move_on(data.as_fd(), into.as_fd(), PIPE_BYTES)?;
        if left == 0 {
            return Ok(());
        }
        while left > 0 {
            left -= move_on(out.as_fd(), file.as_fd(), left)?;
        }
    }
}

/// Sends each name in the order of the system, with its size. A line is as long as one of LIST, but only its size is
/// true.
fn list(path: &Path, mut data: &TcpStream) -> io::Result<()> {
    let directory = File::open(path)?;
    let mut buffer = vec![MaybeUninit::uninit(); NAMES_BYTES];
    let mut found = RawDir::new(&directory, &mut buffer);
    let mut lines = Vec::new();
    while let Some(name) = found.next().transpose()? {
        let looked = statat(&directory, name.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
        write!(lines, "-rw-r--r--   1 ftp      ftp      {:12} Jan  1 00:00 ", looked.st_size)?;
        lines.extend_from_slice(name.file_name().to_bytes());
        lines.extend_from_slice(b"\r\n");
        if lines.len() > NAMES_BYTES {
            data.write_all(&lines)?;
            lines.clear();
        }
    }
    data.write_all(&lines)
}
