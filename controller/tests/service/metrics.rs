//! Metrics of the controller.

use highwater_node::clock::Clock;
use highwater_node::telemetry::Metrics;

use crate::support::{Running, broker, create, leader};

#[tokio::test]
async fn metrics_have_the_names_of_kafkas_controller() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (node, _) = broker(&running, 1, 1).await;
    create(&mut running.client(), "a", 3).await;
    drop(node);
    running
        .image_where("nobody leads", |image| leader(image, "a").0.is_none())
        .await;
    let metrics = Metrics::new(&Clock::system());
    running.controller.register_metrics(&metrics);
    let text = metrics.encode().unwrap();
    for line in [
        "kafka_controller_kafkacontroller_activecontrollercount 1.0",
        "kafka_controller_kafkacontroller_fencedbrokercount 1.0",
        "kafka_controller_kafkacontroller_globalpartitioncount 3.0",
        "kafka_controller_kafkacontroller_offlinepartitionscount 3.0",
        "kafka_controller_controllerstats_uncleanleaderelections_total 0",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}\n{text}");
    }
    running.stop().await;
}
