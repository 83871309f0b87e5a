use std::time::Duration;

use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::types::TopicId;

use super::*;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn partition(topic: &str, index: i32, offset: i64) -> FetchPartition {
    FetchPartition {
        topic: TopicKey::Name(ByteStr::from(topic)),
        index,
        current_leader_epoch: -1,
        fetch_offset: offset,
        last_fetched_epoch: -1,
        log_start: -1,
        high_watermark: i64::MAX,
        max_bytes: 1024,
    }
}

fn request(session_id: i32, session_epoch: i32, partitions: Vec<FetchPartition>) -> SessionRequest {
    SessionRequest {
        session_id,
        session_epoch,
        privileged: false,
        partitions,
        forgotten: Vec::new(),
    }
}

fn sent(high_watermark: i64) -> SentState {
    SentState {
        error: ErrorCode::None,
        high_watermark,
        log_start: 0,
        has_records: false,
        must_send: false,
    }
}

/// Ids 1, 2, 3, …
fn ids() -> impl FnMut() -> i32 {
    let mut next = 0;
    move || {
        next += 1;
        next
    }
}

fn full(sessions: &FetchSessions, partitions: Vec<FetchPartition>, now: Duration) -> i32 {
    let context = sessions.begin(request(0, 0, partitions), now).unwrap();
    let states = vec![sent(5); context.partitions.len()];
    sessions.finish(&context, &states, &mut Vec::new(), now, ids()).unwrap()
}

fn increment(sessions: &FetchSessions, id: i32, epoch: i32, states: &[SentState]) -> Vec<bool> {
    let context = sessions.begin(request(id, epoch, Vec::new()), at(0)).unwrap();
    let mut listed = Vec::new();
    assert_eq!(sessions.finish(&context, states, &mut listed, at(0), ids()), Ok(id));
    listed
}

#[test]
fn an_incremental_response_lists_only_news() {
    let sessions = FetchSessions::new(10);
    let id = full(&sessions, vec![partition("a", 0, 5), partition("a", 1, 5)], at(0));
    assert_eq!(increment(&sessions, id, 1, &[sent(5), sent(5)]), [false, false]);
    assert_eq!(increment(&sessions, id, 2, &[sent(6), sent(5)]), [true, false]);
    assert_eq!(increment(&sessions, id, 3, &[sent(6), sent(5)]), [false, false]);
    let start_moved = SentState {
        log_start: 3,
        ..sent(6)
    };
    assert_eq!(increment(&sessions, id, 4, &[start_moved, sent(5)]), [true, false]);
    let diverges = SentState {
        must_send: true,
        ..sent(5)
    };
    assert_eq!(increment(&sessions, id, 5, &[start_moved, diverges]), [false, true]);
}

#[test]
fn a_partition_is_listed_again_after_its_error_is_over() {
    let sessions = FetchSessions::new(10);
    let id = full(&sessions, vec![partition("a", 0, 5)], at(0));
    let failed = SentState {
        error: ErrorCode::NotLeaderOrFollower,
        high_watermark: -1,
        log_start: -1,
        ..sent(0)
    };
    assert_eq!(increment(&sessions, id, 1, &[failed]), [true]);
    assert_eq!(
        increment(&sessions, id, 2, &[failed]),
        [true],
        "errors are always listed"
    );
    assert_eq!(increment(&sessions, id, 3, &[sent(5)]), [true]);
    assert_eq!(increment(&sessions, id, 4, &[sent(5)]), [false]);
}

#[test]
fn what_had_records_goes_behind_what_had_none() {
    let sessions = FetchSessions::new(10);
    let all = vec![partition("a", 0, 0), partition("a", 1, 0), partition("b", 0, 0)];
    let id = full(&sessions, all, at(0));
    let full_of_it = SentState {
        has_records: true,
        ..sent(6)
    };
    assert_eq!(
        increment(&sessions, id, 1, &[full_of_it, sent(5), sent(5)]),
        [true, false, false]
    );
    let context = sessions.begin(request(id, 2, Vec::new()), at(0)).unwrap();
    let order: Vec<_> = context
        .partitions
        .iter()
        .map(|it| (it.topic.clone(), it.index))
        .collect();
    let name = |name: &str| TopicKey::Name(ByteStr::from(name));
    assert_eq!(order, [(name("a"), 1), (name("b"), 0), (name("a"), 0)]);
}

