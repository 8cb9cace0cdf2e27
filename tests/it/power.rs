//! Power cuts on a file system that loses all that was not flushed: what a reply confirmed is there, no name shows half a
//! file, and an upload is resumed behind what reached the disk.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::Path;

use crate::common::forgetful::{Forgetful, LOSSES, Loss, State};
use crate::common::outside::{in_own_process, skip};
use crate::common::raw::RawClient;
use crate::common::{noise, until};
use crate::disks::{CHANGES, serve};
use sha2::{Digest, Sha256};

/// Mounts an empty file system, or reports that this test cannot run here.
fn empty() -> Option<Forgetful> {
    let disk = Forgetful::empty();
    if disk.is_none() {
        skip("a file system in user space cannot be mounted here (needs root and /dev/fuse)");
    }
    disk
}

#[test]
fn a_power_cut_takes_what_was_not_flushed() {
    let Some(disk) = empty() else { return };
    fs::write(disk.root().join("a"), "bytes").unwrap();
    let left = LOSSES.map(|loss| fs::read(after(&disk.state(), loss).root().join("a")).ok());
    assert_eq!(left, [Some(vec![]), None, Some(vec![0; 5]), None]);
}

/// Mounts what a power cut leaves of a file system.
fn after(state: &State, loss: Loss) -> Forgetful {
    Forgetful::mount(state.cut(loss)).unwrap()
}

/// Sends bytes by some commands: REST, STOR, APPE.
fn send(client: &mut RawClient, lines: &[&str], bytes: &[u8]) {
    let mut data = client.open_data();
    for line in lines {
        let reply = client.ask(line);
        assert!(reply.starts_with("350 ") || reply.starts_with("150 "), "{line}: {reply}");
    }
    data.write_all(bytes).unwrap();
    drop(data);
    assert_eq!(client.reply(), "226 Transfer complete.", "{lines:?}");
}

#[test]
fn what_a_reply_confirmed_survives_the_loss_of_all_that_was_not_flushed() {
    let Some(disk) = empty() else { return };
    let server = serve(disk.root());
    let mut client = RawClient::log_in(server.address());
    client.store("x.tmp", b"content");
    for (lines, is_so) in CHANGES {
        for line in *lines {
            let reply = client.ask(line);
            assert!(reply.starts_with('2') || reply.starts_with('3'), "{line}: {reply}");
        }
        for loss in LOSSES {
            assert!(is_so(after(&disk.state(), loss).root()), "{lines:?} is gone: {loss:?}");
        }
    }
}

/// A way to change the file `a`: the bytes that it has before, the commands, and the bytes that are sent.
struct Way {
    before: Option<Vec<u8>>,
    lines: &'static [&'static str],
    sent: Vec<u8>,
    after: Vec<u8>,
}

fn ways() -> [Way; 5] {
    let (old, sent) = (noise(3000), noise(9000)[5000..].to_vec());
    let way = |before: Option<&[u8]>, lines, from: usize| {
        let after = [&old[..from], &sent].concat();
        Way { before: before.map(<[u8]>::to_vec), lines, sent: sent.clone(), after }
    };
    [
        way(None, &["STOR a"], 0),
        way(Some(&old), &["STOR a"], 0),
        way(None, &["APPE a"], 0),
        way(Some(&old), &["APPE a"], old.len()),
        way(Some(&old), &["REST 1000", "STOR a"], 1000),
    ]
}

/// Returns the file `a` after a server has been started on what is left.
fn found(root: &Path) -> Option<Vec<u8>> {
    let server = serve(root);
    let is_recovered = || {
        let mut names = fs::read_dir(root).unwrap().flatten();
        !names.any(|entry| entry.file_name().as_encoded_bytes().starts_with(b".poolftpd-redo"))
    };
    until("an append is not carried out", is_recovered);
    let mut client = RawClient::log_in(server.address());
    let is_file = client.ask("MDTM a").starts_with("213 ");
    is_file.then(|| client.retrieve("a"))
}

#[test]
fn at_each_moment_of_an_upload_a_power_cut_leaves_the_old_file_or_the_new_one() {
    if !in_own_process() {
        return;
    }
    std::thread::scope(|scope| {
        for way in ways() {
            let Some(disk) = empty() else { return };
            scope.spawn(move || cut_at_each_moment(&disk, &way));
        }
    });
}

