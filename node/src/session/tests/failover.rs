//! Which controller a node goes to when the one that it has fails, and what it makes of another registration.

use std::time::Instant;

use super::*;

/// Well below what a new active controller grants to nodes that have not come yet.
const QUICKLY: Duration = Duration::from_secs(1);

fn registers(controller: &Scripted) -> usize {
    controller.count(|said| matches!(said, Said::Register(_)))
}

#[tokio::test]
async fn a_controller_that_falls_silent_is_left_for_the_next_one() {
    let world = World::new();
    let other = Scripted::new();
    world.serve();
    world.serve_at("other", &other);
    let link = world
        .connect_to(&["controller", "other"], registration())
        .await
        .unwrap();
    *world.controller.silent.lock() = true;
    eventually("the session ends", || !link.is_connected()).await;
    let noticed = Instant::now();
    eventually("a session with the other one", || link.is_connected()).await;
    let took = noticed.elapsed();
    assert!(took < QUICKLY, "{took:?}");
    assert_eq!((registers(&world.controller), registers(&other)), (1, 1));
}

#[tokio::test]
async fn a_stopped_process_that_takes_connections_holds_nobody_up() {
    let world = World::new();
    // The kernel accepts for it; it answers nothing.
    let _stopped = world.network.listen("stopped", 9190).unwrap();
    world.serve();
    let began = Instant::now();
    let link = world
        .connect_to(&["stopped", "controller"], registration())
        .await
        .unwrap();
    let took = began.elapsed();
    assert!(link.is_connected());
    assert!(took < 3 * QUICKLY, "{took:?}");
}

#[tokio::test]
async fn a_broker_that_is_registered_anew_is_over_and_a_coordinator_goes_on() {
    for role in [NodeRole::Broker, NodeRole::Coordinator] {
        let world = World::new();
        let (cut, serving) = world.serve();
        let mut registration = registration();
        registration.node.role = role;
        let link = world.connect(registration).await.unwrap();
        cut.cancel();
        serving.await.unwrap();
        *world.controller.epoch.lock() = 12;
        world.serve();
        if role == NodeRole::Coordinator {
            eventually("a session again", || link.identity().unwrap().epoch == BrokerEpoch(12)).await;
            continue;
        }
        let error = tokio::time::timeout(SOON, link.failed()).await.unwrap();
        assert!(
            matches!(&error, LinkError::Mismatch(reason) if reason.contains("with epoch 12 in place of 9")),
            "{error}"
        );
        assert_eq!(link.identity().unwrap().epoch, BrokerEpoch(9), "what it acts by");
    }
}
