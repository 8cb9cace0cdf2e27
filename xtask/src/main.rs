//! `cargo xtask`: the tasks of a developer, with nothing but Rust.

mod bench;
mod package;

use std::env;
use std::error::Error;
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

const HELP: &str = "\
cargo xtask demo     build, serve _FTPROOT, fetch a file of it into _CLIENTROOT, stop
cargo xtask check    format, lints, tests, interleavings, documentation: what must be green
cargo xtask ordinary the tests again as an ordinary user, with 1024 descriptors and without IPv6 (needs root)
cargo xtask man      generate the manual pages, the completions, and the table of settings in docs/administration.md
cargo xtask package  build all packages for which the tools are there; or name kinds: deb, rpm, tar (static), image
cargo xtask bench B  compare the work tree with the commit B (default: HEAD), pair by pair; --rounds N, --only LOAD
cargo xtask shuttle  the pool's hand-overs in thousands of thread schedules
cargo xtask fuzz T   fuzz a target with cargo-fuzz (session, line, command, reply, path, address, listing, url, block)
cargo xtask stress   the scripts of stress/ that end with a verdict, a line each
";

/// The other scripts of stress/: shared parts, a runner of other scripts, those that print tables and take long, and one that needs
/// packages and several minutes.
const NO_VERDICT: [&str; 10] = [
    "lib.sh",
    "peers.sh",
    "uml.sh",
    "compare.sh",
    "scale.sh",
    "paths.sh",
    "calls.sh",
    "crowds.sh",
    "durable.sh",
    "two-nodes.sh",
];

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    let outcome = match words.next().as_deref() {
        Some("demo") => demo(),
        Some("check") => check(),
        Some("ordinary") => ordinary(),
        Some("man") => man(),
        Some("package") => package::package(words),
        Some("bench") => bench::bench(words),
        Some("shuttle") => shuttle(),
        Some("fuzz") => fuzz(&words.next().unwrap_or_else(|| "command".to_owned())),
        Some("stress") => stress(),
        _ => {
            print!("{HELP}");
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Shows the main use: a server in the background, and a client that fetches a file.
fn demo() -> Outcome {
    println!("Building ftpserver and ftpclient; the first time takes up to a minute.");
    run(&mut cargo(&["build", "--profile", "demo", "--bin", "ftpserver", "--bin", "ftpclient"]))?;
    let programs = target().join("demo");
    let mut server = Server::start(&programs)?;
    let port = server.port()?;
    println!("$ ftpserver --port {port} &\nlistening on port {port}");
    let script = "ls; get hello.txt; bye";
    println!("$ ftpclient -c \"{script}\" localhost {port}");
    run(at_root(Command::new(programs.join("ftpclient"))).args([
        "-c",
        script,
        "localhost",
        &port,
    ]))?;
    let fetched = root().join("_CLIENTROOT/hello.txt");
    if std::fs::read(&fetched)? != std::fs::read(root().join("_FTPROOT/hello.txt"))? {
        return Err("the downloaded file differs from the served file".into());
    }
    println!(
        "_CLIENTROOT/hello.txt is complete and identical. Next, try: target/demo/ftpserver --workers 4 &"
    );
    println!("and: target/demo/ftpclient localhost");
    println!(
        "cargo install --path . builds all programs with full optimisation, and installs them."
    );
    Ok(())
}

/// A server that is killed when this value is dropped.
struct Server(Child);

impl Server {
    fn start(programs: &Path) -> Result<Self, Box<dyn Error>> {
        let mut command = at_root(Command::new(programs.join("ftpserver")));
        command.args(["--port", "0", "--workers", "4", "--quiet"]).stdout(Stdio::piped());
        Ok(Self(command.spawn()?))
    }

    /// Returns the port in its `listening on` line.
    fn port(&mut self) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        let out = self.0.stdout.take().ok_or("no standard output")?;
        BufReader::new(out).read_line(&mut line)?;
        Ok(line
            .trim()
            .rsplit(':')
            .next()
            .filter(|port| !port.is_empty())
            .ok_or("the server did not start")?
            .to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn check() -> Outcome {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))?;
    test(&mut cargo(&["test", "--workspace"]))?;
    shuttle()?;
    features()?;
    deny()?;
    run(cargo(&["doc", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Checks that each part of the library builds alone.
fn features() -> Outcome {
    for feature in ["client", "server"] {
        run(cargo(&[
            "clippy",
            "--lib",
            "--quiet",
            "--no-default-features",
            "--features",
            feature,
        ])
        .args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

/// Checks licences, duplicate versions and sources of all dependencies, where cargo-deny is installed. The advisories
/// need the network, so they are not among these.
fn deny() -> Outcome {
    let installed = cargo(&["deny", "--version"]).output()?.status.success();
    if !installed {
        println!("cargo deny is not installed; the dependencies were not checked");
        return Ok(());
    }
    run(&mut cargo(&[
        "deny",
        "--offline",
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}

/// Runs tests, and prints which were skipped, and their number.
fn test(command: &mut Command) -> Outcome {
    let list = target().join("skipped-tests");
    std::fs::create_dir_all(target())?;
    std::fs::write(&list, "")?;
    // The tests may run as any user.
    std::fs::set_permissions(&list, Permissions::from_mode(0o666))?;
    let outcome = run(command.env("SKIPPED_TESTS", &list));
    let skipped = std::fs::read_to_string(&list)?;
    println!("{} tests were skipped, fully or partly", skipped.lines().count());
    for line in skipped.lines() {
        println!("  {line}");
    }
    outcome
}

/// Runs the tests under the limits of most sandboxes, containers and login shells, which allow less than a developer's
/// machine.
fn ordinary() -> Outcome {
    let runner = root().join("xtask/ordinary-user.sh");
    let mut command = cargo(&["test", "--workspace", "--config"]);
    let setting = format!("target.'cfg(unix)'.runner = '{}'", runner.display());
    test(command.arg(setting))
}

/// Generates the pages that tests/it/settings.rs, tests/it/manuals.rs and tests/it/completions.rs compare.
fn man() -> Outcome {
    let mut command = cargo(&["test", "--quiet", "--test", "it", "--"]);
    run(command.args(["the_pages_are", "the_manuals_are"]).env("UPDATE_PAGES", "1"))
}

/// Uses a target directory of its own, because the flag would cause a rebuild of everything each time.
fn shuttle() -> Outcome {
    run(cargo(&["test", "--lib", "interleaving", "--target-dir"])
        .arg(target().join("shuttle"))
        .env("RUSTFLAGS", "--cfg shuttle"))
}

fn fuzz(name: &str) -> Outcome {
    // cargo-fuzz requires a nightly compiler; this variable lets the stable one do it.
    let (corpus, seeds) = (format!("fuzz/corpus/{name}"), format!("fuzz/seeds/{name}"));
    std::fs::create_dir_all(root().join(&corpus))?;
    run(cargo(&["fuzz", "run", name, &corpus, &seeds, "--", "-max_total_time=60"])
        .env("RUSTC_BOOTSTRAP", "1"))
}

fn stress() -> Outcome {
    run(&mut cargo(&["build", "--release", "--quiet", "--bins"]))?;
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(root().join("stress"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sh"))
        .filter(|path| path.file_name().is_none_or(|name| !NO_VERDICT.iter().any(|no| name == *no)))
        .collect();
    scripts.sort();
    for script in scripts {
        run(&mut at_root(Command::new(script)))?;
    }
    Ok(())
}

fn cargo(words: &[&str]) -> Command {
    let mut command = at_root(Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())));
    command.args(words);
    command
}

fn at_root(mut command: Command) -> Command {
    command.current_dir(root());
    command
}

/// Returns the root of the project, which contains this package.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn run(command: &mut Command) -> Outcome {
    let status = command
        .status()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}").into()) }
}
