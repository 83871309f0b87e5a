//! Compiles the gRPC schema and generates the Kafka codec.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=highwater");
    let descriptors = protox::compile(
        ["highwater/v1/metadata.proto", "highwater/v1/controller.proto", "highwater/v1/broker.proto", "highwater/v1/coordinator.proto"],
        ["."],
    )?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
