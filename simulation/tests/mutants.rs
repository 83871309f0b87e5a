//! The mutants fit the catalogue and the tree; that the simulation finds each of them is for `tools/mutants` to show.
#![allow(clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use highwater_simulation::invariants::CATALOGUE;

/// The head of a patch.
struct Mutant {
    path: PathBuf,
    name: String,
    invariant: String,
}

fn mutants() -> Vec<Mutant> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants");
    let entries = std::fs::read_dir(folder).expect("there are mutants");
    let mut mutants: Vec<Mutant> = entries.map(|entry| read(entry.expect("an entry").path())).collect();
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    mutants
}

fn read(path: PathBuf) -> Mutant {
    let text = std::fs::read_to_string(&path).expect("a patch is a text");
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    assert!(field("Rule broken: ").is_some(), "{name} says which rule it breaks");
    Mutant {
        invariant: field("Invariant: ").unwrap_or_default().to_owned(),
        name,
        path,
    }
}

#[test]
fn every_mutant_names_an_invariant_of_the_catalogue() {
    for Mutant { name, invariant, .. } in mutants() {
        assert!(CATALOGUE.contains(&&*invariant), "{name} names '{invariant}'");
    }
}

#[test]
fn every_invariant_has_a_mutant() {
    let named: BTreeSet<String> = mutants().into_iter().map(|mutant| mutant.invariant).collect();
    let missing: Vec<&&str> = CATALOGUE.iter().filter(|name| !named.contains(**name)).collect();
    assert!(missing.is_empty(), "nothing shows that these can break: {missing:?}");
}

#[test]
fn every_mutant_applies() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for Mutant { name, path, .. } in mutants() {
        let done = Command::new("patch")
            .args(["--dry-run", "--strip=1", "--fuzz=0", "--forward", "--batch", "--input"])
            .arg(path)
            .current_dir(&tree)
            .output()
            .expect("patch is there (Debian: apt-get install patch)");
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{name} does not apply: write it anew\n{said}");
    }
}
