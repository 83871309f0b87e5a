//! The APIs of the schema and what is known about each.

use std::fmt;
use std::ops::RangeInclusive;

use super::{Message, Request, messages};

include!(concat!(env!("OUT_DIR"), "/kafka/api_key.rs"));

/// Code that is generic over the APIs; see [`ApiKey::visit`].
pub trait ApiVisitor {
    /// What the code returns.
    type Output;

    /// Runs for the API whose request type is `R`.
    fn visit<R: Request>(self) -> Self::Output;
}

impl ApiKey {
    /// The key on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The versions that the schema has. What a broker serves and advertises is its own table, inside of this.
    #[must_use]
    pub fn versions(self) -> RangeInclusive<i16> {
        struct Versions;
        impl ApiVisitor for Versions {
            type Output = RangeInclusive<i16>;

            fn visit<R: Request>(self) -> Self::Output {
                R::VERSIONS
            }
        }
        self.visit(Versions)
    }

    /// The first flexible version (KIP-482), if any.
    #[must_use]
    pub fn flexible_from(self) -> Option<i16> {
        struct FlexibleFrom;
        impl ApiVisitor for FlexibleFrom {
            type Output = Option<i16>;

            fn visit<R: Request>(self) -> Self::Output {
                <R as Message>::FLEXIBLE_FROM
            }
        }
        self.visit(FlexibleFrom)
    }

    /// Whether the version, which may be beyond the schema, is flexible.
    #[must_use]
    pub fn is_flexible(self, version: i16) -> bool {
        self.flexible_from().is_some_and(|from| version >= from)
    }

    /// The header version of a request of this version, which may be beyond the schema.
    #[must_use]
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The header version of the response. ApiVersions always has version 0, so that a client that does not yet know
    /// what the broker speaks can read it (KIP-511).
    #[must_use]
    pub fn response_header_version(self, version: i16) -> i16 {
        if self != Self::ApiVersions && self.is_flexible(version) {
            1
        } else {
            0
        }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
