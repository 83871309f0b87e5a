//! What forwarded APIs answer when the coordinator cannot be asked.
