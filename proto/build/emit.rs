//! Emits the structs of a message with their `read` and `write`.

use std::fmt::Write as _;

use super::schema::{Field, Message, Type, Versions};
use super::structs::{Struct, collect, method, min_size};

/// Formats a line into the output; writing to a string cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{ let _ = writeln!($out, $($arg)*); }};
}
pub(crate) use line;

/// What every generated module uses.
pub const USES: &str = "use bytes::Bytes;\nuse uuid::Uuid;\n\
    use crate::kafka::{Body, ByteStr, DecodeError, EncodeError, Message, Reader, TaggedFields, Writer};\n";

/// The message, with its nested structs in `module`, or beside it when there is none.
pub fn message(out: &mut String, message: &Message, module: Option<&str>) -> Result<(), String> {
    let structs = collect(message).map_err(|why| format!("{}: {why}", message.name))?;
    let (top, nested) = structs.split_first().ok_or("no struct")?;
    let scope = module.map_or(String::new(), |module| format!("{module}::"));
    emit_struct(out, message, top, &scope);
    let flexible = if message.flexible.is_empty() {
        "None".into()
    } else {
        format!("Some({})", message.flexible.min)
    };
    line!(out, "impl Message for {} {{", message.name);
    line!(out, "const NAME: &'static str = \"{}\";", message.name);
    let Versions { min, max } = message.versions;
    line!(out, "const VERSIONS: std::ops::RangeInclusive<i16> = {min}..={max};");
    line!(out, "const FLEXIBLE_FROM: Option<i16> = {flexible};\n}}");
    if let Some(module) = module {
        line!(
            out,
            "/// The structs inside of [`{}`].\npub mod {module} {{\n{USES}",
            message.name
        );
    }
    for nested in nested {
        emit_struct(out, message, nested, "");
    }
    if module.is_some() {
        line!(out, "}}");
    }
    Ok(())
}

fn emit_struct(out: &mut String, message: &Message, it: &Struct<'_>, scope: &str) {
    let name = it.name;
    line!(out, "/// `{name}` of {}, versions {}.", message.name, it.versions);
    let derived = it.fields.iter().all(Field::default_is_rusts);
    line!(
        out,
        "#[derive(Clone, Debug, PartialEq{})]",
        if derived { ", Default" } else { "" }
    );
    line!(out, "pub struct {name} {{");
    for field in &it.fields {
        line!(
            out,
            "/// `{}`\npub {}: {},",
            field.text,
            field.ident(),
            field.rust_type(scope)
        );
    }
    line!(
        out,
        "/// Tagged fields that this schema does not have, in ascending order of their numbers."
    );
    line!(out, "pub unknown_tagged_fields: TaggedFields,\n}}");
    if !derived {
        line!(out, "impl Default for {name} {{\nfn default() -> Self {{\nSelf {{");
        for field in &it.fields {
            line!(out, "{}: {},", field.ident(), field.default_expr(scope));
        }
        line!(out, "unknown_tagged_fields: Vec::new(),\n}}\n}}\n}}");
    }
    line!(out, "impl Body for {name} {{");
    emit_read(out, message, it, scope);
    emit_write(out, it, scope);
    emit_visit_errors(out, it);
    line!(out, "}}");
}

/// Only for structs that have an error code, or hold structs that have one.
fn emit_visit_errors(out: &mut String, it: &Struct<'_>) {
    if !it.fields.iter().any(Field::has_error) {
        return;
    }
    line!(out, "fn visit_errors(&self, visit: &mut dyn FnMut(i16)) {{");
    for field in it.fields.iter().filter(|field| field.has_error()) {
        let x = format!("self.{}", field.ident());
        let flatten = if field.nullable.is_empty() { "" } else { ".flatten()" };
        match &field.ty {
            Type::Array(_) => line!(out, "{x}.iter(){flatten}.for_each(|x| x.visit_errors(visit));"),
            Type::Struct(_) if field.nullable.is_empty() => line!(out, "{x}.visit_errors(visit);"),
            Type::Struct(_) => line!(out, "{x}.iter().for_each(|x| x.visit_errors(visit));"),
            _ => line!(out, "visit({x});"),
        }
    }
    line!(out, "}}");
}

