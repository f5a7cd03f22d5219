//! Reads the sources and documents the way a reviewer would: files of one idea, functions that fit a page, names
//! from the field, links that lead somewhere, invariants that a test cites.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this (without its tests) holds more than one idea.
const FILE_LINES: usize = 600;
/// A function longer than this does not fit a page.
const FUNCTION_LINES: usize = 70;
/// Functions that may be longer, as `file name: function`, each with its reason.
const LONG_FUNCTIONS: [&str; 0] = [];
/// Words that name no thing of ours.
const BANNED: [&str; 3] = ["manager", "helper", "util"];
/// Places outside of the project: whoever has the sources need not have them. Spelled in two parts because this
/// file is read too.
const OUTSIDE: [&str; 4] =
    [concat!("/", "work"), concat!("../", "shared"), concat!("/.", "library"), concat!("/.", "mirror")];
/// What is in the project's folder and not part of it.
const NOT_OURS: [&str; 3] = [".git", "target", ".peers"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text files below a folder, by path from the root.
fn texts(folder: &str) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("a folder entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if NOT_OURS.contains(&name.as_str()) || name.ends_with(".tmp") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = String::from_utf8(fs::read(&path).expect("a file of the project"))
                && !text.contains('\0')
            {
                found.insert(path.strip_prefix(root()).expect("a path below the root").to_owned(), text);
            }
        }
    }
    found
}

fn sources() -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for folder in ["core/src", "runtime/src", "runtime-mio/src", "runtime-glommio/src"] {
        files.extend(texts(folder).into_iter().filter(|(path, _)| has_extension(path, "rs")));
    }
    assert!(files.len() > 10, "the sources were not found");
    files
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e == extension)
}

/// The part of a file before its tests.
fn code(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests").map_or(text, |at| &text[..at])
}

/// Whether a whole file of the sources is tests.
fn is_tests(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

fn assert_none(found: &[String], what: &str) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn files_hold_one_idea() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(path, text)| (path, code(text).lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert_none(&long, &format!("over {FILE_LINES} lines"));
}

/// Whoever wants unsafe code elsewhere has to say so here, and in `docs/design.md`.
#[test]
fn unsafe_code_is_in_two_files() {
    let allowed = ["core/src/store/entry.rs", "core/src/store/slab.rs"];
    let mut found: Vec<String> = sources()
        .iter()
        .filter(|(path, text)| !is_tests(path) && text.contains("allow(unsafe_code"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    found.sort();
    assert_eq!(found, allowed);
}

/// The functions of a formatted file: name, first line (from 1), number of lines.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = declared_function(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        // rustfmt ends a signature in `{`, in `;` (no body), or with the whole body on its last line; and it
        // closes the body by the only `}` at the indent of the first line.
        let signature = lines[start..].iter().position(|l| l.ends_with(['{', ';', '}']));
        let signature_end = start + signature.unwrap_or(0);
        let end = if lines[signature_end].ends_with('{') {
            let closing = format!("{indent}}}");
            let body = lines[signature_end..].iter().position(|l| **l == *closing);
            signature_end + body.unwrap_or_else(|| panic!("the end of {name}"))
        } else {
            signature_end
        };
        found.push((name.to_owned(), start + 1, end - start + 1));
    }
    found
}

/// The name in a line that begins a function.
fn declared_function(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    if rest.starts_with("pub(") {
        rest = rest.split_once(") ")?.1;
    }
    loop {
        let (word, after) = rest.split_once(' ')?;
        match word {
            "pub" | "const" | "async" | "unsafe" | "extern" | "default" => rest = after,
            "fn" => return after.split(['(', '<']).next(),
            word if word.starts_with('"') => rest = after,
            _ => return None,
        }
    }
}

#[test]
fn functions_fit_a_page() {
    let mut long = Vec::new();
    let mut count = 0;
    let examples = texts("examples").into_iter().filter(|(path, _)| has_extension(path, "rs"));
    for (path, text) in sources().into_iter().chain(examples) {
        if is_tests(&path) {
            continue;
        }
        for (name, line, lines) in functions(code(&text)) {
            count += 1;
            let allowed = format!("{}: {name}", path.display());
            if lines > FUNCTION_LINES && !LONG_FUNCTIONS.contains(&allowed.as_str()) {
                long.push(format!("{}:{line}: {name} has {lines} lines", path.display()));
            }
        }
    }
    assert!(count > 100, "only {count} functions were found");
    assert_none(&long, &format!("over {FUNCTION_LINES} lines"));
}

#[test]
fn the_ends_of_functions_are_found() {
    let text = "\
impl Slot {
    pub(crate) const fn one(self) -> u8 {
        if self.0 {
            1
        }
    }

    fn declared(&self);
    fn short(&self) {}
}

pub fn long<T>(
    a: T,
) -> bool
where
    T: Copy,
{
    // fn no_function() {
    let fn_pointer = || { 0 };
    true
}
";
    let expected = [("one", 2, 5), ("declared", 8, 1), ("short", 9, 1), ("long", 12, 10)];
    let found = functions(text);
    let found: Vec<(&str, usize, usize)> = found.iter().map(|(n, at, l)| (n.as_str(), *at, *l)).collect();
    assert_eq!(found, expected);
}

#[test]
fn names_are_the_fields() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in code(&text).lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
            for word in words {
                if BANNED.contains(&word.trim_end_matches('s')) {
                    found.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert_none(&found, "banned words");
}

/// Whether `line` names `place` as a place, not as the middle of a longer word.
fn names_place(line: &str, place: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + place.len()..].chars().next();
        !before.is_some_and(|c| in_word(c) || c == '.' || c == '}') && !after.is_some_and(in_word)
    })
}

