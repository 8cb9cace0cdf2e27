//! The rules of the house that a program can check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files below a directory whose names end with `.extension`, each with its path from there.
fn files(directory: &str, extension: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let directory = root().join(directory);
    let mut found = Vec::new();
    walk(&directory, &mut found);
    found.retain(|path| path.extension().is_some_and(|found| found == extension));
    found.sort();
    let name = |path: &Path| path.strip_prefix(&directory).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Returns every source file of the library, with its path from `src/`.
fn sources() -> Vec<(String, String)> {
    files("src", "rs")
}

/// Returns the part of a source file before its tests.
fn without_tests(text: &str) -> &str {
    let attribute = text.split("\n#[cfg(test)]\n").next().unwrap();
    attribute.split("\n#[cfg(all(test").next().unwrap()
}

/// Returns true for a file that holds only tests.
fn is_test(file: &str) -> bool {
    let ends = ["tests.rs", "simulation.rs", "interleaving.rs"];
    file.contains("/tests/") || ends.iter().any(|end| file.ends_with(end))
}

/// Returns the module path of a file, such as `net::tls::files`, and the room that it belongs to.
fn module(file: &str) -> (String, String) {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
    let room = path.split("::").next().unwrap().to_owned();
    (path, room)
}

/// Returns the table of rooms in ARCHITECTURE.md: what each may import, besides itself.
fn rooms() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text.split("| room | may import |").nth(1).unwrap().split("\n\n").next().unwrap();
    let cells = |line: &str| {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().replace('`', ""))
            .collect::<Vec<_>>()
    };
    table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(cells)
        .map(|row| {
            let allowed = row[1].split(", ").filter(|name| !name.is_empty()).map(str::to_owned);
            (row[0].clone(), allowed.collect())
        })
        .collect()
}

#[test]
fn no_arrow_runs_back_up_between_rooms() {
    let rooms = rooms();
    for (file, text) in sources() {
        let (_, room) = module(&file);
        if matches!(room.as_str(), "lib" | "bin") {
            continue;
        }
        let allowed = rooms.get(&room).unwrap_or_else(|| panic!("ARCHITECTURE.md lacks {room}"));
        for import in text.split("crate::").skip(1) {
            let to: String = import
                .chars()
                .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                .collect();
            assert!(to == room || allowed.contains(&to), "src/{file} imports {to}");
        }
    }
}

/// Returns the files of the room `session`, the top one first, from the table in ARCHITECTURE.md.
fn layers() -> Vec<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let table = page.split("| files of `session` |").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows = table.lines().skip(2).map(|row| row.split('|').nth(1).unwrap().trim());
    rows.map(|row| row.split(", ").map(str::to_owned).collect()).collect()
}

#[test]
fn a_file_of_the_session_imports_only_what_stands_below_it() {
    let layers = layers().concat();
    let name = |path: &str| match path.strip_prefix("session::") {
        Some(below) => below.replace("::", "/"),
        None => "mod".to_owned(),
    };
    let rank = |path: &str| {
        let name = name(path);
        layers
            .iter()
            .position(|layer| *layer == name)
            .unwrap_or_else(|| panic!("no row has {name}"))
    };
    let sources = sources();
    let all: BTreeSet<String> = sources.iter().map(|(file, _)| module(file).0).collect();
    for (file, text) in &sources {
        let (own, room) = module(file);
        if room != "session" || is_test(file) {
            continue;
        }
        for to in imports(file, text, &all).iter().filter(|to| module(to).1 == "session") {
            assert!(rank(to) > rank(&own), "{own} imports {to}, which stands above it");
        }
    }
}