/// The condition that holds in `versions`, for code that runs in `all` only; `None` when it always holds.
fn condition(versions: Versions, all: Versions) -> Option<String> {
    let cut = versions.intersect(all);
    if cut.is_empty() {
        return Some("false".to_owned());
    }
    match (cut.min > all.min, cut.max < all.max) {
        (false, false) => None,
        (true, false) => Some(format!("v >= {}", cut.min)),
        (false, true) => Some(format!("v <= {}", cut.max)),
        (true, true) if cut.min == cut.max => Some(format!("v == {}", cut.min)),
        (true, true) => Some(format!("({}..={}).contains(&v)", cut.min, cut.max)),
    }
}

fn emit_read(out: &mut String, message: &Message, it: &Struct<'_>, scope: &str) {
    line!(
        out,
        "fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {{\nlet v = r.version();"
    );
    for field in &it.fields {
        let default = field.default_expr(scope);
        let mutable = if field.tag.is_some() { "mut " } else { "" };
        let read = read_expr(message, field, scope);
        let value = match condition(field.versions, it.versions) {
            _ if field.tag.is_some() => default,
            None => read,
            Some(condition) => format!("if {condition} {{ {read} }} else {{ {default} }}"),
        };
        line!(
            out,
            "let {mutable}{}: {} = {value};",
            field.ident(),
            field.rust_type(scope)
        );
    }
    let tagged: Vec<(u32, &Field)> = it.tagged_fields();
    if tagged.is_empty() {
        line!(
            out,
            "let unknown_tagged_fields = r.tagged_fields(&mut |_, _| Ok(false))?;"
        );
    } else {
        line!(
            out,
            "let unknown_tagged_fields = r.tagged_fields(&mut |r, tag| {{\nmatch tag {{"
        );
        for (tag, field) in tagged {
            let read = read_expr(message, field, scope);
            match condition(field.versions, message.flexible.intersect(it.versions)) {
                None => line!(out, "{tag} => {} = {read},", field.ident()),
                Some(condition) => {
                    line!(out, "{tag} if {condition} => {} = {read},", field.ident());
                    line!(out, "{tag} => return r.tag_not_in_version(tag),");
                }
            }
        }
        line!(out, "_ => return Ok(false),\n}}\nOk(true)\n}})?;");
    }
    line!(out, "Ok(Self {{");
    for field in &it.fields {
        line!(out, "{},", field.ident());
    }
    line!(out, "unknown_tagged_fields,\n}})\n}}");
}

/// An expression that reads the field.
fn read_expr(message: &Message, field: &Field, scope: &str) -> String {
    let (plain, nullable) = match &field.ty {
        Type::Struct(name) => (
            format!("{scope}{name}::read(r)?"),
            format!("r.{}()?", nullable_struct(field)),
        ),
        Type::Array(inner) => {
            let min = min_size(inner, &field.children, field.versions, message.flexible);
            let read = match &**inner {
                Type::Struct(name) => format!("{scope}{name}::read"),
                inner => format!("Reader::{}", method(inner)),
            };
            (
                format!("r.array({min}, {read})?"),
                format!("r.nullable_array({min}, {read})?"),
            )
        }
        _ if field.never_compact => ("compile_error!()".to_owned(), "r.plain_nullable_string()?".to_owned()),
        ty => (format!("r.{}()?", method(ty)), format!("r.nullable_{}()?", method(ty))),
    };
    if field.nullable.is_empty() {
        return plain;
    }
    match condition(field.nullable, field.versions) {
        None => nullable,
        Some(condition) => format!("if {condition} {{ {nullable} }} else {{ Some({plain}) }}"),
    }
}

