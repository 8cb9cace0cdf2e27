//! `cargo xtask package`: a Debian package, an RPM package and a static tarball from one list of files, `dist/files`.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Outcome, at_root, cargo, root, run, target};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const VERSION: &str = "0.1.0";

/// The revision of the packages of one version.
const REVISION: u32 = 1;

/// The target of the static tarball.
const STATIC_TARGET: &str = "x86_64-unknown-linux-musl";

/// The words after `cargo xtask package`.
struct Arguments {
    kinds: Vec<String>,
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
                "deb" | "rpm" | "tar" | "stage" => found.kinds.push(word),
                _ => return Err(format!("unknown word: {word}; use deb, rpm, tar or stage").into()),
            }
        }
        if found.kinds.is_empty() {
            found.kinds.push("deb".to_owned());
        }
        Ok(found)
    }
}

/// Builds the packages that the words name, by default the Debian package.
pub(crate) fn package(words: impl Iterator<Item = String>) -> Outcome {
    let Arguments { kinds, programs, out } = Arguments::parse(words)?;
    fs::create_dir_all(&out)?;
    for kind in kinds {
        let made = match (kind.as_str(), &programs) {
            ("tar", None) => tar(&built_statically()?, &out)?,
            ("tar", Some(programs)) => tar(programs, &out)?,
            (kind, given) => {
                let programs = given.clone().map_or_else(built, Ok)?;
                match kind {
                    "deb" => deb(&programs, &out)?,
                    "rpm" => rpm(&programs, &out)?,
                    _ => stage(&programs, &out).map(|()| out.clone())?,
                }
            }
        };
        println!("{}", made.display());
    }
    Ok(())
}

fn built() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--release", "--locked", "--bins"]))?;
    Ok(target().join("release"))
}

/// Builds programs that need no library of the system.
fn built_statically() -> Result<PathBuf> {
    let mut rustc = at_root(Command::new("rustc"));
    rustc.args(["--print", "target-libdir", "--target", STATIC_TARGET]);
    let library = output(&mut rustc)?;
    if !Path::new(library.trim()).exists() {
        return Err(format!(
            "the target {STATIC_TARGET} is not installed: rustup target add {STATIC_TARGET}; it also needs musl-gcc (musl-tools)"
        )
        .into());
    }
    run(&mut cargo(&["build", "--release", "--locked", "--bins", "--target", STATIC_TARGET]))?;
    Ok(target().join(STATIC_TARGET).join("release"))
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

fn deb(programs: &Path, out: &Path) -> Result<PathBuf> {
    let folder = emptied(out, "deb")?;
    stage(programs, &folder)?;
    let source = root().join("dist/debian");
    let documents = folder.join("usr/share/doc/poolftpd");
    fs::copy(source.join("copyright"), documents.join("copyright"))?;
    let overrides = folder.join("usr/share/lintian/overrides");
    fs::create_dir_all(&overrides)?;
    fs::copy(source.join("overrides"), overrides.join("poolftpd"))?;
    fs::write(documents.join("changelog.Debian.gz"), debian_changelog(out)?)?;
    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    let version = format!("{VERSION}-{REVISION}");
    let size = kibibytes(&folder)?.to_string();
    let control = fs::read_to_string(source.join("control"))?
        .replace("@VERSION@", &version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@SIZE@", &size);
    let about = folder.join("DEBIAN");
    fs::create_dir(&about)?;
    fs::write(about.join("control"), control)?;
    fs::write(about.join("conffiles"), listed(&folder, "etc")?)?;
    fs::write(about.join("md5sums"), sums(&folder)?)?;
    for script in ["postinst", "prerm", "postrm"] {
        fs::copy(source.join(script), about.join(script))?;
        fs::set_permissions(about.join(script), Permissions::from_mode(0o755))?;
    }
    let package = out.join(format!("poolftpd_{version}_{architecture}.deb"));
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .arg(&folder)
        .arg(&package)
        .stdout(Stdio::null()))?;
    Ok(package)
}

fn debian_changelog(out: &Path) -> Result<Vec<u8>> {
    let date =
        output(Command::new("date").args(["-R", "-u", "-r"]).arg(root().join("Cargo.toml")))?;
    let path = out.join("changelog");
    let text = format!(
        "poolftpd ({VERSION}-{REVISION}) unstable; urgency=medium\n\n  * New version: see CHANGELOG.md of the source.\n\n -- The poolftpd project <maintainers@poolftpd.invalid>  {}\n",
        date.trim()
    );
    fs::write(&path, text)?;
    let found = compressed(&path)?;
    fs::remove_file(path)?;
    Ok(found)
}

/// Returns the paths of all files below a part of a staged tree, each with a leading slash.
fn listed(folder: &Path, part: &str) -> Result<String> {
    let found = output(Command::new("find").arg(part).args(["-type", "f"]).current_dir(folder))?;
    let lines: BTreeSet<String> = found.lines().map(|line| format!("/{line}\n")).collect();
    Ok(lines.into_iter().collect())
}

fn sums(folder: &Path) -> Result<String> {
    let mut found = String::new();
    for line in listed(folder, "usr")?.lines() {
        found +=
            &output(Command::new("md5sum").arg(line.trim_start_matches('/')).current_dir(folder))?;
    }
    Ok(found)
}

fn kibibytes(folder: &Path) -> Result<u64> {
    let found = output(Command::new("du").args(["-sk", "--apparent-size"]).arg(folder))?;
    Ok(found.split_whitespace().next().unwrap_or_default().parse()?)
}

fn rpm(programs: &Path, out: &Path) -> Result<PathBuf> {
    let (folder, top) = (emptied(out, "rpm-files")?, emptied(out, "rpm")?);
    stage(programs, &folder)?;
    let define = |name: &str, value: &Path| format!("{name} {}", value.display());
    run(Command::new("rpmbuild")
        .args(["-bb", "--quiet", "--define", &define("staged", &folder)])
        .args(["--define", &define("_topdir", &top)])
        .args(["--define", &format!("version_of_source {VERSION}")])
        .arg(root().join("dist/rpm/poolftpd.spec")))?;
    let found = output(Command::new("find").arg(top.join("RPMS")).args(["-name", "*.rpm"]))?;
    let made = found.lines().next().ok_or("rpmbuild made no package")?;
    let package = out.join(Path::new(made).file_name().unwrap_or_default());
    fs::rename(made, &package)?;
    Ok(package)
}

/// Packs all files below one directory, for any distribution.
fn tar(programs: &Path, out: &Path) -> Result<PathBuf> {
    let name = format!("poolftpd-{VERSION}-linux-x86_64");
    let folder = emptied(out, &name)?;
    stage(programs, &folder)?;
    let package = out.join(format!("{name}.tar.gz"));
    run(Command::new("tar")
        .args(["--owner=0", "--group=0", "--numeric-owner", "--sort=name", "-C"])
        .arg(out)
        .arg("-czf")
        .arg(&package)
        .arg(&name))?;
    Ok(package)
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
