//! The shape of the engine is what `docs/ARCHITECTURE.md` says: no two modules need each other, and a folder uses those
//! below it only. Read from the `use` lines and paths of its sources, each file a node; what is for tests is left out.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic like tests, and read files where they lie"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Folders and files of the crate's root, from the bottom up: each uses its own row and those above it here.
const LAYERS: &[&[&str]] = &[
    &[
        "format", "budgets", "clock", "fault", "host", "planted", "stats", "sync", "turns",
    ],
    &["storage"],
    &["store"],
    &["log"],
    &["index"],
    &["recovery"],
    &["commit", "batch"],
    &["chore"],
    &[
        "background",
        "combine",
        "compact",
        "engine",
        "expiry",
        "handle",
        "hop",
        "internals",
        "kvlog",
        "lib",
        "open",
        "options",
        "overview",
        "keyspaces",
        "scan",
        "snapshot",
        "transaction",
        "verify",
        "watch",
    ],
];

/// A module: its path from the crate's root on.
type Module = Vec<String>;

/// What a source takes from elsewhere.
#[derive(Default)]
struct Uses {
    /// Absolute paths, from the crate's root on.
    paths: BTreeSet<Vec<String>>,
    /// Names that it hands on, with where they come from.
    exports: BTreeMap<String, Vec<String>>,
}

fn is_for_tests(path: &Path) -> bool {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    stem == "tests" || stem == "model" || stem.ends_with("_tests")
}

/// The sources below a directory, by module.
fn sources(directory: &Path, at: &[String], found: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if is_for_tests(&path) {
            continue;
        }
        let mut module = at.to_vec();
        if path.is_dir() {
            module.push(stem);
            sources(&path, &module, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            if stem != "mod" && stem != "lib" {
                module.push(stem);
            }
            found.insert(module, fs::read_to_string(&path).unwrap());
        }
    }
}

/// Without comments, and without what is only built for tests, as far as it stands in a module at the end.
fn code_of(source: &str) -> String {
    let mut code = String::new();
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or_default();
        if line.starts_with("#[cfg(") && line.contains("test") && next.ends_with('{') {
            break;
        }
        code.push_str(line.split("//").next().unwrap());
        code.push('\n');
    }
    code
}

/// The items of a list that no brackets hold together.
fn items(list: &str) -> Vec<&str> {
    let (mut found, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(list[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(list[start..].trim());
    found.retain(|item| !item.is_empty());
    found
}

/// The branches of `a::{b, c::{self, d as e}}`: each path, with the name that it gets.
fn branches(tree: &str, prefix: &[String]) -> Vec<(Vec<String>, String)> {
    if let Some(list) = tree.strip_prefix('{') {
        let list = items(list.strip_suffix('}').unwrap());
        return list
            .iter()
            .flat_map(|item| branches(item, prefix))
            .collect();
    }
    let mut path = prefix.to_vec();
    if let Some((head, rest)) = tree.split_once("::") {
        path.push(head.to_owned());
        return branches(rest, &path);
    }
    let (name, alias) = tree.split_once(" as ").unwrap_or((tree, tree));
    if name != "self" {
        path.push(name.to_owned());
    }
    vec![(path, alias.to_owned())]
}

/// A path from the crate's root on, if it stays within the crate. `children`: the modules that the file declares.
fn absolute(path: &[String], module: &[String], children: &BTreeSet<&str>) -> Option<Vec<String>> {
    let mut from = module.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            from.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|first| first == "super") {
                from.pop();
                rest = &rest[1..];
            }
        }
        first if children.contains(first) => {}
        _ => return None,
    }
    from.extend_from_slice(rest);
    Some(from)
}

fn uses_of(code: &str, module: &[String]) -> Uses {
    let mut uses = Uses::default();
    let children = code.lines().filter_map(|line| {
        let (_, name) = line.trim().strip_suffix(';')?.split_once("mod ")?;
        Some(name)
    });
    let children: BTreeSet<&str> = children.collect();
    let flat = code.split_whitespace().collect::<Vec<_>>().join(" ");
    // Statements that bring names in.
    let mut others = String::new();
    let mut rest = &*flat;
    while let Some(at) = rest.find("use ") {
        let (before, found) = rest.split_at(at);
        others.push_str(before);
        let end = found.find(';').unwrap_or(found.len());
        let is_statement = before.is_empty() || before.ends_with([' ', '}', ')']);
        if !is_statement {
            others.push_str("use ");
            rest = &found[4..];
            continue;
        }
        let handed_on = before.trim_end().ends_with([')', 'b']) && {
            let word = before.rsplit([';', '}', ']']).next().unwrap().trim();
            word == "pub" || word.starts_with("pub(")
        };
        for (path, name) in branches(&found[4..end].replace("} ", "}").replace("{ ", "{"), &[]) {
            let Some(path) = absolute(&path, module, &children) else {
                continue;
            };
            if handed_on {
                uses.exports.insert(name, path);
            } else {
                uses.paths.insert(path);
            }
        }
        rest = &found[end..];
    }
    others.push_str(rest);
    // Paths in the middle of the code.
    let word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    for path in others.split(|letter| !word(letter)) {
        if path.contains("::") {
            let path: Vec<String> = path.split("::").map(str::to_owned).collect();
            uses.paths.extend(absolute(&path, module, &children));
        }
    }
    uses
}

