//! The structs of a message, gathered from its nested fields, and what the emitters need to know about their types.

use super::schema::{Field, Message, Type, Versions};

/// A struct with all the versions in which some field of the message holds it.
pub struct Struct<'a> {
    pub name: &'a str,
    /// With the versions of all its places.
    pub fields: Vec<Field>,
    pub versions: Versions,
}

impl Struct<'_> {
    /// The tagged fields by ascending number.
    pub fn tagged_fields(&self) -> Vec<(u32, &Field)> {
        let mut tagged: Vec<_> = self
            .fields
            .iter()
            .filter_map(|field| Some((field.tag?, field)))
            .collect();
        tagged.sort_by_key(|(tag, _)| *tag);
        tagged
    }
}

/// The message itself first, then every struct under it once. A name that stands for two shapes is an error.
pub fn collect(message: &Message) -> Result<Vec<Struct<'_>>, String> {
    let top = Struct {
        name: &message.name,
        fields: message.fields.clone(),
        versions: message.versions,
    };
    let mut found = vec![top];
    nested(&message.fields, &mut found)?;
    Ok(found)
}

fn nested<'a>(fields: &'a [Field], found: &mut Vec<Struct<'a>>) -> Result<(), String> {
    for field in fields {
        if field.versions.is_empty() {
            return Err(format!("field {} is in no version", field.name));
        }
        let Some(name) = field.ty.struct_name() else { continue };
        match found.iter_mut().find(|known| known.name == name) {
            None => found.push(Struct {
                name,
                fields: field.children.clone(),
                versions: field.versions,
            }),
            Some(known) if same_shape(&known.fields, &field.children) => {
                known.versions = known.versions.hull(field.versions);
                known
                    .fields
                    .iter_mut()
                    .zip(&field.children)
                    .for_each(|(known, field)| known.widen(field));
            }
            Some(_) => return Err(format!("struct {name} has two shapes")),
        }
        nested(&field.children, found)?;
    }
    Ok(())
}

