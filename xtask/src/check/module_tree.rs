//! Every source file belongs to its crate: a file that no `mod` leads to is compiled, linted and tested by
//! nobody, while it reads as if it were.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Expr, Item, Lit, Meta};
use toml::Table;

use super::manifests::{self, Package};
use crate::error::Error;

/// Folders of a package that cargo takes targets from.
const FOLDERS: [&str; 4] = ["src", "tests", "benches", "examples"];

pub(super) fn check(repository: &Path) -> Result<Vec<String>, Error> {
    let mut faults = Vec::new();
    for package in manifests::packages(repository)? {
        for stray in strays(&package)? {
            let stray = stray.strip_prefix(repository).unwrap_or(&stray).display().to_string();
            faults.push(format!("{stray} is in no module tree: declare it with `mod`, or remove it"));
        }
    }
    Ok(faults)
}

/// Source files of the package that no target reaches.
fn strays(package: &Package) -> Result<Vec<PathBuf>, Error> {
    let mut present = BTreeSet::new();
    for folder in FOLDERS {
        collect(&package.folder.join(folder), &mut present)?;
    }
    let mut reached = BTreeSet::new();
    for root in roots(package, &present) {
        reach(&root, true, &mut reached)?;
    }
    Ok(present.difference(&reached).cloned().collect())
}

fn collect(folder: &Path, into: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.insert(path);
        }
    }
    Ok(())
}

/// The files that targets start from: those in the places where cargo looks, and those that the manifest names.
fn roots(package: &Package, present: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let found = present.iter().filter(|file| file.strip_prefix(&package.folder).is_ok_and(is_root)).cloned();
    found.chain(named_roots(&package.manifest).into_iter().map(|file| package.folder.join(file))).collect()
}

/// Whether cargo takes this file, relative to its package, for the root of a target by itself.
fn is_root(file: &Path) -> bool {
    let parts: Vec<&str> = file.iter().filter_map(|part| part.to_str()).collect();
    matches!(
        parts[..],
        ["src", "lib.rs" | "main.rs"]
            | ["src", "bin", _]
            | ["src", "bin", _, "main.rs"]
            | ["tests" | "benches" | "examples", _]
            | ["tests" | "benches" | "examples", _, "main.rs"]
    )
}

fn named_roots(manifest: &Table) -> Vec<&str> {
    let lib = manifest.get("lib").into_iter();
    let lists =
        ["bin", "test", "bench", "example"].into_iter().filter_map(|kind| manifest.get(kind)?.as_array());
    lib.chain(lists.flatten()).filter_map(|target| target.get("path")?.as_str()).collect()
}

/// Adds `file` and every file that its `mod` declarations lead to.
///
/// `owns_folder`: its submodules lie beside it (roots, `mod.rs`, `#[path]`) and not in a folder of its name.
fn reach(file: &Path, owns_folder: bool, reached: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
    if !file.is_file() || !reached.insert(file.to_owned()) {
        return Ok(());
    }
    let text = fs::read_to_string(file).map_err(Error::io("read", file))?;
    let parsed = syn::parse_file(&text)
        .map_err(|error| Error::Malformed { path: file.to_owned(), what: error.to_string() })?;
    let beside = file.parent().unwrap_or(Path::new("")).to_owned();
    let children = if owns_folder { beside.clone() } else { file.with_extension("") };
    for declared in declared(&parsed.items, &beside, &children) {
        reach(&declared.file, declared.owns_folder, reached)?;
    }
    Ok(())
}

/// Where a `mod` declaration may lead. Candidates that do not exist are passed over: the compiler
/// names the missing one, this check is about files that are too many.
#[derive(Debug, PartialEq, Eq)]
struct Declared {
    file: PathBuf,
    owns_folder: bool,
}

/// The files that the items may declare. `#[path]` counts from `beside`, names count from `children`.
fn declared(items: &[Item], beside: &Path, children: &Path) -> Vec<Declared> {
    let mut found = Vec::new();
    for item in items {
        let Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        let name = name.trim_start_matches("r#");
        let paths = paths_of(&module.attrs);
        if let Some((_, items)) = &module.content {
            // Inside an inline module both count from the folder of that module.
            let folder = paths.first().map_or_else(|| children.join(name), |path| beside.join(path));
            found.extend(declared(items, &folder, &folder));
        } else {
            found.extend(paths.iter().map(|path| Declared { file: beside.join(path), owns_folder: true }));
            found.push(Declared { file: children.join(format!("{name}.rs")), owns_folder: false });
            found.push(Declared { file: children.join(name).join("mod.rs"), owns_folder: true });
        }
    }
    found
}