#[test]
fn nothing_outside_of_the_project_is_named() {
    let mut found = Vec::new();
    for (path, text) in texts("") {
        for (number, line) in text.lines().enumerate() {
            for place in OUTSIDE.iter().filter(|place| names_place(line, place)) {
                found.push(format!("{}:{}: {place}", path.display(), number + 1));
            }
        }
    }
    assert_none(&found, "places that only one machine has");
}

#[test]
fn a_place_is_told_from_a_longer_word() {
    let place = OUTSIDE[0];
    for named in [format!("cd {place}"), format!("\"{place}/main\""), format!("see {place}.")] {
        assert!(names_place(&named, place), "{named}");
    }
    for other in [format!("net{place}"), format!("{place}space"), format!("${{dir}}{place}/x")] {
        assert!(!names_place(&other, place), "{other}");
    }
}

/// Paths that a document links to, and paths that it shows as code, without those that lead out of the project.
fn mentioned(text: &str) -> (Vec<&str>, Vec<&str>) {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let links = links.map(|link| link.split('#').next().unwrap_or_default());
    let links =
        links.filter(|link| !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:"));
    // Of code spans only those that can be nothing but a file of ours.
    let code = text.split('`').skip(1).step_by(2).filter(|span| {
        let path = Path::new(span);
        span.contains('/')
            && !span.starts_with('/')
            && !span.contains(|c: char| c.is_whitespace() || "*<>{}$:…".contains(c))
            && ["rs", "md", "toml"].iter().any(|extension| has_extension(path, extension))
    });
    (links.collect(), code.collect())
}

#[test]
fn documents_mention_files_that_exist() {
    let files = texts("");
    let mut missing = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| has_extension(path, "md")) {
        let beside = root().join(path).parent().expect("a folder").to_owned();
        let (links, code) = mentioned(text);
        let dead = links.into_iter().filter(|link| !beside.join(link).exists());
        // People leave out the first folders of a path.
        let unknown = code.into_iter().filter(|name| !files.keys().any(|file| file.ends_with(name)));
        missing.extend(dead.chain(unknown).map(|name| format!("{}: {name}", path.display())));
    }
    assert_none(&missing, "documents mention what is not there");
}

#[test]
fn mentions_are_links_and_code_spans_that_are_paths() {
    let text = "[a](docs/a.md#part), [b](#here) [c](https://host/x.md) `core/src/lib.rs`, `GET k`, `/etc/x.toml`, \
                `<name>/tests.rs`, `cargo test --test x/y.rs` ![d](d.png \"title\")";
    assert_eq!(mentioned(text), (vec!["docs/a.md", "d.png"], vec!["core/src/lib.rs"]));
}

/// Names of invariants in a text: `INV-` or `LIV-` and capitals or digits.
fn invariants(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for kind in [concat!("INV", "-"), concat!("LIV", "-")] {
        for (at, _) in text.match_indices(kind) {
            let rest = &text[at + kind.len()..];
            let end =
                rest.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit()).unwrap_or(rest.len());
            if end > 0 {
                found.insert(text[at..at + kind.len() + end].to_owned());
            }
        }
    }
    found
}

/// The invariants of the document: name, and whether it says that something checks them. Each has a heading that
/// begins with its name, and below it one line that begins with `Checked:`.
fn documented(text: &str) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    for part in text.split("\n### ").skip(1) {
        let heading = part.lines().next().unwrap_or_default();
        let checked = part.lines().filter_map(|line| line.strip_prefix("Checked:")).collect::<Vec<_>>();
        assert_eq!(checked.len(), 1, "{heading}: one line `Checked:`");
        let names = invariants(heading);
        assert!(!names.is_empty(), "{heading}: begins with the name of an invariant");
        found.extend(names.into_iter().map(|name| (name, checked[0].trim() != "not yet")));
    }
    found
}

#[test]
fn checked_invariants_are_cited_by_tests_and_the_others_are_not() {
    let path = root().join("docs/invariants.md");
    assert!(path.exists(), "the invariants are written down");
    let documented = documented(&fs::read_to_string(path).expect("the invariants"));
    let mut cited = BTreeSet::new();
    let mut named = BTreeSet::new();
    let rust = texts("").into_iter().filter(|(path, _)| has_extension(path, "rs"));
    for (path, text) in rust {
        named.extend(invariants(&text));
        let tests =
            if path.starts_with("tests") || is_tests(&path) { &text } else { &text[code(&text).len()..] };
        cited.extend(invariants(tests));
    }
    let mut wrong: Vec<String> = Vec::new();
    wrong.extend(
        named.iter().filter(|n| !documented.contains_key(*n)).map(|n| format!("{n}: not documented")),
    );
    for (name, checked) in &documented {
        if *checked && !cited.contains(name) {
            wrong.push(format!("{name}: said to be checked, and no test cites it"));
        } else if !checked && cited.contains(name) {
            wrong.push(format!("{name}: a test cites it, and the document says `Checked: not yet`"));
        }
    }
    assert_none(&wrong, "invariants and tests do not agree");
}

#[test]
fn invariants_are_read_from_headings() {
    let own = concat!("INV", "-OWN");
    let job = concat!("LIV", "-JOB");
    let text =
        format!("# T\n\n### {own}: one\nChecked: S\n\n### {job}\nWords of {own}.\n\nChecked: not yet\n");
    let expected = BTreeMap::from([(own.to_owned(), true), (job.to_owned(), false)]);
    assert_eq!(documented(&text), expected);
    assert_eq!(invariants(concat!("INV", "-, xINV", "-A1-")).len(), 1);
}
