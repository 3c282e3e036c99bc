//! Fuzzing without libFuzzer: files of the corpus are changed blindly, by a seeded generator.
//!
//! It finds less than what is guided by coverage, and runs wherever cargo does.

use std::{
    collections::BTreeMap,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use ambrosia_core::Random;

use crate::corpus;

/// Changes made to an input before it is tried.
const CHANGES_MAX: u64 = 8;

/// Inputs do not grow beyond this.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// Bytes that are often a border of something.
const BORDERS: [u8; 8] = [0, 1, 0x7f, 0x80, 0xfa, 0xfb, 0xfd, 0xff];

/// Fuzzes `target` as the arguments say: a subset of those of libFuzzer, so that one script drives both.
///
/// `-max_total_time=SECONDS`, `-seed=NUMBER`, `-artifact_prefix=DIRECTORY/`, then directories with inputs to begin with,
/// or files, which are run once each instead.
pub fn main(target: fn(&[u8])) -> ExitCode {
    let arguments = match Arguments::parse(env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::from(2);
        }
    };
    let result = if arguments.files.is_empty() { fuzz(target, &arguments) } else { run_files(target, &arguments) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(find) => {
            eprintln!("{find}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    time: Duration,
    seed: u64,
    prefix: String,
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Arguments {
    fn parse(given: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let (time, seed, prefix) = (Duration::from_secs(60), 1, String::new());
        let mut arguments = Arguments { time, seed, prefix, directories: Vec::new(), files: Vec::new() };
        for argument in given {
            let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{argument}: this is not a number"));
            match argument.split_once('=') {
                Some(("-max_total_time", seconds)) => arguments.time = Duration::from_secs(number(seconds)?),
                Some(("-seed", seed)) => arguments.seed = number(seed)?,
                Some(("-artifact_prefix", prefix)) => arguments.prefix = prefix.to_owned(),
                _ if argument.starts_with('-') => return Err(format!("{argument}: unknown argument")),
                _ if Path::new(&argument).is_dir() => arguments.directories.push(argument.into()),
                _ => arguments.files.push(argument.into()),
            }
        }
        Ok(arguments)
    }
}

fn run_files(target: fn(&[u8]), arguments: &Arguments) -> Result<(), String> {
    for file in &arguments.files {
        println!("running {}", file.display());
        target(&fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    Ok(())
}

/// Runs changed inputs until the time is over. A find is written to a file, whose name is in the error.
fn fuzz(target: fn(&[u8]), arguments: &Arguments) -> Result<(), String> {
    let corpora: Vec<BTreeMap<String, Vec<u8>>> =
        arguments.directories.iter().map(|path| corpus::files(path)).collect();
    let mut inputs: Vec<Vec<u8>> = corpora.into_iter().flat_map(BTreeMap::into_values).collect();
    if inputs.is_empty() {
        inputs.push(Vec::new());
    }
    let mut random = Random::new(arguments.seed);
    let (began, mut runs) = (Instant::now(), 0_u64);
    while began.elapsed() < arguments.time {
        let mut input = inputs[below(&mut random, inputs.len())].clone();
        for _ in 0..=random.next_u64() % CHANGES_MAX {
            change(&mut input, &mut random, &inputs);
        }
        input.truncate(INPUT_BYTES_MAX);
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            return Err(keep(&input, arguments, runs));
        }
        runs += 1;
    }
    println!("{runs} inputs in {} s, seed {}: no find", began.elapsed().as_secs(), arguments.seed);
    Ok(())
}

/// Writes a find down and says where.
fn keep(input: &[u8], arguments: &Arguments, runs: u64) -> String {
    let file = format!("{}crash-seed-{}-run-{runs}", arguments.prefix, arguments.seed);
    match fs::write(&file, input) {
        Ok(()) => format!("the input that did it is in {file}"),
        Err(error) => format!("the input that did it can't be written to {file}: {error}; it is {input:02x?}"),
    }
}

fn below(random: &mut Random, count: usize) -> usize {
    (random.next_u64() % count as u64) as usize
}

/// Makes one change.
fn change(input: &mut Vec<u8>, random: &mut Random, inputs: &[Vec<u8>]) {
    let at = below(random, input.len() + 1);
    match random.next_u64() % 7 {
        0 | 1 if at < input.len() => input[at] ^= 1 << below(random, 8),
        2 if at < input.len() => input[at] = BORDERS[below(random, BORDERS.len())],
        3 => {
            let end = (at + 1 + below(random, 16)).min(input.len());
            input.drain(at.min(end)..end);
        }
        4 => {
            let inserted: Vec<u8> = (0..1 + below(random, 8)).map(|_| random.next_u64() as u8).collect();
            input.splice(at..at, inserted);
        }
        5 => {
            let end = (at + 1 + below(random, 64)).min(input.len());
            let copied = input[at.min(end)..end].to_vec();
            input.splice(at..at, copied);
        }
        _ => {
            // What comes after some place in another input.
            let other = &inputs[below(random, inputs.len())];
            input.truncate(at);
            input.extend_from_slice(&other[below(random, other.len() + 1)..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(given: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(given.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn what_a_target_can_not_stand_is_found_and_written_down() {
        let directory = tempfile::tempdir().expect("temporary directory");
        fs::create_dir(directory.path().join("corpus")).expect("works");
        fs::write(directory.path().join("corpus/seed"), [7; 40]).expect("works");
        let prefix = format!("{}/", directory.path().display());
        let given = [format!("-artifact_prefix={prefix}"), "-seed=3".to_owned(), format!("{prefix}corpus")];
        let arguments = Arguments::parse(given.into_iter()).expect("all are known");
        let target: fn(&[u8]) = |bytes| assert!(!bytes.starts_with(&[7, 7, 6]), "six");
        let find = fuzz(target, &arguments).expect_err("a bit flips soon");
        let file = find.strip_prefix("the input that did it is in ").expect("it says where");
        assert!(fs::read(file).expect("it is there").starts_with(&[7, 7, 6]));
    }

    #[test]
    fn arguments_that_nobody_knows_are_refused() {
        assert!(arguments(&["-max_total_time=9"]).is_ok_and(|parsed| parsed.time == Duration::from_secs(9)));
        assert_eq!(arguments(&["-jobs=9"]).err(), Some("-jobs=9: unknown argument".to_owned()));
        assert_eq!(arguments(&["-seed=x"]).err(), Some("-seed=x: this is not a number".to_owned()));
    }
}
