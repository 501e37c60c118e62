//! Runs a target over files, without libFuzzer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Every file in `path`, however deep, in the order of their names; `path`
/// itself if it is a file.
///
/// # Errors
///
/// What the file system says.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    let mut all = Vec::new();
    for entry in entries {
        all.extend(files(&entry)?);
    }
    Ok(all)
}

/// The program of a target without libFuzzer: runs it over the files and
/// folders given as arguments, and names each before, so that the one that
/// panics is known.
pub fn main(target: fn(&[u8])) -> ExitCode {
    match run(target) {
        Ok(0) => {
            eprintln!("usage: give the files or folders to replay");
            ExitCode::from(2)
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(target: fn(&[u8])) -> io::Result<usize> {
    let mut count = 0;
    for argument in std::env::args_os().skip(1) {
        for file in files(Path::new(&argument))? {
            eprintln!("{}", file.display());
            target(&fs::read(&file)?);
            count += 1;
        }
    }
    Ok(count)
}
