//! Keeps the house in order: imports go down only, files stay short enough to read and say why they exist, and nothing is
//! called by a name that says nothing. The rules are in STYLE and in `src/lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders of `src/` from the top to the ground. Those in one row do not import each other.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["proxy"],
    &["node"],
    &["frontend"],
    &["operations"],
    &["control"],
    &["net", "storage"],
    &["consensus"],
    &["keyspace"],
    &["protocol"],
    &["topology"],
    &["planted", "failpoints"],
];
const FORBIDDEN_NAMES: [&str; 11] =
    ["common", "util", "utils", "helper", "helpers", "manager", "managers", "service", "services", "misc", "types"];
/// Of code; the tests at its end do not count.
const FILE_LINES_MAX: usize = 700;
const LEFT_OVERS: [&str; 5] = ["TODO", "FIXME", "todo!(", "unimplemented!(", "dbg!("];

fn layer(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&folder))
}

/// All Rust files under a folder of the repository, with their text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut waiting, mut found) = (vec![root.join(folder)], Vec::new());
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    found
}

/// The folder of `src/` that a file belongs to; none for `main.rs` and `lib.rs`.
fn folder_of(path: &Path) -> Option<&str> {
    let mut parts = path.iter().skip(1);
    let folder = parts.next()?.to_str()?;
    (parts.next().is_some() || layer(folder).is_some()).then_some(folder)
}

/// The top-level folders that a text names through `crate::`, with the lines.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices("crate::") {
        let is_path = !text[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        let line = text[..start].matches('\n').count() + 1;
        let in_comment = text.lines().nth(line - 1).is_some_and(|text| text.trim_start().starts_with("//"));
        if is_path && !in_comment {
            let rest = &text[start + "crate::".len()..];
            found.extend(first_names(rest).into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// `a::b` gives `a`; `{a::{b, c}, d}` gives `a` and `d`.
fn first_names(path: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![word(path)] };
    let (mut depth, mut names, mut at_start) = (0, Vec::new(), true);
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && c.is_alphabetic() => {
                names.push(word(&group[i..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn complain(what: &[String]) {
    assert!(what.is_empty(), "\n{}\n", what.join("\n"));
}

#[test]
fn imports_go_down_only() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let Some(folder) = folder_of(&path) else { continue };
        let Some(own) = layer(folder) else {
            wrong.push(format!("{}: the folder `{folder}` has no layer in tests/layers.rs", path.display()));
            continue;
        };
        for (line, name) in imports(&text) {
            if name != folder && layer(&name).is_none_or(|other| other <= own) {
                wrong.push(format!("{}:{line}: `{folder}` may not import `{name}`", path.display()));
            }
        }
    }
    complain(&wrong);
}

#[test]
fn imports_are_found_in_all_their_forms() {
    let text = "use crate::net::Clock;\nuse crate::{proxy::{a, b}, cli};\n// crate::none\nlet x = crate::node::run($crate::x);\n";
    let found: Vec<_> = imports(text).into_iter().map(|(line, name)| format!("{line} {name}")).collect();
    assert_eq!(found, ["1 net", "2 proxy", "2 cli", "4 node"]);
    assert_eq!(folder_of(Path::new("src/net/clock.rs")), Some("net"));
    assert_eq!(folder_of(Path::new("src/main.rs")), None);
}

#[test]
fn names_say_something() {
    let mut wrong = Vec::new();
    for (path, _) in sources("src").into_iter().chain(sources("tests")) {
        let named = |part: &std::ffi::OsStr| {
            let part = part.to_str().unwrap_or_default();
            FORBIDDEN_NAMES.contains(&part.trim_end_matches(".rs"))
        };
        if path.iter().any(named) {
            wrong.push(format!("{}: a name that says nothing", path.display()));
        }
    }
    complain(&wrong);
}

#[test]
fn files_say_why_they_exist_and_can_be_read_at_once() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let path = path.display();
        if !text.starts_with("//!") {
            wrong.push(format!("{path}:1: the file does not open with `//!`"));
        }
        let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default().lines().count();
        if code > FILE_LINES_MAX {
            wrong.push(format!("{path}: {code} lines of code; {FILE_LINES_MAX} are the most"));
        }
        for (i, line) in text.lines().enumerate() {
            if let Some(left) = LEFT_OVERS.iter().find(|left| line.contains(*left)) {
                wrong.push(format!("{path}:{}: `{left}` is left over", i + 1));
            }
        }
    }
    complain(&wrong);
}