/// The values of `#[path = "..."]`, also of those inside `cfg_attr`.
fn paths_of(attributes: &[Attribute]) -> Vec<String> {
    attributes.iter().filter_map(|attribute| path_in(&attribute.meta)).collect()
}

fn path_in(meta: &Meta) -> Option<String> {
    match meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        Meta::List(list) if list.path.is_ident("cfg_attr") => {
            let parser = syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated;
            list.parse_args_with(parser).ok()?.iter().skip(1).find_map(path_in)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(files: &[(&str, &str)], manifest: &str) -> (tempfile::TempDir, Package) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let package = Package {
            name: "x".into(),
            folder: folder.path().to_owned(),
            manifest: manifest.parse().unwrap(),
        };
        (folder, package)
    }

    fn strays_of(files: &[(&str, &str)], manifest: &str) -> Vec<String> {
        let (folder, package) = package(files, manifest);
        let strays = strays(&package).unwrap();
        strays.iter().map(|file| file.strip_prefix(folder.path()).unwrap().display().to_string()).collect()
    }

    #[test]
    fn every_way_to_declare_a_module_is_followed() {
        let files = [
            ("src/lib.rs", "pub mod a; mod b; #[cfg(test)] mod tests; mod inline { mod deep; } mod r#type;"),
            ("src/a.rs", "mod inner; #[path = \"odd-name.rs\"] mod odd;"),
            ("src/a/inner.rs", ""),
            ("src/odd-name.rs", "mod under_odd;"),
            ("src/under_odd.rs", ""),
            ("src/b/mod.rs", "mod c; #[cfg_attr(unix, path = \"unix.rs\")] mod system;"),
            ("src/b/c.rs", "/* mod none; */ const TEXT: &str = \"mod none;\";"),
            ("src/b/unix.rs", ""),
            ("src/b/system.rs", ""),
            ("src/inline/deep.rs", ""),
            ("src/tests.rs", ""),
            ("src/type.rs", ""),
            ("src/bin/tool.rs", ""),
            ("tests/all.rs", "mod common;"),
            ("tests/common/mod.rs", ""),
            ("tests/big/main.rs", "mod part;"),
            ("tests/big/part.rs", ""),
            ("bench/own.rs", ""),
        ];
        assert_eq!(strays_of(&files, ""), Vec::<String>::new());
    }

    #[test]
    fn strays_are_found() {
        let files = [
            ("src/lib.rs", "mod a; // mod commented;"),
            ("src/a.rs", "const TEXT: &str = \"mod quoted;\";"),
            ("src/commented.rs", ""),
            ("src/a/quoted.rs", "mod further;"),
            ("src/a/quoted/further.rs", ""),
            ("tests/common/mod.rs", ""),
            ("src/notes.md", ""),
        ];
        let strays =
            ["src/a/quoted/further.rs", "src/a/quoted.rs", "src/commented.rs", "tests/common/mod.rs"];
        assert_eq!(strays_of(&files, ""), strays);
    }

    #[test]
    fn roots_that_the_manifest_names_count() {
        let files = [("src/start.rs", "mod a;"), ("src/a.rs", ""), ("tests/deep/x/y.rs", "")];
        let manifest = "[[bin]]\nname = \"x\"\npath = \"src/start.rs\"\n[[test]]\nname = \"y\"\npath = \"tests/deep/x/y.rs\"\n";
        assert_eq!(strays_of(&files, manifest), Vec::<String>::new());
        assert_eq!(strays_of(&files, "").len(), 3);
    }

    #[test]
    fn source_that_does_not_parse_is_named() {
        let (_folder, package) = package(&[("src/lib.rs", "mod {")], "");
        assert!(strays(&package).unwrap_err().to_string().contains("src/lib.rs"));
    }
}
