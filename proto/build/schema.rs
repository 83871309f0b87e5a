//! The notation of `proto/kafka/` (described in its README): abstract syntax and parser.

use std::fmt;

/// A closed range of versions; empty when `min > max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub const NONE: Self = Self { min: 1, max: 0 };

    pub fn is_empty(self) -> bool {
        self.min > self.max
    }

    pub fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    pub fn intersect(self, other: Self) -> Self {
        Self {
            min: self.min.max(other.min),
            max: self.max.min(other.max),
        }
    }

    /// A Rust condition on `v`.
    pub fn condition(self) -> String {
        format!("({}..={}).contains(&v)", self.min, self.max)
    }

    pub fn hull(self, other: Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other } else { self };
        }
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    /// Parses `3`, `3-5` or `3+`; `None` when the text is no range.
    fn parse(text: &str, last: i16) -> Option<Self> {
        if let Some(min) = text.strip_suffix('+') {
            return Some(Self {
                min: min.parse().ok()?,
                max: last,
            });
        }
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        Some(Self {
            min: min.parse().ok()?,
            max: max.parse().ok()?,
        })
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{}-{}", self.min, self.max)
        }
    }
}

/// The type of a field, without its nullability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    Float64,
    String,
    Bytes,
    Records,
    Uuid,
    Struct(String),
    Array(Box<Type>),
}

impl Type {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            return Some(Self::Array(Box::new(Self::parse(inner.strip_suffix(']')?)?)));
        }
        Some(match text {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            "uuid" => Self::Uuid,
            name if name.starts_with(char::is_uppercase) => Self::Struct(name.to_owned()),
            _ => return None,
        })
    }

    /// The struct at the bottom of this type, if any.
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(inner) => inner.struct_name(),
            _ => None,
        }
    }
}

/// One line of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    /// Versions in which null is allowed.
    pub nullable: Versions,
    /// Versions that carry the field.
    pub versions: Versions,
    /// The tag of a field that is not at its place, but among the tagged fields.
    pub tag: Option<u32>,
    /// Default as written; `None` is the type's own zero value.
    pub default: Option<String>,
    pub ignorable: bool,
    /// Keeps the old length form in flexible versions.
    pub never_compact: bool,
    pub children: Vec<Field>,
    /// The line as written, for the documentation of the generated field.
    pub text: String,
}

/// A request, a response or a record schema.
#[derive(Clone, Debug)]
pub struct Message {
    pub name: String,
    pub versions: Versions,
    pub flexible: Versions,
    pub fields: Vec<Field>,
}

/// What a schema file describes.
#[derive(Clone, Debug)]
pub enum Kind {
    /// An API: its key, then request and response.
    Api {
        name: String,
        key: i16,
        request: Message,
        response: Message,
    },
    /// The key of a record of an internal topic, with the type number that leads it.
    Key { record_type: i16, message: Message },
    /// The value of a record of an internal topic.
    Value { message: Message },
    /// A struct that a client or a control record carries, led by its version.
    Data { message: Message },
    /// A frame header.
    Header { message: Message },
}

/// Parses a whole file; the error names the line.
pub fn parse(source: &str) -> Result<Kind, String> {
    let mut lines = Lines::new(source);
    let (number, head) = lines.next().ok_or("empty file")?;
    let words: Vec<&str> = head.split_whitespace().collect();
    let bad = || format!("line {number}: `{head}` is no head line");
    let int = |text: &str| text.parse::<i16>().map_err(|_| bad());
    let kind = match words.as_slice() {
        ["api", name, key] => {
            let request = lines.message(format!("{name}Request"), "request ")?;
            let response = lines.message(format!("{name}Response"), "response ")?;
            Kind::Api {
                name: (*name).to_owned(),
                key: int(key)?,
                request,
                response,
            }
        }
        ["key", name, number] => Kind::Key {
            record_type: int(number)?,
            message: lines.message((*name).to_owned(), "")?,
        },
        ["value", name, _] => Kind::Value {
            message: lines.message((*name).to_owned(), "")?,
        },
        ["data", name] => Kind::Data {
            message: lines.message((*name).to_owned(), "")?,
        },
        ["header", name] => Kind::Header {
            message: lines.message((*name).to_owned(), "")?,
        },
        _ => return Err(bad()),
    };
    match lines.next() {
        None => Ok(kind),
        Some((number, line)) => Err(format!("line {number}: `{line}` was not expected")),
    }
}

/// The lines that are not blank, with their numbers.
struct Lines<'a> {
    lines: Vec<(usize, &'a str)>,
    at: usize,
}

