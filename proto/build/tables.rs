//! Emits the enum of APIs and the enum of error codes.

use std::fmt::Write as _;

use super::emit::line;
use super::schema::Message;

/// An API as the tables need it.
pub struct Api {
    pub name: String,
    pub module: String,
    pub key: i16,
    pub request: Message,
    pub response: Message,
}

/// `ApiKey` with what the schema knows about each.
pub fn api_key(apis: &[Api]) -> String {
    let mut out = String::new();
    line!(out, "/// A Kafka API that the schema has.");
    line!(
        out,
        "#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n#[repr(i16)]\npub enum ApiKey {{"
    );
    for api in apis {
        line!(
            out,
            "/// {}, versions {}.\n{} = {},",
            api.name,
            api.request.versions,
            api.name,
            api.key
        );
    }
    line!(
        out,
        "}}\nimpl ApiKey {{\n/// Every API, by ascending key.\npub const ALL: &'static [Self] = &["
    );
    for api in apis {
        line!(out, "Self::{},", api.name);
    }
    line!(
        out,
        "];\n/// The API with this key.\n#[must_use]\npub const fn from_code(code: i16) -> Option<Self> {{"
    );
    line!(out, "Some(match code {{");
    for api in apis {
        line!(out, "{} => Self::{},", api.key, api.name);
    }
    line!(out, "_ => return None,\n}})\n}}");
    line!(
        out,
        "/// Kafka's name of the API.\n#[must_use]\npub const fn name(self) -> &'static str {{\nmatch self {{"
    );
    for api in apis {
        line!(out, "Self::{} => \"{}\",", api.name, api.name);
    }
    line!(out, "}}\n}}\n/// Calls the visitor with the API's request type.");
    line!(
        out,
        "pub fn visit<V: ApiVisitor>(self, visitor: V) -> V::Output {{\nmatch self {{"
    );
    for api in apis {
        line!(
            out,
            "Self::{0} => visitor.visit::<messages::{1}::{0}Request>(),",
            api.name,
            api.module
        );
    }
    line!(out, "}}\n}}\n}}");
    out
}

/// `ErrorCode` from the table of code, name, `retriable`, `refresh-metadata`.
pub fn error_code(table: &str) -> Result<String, String> {
    let mut rows = Vec::new();
    for line in table.lines().filter(|line| !line.trim().is_empty()) {
        let mut columns = line.split('\t');
        let (Some(code), Some(name)) = (columns.next(), columns.next()) else {
            return Err(format!("`{line}`"));
        };
        let code: i16 = code.parse().map_err(|_| format!("`{line}`: no code"))?;
        let retriable = columns.next() == Some("retriable");
        let refresh = columns.next() == Some("refresh-metadata");
        rows.push((code, name, camel_case(name), retriable, refresh));
    }
    let mut out = String::new();
    line!(out, "/// Kafka's error codes.");
    line!(
        out,
        "#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]\n#[repr(i16)]\npub enum ErrorCode {{"
    );
    for (code, name, variant, ..) in &rows {
        let default = if *code == 0 { "#[default]\n" } else { "" };
        line!(out, "/// `{name}`\n{default}{variant} = {code},");
    }
    line!(
        out,
        "}}\nimpl ErrorCode {{\n/// Every code, ascending.\npub const ALL: &'static [Self] = &["
    );
    for (_, _, variant, ..) in &rows {
        line!(out, "Self::{variant},");
    }
    line!(
        out,
        "];\n/// The error with this code; as in Kafka, an unknown code is `UnknownServerError`.\n#[must_use]\n#[allow(clippy::too_many_lines)]"
    );
    line!(out, "pub const fn from_code(code: i16) -> Self {{\nmatch code {{");
    for (code, _, variant, ..) in &rows {
        line!(out, "{code} => Self::{variant},");
    }
    line!(out, "_ => Self::UnknownServerError,\n}}\n}}");
    line!(
        out,
        "/// Kafka's name, as in `NOT_LEADER_OR_FOLLOWER`.\n#[must_use]\n#[allow(clippy::too_many_lines)]\npub const fn name(self) -> &'static str {{\nmatch self {{"
    );
    for (_, name, variant, ..) in &rows {
        line!(out, "Self::{variant} => \"{name}\",");
    }
    line!(out, "}}\n}}");
    let set = |pick: fn(bool, bool) -> bool| {
        let chosen = rows
            .iter()
            .filter(|(_, _, _, retriable, refresh)| pick(*retriable, *refresh));
        chosen
            .map(|(_, _, variant, ..)| format!("Self::{variant}"))
            .collect::<Vec<_>>()
            .join(" | ")
    };
    line!(
        out,
        "/// Whether clients try again by themselves.\n#[must_use]\npub const fn is_retriable(self) -> bool {{"
    );
    line!(out, "matches!(self, {})\n}}", set(|retriable, _| retriable));
    line!(
        out,
        "/// Whether clients fetch new metadata before they try again.\n#[must_use]\npub const fn refreshes_metadata(self) -> bool {{"
    );
    line!(out, "matches!(self, {})\n}}\n}}", set(|_, refresh| refresh));
    Ok(out)
}

/// `OFFSET_OUT_OF_RANGE` to `OffsetOutOfRange`.
fn camel_case(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(1.min(word.len()));
        first.to_owned() + &rest.to_lowercase()
    };
    name.split('_').map(word).collect()
}
