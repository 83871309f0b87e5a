//! Emits, for the tests only, random values of every message: fields that a version does not have keep their default.

use std::fmt::Write as _;

use super::emit::line;
use super::schema::{Field, Message, Type};
use super::structs::{collect, method};
use super::tables::Api;

/// `impl Random` for the structs of a message that live in `module` (the message itself) and in `nested`.
pub fn message(out: &mut String, message: &Message, module: &str, nested: &str) -> Result<(), String> {
    for (index, it) in collect(message)?.iter().enumerate() {
        let path = if index == 0 { module } else { nested };
        line!(out, "impl Random for {path}::{} {{", it.name);
        line!(
            out,
            "fn random(g: &mut Generator, v: i16) -> Self {{\nlet mut it = Self::default();"
        );
        for field in &it.fields {
            let x = format!("it.{}", field.ident());
            line!(
                out,
                "if {} {{ {x} = {}; }}",
                field.versions.condition(),
                value(field, nested)
            );
        }
        if !message.flexible.is_empty() {
            line!(
                out,
                "if v >= {} {{ it.unknown_tagged_fields = g.unknown_tagged_fields(); }}",
                message.flexible.min
            );
        }
        line!(out, "it\n}}\n}}");
    }
    Ok(())
}

fn value(field: &Field, nested: &str) -> String {
    let one = |ty: &Type| match ty {
        Type::Struct(name) => format!("{nested}::{name}::random(g, v)"),
        ty => format!("g.{}()", method(ty)),
    };
    let plain = match &field.ty {
        Type::Array(inner) => format!("g.vec(|g| {})", one(inner)),
        ty => one(ty),
    };
    if field.nullable.is_empty() {
        return plain;
    }
    format!(
        "if {} && g.chance(4) {{ None }} else {{ Some({plain}) }}",
        field.nullable.condition()
    )
}

/// A macro that calls another one with the module and the name of every API.
pub fn apis(out: &mut String, apis: &[Api]) {
    line!(
        out,
        "macro_rules! for_each_api {{ ($callback:ident) => {{ $callback! {{"
    );
    for api in apis {
        line!(out, "{} {}Request {}Response,", api.module, api.name, api.name);
    }
    line!(out, "}} }} }}");
}