#[test]
fn requests_change_add_and_forget_partitions() {
    let sessions = FetchSessions::new(10);
    let id = full(&sessions, vec![partition("a", 0, 5), partition("b", 0, 5)], at(0));
    let mut change = request(id, 1, vec![partition("a", 0, 9), partition("c", 3, 1)]);
    change.forgotten = vec![ForgottenPartition {
        topic: TopicKey::Name("b".into()),
        index: 0,
    }];
    let context = sessions.begin(change, at(0)).unwrap();
    assert_eq!(context.partitions, [partition("a", 0, 9), partition("c", 3, 1)]);
    let mut end = request(id, 2, Vec::new());
    end.forgotten = context
        .partitions
        .iter()
        .map(|it| ForgottenPartition {
            topic: it.topic.clone(),
            index: it.index,
        })
        .collect();
    let context = sessions.begin(end, at(0)).unwrap();
    assert_eq!(
        sessions.finish(&context, &[], &mut Vec::new(), at(0), ids()),
        Ok(0),
        "an empty session is closed"
    );
    assert!(sessions.is_empty());
}

#[test]
fn sessions_are_checked_as_kafka_checks_them() {
    let sessions = FetchSessions::new(10);
    let id = full(&sessions, vec![partition("a", 0, 5)], at(0));
    let begin = |id, epoch, partitions| sessions.begin(request(id, epoch, partitions), at(0)).map(|_| ());
    assert_eq!(begin(id + 1, 1, Vec::new()), Err(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(begin(id, 2, Vec::new()), Err(ErrorCode::InvalidFetchSessionEpoch));
    let by_id = FetchPartition {
        topic: TopicKey::Id(TopicId::ZERO),
        ..partition("", 0, 0)
    };
    assert_eq!(begin(id, 1, vec![by_id]), Err(ErrorCode::FetchSessionTopicIdError));
    assert_eq!(begin(id, 1, Vec::new()), Ok(()));
    assert_eq!(begin(id, -1, vec![partition("a", 0, 5)]), Ok(()));
    assert_eq!(
        begin(id, 2, Vec::new()),
        Err(ErrorCode::FetchSessionIdNotFound),
        "-1 ended it"
    );
}

#[test]
fn a_response_that_was_overtaken_is_refused_with_the_session_id() {
    let sessions = FetchSessions::new(10);
    let id = full(&sessions, vec![partition("a", 0, 5)], at(0));
    let slow = sessions.begin(request(id, 1, Vec::new()), at(0)).unwrap();
    let _fast = sessions.begin(request(id, 2, Vec::new()), at(0)).unwrap();
    let late = sessions.finish(&slow, &[sent(5)], &mut Vec::new(), at(0), ids());
    assert_eq!(late, Err((ErrorCode::InvalidFetchSessionEpoch, id)));
}

#[test]
fn a_full_fetch_replaces_the_session_it_names() {
    let sessions = FetchSessions::new(10);
    let id = full(&sessions, vec![partition("a", 0, 5)], at(0));
    let _ = sessions
        .begin(request(id, 0, vec![partition("a", 0, 5)]), at(0))
        .unwrap();
    assert!(sessions.is_empty());
}

#[test]
fn room_is_made_by_age_then_by_size_and_followers_go_first() {
    let sessions = FetchSessions::new(2);
    let ids = std::cell::Cell::new(0);
    let new_id = || {
        ids.set(ids.get() + 1);
        ids.get()
    };
    let create = |count: i32, privileged, now| {
        let partitions = (0..count).map(|index| partition("a", index, 0)).collect();
        let request = SessionRequest {
            privileged,
            ..request(0, 0, partitions)
        };
        let context = sessions.begin(request, now).unwrap();
        let states = vec![sent(5); context.partitions.len()];
        sessions
            .finish(&context, &states, &mut Vec::new(), now, new_id)
            .unwrap()
    };
    let lives =
        |id| sessions.begin(request(id, 99, Vec::new()), at(0)).unwrap_err() != ErrorCode::FetchSessionIdNotFound;
    let (small, large) = (create(1, false, at(0)), create(3, false, at(0)));
    assert_eq!(
        create(2, false, at(60)),
        0,
        "nothing is old enough: answered without a session"
    );
    let follower = create(1, true, at(60));
    assert!(
        follower != 0 && !lives(small),
        "a follower's may take any consumer's, the smallest"
    );
    let bigger = create(4, false, at(130));
    assert!(
        bigger != 0 && !lives(large) && lives(follower),
        "a consumer's takes an old one"
    );
    assert_eq!(create(9, false, at(150)), 0, "never a follower's");
}
