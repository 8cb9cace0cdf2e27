//! `cargo xtask package`: packages, a static archive and an image of a container from one list of files, `dist/files`.

mod archive;
mod deb;
mod rpm;

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Outcome, cargo, root, run, target};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const VERSION: &str = "0.1.0";

/// The revision of the packages of one version.
const REVISION: u32 = 1;

/// A kind of package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Deb,
    Rpm,
    Tar,
    Image,
    /// The files as they will be installed, below a directory.
    Stage,
}

impl Kind {
    const PACKAGES: [Self; 4] = [Self::Deb, Self::Rpm, Self::Tar, Self::Image];

    fn name(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
            Self::Tar => "tar",
            Self::Image => "image",
            Self::Stage => "stage",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Deb, Self::Rpm, Self::Tar, Self::Image, Self::Stage]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// Returns whether the programs need no library of the system.
    fn is_static(self) -> bool {
        matches!(self, Self::Tar | Self::Image)
    }

    /// Returns what this machine lacks to build this.
    fn missing(self, programs: Option<&Path>) -> Option<String> {
        let needed: &[(&str, &str)] = match self {
            Self::Deb => &[("dpkg-deb", "dpkg"), ("strip", "binutils")],
            Self::Rpm => &[("rpmbuild", "rpm"), ("strip", "binutils")],
            Self::Tar | Self::Image | Self::Stage => &[("strip", "binutils")],
        };
        let absent = needed.iter().find(|(name, _)| program(name).is_none());
        if let Some((name, package)) = absent {
            return Some(format!("{name} is not installed; Debian's package is {package}"));
        }
        if self == Self::Image && archive::image_tool().is_none() {
            return Some("podman or docker is not installed".to_owned());
        }
        match programs {
            Some(programs) if self.is_static() => archive::dynamic(programs),
            None if self.is_static() => archive::missing(),
            _ => None,
        }
    }

    /// Builds this, and returns the path of the result.
    fn build(self, given: Option<&Path>, out: &Path) -> Result<PathBuf> {
        let programs = match given {
            Some(programs) => programs.to_owned(),
            None if self.is_static() => archive::programs()?,
            None => built()?,
        };
        match self {
            Self::Deb => deb::build(&programs, out),
            Self::Rpm => rpm::build(&programs, out),
            Self::Tar => archive::tar(&programs, out),
            Self::Image => archive::image(&programs, out),
            Self::Stage => stage(&programs, out).map(|()| out.to_owned()),
        }
    }
}

/// The words after `cargo xtask package`.
struct Arguments {
    kinds: Vec<Kind>,
    /// The directory of programs that are already built.
    programs: Option<PathBuf>,
    out: PathBuf,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let out = target().join("package");
        let mut found = Self { kinds: Vec::new(), programs: None, out };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a directory"));
            match word.as_str() {
                "--programs" => found.programs = Some(root().join(value()?)),
                "--out" => found.out = root().join(value()?),
                name => found.kinds.push(Kind::named(name).ok_or_else(|| {
                    format!("unknown word: {name}; use deb, rpm, tar, image or stage")
                })?),
            }
        }
        Ok(found)
    }
}

/// Builds the packages that the words name, by default all for which this machine has the tools.
pub(crate) fn package(words: impl Iterator<Item = String>) -> Outcome {
    let Arguments { mut kinds, programs, out } = Arguments::parse(words)?;
    let programs = programs.as_deref();
    let is_named = !kinds.is_empty();
    if !is_named {
        kinds.extend(Kind::PACKAGES);
    }
    fs::create_dir_all(&out)?;
    for kind in kinds {
        if let Some(lack) = kind.missing(programs) {
            let message = format!("{}: {lack}", kind.name());
            if is_named {
                return Err(message.into());
            }
            eprintln!("not built: {message}");
            continue;
        }
        println!("{}", kind.build(programs, &out)?.display());
    }
    Ok(())
}

/// Finds a program on the PATH.
fn program(name: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).map(|place| place.join(name)).find(|path| path.is_file())
}

fn built() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--release", "--locked", "--bins"]))?;
    Ok(target().join("release"))
}

/// A row of `dist/files`.
struct Row {
    source: PathBuf,
    place: String,
    mode: u32,
}

/// Reads `dist/files`, with a row for each file.
fn rows(programs: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let text = fs::read_to_string(root().join("dist/files"))?;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [source, place, mode] = words[..] else {
            return Err(format!("dist/files: not three words: {line}").into());
        };
        let mode = u32::from_str_radix(mode, 8)?;
        let Some((folder, ending)) = source.split_once('*') else {
            let source = match source.strip_prefix("@bin/") {
                Some(name) => programs.join(name),
                None => root().join(source),
            };
            rows.push(Row { source, place: place.to_owned(), mode });
            continue;
        };
        let mut names: Vec<PathBuf> =
            fs::read_dir(root().join(folder))?.flatten().map(|entry| entry.path()).collect();
        names.retain(|path| path.to_str().is_some_and(|path| path.ends_with(ending)));
        names.sort();
        for source in names {
            let name = source.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            rows.push(Row { place: place.replace('*', name), source: source.clone(), mode });
        }
    }
    Ok(rows)
}

/// Puts all files into a directory as they will be installed.
fn stage(programs: &Path, into: &Path) -> Outcome {
    for Row { source, place, mode } in rows(programs)? {
        let to = into.join(&place);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        if place.ends_with(".gz") {
            fs::write(&to, compressed(&source)?)?;
        } else {
            fs::copy(&source, &to).map_err(|error| format!("{}: {error}", source.display()))?;
        }
        fs::set_permissions(&to, Permissions::from_mode(mode))?;
        if source.starts_with(programs) {
            run(Command::new("strip").args(["--strip-all", "-R", ".comment"]).arg(&to))?;
        }
    }
    // Directories that the umask of the caller has closed would be closed for everyone.
    run(Command::new("find").arg(into).args(["-type", "d", "-exec", "chmod", "755", "{}", "+"]))
}

/// Returns a file as gzip, without a name and a time, so that two builds are equal.
fn compressed(source: &Path) -> Result<Vec<u8>> {
    let done = Command::new("gzip").args(["-9nc"]).arg(source).output()?;
    if done.status.success() {
        Ok(done.stdout)
    } else {
        Err(format!("gzip {}: {}", source.display(), done.status).into())
    }
}

/// Returns an empty directory of this name below the output directory.
fn emptied(out: &Path, name: &str) -> Result<PathBuf> {
    let folder = out.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Runs a program, and returns what it prints.
fn output(command: &mut Command) -> Result<String> {
    let done = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if !done.status.success() {
        return Err(format!("{command:?} failed: {}", done.status).into());
    }
    Ok(String::from_utf8(done.stdout)?)
}