/// Returns the modules that a file of the library imports, among `all`.
fn imports(file: &str, text: &str, all: &BTreeSet<String>) -> BTreeSet<String> {
    let (own, _) = module(file);
    let lines = without_tests(text)
        .lines()
        .filter(|line| !line.trim_start().starts_with("//") && !line.contains("pub(in "));
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (start, up) in [("crate::", 0), ("super::", 1)] {
        for rest in code.split(start).skip(1).filter(|rest| !rest.starts_with("super::")) {
            let base = match up {
                0 => Vec::new(),
                up => {
                    let mut path: Vec<&str> = own.split("::").collect();
                    path.truncate(path.len().saturating_sub(up));
                    path
                }
            };
            let end = rest.find([';', '(', ')', '<', '>', '\n']).unwrap_or(rest.len());
            for name in paths(rest.get(..end.max(1)).unwrap_or_default(), rest) {
                let mut path: Vec<&str> = base.clone();
                path.extend(name.split("::"));
                while !path.is_empty() && !all.contains(&path.join("::")) {
                    path.pop();
                }
                let path = path.join("::");
                if !path.is_empty() && path != own {
                    found.insert(path);
                }
            }
        }
    }
    found
}

/// Returns the paths that a `use` names: `a::{b, c::d}` names `a::b` and `a::c::d`.
fn paths(line: &str, rest: &str) -> Vec<String> {
    match line.split_once('{') {
        None => {
            let path: String = line
                .chars()
                .take_while(|letter| letter.is_alphanumeric() || matches!(letter, '_' | ':'))
                .collect();
            vec![path]
        }
        Some((before, _)) => {
            let list = rest.split_once('{').unwrap().1.split(';').next().unwrap();
            list.split([',', '{', '}'])
                .map(|name| format!("{before}{}", name.trim()))
                .filter(|path| !path.is_empty() && !path.ends_with(':'))
                .collect()
        }
    }
}

/// The only imports back up. The macro of the table of settings writes the fields of `Config`, to which rows and
/// accessors refer, so the three files are one.
const EXCEPTIONS: [(&str, &str); 2] =
    [("settings::row", "settings::table"), ("settings::accessor", "settings::table")];

/// A child may not import from a module above it, and no two files import each other, directly or by others.
#[test]
fn no_circle_runs_through_the_files_of_a_room() {
    let sources = sources();
    let all: BTreeSet<String> = sources.iter().map(|(file, _)| module(file).0).collect();
    let graph: BTreeMap<String, BTreeSet<String>> = sources
        .iter()
        .filter(|(file, _)| !file.starts_with("bin/") && file != "lib.rs" && !is_test(file))
        .map(|(file, text)| {
            let (own, _) = module(file);
            let mut to = imports(file, text, &all);
            to.retain(|to| !EXCEPTIONS.contains(&(own.as_str(), to.as_str())));
            // A room stands on its own files.
            to.extend(all.iter().filter(|other| other.starts_with(&format!("{own}::"))).cloned());
            (own, to)
        })
        .collect();
    for start in graph.keys() {
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<(String, Vec<String>)> = vec![(start.clone(), vec![start.clone()])];
        while let Some((at, way)) = waiting.pop() {
            for next in graph.get(&at).into_iter().flatten() {
                assert!(next != start, "a circle: {}", way.join(" -> "));
                if seen.insert(next.clone()) {
                    let way = [way.clone(), vec![next.clone()]].concat();
                    waiting.push((next.clone(), way));
                }
            }
        }
    }
}

#[test]
fn no_room_has_two_types_of_one_name() {
    let mut found: BTreeMap<(String, String), String> = BTreeMap::new();
    for (file, text) in sources() {
        let (_, room) = module(&file);
        if room == "bin" || is_test(&file) {
            continue;
        }
        for line in without_tests(&text).lines().filter(|line| !line.starts_with("    ")) {
            let declared = ["struct ", "enum ", "trait ", "type "]
                .iter()
                .find_map(|kind| line.split_once(kind))
                .filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
            let Some((_, rest)) = declared else { continue };
            let name: String = rest.chars().take_while(|letter| letter.is_alphanumeric()).collect();
            let before = found.insert((room.clone(), name.clone()), file.clone());
            assert!(before.is_none(), "{name} is in src/{file} and src/{}", before.unwrap());
        }
    }
}

#[test]
fn every_file_says_first_what_lives_in_it() {
    for (file, text) in sources() {
        assert!(text.starts_with("//! "), "src/{file}");
    }
}

/// Words with which no comment begins: it begins with a verb or a noun.
const RELATIVE_WORDS: [&str; 10] =
    ["What", "Who", "Whether", "How", "By", "Of", "Where", "Whose", "Whoever", "Whatever"];

