//! How each process lives: configuration, telemetry, health, shutdown, the session with the controller.