/// Changes the file, and looks at what a power cut at each moment leaves.
fn cut_at_each_moment(disk: &Forgetful, Way { before, lines, sent, after: new }: &Way) {
    let server = serve(disk.root());
    let mut client = RawClient::log_in(server.address());
    if let Some(before) = before {
        client.store("a", before);
    }
    disk.record();
    send(&mut client, lines, sent);
    let states = disk.recorded();
    let last = states.len() - 1;
    std::thread::scope(|scope| {
        for loss in LOSSES {
            let states = &states;
            scope.spawn(move || {
                for (number, state) in states.iter().enumerate() {
                    let found = found(after(state, loss).root());
                    let is_old = number < last && found == *before;
                    let is_whole = is_old || found.as_ref() == Some(new);
                    let length = found.map(|found| found.len());
                    assert!(is_whole, "{lines:?}: {length:?} bytes, {number} of {last}: {loss:?}");
                }
            });
        }
    });
}

/// Resumes the upload of this content as clients do, behind the size that the server has.
fn resume(root: &Path, content: &[u8], verb: &str) -> usize {
    let server = serve(root);
    let mut client = RawClient::log_in(server.address());
    let size = client.ask("SIZE a");
    let kept: usize = size.strip_prefix("213 ").map_or(0, |size| size.parse().unwrap());
    let beyond = kept + 1;
    let reply = client.ask("HASH a");
    if kept > 0 {
        let mut expected = String::new();
        for byte in Sha256::digest(&content[..kept]) {
            write!(expected, "{byte:02x}").unwrap();
        }
        assert!(reply.contains(&format!(" 0-{} {expected} ", kept - 1)), "{reply}");
    } else {
        assert!(reply.starts_with("550 "), "{reply}");
    }
    let data = client.open_data();
    assert!(client.ask(&format!("REST {beyond}")).starts_with("350 "));
    assert!(client.ask("STOR a").starts_with("554 "), "{beyond} is behind the end");
    drop(data);
    match verb {
        "APPE" => send(&mut client, &["APPE a"], &content[kept..]),
        _ => send(&mut client, &[&format!("REST {kept}"), "STOR a"], &content[kept..]),
    }
    assert!(client.retrieve("a") == content, "{kept}");
    kept
}

/// Resumes the flushed part of an upload at these offsets, at the same time. Nothing that arrives then is flushed.
/// Returns what the file system has at last.
fn resume_unflushed(disk: &Forgetful, content: &[u8], offsets: &[usize]) -> State {
    let server = serve(disk.root());
    RawClient::log_in(server.address()).cut_off("a", &content[..FLUSHED]);
    let mut sessions = Vec::new();
    for offset in offsets {
        let mut client = RawClient::log_in(server.address());
        let mut data = client.open_data();
        assert!(client.ask(&format!("REST {offset}")).starts_with("350 "));
        assert!(client.ask("STOR a").starts_with("150 "));
        data.write_all(&content[*offset..80_000]).unwrap();
        let arrived = format!(" {} bytes ", 80_000 - offset);
        until("it does not arrive", || client.ask("STAT").contains(&arrived));
        sessions.push((client, data));
    }
    disk.state()
}

/// The number of bytes that are flushed when an upload is cut off.
const FLUSHED: usize = 30_000;

#[test]
fn an_upload_is_resumed_behind_what_was_flushed() {
    // A child that another test starts holds the locks of uploads until it executes its program.
    if !in_own_process() {
        return;
    }
    let content = noise(90_000);
    for (offsets, expected) in [
        (&[][..], &[FLUSHED][..]),
        (&[FLUSHED], &[FLUSHED]),
        // The bytes behind the offset are overwritten.
        (&[20_000], &[20_000]),
        // The second copies the beginning of the part. The name of the part leads to the copy, or to the old file.
        (&[FLUSHED, 20_000], &[0, FLUSHED]),
    ] {
        let Some(disk) = empty() else { return };
        let state = resume_unflushed(&disk, &content, offsets);
        std::thread::scope(|scope| {
            for loss in LOSSES {
                let (state, content) = (&state, &content);
                scope.spawn(move || {
                    for verb in ["STOR", "APPE"] {
                        let kept = resume(after(state, loss).root(), content, verb);
                        assert!(expected.contains(&kept), "{offsets:?}: {kept} bytes, {loss:?}");
                    }
                });
            }
        });
    }
}