/// The module that defines what a path leads to, through all that is handed on.
fn definition(path: &[String], all: &BTreeMap<Module, Uses>) -> Option<Module> {
    let mut length = path.len();
    while !all.contains_key(&path[..length]) {
        length = length.checked_sub(1)?;
    }
    let (module, rest) = path.split_at(length);
    let handed_on = rest.first().and_then(|name| all[module].exports.get(name));
    match handed_on {
        Some(from) => definition(&[from, &rest[1..]].concat(), all),
        None => Some(module.to_vec()),
    }
}

/// Who uses whom, by names as `commit/queue`.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kv-log-engine/src");
    let mut found = BTreeMap::new();
    sources(&engine, &[], &mut found);
    assert!(found.len() > 30, "the sources were not found");
    let all: BTreeMap<Module, Uses> = found
        .into_iter()
        .map(|(module, source)| {
            let uses = uses_of(&code_of(&source), &module);
            (module, uses)
        })
        .collect();
    let name = |module: &Module| match module.len() {
        0 => "lib".to_owned(),
        _ => module.join("/"),
    };
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, uses) in &all {
        let to = arrows.entry(name(module)).or_default();
        let used = uses.paths.iter().filter_map(|path| definition(path, &all));
        to.extend(used.filter(|used| used != module).map(|used| name(&used)));
    }
    arrows
}

fn reachable<'a>(
    from: &'a str,
    arrows: &'a BTreeMap<String, BTreeSet<String>>,
) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(one) = next.pop() {
        for used in &arrows[one] {
            if seen.insert(used.as_str()) {
                next.push(used);
            }
        }
    }
    seen
}

#[test]
fn no_two_modules_of_the_engine_need_each_other() {
    let arrows = arrows();
    let mut circles = BTreeSet::new();
    for one in arrows.keys() {
        let from_here = reachable(one, &arrows);
        if from_here.contains(one.as_str()) {
            let circle = from_here
                .into_iter()
                .filter(|other| reachable(other, &arrows).contains(one.as_str()));
            circles.insert(circle.collect::<Vec<_>>());
        }
    }
    assert!(circles.is_empty(), "circles: {circles:#?}");
}

#[test]
fn every_folder_of_the_engine_uses_only_those_below_it() {
    let layer = |module: &str| {
        let folder = module.split('/').next().unwrap();
        let layer = LAYERS.iter().position(|layer| layer.contains(&folder));
        layer.unwrap_or_else(|| panic!("{folder} has no layer: give it one"))
    };
    let mut upwards = Vec::new();
    for (module, used) in &arrows() {
        for used in used {
            if layer(used) > layer(module) {
                upwards.push(format!("{module} uses {used}"));
            }
        }
    }
    assert!(upwards.is_empty(), "upwards: {upwards:#?}");
}

#[test]
fn what_is_used_is_read_from_the_sources() {
    let code = code_of(
        "mod b;\npub(crate) use b::{Handed as On, Other};\nuse super::{c::{D, self}, e}; // use crate::no;\n\
         fn f() { crate::g::h(); b::i() }\n#[cfg(test)]\nmod tests {\nuse crate::no;\n",
    );
    let module = ["x".to_owned(), "a".to_owned()];
    let uses = uses_of(&code, &module);
    let paths: Vec<String> = uses.paths.iter().map(|path| path.join("/")).collect();
    assert_eq!(paths, ["g/h", "x/a/b/i", "x/c", "x/c/D", "x/e"]);
    let exports: Vec<_> = uses.exports.iter().collect();
    assert_eq!(exports.len(), 2);
    assert_eq!(exports[0].1.join("/"), "x/a/b/Handed");
    // The commit folder, as it is: the check sees something.
    let arrows = arrows();
    assert!(arrows["commit/group"].contains("commit/rotate"));
    assert!(arrows["commit/ticket"].contains("commit/cell"));
    assert!(arrows["index/published"].contains("index/memtable"));
}
