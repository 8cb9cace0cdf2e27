//! The packages that need no library of the system: an archive for any distribution, and an image of a container.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Result, VERSION, emptied, output, program, stage};
use crate::{at_root, cargo, root, run, target};

/// The directory that an image serves, which is empty.
const SERVED: &str = "image/srv/ftp";

/// Returns the compiler's target for programs without a library of the system.
fn static_target() -> String {
    format!("{ARCH}-unknown-linux-musl")
}

/// Returns what this machine lacks to build such programs.
pub(super) fn missing() -> Option<String> {
    let target = static_target();
    let mut rustc = at_root(Command::new("rustc"));
    let found = output(rustc.args(["--print", "target-libdir", "--target", &target]));
    if !found.is_ok_and(|library| Path::new(library.trim()).exists()) {
        return Some(format!("the target {target} is not installed: rustup target add {target}"));
    }
    // The TLS library has parts in C.
    let compilers = ["musl-gcc", &format!("{ARCH}-linux-musl-gcc")];
    if !compilers.into_iter().any(|name| program(name).is_some()) {
        return Some("musl-gcc is not installed; Debian's package is musl-tools".to_owned());
    }
    None
}

/// Builds the programs.
pub(super) fn programs() -> Result<PathBuf> {
    let triple = static_target();
    run(&mut cargo(&["build", "--release", "--locked", "--bins", "--target", &triple]))?;
    Ok(target().join(triple).join("release"))
}

/// Returns the reason if the programs of a directory need libraries of the system, or cannot be read.
pub(super) fn dynamic(programs: &Path) -> Option<String> {
    let server = programs.join("ftpserver");
    match output(Command::new("readelf").arg("-lW").arg(&server)) {
        Err(error) => Some(error.to_string()),
        Ok(headers) if headers.contains("INTERP") => Some(format!(
            "{} needs libraries of the system; build with --target {}",
            server.display(),
            static_target()
        )),
        Ok(_) => None,
    }
}

/// Packs all files below one directory.
pub(super) fn tar(programs: &Path, out: &Path) -> Result<PathBuf> {
    let name = format!("poolftpd-{VERSION}-linux-{ARCH}");
    let folder = emptied(out, &name)?;
    stage(programs, &folder)?;
    for document in ["README.md", "LICENSE", "LICENSE-APACHE", "LICENSE-MIT"] {
        fs::copy(root().join(document), folder.join(document))?;
    }
    fs::copy(root().join("dist/Containerfile"), folder.join("Containerfile"))?;
    fs::create_dir_all(folder.join(SERVED))?;
    let package = out.join(format!("{name}.tar.gz"));
    run(Command::new("tar")
        .args(["--owner=0", "--group=0", "--numeric-owner", "--sort=name", "-C"])
        .arg(out)
        .arg("-czf")
        .arg(&package)
        .arg(&name))?;
    Ok(package)
}

/// Returns the program that builds images.
pub(super) fn image_tool() -> Option<&'static str> {
    ["podman", "docker"].into_iter().find(|name| program(name).is_some())
}

/// Builds an image of the server, and saves it as a file for `podman load` or `docker load`.
pub(super) fn image(programs: &Path, out: &Path) -> Result<PathBuf> {
    let tool = image_tool().ok_or("podman or docker is not installed")?;
    let folder = emptied(out, "image")?;
    stage(programs, &folder)?;
    fs::create_dir_all(folder.join(SERVED))?;
    let tag = format!("poolftpd:{VERSION}");
    let file = out.join(format!("poolftpd-{VERSION}-image-{ARCH}.tar"));
    if file.exists() {
        fs::remove_file(&file)?;
    }
    // Podman's own format of images has no health check.
    let of_format = |words: &[&str]| {
        let mut command = Command::new(tool);
        command.env("BUILDAH_FORMAT", "docker").args(words);
        command
    };
    let recipe = root().join("dist/Containerfile");
    run(of_format(&["build", "--quiet", "-t", &tag, "-f"])
        .arg(recipe)
        .arg(&folder)
        .stdout(Stdio::null()))?;
    run(of_format(&["save", "--quiet", "-o"]).arg(&file).arg(&tag))?;
    Ok(file)
}
