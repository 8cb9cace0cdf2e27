//! Rules of the code base that a program can check.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Returns every source file of the library, with its path from `src/`.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&src, &mut found);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let name = |path: &Path| path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Rooms that a room may import, besides itself.
const ROOMS: &[(&str, &[&str])] = &[
    ("pool", &[]),
    ("ftp", &[]),
    ("storage", &["ftp", "units"]),
    ("net", &["ftp", "units"]),
    ("session", &["net", "storage", "ftp", "pool", "config", "log"]),
    ("balancer", &["net", "pool"]),
    ("client", &["ftp", "cli", "units"]),
    ("bench", &["client", "ftp", "units"]),
];

#[test]
fn no_arrow_runs_back_up() {
    for (file, text) in sources() {
        let room = file.split('/').next().unwrap();
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else { continue };
        for import in text.split("crate::").skip(1) {
            let to: String = import
                .chars()
                .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                .collect();
            assert!(to == room || allowed.contains(&to.as_str()), "src/{file} imports {to}");
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

/// Returns the paths of a `use`, with its braces expanded.
fn expand(path: &str) -> Vec<String> {
    let Some((before, inside)) = path.split_once('{') else { return vec![path.trim().to_owned()] };
    let inside = inside.rsplit_once('}').unwrap().0;
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for letter in inside.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        if letter == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(letter);
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(&format!("{before}{}", part.trim()))).collect()
}

/// Returns the path below `session` of what `use path` in this file names; none if that is elsewhere.
fn below_session(file: &str, is_folder: bool, path: &str) -> Option<String> {
    // The module in which a path without a beginning is looked for, and the one that `super` names.
    let (here, above) = match file.rsplit_once('/') {
        _ if is_folder && file != "mod" => (format!("{file}::"), String::new()),
        Some((folder, _)) => (String::new(), format!("{folder}::")),
        None => (String::new(), String::new()),
    };
    if let Some(rest) = path.strip_prefix("crate::session::") {
        return Some(rest.to_owned());
    }
    match path.strip_prefix("super::") {
        Some(rest) => Some(format!("{above}{rest}")),
        None if path.starts_with("crate::") || !is_folder => None,
        None => Some(format!("{here}{path}")),
    }
}

#[test]
fn a_file_of_the_session_imports_only_what_stands_below_it() {
    let layers = layers().concat();
    let rank = |name: &str| layers.iter().position(|layer| layer == name);
    for (file, text) in sources() {
        let Some(path) = file.strip_prefix("session/").filter(|path| *path != "tests.rs") else {
            continue;
        };
        let is_folder = path.ends_with("mod.rs");
        let name = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let own = rank(name).unwrap_or_else(|| panic!("{name} has no place in the table"));
        let text = text.split("mod tests {").next().unwrap();
        let uses = text.replace("\npub use ", "\nuse ");
        for import in uses.split("\nuse ").skip(1).map(|rest| rest.split(';').next().unwrap()) {
            let paths = expand(&import.replace('\n', " "));
            for found in paths.iter().filter_map(|path| below_session(name, is_folder, path)) {
                let names: Vec<&str> = found.split("::").collect();
                let candidates =
                    [names.get(..2).unwrap_or_default().join("/"), names[0].to_owned()];
                let Some(imported) = candidates.iter().find_map(|name| rank(name)) else {
                    continue;
                };
                assert!(imported >= own, "session/{name} imports {found}, which stands above it");
            }
        }
        let hidden = text
            .lines()
            .find(|line| line.contains("crate::session::") && !line.starts_with("use "));
        assert_eq!(hidden, None, "session/{name}: imports stand at the top");
    }
}

#[test]
fn no_name_means_two_types_of_the_session() {
    let mut names = std::collections::BTreeMap::new();
    for (file, text) in sources().into_iter().filter(|(file, _)| file.starts_with("session/")) {
        for line in text.lines() {
            let words: Vec<&str> = line.split([' ', '<', '(', '{', ';', ':']).collect();
            let kind = words.iter().position(|word| ["struct", "enum", "trait"].contains(word));
            if let Some(kind) = kind.filter(|_| !line.trim_start().starts_with("//")) {
                let before = names.insert(words[kind + 1].to_owned(), file.clone());
                assert_eq!(before, None, "{line} in src/{file}");
            }
        }
    }
    assert!(names.contains_key("Session"));
}

#[test]
fn every_file_says_first_what_lives_in_it() {
    for (file, text) in sources() {
        assert!(text.starts_with("//! "), "src/{file}");
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