#[test]
fn every_doc_comment_begins_with_a_verb_or_a_noun() {
    let others = files("xtask", "rs").into_iter().chain(files("benches", "rs"));
    for (file, text) in sources().into_iter().chain(others) {
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        for (number, line) in lines.iter().enumerate() {
            let Some(words) = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! "))
            else {
                continue;
            };
            let continues = number > 0
                && lines[number - 1].strip_prefix("//").is_some_and(|before| before.len() > 2);
            let first = words.split([' ', ',', ':', '.']).next().unwrap();
            assert!(continues || !RELATIVE_WORDS.contains(&first), "{file}:{}: {line}", number + 1);
        }
    }
}

/// Phrases that no text of the project has, in its comments, messages and documents.
const PHRASES: [&str; 4] = ["so many ", "so long as", "anew", "by TLS"];

#[test]
fn words_are_plain() {
    let pages = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md"];
    let pages = pages
        .iter()
        .map(|page| ((*page).to_owned(), fs::read_to_string(root().join(page)).unwrap()));
    for (file, text) in sources().into_iter().chain(files("docs", "md")).chain(pages) {
        for (number, line) in text.lines().enumerate() {
            for phrase in PHRASES {
                assert!(!line.contains(phrase), "{file}:{}: '{phrase}': {line}", number + 1);
            }
        }
    }
}

#[test]
fn files_stay_of_a_size_to_read() {
    for (file, text) in sources() {
        let lines = text.split("mod tests {").next().unwrap().lines().count();
        assert!(lines <= 650, "src/{file} has {lines} lines");
    }
}

#[test]
fn nothing_is_left_for_later() {
    for (file, text) in sources() {
        for word in ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("] {
            assert!(!text.contains(word), "src/{file}: {word}");
        }
    }
}

#[test]
fn every_direct_dependency_has_its_reason_in_the_table_of_dependencies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let page = fs::read_to_string(root.join("docs/dependencies.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let explained: Vec<&str> = rows
        .filter(|(_, reason)| !reason.trim_matches([' ', '|', '-']).is_empty())
        .flat_map(|(crates, _)| crates.split(", "))
        .collect();
    for section in manifest
        .split("\n[")
        .filter(|section| section.lines().next().unwrap().ends_with("dependencies]"))
    {
        for line in section.lines().skip(1).filter(|line| line.contains(" = ")) {
            let name = line.split(" = ").next().unwrap();
            assert!(explained.contains(&name), "{name}");
        }
    }
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 150);
}

/// Files, splice and fsync are matters of `storage` and `net`: another kind of storage must not change the session.
#[test]
fn the_session_knows_no_files_of_the_system() {
    for (file, text) in sources() {
        if !file.starts_with("session/") || is_test(&file) {
            continue;
        }
        let code = without_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for word in ["std::fs", "sync_data", "sync_all", "fsync(", "rustix::fs", "rustix::pipe"]
            {
                assert!(!line.contains(word), "src/{file}: {line}");
            }
        }
    }
}

/// Names of calls that only Linux has. Each is used in `sys` alone, so that a port finds them in one place.
const LINUX_ONLY: [&str; 26] = [
    "rustix::event",
    "rustix::thread",
    "timerfd",
    "SpliceFlags",
    "setpipe_size",
    "fs::sendfile",
    "copy_file_range",
    "ficlone",
    "renameat_with",
    "RenameFlags",
    "memfd_create",
    "statx",
    "fallocate",
    "getxattr",
    "setxattr",
    "inotify::",
    "SocketFlags",
    "peercred",
    "PeerCredentials",
    "abstract_name(name.as",
    "tcp_congestion",
    "tcp_cork",
    "tcp_quickack",
    "pidfd",
    "set_dumpable",
    "death_signal(Some",
];

#[test]
fn a_call_that_only_linux_has_is_made_in_sys_alone() {
    for (file, text) in sources() {
        if file.starts_with("sys/") || is_test(&file) {
            continue;
        }
        let code = without_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for word in LINUX_ONLY {
                assert!(!line.contains(word), "src/{file}: {word}: {line}");
            }
        }
    }
}
