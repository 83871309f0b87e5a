//! `protoc [--include_imports] [--include_source_info] -o FILE -I DIRECTORY... PROTO...`: the arguments that prost-build
//! gives, and no others.

use std::path::PathBuf;
use std::process::ExitCode;

struct Arguments {
    imports: bool,
    source_info: bool,
    output: PathBuf,
    includes: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut read = Arguments {
        imports: false,
        source_info: false,
        output: PathBuf::new(),
        includes: Vec::new(),
        files: Vec::new(),
    };
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--include_imports" => read.imports = true,
            "--include_source_info" => read.source_info = true,
            "-o" => read.output = value()?.into(),
            "-I" => read.includes.push(value()?.into()),
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            file => read.files.push(file.into()),
        }
    }
    if read.output.as_os_str().is_empty() || read.files.is_empty() {
        return Err("an output (-o) and at least one file are needed".to_owned());
    }
    Ok(read)
}

fn run() -> Result<(), String> {
    let arguments = arguments(std::env::args().skip(1))?;
    let mut compiler = protox::Compiler::new(&arguments.includes).map_err(|error| error.to_string())?;
    compiler
        .include_imports(arguments.imports)
        .include_source_info(arguments.source_info);
    for file in &arguments.files {
        compiler.open_file(file).map_err(|error| format!("{error:?}"))?;
    }
    let descriptors = compiler.encode_file_descriptor_set();
    std::fs::write(&arguments.output, descriptors).map_err(|error| format!("{}: {error}", arguments.output.display()))
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("protoc: {error}");
            ExitCode::FAILURE
        }
    }
}
