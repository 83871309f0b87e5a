//! Generates the Kafka codec: reads every schema file and writes the generated modules.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::emit::{self, USES, line};
use super::random;
use super::schema::{self, Kind};
use super::tables::{self, Api};

/// Generates from the schema folder `from` into the folder `to`.
pub fn generate(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|why| format!("{}: {why}", to.display()))?;
    let mut apis = Vec::new();
    let mut messages = String::new();
    for path in schema_files(from)? {
        api_module(&path, &mut messages, &mut apis).map_err(|why| format!("{}: {why}", path.display()))?;
    }
    let mut random = String::new();
    for api in &apis {
        let module = format!("messages::{}", api.module);
        random::message(&mut random, &api.request, &module, &format!("{module}::request"))?;
        random::message(&mut random, &api.response, &module, &format!("{module}::response"))?;
    }
    random::apis(&mut random, &apis);
    let mut records = String::new();
    let mut visits = String::new();
    for path in schema_files(&from.join("records"))? {
        record_module(&path, &mut records, &mut random, &mut visits)
            .map_err(|why| format!("{}: {why}", path.display()))?;
    }
    line!(records, "/// Calls the visitor with every message of this module.");
    line!(
        records,
        "pub fn visit_all<V: crate::kafka::MessageVisitor>(visitor: &mut V) {{\n{visits}}}"
    );
    let errors = tables::error_code(&read(&from.join("errors.tsv"))?).map_err(|why| format!("errors.tsv: {why}"))?;
    let outputs = [
        ("messages.rs", messages),
        ("records.rs", records),
        ("api_key.rs", tables::api_key(&apis)),
        ("error_code.rs", errors),
        ("random.rs", random),
    ];
    for (name, text) in outputs {
        fs::write(to.join(name), text).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))
}

/// The `.kafka` files of a folder, by name.
fn schema_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "kafka"));
    paths.sort();
    Ok(paths)
}

fn stem(path: &Path) -> Result<&str, String> {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .ok_or_else(|| "bad file name".to_owned())
}

/// `18-api_versions.kafka` becomes `pub mod api_versions`.
fn api_module(path: &Path, out: &mut String, apis: &mut Vec<Api>) -> Result<(), String> {
    let Kind::Api {
        name,
        key,
        request,
        response,
    } = schema::parse(&read(path)?)?
    else {
        return Err("not an api".to_owned());
    };
    let (number, module) = stem(path)?.split_once('-').ok_or("no `NN-name` file name")?;
    if number.parse() != Ok(key) || request.versions != response.versions {
        return Err("key or versions disagree".to_owned());
    }
    line!(
        out,
        "/// {name}, API {key}.\npub mod {module} {{\n{USES}use crate::kafka::{{ApiKey, Request}};"
    );
    emit::message(out, &request, Some("request"))?;
    line!(
        out,
        "impl Request for {name}Request {{\nconst API_KEY: ApiKey = ApiKey::{name};"
    );
    line!(out, "type Response = {name}Response;\n}}");
    emit::message(out, &response, Some("response"))?;
    line!(out, "}}");
    apis.push(Api {
        name,
        module: module.to_owned(),
        key,
        request,
        response,
    });
    Ok(())
}

/// `offset_commit_key.kafka` becomes `pub mod offset_commit_key`.
fn record_module(path: &Path, out: &mut String, random: &mut String, visits: &mut String) -> Result<(), String> {
    let kind = schema::parse(&read(path)?)?;
    let (message, marker) = match kind {
        Kind::Api { .. } => return Err("an api among the records".to_owned()),
        Kind::Key { record_type, message } => {
            let name = &message.name;
            let marker = format!("impl crate::kafka::RecordKey for {name} {{\nconst TYPE: i16 = {record_type};\n}}");
            (message, marker)
        }
        Kind::Value { message } => {
            let marker = format!("impl crate::kafka::RecordValue for {} {{}}", message.name);
            (message, marker)
        }
        Kind::Data { message } => {
            let marker = format!("impl crate::kafka::VersionedData for {} {{}}", message.name);
            (message, marker)
        }
        Kind::Header { message } => (message, String::new()),
    };
    line!(
        out,
        "/// The schema of `{}`.\npub mod {} {{\n{USES}",
        message.name,
        stem(path)?
    );
    emit::message(out, &message, None)?;
    let module = format!("records::{}", stem(path)?);
    random::message(random, &message, &module, &module)?;
    line!(visits, "visitor.visit::<{}::{}>();", stem(path)?, message.name);
    line!(out, "{marker}\n}}");
    Ok(())
}
