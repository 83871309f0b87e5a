//! Compiles the gRPC schema and generates the Kafka codec.

#[path = "build/emit.rs"]
mod emit;
#[path = "build/kafka.rs"]
mod kafka;
#[path = "build/random.rs"]
mod random;
#[path = "build/schema.rs"]
mod schema;
#[path = "build/structs.rs"]
mod structs;
#[path = "build/tables.rs"]
mod tables;

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=highwater");
    let descriptors = protox::compile(
        [
            "highwater/v1/metadata.proto",
            "highwater/v1/admin.proto",
            "highwater/v1/controller.proto",
            "highwater/v1/broker.proto",
            "highwater/v1/coordinator.proto",
        ],
        ["."],
    )?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=kafka");
    let out = std::env::var("OUT_DIR")?;
    kafka::generate(Path::new("kafka"), &Path::new(&out).join("kafka"))?;
    Ok(())
}
