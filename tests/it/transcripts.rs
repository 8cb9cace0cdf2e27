//! Conversations, one file per behaviour in `tests/transcripts`: the lines of the client and the replies of the server.
//! Each is played over a directory, and over a tree in memory that answers late.
//!
//! ```text
//! # what it shows
//! # not in memory: FEATURE  what it needs and a tree in memory lacks
//! GIVEN rule TEXT          a rule for a directory, before the server starts
//! GIVEN write | file NAME "TEXT" | dir NAME | link NAME TARGET     before the server starts
//! LOGIN                    USER anonymous and PASS, with their replies
//! C: LINE                  say a line;  C+: LINE  keep it, and send it together with the next
//! SPLIT LINE               say a line, a byte a packet
//! RAW "BYTES"              send bytes as they are
//! S: PATTERN               the next line; * stands for anything
//! OPEN                     EPSV and connect;  OPEN PASV  by PASV
//! RECEIVE "BYTES"          the data connection to its end, exactly;  RECEIVE *  anything
//! RECEIVE LINES PATTERN    every line of it fits
//! SEND "BYTES"             over the data connection, and close it
//! TAKE "BYTES"             these bytes from the data connection, which stays open
//! GIVE "BYTES"             over the data connection, which stays open
//! CUT "BYTES"              the same, but reset it once they have arrived
//! FILE NAME "TEXT"         what is on the disk now;  ABSENT NAME  what is not
//! CLOSED                   the server has hung up
//! ```

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use poolftpd::internal::settings::Config;
use poolftpd::internal::storage::MemoryTree;

use crate::common::raw::{RawClient, read_all};
use crate::common::{PATIENCE, TestServer};

/// Declares a module with a test for each of these transcripts.
macro_rules! transcripts {
    ($module:ident over $tree:ident: $($name:ident)*) => {
        mod $module {
            use super::*;

            $(
                #[test]
                fn $name() {
                    play_file(stringify!($name), ServedTree::$tree);
                }
            )*

            #[test]
            fn each_transcript_is_played() {
                let played: Vec<_> = [$(stringify!($name)),*].map(file_name).into();
                let mut files: Vec<_> = fs::read_dir(FOLDER)
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .filter(|file| is_for(file, ServedTree::$tree))
                    .collect();
                files.sort();
                assert_eq!(played, files);
            }
        }
    };
}

/// The tree that the server serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServedTree {
    /// A directory.
    Local,
    /// A tree in memory, of which each answer comes late, in small pieces.
    Memory,
}

/// The maximum number of bytes, or of entries, in one answer of the tree in memory.
const PIECE: usize = 8;

/// Returns whether a transcript holds over a tree. Its second line names what a tree in memory lacks.
fn is_for(file: &str, tree: ServedTree) -> bool {
    let text = fs::read_to_string(Path::new(FOLDER).join(file)).unwrap();
    let lacks = text.lines().nth(1).is_some_and(|line| line.starts_with("# not in memory: "));
    tree == ServedTree::Local || !lacks
}

transcripts! {
    local over Local:
    bad_names
    block_mode
    bounce
    directories
    directory_rules
    drop_box
    epsv_all
    facts
    hash
    http
    links
    list
    login_wrong
    login
    machine_list
    pieces
    pipelined
    read_only
    refusals
    rename
    restart
    retrieve
    split
    stat
    store
    telnet
    type_a
    uploads
}