/// The reader's and the writer's method for a struct that may be null.
fn nullable_struct(field: &Field) -> &'static str {
    if field.tag.is_some() {
        "tagged_nullable_struct"
    } else {
        "nullable_struct"
    }
}

fn emit_write(out: &mut String, it: &Struct<'_>, scope: &str) {
    line!(
        out,
        "fn write(&self, w: &mut Writer<'_>) -> Result<(), EncodeError> {{\nlet v = w.version();"
    );
    for field in &it.fields {
        let condition = condition(field.versions, it.versions);
        if field.tag.is_none() {
            match &condition {
                None => line!(out, "{}", write_stmt(field)),
                Some(condition) => line!(out, "if {condition} {{ {} }}", write_stmt(field)),
            }
        }
        if let Some(condition) = condition
            && !field.ignorable
        {
            line!(out, "if !({condition}) && {} {{", field.is_set_expr(scope));
            line!(out, "return Err(w.not_in_version(\"{}\"));\n}}", field.name);
        }
    }
    let tagged = it.tagged_fields();
    let known: Vec<String> = tagged
        .iter()
        .map(|(tag, field)| known_tag(*tag, field, it.versions, scope))
        .collect();
    line!(
        out,
        "w.tagged_fields(&self.unknown_tagged_fields, &[{}],",
        known.join(", ")
    );
    if tagged.is_empty() {
        line!(out, "&mut |_, _| Ok(()))\n}}");
        return;
    }
    line!(out, "&mut |w, tag| {{ match tag {{");
    for (tag, field) in tagged {
        line!(out, "{tag} => {{ {} }}", write_stmt(field));
    }
    line!(out, "_ => {{}}\n}}\nOk(()) }})\n}}");
}

/// The number of a tagged field, and whether it is set in a version that has it.
fn known_tag(tag: u32, field: &Field, all: Versions, scope: &str) -> String {
    let set = field.is_set_expr(scope);
    match condition(field.versions, all) {
        None => format!("({tag}, {set})"),
        Some(condition) => format!("({tag}, {condition} && ({set}))"),
    }
}

/// Statements that write the field.
fn write_stmt(field: &Field) -> String {
    let x = format!("self.{}", field.ident());
    let each = |inner: &Type| match inner {
        Type::Struct(_) => "|w, x| x.write(w)".to_owned(),
        Type::String | Type::Bytes | Type::Records => format!("Writer::{}", method(inner)),
        inner => format!("|w, x| {{ w.{}(*x); Ok(()) }}", method(inner)),
    };
    let plain = |x: &str| match &field.ty {
        Type::Struct(_) => format!("{x}.write(w)?;"),
        Type::Array(inner) => format!("w.array({x}, {})?;", each(inner)),
        Type::String | Type::Bytes | Type::Records => format!("w.{}({x})?;", method(&field.ty)),
        ty => format!("w.{}({x});", method(ty)),
    };
    if field.nullable.is_empty() {
        return match &field.ty {
            Type::Array(_) | Type::String | Type::Bytes | Type::Records => plain(&format!("&{x}")),
            _ => plain(&x),
        };
    }
    let nullable = match &field.ty {
        Type::Array(inner) => format!("w.nullable_array({x}.as_deref(), {})?;", each(inner)),
        _ if field.never_compact => format!("w.plain_nullable_string({x}.as_ref())?;"),
        Type::Struct(_) => format!("w.{}({x}.as_ref())?;", nullable_struct(field)),
        ty => format!("w.nullable_{}({x}.as_ref())?;", method(ty)),
    };
    match condition(field.nullable, field.versions) {
        None => nullable,
        Some(condition) => format!(
            "if {condition} {{ {nullable} }} else {{ let x = w.some(&{x}, \"{}\")?; {} }}",
            field.name,
            plain("x")
        ),
    }
}