fn same_shape(a: &[Field], b: &[Field]) -> bool {
    let same = |a: &Field, b: &Field| a.name == b.name && a.text == b.text && same_shape(&a.children, &b.children);
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

impl Field {
    /// Adds the versions of the same field at another place.
    fn widen(&mut self, other: &Self) {
        self.versions = self.versions.hull(other.versions);
        self.nullable = self.nullable.hull(other.nullable);
    }

    /// The Rust identifier.
    pub fn ident(&self) -> String {
        match self.name.as_str() {
            name @ ("type" | "match") => format!("r#{name}"),
            name => name.to_owned(),
        }
    }

    /// Whether this is an error code, or holds structs that have one.
    pub fn has_error(&self) -> bool {
        matches!(self.name.as_str(), "error_code" | "partition_error_code") || self.children.iter().any(Self::has_error)
    }

    /// The default as a Rust expression. `scope` leads to the module of the nested structs.
    pub fn default_expr(&self, scope: &str) -> String {
        let plain = match (&self.ty, self.default.as_deref()) {
            (_, Some("null")) => return "None".to_owned(),
            (Type::Bool, default) => default.unwrap_or("false").to_owned(),
            (Type::Float64, default) => format!("{}f64", default.unwrap_or("0")),
            (Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 | Type::Int64, default) => {
                default.unwrap_or("0").to_owned()
            }
            (Type::String, None | Some("\"\"")) => "ByteStr::from_static(\"\")".to_owned(),
            (Type::String, Some(text)) => format!("ByteStr::from_static({text})"),
            (Type::Bytes | Type::Records, _) => "Bytes::new()".to_owned(),
            (Type::Uuid, _) => "Uuid::nil()".to_owned(),
            (Type::Array(_), _) => "Vec::new()".to_owned(),
            (Type::Struct(name), _) => format!("{scope}{name}::default()"),
        };
        if self.nullable.is_empty() {
            plain
        } else {
            format!("Some({plain})")
        }
    }

    /// Whether the default is what `#[derive(Default)]` would give.
    pub fn default_is_rusts(&self) -> bool {
        match self.default.as_deref() {
            Some("null") => true,
            _ if !self.nullable.is_empty() => false,
            None | Some("0" | "false" | "\"\"") => true,
            Some(_) => false,
        }
    }

    /// A Rust condition that holds when the field of `self` differs from its default.
    pub fn is_set_expr(&self, scope: &str) -> String {
        let x = format!("self.{}", self.ident());
        if self.default.as_deref() == Some("null") {
            return format!("{x}.is_some()");
        }
        if !self.nullable.is_empty() {
            return match &self.ty {
                Type::Struct(name) => format!("{x}.as_ref().is_none_or(|x| *x != {scope}{name}::default())"),
                _ => format!("{x}.as_ref().is_none_or(|x| !x.is_empty())"),
            };
        }
        match (&self.ty, self.default.as_deref()) {
            (Type::Bool, Some("true")) => format!("!{x}"),
            (Type::Bool, _) => x,
            (Type::String, None | Some("\"\"")) | (Type::Bytes | Type::Records | Type::Array(_), _) => {
                format!("!{x}.is_empty()")
            }
            (Type::Uuid, _) => format!("!{x}.is_nil()"),
            _ => format!("{x} != {}", self.default_expr(scope)),
        }
    }

    /// The Rust type.
    pub fn rust_type(&self, scope: &str) -> String {
        let plain = rust_type(&self.ty, scope);
        if self.nullable.is_empty() {
            plain
        } else {
            format!("Option<{plain}>")
        }
    }
}

/// The Rust type of a type that is not null.
pub fn rust_type(ty: &Type, scope: &str) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::Int8 => "i8".to_owned(),
        Type::Int16 => "i16".to_owned(),
        Type::Uint16 => "u16".to_owned(),
        Type::Int32 => "i32".to_owned(),
        Type::Int64 => "i64".to_owned(),
        Type::Float64 => "f64".to_owned(),
        Type::String => "ByteStr".to_owned(),
        Type::Bytes | Type::Records => "Bytes".to_owned(),
        Type::Uuid => "Uuid".to_owned(),
        Type::Struct(name) => format!("{scope}{name}"),
        Type::Array(inner) => format!("Vec<{}>", rust_type(inner, scope)),
    }
}

/// The name of the reader's and the writer's method.
pub fn method(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::Int8 => "int8",
        Type::Int16 => "int16",
        Type::Uint16 => "uint16",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        Type::Float64 => "float64",
        Type::String => "string",
        Type::Bytes | Type::Records => "bytes",
        Type::Uuid => "uuid",
        Type::Array(_) => "array",
        Type::Struct(_) => "struct",
    }
}

/// The least number of bytes that an element of this type takes in any of the versions.
pub fn min_size(ty: &Type, fields: &[Field], versions: Versions, flexible: Versions) -> usize {
    let size = |version| size_at(ty, fields, version, flexible.contains(version));
    (versions.min..=versions.max).map(size).min().unwrap_or(1)
}

fn size_at(ty: &Type, fields: &[Field], version: i16, flexible: bool) -> usize {
    match ty {
        Type::Bool | Type::Int8 => 1,
        Type::Int16 | Type::Uint16 => 2,
        Type::Int32 => 4,
        Type::Int64 | Type::Float64 => 8,
        Type::Uuid => 16,
        Type::String | Type::Bytes | Type::Records | Type::Array(_) if flexible => 1,
        Type::String => 2,
        Type::Bytes | Type::Records | Type::Array(_) => 4,
        Type::Struct(_) => {
            let fields = fields
                .iter()
                .filter(|field| field.tag.is_none() && field.versions.contains(version));
            let size = |field: &Field| match &field.ty {
                Type::Struct(_) if !field.nullable.is_empty() => 1,
                ty => size_at(ty, &field.children, version, flexible),
            };
            fields.map(size).sum::<usize>() + usize::from(flexible)
        }
    }
}
