//! The direction of imports: one way among the folders of `steps`, and no circle between files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The folders and files of `steps/src`, lowest first. Each imports from its own layer and from lower ones.
const LAYERS: [&[&str]; 9] = [
    &["change", "check", "component", "release", "timeouts"],
    &["host", "cluster", "manifest"],
    &["settings", "run_info", "step_name", "look", "site", "placement"],
    &["handover", "unit", "roll_call", "sealer", "certificates", "upgrade"],
    &["preflight"],
    &["step"],
    &["plan", "changes"],
    &["guard"],
    &["doctor", "overview", "all_nodes"],
];

/// A module's path in its crate: `["host", "kernel", "sys"]`; the root is empty.
type Module = Vec<String>;
type Imports = BTreeMap<Module, BTreeSet<Module>>;

/// Every module of a crate with the modules of the crate that its code, tests aside, imports from.
fn imports(source: &str) -> Imports {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(source);
    let mut texts = BTreeMap::new();
    read(&root, &mut Vec::new(), &mut texts);
    assert!(texts.len() > 10, "{source} has moved");
    let modules: BTreeSet<Module> = texts.keys().cloned().collect();
    let of = |(module, text): (&Module, &String)| {
        let paths = paths(module, text);
        let found = paths.into_iter().map(|path| nearest(path, &modules)).filter(|found| found != module);
        (module.clone(), found.collect())
    };
    texts.iter().map(of).collect()
}

fn read(dir: &Path, at: &mut Module, texts: &mut BTreeMap<Module, String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "tests" {
            continue;
        }
        at.push(name.clone());
        if path.is_dir() {
            read(&path, at, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let is_parent = matches!(name.as_str(), "mod" | "lib" | "main");
            let module = at[..at.len() - usize::from(is_parent)].to_vec();
            texts.insert(module, std::fs::read_to_string(&path).unwrap());
        }
        at.pop();
    }
}

/// The paths that begin with `crate` or `super`, in full.
fn paths(module: &Module, text: &str) -> Vec<Module> {
    let code: String = text
        .split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = Vec::new();
    for (start, word) in ["crate::", "super::"].iter().flat_map(|word| code.match_indices(word)) {
        if code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let mut base = if word == "crate::" { Vec::new() } else { module.clone() };
        let mut rest = &code[start..];
        while let Some(after) = rest.strip_prefix("super::") {
            base.pop();
            rest = after;
        }
        rest = rest.strip_prefix("crate::").unwrap_or(rest);
        extend(base, rest, &mut found);
    }
    found
}

/// The path that goes on in `rest`; of a list in braces, each that it begins.
fn extend(mut base: Module, mut rest: &str, found: &mut Vec<Module>) {
    loop {
        if let Some(list) = rest.strip_prefix('{') {
            let list = list.split('}').next().unwrap_or_default();
            for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                let first = name.split("::").next().unwrap_or_default();
                found.push([base.clone(), vec![first.to_owned()]].concat());
            }
            return;
        }
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        rest = &rest[name.len()..];
        base.push(name);
        match rest.strip_prefix("::") {
            Some(after) => rest = after,
            None => break,
        }
    }
    found.push(base);
}

/// The module that a path leads to: items of it are cut off.
fn nearest(mut path: Module, modules: &BTreeSet<Module>) -> Module {
    while !modules.contains(&path) {
        path.pop();
    }
    path
}

/// Invariant: the folders of `steps` import one way.
#[test]
fn folders_import_one_way() {
    let layer = |folder: &str| LAYERS.iter().position(|layer| layer.contains(&folder));
    for (module, imported) in imports("steps/src") {
        let Some(folder) = module.first() else { continue };
        let own = layer(folder).unwrap_or_else(|| panic!("{folder} is in no layer: add it"));
        for other in imported.iter().filter_map(|other| other.first()) {
            let theirs = layer(other).unwrap_or_else(|| panic!("{other} is in no layer: add it"));
            assert!(theirs <= own, "{} imports {other}, which is above it", module.join("::"));
        }
    }
}

/// Invariant: no circle of imports between files that are not parent and child.
#[test]
fn files_import_in_no_circle() {
    for source in ["state/src", "engine/src", "steps/src", "tests/simulator/src", "cli/src"] {
        let mut imports = imports(source);
        for (module, imported) in &mut imports {
            imported.retain(|other| !other.starts_with(module) && !module.starts_with(other));
        }
        // What imports nothing that is left is in no circle.
        loop {
            let done: BTreeSet<Module> =
                imports.iter().filter(|(_, imported)| imported.is_empty()).map(|(m, _)| m.clone()).collect();
            if done.is_empty() {
                break;
            }
            imports.retain(|module, _| !done.contains(module));
            imports.values_mut().for_each(|imported| imported.retain(|other| !done.contains(other)));
        }
        let left: Vec<String> = imports
            .iter()
            .map(|(module, imported)| {
                let names: Vec<String> = imported.iter().map(|other| other.join("::")).collect();
                format!("{} imports {}", module.join("::"), names.join(", "))
            })
            .collect();
        assert!(left.is_empty(), "{source}: a circle among\n{}", left.join("\n"));
    }
}

/// The scanner itself: what it must see.
#[test]
fn an_import_is_seen_in_each_of_its_forms() {
    let module = vec!["a".to_owned(), "b".to_owned()];
    let text = "use super::c::D;\nuse crate::{e, f::G};\nfn x() { crate::h::i(); }\n// use crate::no;\n\
                #[cfg(test)]\nuse crate::no;";
    let seen: BTreeSet<String> = paths(&module, text).into_iter().map(|path| path.join("::")).collect();
    let expected = ["a::c::D", "e", "f", "h::i"].map(str::to_owned);
    assert_eq!(seen, expected.into());
}
