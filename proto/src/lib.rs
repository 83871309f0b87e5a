//! What is said between processes: the Kafka wire schema and codec, record batches, the gRPC services, domain types,
//! configuration definitions and the metadata image. Depends on nothing of ours; does no IO.

pub mod config;
pub mod kafka;
pub mod metadata;
pub mod record;
pub mod types;

/// Generated gRPC messages, clients and servers. They do not cross module borders: shells convert them to and from
/// domain types at once.
#[allow(missing_docs, clippy::all, clippy::pedantic, rust_2018_idioms)]
pub mod grpc {
    tonic::include_proto!("highwater.v1");
}