transcripts! {
    memory over Memory:
    bad_names
    block_mode
    bounce
    directories
    epsv_all
    facts
    hash
    http
    list
    login_wrong
    login
    machine_list
    pieces
    pipelined
    read_only
    refusals
    rename
    restart
    retrieve
    split
    stat
    store
    telnet
    type_a
    uploads
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");

/// Returns the file of the transcript with this name.
fn file_name(name: &str) -> String {
    format!("{}.txt", name.replace('_', "-"))
}

fn play_file(name: &str, tree: ServedTree) {
    let text = fs::read_to_string(Path::new(FOLDER).join(file_name(name))).unwrap();
    if let Err(error) = play(&text, tree) {
        let title = text.lines().next().unwrap();
        panic!("{title}\n{error}");
    }
}

struct Scene {
    server: TestServer,
    /// The tree, if it is in memory.
    memory: Option<MemoryTree>,
    client: RawClient,
    data: Option<TcpStream>,
    /// Lines that are kept to be sent together.
    kept: Vec<u8>,
}

fn play(text: &str, tree: ServedTree) -> Result<(), String> {
    let steps = || {
        text.lines()
            .enumerate()
            .map(|(number, line)| (number + 1, line))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    };
    let is_given = |line: &str| line.starts_with("GIVEN ");
    let write = steps().any(|(_, line)| line == "GIVEN write");
    let rules = steps().filter_map(|(_, line)| line.strip_prefix("GIVEN rule "));
    let rules = rules.map(|rule| rule.parse().unwrap()).collect();
    let adjust = |config: &mut Config| {
        config.write = write;
        config.directories = rules;
        config.limits.login_delay = Duration::ZERO;
    };
    let memory = (tree == ServedTree::Memory).then(|| MemoryTree::new(PIECE));
    let server = match &memory {
        None => TestServer::start(adjust),
        Some(tree) => TestServer::start_in_memory(tree.clone(), adjust),
    };
    for (_, line) in steps().filter(|(_, line)| is_given(line)) {
        given(&server, memory.as_ref(), line.trim_start_matches("GIVEN "));
    }
    let client = RawClient::connect(server.address());
    let mut scene = Scene { server, memory, client, data: None, kept: Vec::new() };
    scene.expect("220 *")?;
    for (number, line) in steps().filter(|(_, line)| !is_given(line)) {
        scene.step(line).map_err(|error| format!("line {number}: {line}\n    {error}"))?;
    }
    Ok(())
}

fn given(server: &TestServer, memory: Option<&MemoryTree>, what: &str) {
    let (kind, rest) = what.split_once(' ').unwrap_or((what, ""));
    let (name, content) = rest.split_once(' ').unwrap_or((rest, "\"\""));
    let name = str::from_utf8(&unescape(name)).unwrap().to_owned();
    match (kind, memory) {
        ("file", Some(tree)) => tree.write(&name, &unquote(content)).unwrap(),
        ("dir", Some(tree)) => tree.create_dir(&name).unwrap(),
        _ => given_on_disk(server, kind, &name, content),
    }
}

fn given_on_disk(server: &TestServer, kind: &str, name: &str, content: &str) {
    match kind {
        // The settings of the server.
        "write" | "rule" => {}
        "file" => server.write(name, unquote(content)),
        "dir" => fs::create_dir(server.path(name)).unwrap(),
        "link" => symlink(content, server.path(name)).unwrap(),
        other => panic!("GIVEN {other}?"),
    }
}

impl Scene {
    fn step(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "C:" => {
                let mut bytes = std::mem::take(&mut self.kept);
                bytes.extend_from_slice(&unescape(rest));
                bytes.extend_from_slice(b"\r\n");
                self.client.send(&bytes);
            }
            "C+:" => {
                self.kept.extend_from_slice(&unescape(rest));
                self.kept.extend_from_slice(b"\r\n");
            }
            "SPLIT" => {
                for byte in format!("{rest}\r\n").bytes() {
                    self.client.send(&[byte]);
                }
            }
            "RAW" => self.client.send(&unquote(rest)),
            "S:" => return self.expect(rest),
            "LOGIN" => {
                for (say, expect) in [("USER anonymous", "331 *"), ("PASS x@", "230 *")] {
                    self.client.say(say);
                    self.expect(expect)?;
                }
            }
            "OPEN" => return self.open(rest),
            "RECEIVE" => return self.receive(rest),
            "SEND" => {
                let mut data = self.data.take().ok_or("no data connection")?;
                data.write_all(&unquote(rest)).map_err(|error| error.to_string())?;
            }
            "TAKE" => {
                let mut found = vec![0; unquote(rest).len()];
                let data = self.data.as_mut().ok_or("no data connection")?;
                data.read_exact(&mut found).map_err(|error| error.to_string())?;
                return same(&found, &unquote(rest));
            }
            "GIVE" => {
                let data = self.data.as_mut().ok_or("no data connection")?;
                data.write_all(&unquote(rest)).map_err(|error| error.to_string())?;
            }
            "CUT" => {
                let data = self.data.take().ok_or("no data connection")?;
                self.client.send_and_reset(data, &unquote(rest));
            }
            "FILE" => {
                let (name, content) = rest.split_once(' ').ok_or("FILE NAME \"TEXT\"")?;
                let found = self.stored(name).map_err(|error| error.to_string())?;
                return same(&found, &unquote(content));
            }
            "ABSENT" if self.is_stored(rest) => {
                return Err(format!("{rest} is there"));
            }
            "CLOSED" if !self.client.is_closed() => return Err("still open".to_owned()),
            "ABSENT" | "CLOSED" => {}
            _ => return Err(format!("what is {word}?")),
        }
        Ok(())
    }

    /// Returns the bytes of a file.
    fn stored(&self, name: &str) -> io::Result<Vec<u8>> {
        match &self.memory {
            Some(tree) => tree.read(name),
            None => fs::read(self.server.path(name)),
        }
    }

    fn is_stored(&self, name: &str) -> bool {
        match &self.memory {
            Some(tree) => tree.read(name).is_ok(),
            None => self.server.path(name).symlink_metadata().is_ok(),
        }
    }

    fn expect(&mut self, pattern: &str) -> Result<(), String> {
        let line = self.client.raw_line();
        let line = escape(&line);
        if fits(pattern, &line) { Ok(()) } else { Err(format!("got: {line}")) }
    }

    fn open(&mut self, how: &str) -> Result<(), String> {
        let address = if how == "PASV" {
            let reply = self.client.ask("PASV");
            let numbers = reply.split(['(', ')']).nth(1).ok_or_else(|| reply.clone())?;
            let parts: Vec<u16> =
                numbers.split(',').map(|number| number.parse().unwrap()).collect();
            SocketAddr::new(self.server.address().ip(), parts[4] * 256 + parts[5])
        } else {
            self.client.extended_passive()
        };
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.data = Some(stream);
        Ok(())
    }

    fn receive(&mut self, what: &str) -> Result<(), String> {
        let bytes = read_all(self.data.take().ok_or("no data connection")?);
        if what == "*" {
            return Ok(());
        }
        let Some(pattern) = what.strip_prefix("LINES ") else {
            return same(&bytes, &unquote(what));
        };
        let text = escape(&bytes);
        let mut lines = text.split_terminator("\\r\\n").peekable();
        if lines.peek().is_none() {
            return Err("nothing came".to_owned());
        }
        lines.find(|line| !fits(pattern, line)).map_or(Ok(()), |line| Err(format!("got: {line}")))
    }
}

fn same(found: &[u8], expected: &[u8]) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("got: \"{}\"", escape(found))) }
}

/// Returns whether a line matches a pattern in which `*` matches anything.
fn fits(pattern: &str, line: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == line };
    let Some(line) = line.strip_prefix(head) else { return false };
    if rest.is_empty() {
        return true;
    }
    (0..=line.len())
        .filter(|start| line.is_char_boundary(*start))
        .any(|start| fits(rest, &line[start..]))
}

fn unquote(text: &str) -> Vec<u8> {
    unescape(
        text.strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .unwrap_or_else(|| panic!("not in quotes: {text}")),
    )
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let digits: Vec<u8> = rest.by_ref().take(2).collect();
                    u8::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            },
            byte => byte,
        });
    }
    bytes
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| match byte {
        b'\r' => text + "\\r",
        b'\n' => text + "\\n",
        0x20..=0x7E => text + &char::from(*byte).to_string(),
        byte => format!("{text}\\x{byte:02X}"),
    })
}
