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
    ("settings", &["net", "log", "units"]),
    ("session", &["net", "storage", "ftp", "pool", "settings", "log"]),
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
