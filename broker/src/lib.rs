//! Topics as partitioned logs behind Kafka's protocol.
