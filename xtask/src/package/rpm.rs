//! The RPM package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Result, VERSION, emptied, output, stage};
use crate::{root, run};

/// Builds a package by the specification in `dist/rpm`.
pub(super) fn build(programs: &Path, out: &Path) -> Result<PathBuf> {
    let (folder, top) = (emptied(out, "rpm-files")?, emptied(out, "rpm")?);
    stage(programs, &folder)?;
    let define = |name: &str, value: &Path| format!("{name} {}", value.display());
    run(Command::new("rpmbuild")
        .args(["-bb", "--quiet", "--define", &define("staged", &folder)])
        .args(["--define", &define("licences", &root())])
        .args(["--define", &define("_topdir", &top)])
        .args(["--define", &format!("version_of_source {VERSION}")])
        .arg(root().join("dist/rpm/poolftpd.spec")))?;
    let found = output(Command::new("find").arg(top.join("RPMS")).args(["-name", "*.rpm"]))?;
    let made = found.lines().next().ok_or("rpmbuild made no package")?;
    let package = out.join(Path::new(made).file_name().unwrap_or_default());
    fs::rename(made, &package)?;
    Ok(package)
}