impl<'a> Lines<'a> {
    fn new(source: &'a str) -> Self {
        let lines = source.lines().enumerate().map(|(i, line)| (i + 1, line.trim_end()));
        Self {
            lines: lines.filter(|(_, line)| !line.is_empty()).collect(),
            at: 0,
        }
    }

    fn peek(&self) -> Option<(usize, &'a str)> {
        self.lines.get(self.at).copied()
    }

    fn next(&mut self) -> Option<(usize, &'a str)> {
        let line = self.peek();
        self.at += 1;
        line
    }

    /// `[request |response ]versions A-B flexible C+|none`, then the fields.
    fn message(&mut self, name: String, prefix: &str) -> Result<Message, String> {
        let (number, line) = self.next().ok_or_else(|| format!("{name}: no versions line"))?;
        let bad = || format!("line {number}: `{line}` is no versions line");
        let words: Vec<&str> = line.strip_prefix(prefix).ok_or_else(bad)?.split_whitespace().collect();
        let ["versions", versions, "flexible", flexible] = words.as_slice() else {
            return Err(bad());
        };
        let versions = Versions::parse(versions, i16::MAX).ok_or_else(bad)?;
        let flexible = match *flexible {
            "none" => Versions::NONE,
            text => Versions::parse(text, versions.max).ok_or_else(bad)?.intersect(versions),
        };
        let mut fields = self.fields(2, versions)?;
        resolve(&mut fields, versions, flexible)?;
        Ok(Message {
            name,
            versions,
            flexible,
            fields,
        })
    }

    /// The fields at this indentation, with what is nested under them.
    fn fields(&mut self, indent: usize, all: Versions) -> Result<Vec<Field>, String> {
        let mut fields = Vec::new();
        while let Some((number, line)) = self.peek() {
            let found = line.len() - line.trim_start().len();
            if found < indent {
                break;
            }
            if found > indent {
                return Err(format!("line {number}: indented by {found}, not by {indent}"));
            }
            self.at += 1;
            let mut field = field(line.trim_start(), all).map_err(|why| format!("line {number}: {why}: `{line}`"))?;
            field.children = self.fields(indent + 2, all)?;
            if field.ty.struct_name().is_some() == field.children.is_empty() {
                return Err(format!(
                    "line {number}: structs, and only they, have fields under them: `{line}`"
                ));
            }
            fields.push(field);
        }
        Ok(fields)
    }
}

fn field(line: &str, all: Versions) -> Result<Field, String> {
    let (name, rest) = line.split_once(": ").ok_or("no `name: type`")?;
    let mut words = rest.split_whitespace().peekable();
    let ty = words.next().ok_or("no type")?;
    let (ty, nullable) = match ty.split_once('?') {
        None => (ty, Versions::NONE),
        Some((ty, "")) => (ty, all),
        Some((ty, range)) => {
            let range = range.strip_prefix('(').and_then(|range| range.strip_suffix(')'));
            (
                ty,
                range
                    .and_then(|range| Versions::parse(range, all.max))
                    .ok_or("bad range after `?`")?,
            )
        }
    };
    let mut field = Field {
        name: name.to_owned(),
        ty: Type::parse(ty).ok_or("unknown type")?,
        nullable,
        versions: all,
        tag: None,
        default: None,
        ignorable: false,
        never_compact: false,
        children: Vec::new(),
        text: rest.to_owned(),
    };
    while let Some(word) = words.next() {
        match word {
            "tag" => {
                let number = words.next().ok_or("no number after `tag`")?;
                field.tag = Some(number.parse().map_err(|_| "bad tag")?);
            }
            "=" => field.default = Some(words.next().ok_or("no default after `=`")?.to_owned()),
            "ignorable" => field.ignorable = true,
            "never-compact" => field.never_compact = true,
            "key" | "zero-copy" => {}
            note if note.starts_with('(') && note.ends_with(')') => {}
            range => field.versions = Versions::parse(range, all.max).ok_or("unknown word")?,
        }
    }
    Ok(field)
}

/// Cuts every range by its parent's. Only flexible versions have tagged fields.
fn resolve(fields: &mut [Field], parent: Versions, flexible: Versions) -> Result<(), String> {
    for field in fields {
        field.versions = field.versions.intersect(parent);
        field.nullable = field.nullable.intersect(field.versions);
        if field.tag.is_some() && field.versions.intersect(flexible) != field.versions {
            return Err(format!(
                "field {} has a tag in versions that are not flexible",
                field.name
            ));
        }
        let versions = field.versions;
        resolve(&mut field.children, versions, flexible)?;
    }
    Ok(())
}
