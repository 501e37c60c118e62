//! Replays the corpus, and keeps targets, programs and corpus together.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use smartsocket_fuzz::{TARGETS, Target, differential, replay, seeds};

/// One test at a time: targets count what is allocated.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Tells which input it was when a target panics.
struct Running(String);

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("input: {}", self.0);
        }
    }
}

#[test]
fn every_input_of_the_corpus_keeps_the_rules() {
    let _turn = turn();
    for (name, target) in TARGETS {
        let files = replay::files(&folder("corpus").join(name)).unwrap_or_default();
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let input = fs::read(&file).unwrap();
            let _running = Running(file.display().to_string());
            target(&input);
        }
    }
}

#[test]
fn every_seed_keeps_the_rules() {
    let _turn = turn();
    let mut seeded = BTreeSet::new();
    for (name, input) in seeds() {
        let find = |target: &&Target| target.0 == name;
        let (_, target) = TARGETS.iter().find(find).expect(name);
        let _running = Running(format!("{name}: {}", input.escape_ascii()));
        target(&input);
        seeded.insert(name);
    }
    assert_eq!(seeded, names(), "a target without seeds");
}

/// So that the list stays true when tungstenite changes.
#[test]
fn every_intended_difference_shows() {
    let _turn = turn();
    let files = replay::files(&folder("corpus").join("differential")).unwrap();
    let shown = files.iter().filter_map(|file| {
        let difference = differential::difference(&fs::read(file).unwrap());
        difference.map(|difference| difference.name)
    });
    let shown: BTreeSet<&str> = shown.collect();
    let intended = differential::INTENDED.iter().map(|one| one.name).collect();
    assert_eq!(shown, intended);
}

fn names() -> BTreeSet<&'static str> {
    TARGETS.iter().map(|(name, _)| *name).collect()
}

#[test]
fn every_target_has_a_program_and_every_program_a_target() {
    let entries = |name: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(folder(name)).unwrap();
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        entries.map(|entry| stem(entry.unwrap().path())).collect()
    };
    let names: BTreeSet<String> = names().into_iter().map(String::from).collect();
    assert_eq!(entries("fuzz_targets"), names);
    assert_eq!(entries("corpus"), names);
    assert!(entries("dictionaries").is_subset(&names));
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in names {
        let program = folder("fuzz_targets").join(&name).with_extension("rs");
        let program = fs::read_to_string(program).unwrap();
        let path = name.replacen("provider_", "provider::", 1);
        assert_eq!(program.matches(&format!("::{path}::run")).count(), 2);
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")));
    }
}
