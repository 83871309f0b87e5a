//! Bytes that no client sends: the codec answers with an error, quickly, and with little memory.

use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};
use highwater_proto::kafka::fuzz;
use highwater_proto::kafka::messages::metadata::{MetadataRequest, request::MetadataRequestTopic};
use highwater_proto::kafka::messages::produce::ProduceRequest;
use highwater_proto::kafka::messages::produce::request::{PartitionProduceData, TopicProduceData};
use highwater_proto::kafka::{ApiKey, DecodeError, Message, RequestHeader, messages};
use proptest::prelude::*;

use crate::allocations::counted;
use crate::random::{Generator, Random, for_each_api};

/// What decoding may allocate per byte of the frame, counting also what growing arrays have left behind.
const BYTES_PER_BYTE: usize = 128;
/// What it may allocate beyond that, for errors and short frames.
const BYTES: usize = 1024;

/// Decodes the frame and checks how much was allocated for it.
fn decode(frame: &Bytes) -> Result<(), DecodeError> {
    let (result, allocated) = counted(|| fuzz::decode_any_request(frame.clone()));
    let limit = BYTES + BYTES_PER_BYTE * frame.len();
    assert!(
        allocated <= limit,
        "{allocated} bytes for a frame of {}: {result:?}: {frame:02x?}",
        frame.len()
    );
    result
}

fn frame(api: ApiKey, version: i16, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    let header = RequestHeader {
        request_api_key: api.code(),
        request_api_version: version,
        correlation_id: 1,
        client_id: Some("c".into()),
        ..Default::default()
    };
    header.encode(&mut frame, api.request_header_version(version)).unwrap();
    frame.put_slice(body);
    frame.freeze()
}

/// A random request of every API and version, as (API, version, body).
fn requests(seed: u64) -> Vec<(ApiKey, i16, Vec<u8>)> {
    let mut requests = Vec::new();
    let mut generator = Generator::new(seed);
    macro_rules! push {
        ($($module:ident $request:ident $response:ident,)*) => {$(
            type $request = messages::$module::$request;
            for version in $request::VERSIONS {
                let mut body = BytesMut::new();
                $request::random(&mut generator, version).encode(&mut body, version).unwrap();
                requests.push((api::<$request>(), version, body.to_vec()));
            }
        )*};
    }
    for_each_api!(push);
    requests
}

fn api<R: highwater_proto::kafka::Request>() -> ApiKey {
    R::API_KEY
}

#[test]
fn truncated_anywhere() {
    for (api, version, body) in requests(1) {
        let whole = frame(api, version, &body);
        assert_eq!(decode(&whole), Ok(()), "{api} {version}");
        let head = whole.len() - body.len();
        for length in 0..whole.len() {
            let cut = decode(&whole.slice(..length));
            assert!(
                cut.is_err() || length >= head,
                "{api} {version} cut to {length} bytes is accepted"
            );
            // No proper prefix of a body is a body: every byte belongs to a field.
            assert!(
                cut.is_err(),
                "{api} {version} cut to {length} of {} bytes is accepted",
                whole.len()
            );
        }
    }
}

#[test]
fn lengths_that_lie() {
    // Every place of every message in turn takes the largest lengths: plain, compact, short.
    let lies: [&[u8]; 4] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x7f, 0xff],
        &[0xff, 0xff, 0xff, 0x7f],
    ];
    for (api, version, body) in requests(2) {
        for at in 0..=body.len().min(60) {
            for lie in lies {
                let mut bytes = body.clone();
                let end = bytes.len().min(at + lie.len());
                bytes.splice(at..end, lie.iter().copied());
                let _ = decode(&frame(api, version, &bytes));
            }
        }
    }
}

#[test]
fn as_many_small_elements_as_there_are_bytes() {
    // A count that is true, at every place of every message in turn, and the smallest elements after it.
    let counts: [&[u8]; 4] = [&[0, 0, 0, 100], &[0, 0, 1, 0], &[101], &[0x81, 0x02]];
    for (api, version, body) in requests(3) {
        for at in 0..=body.len().min(30) {
            for count in counts {
                for filler in [[0, 0], [1, 1], [0, 1], [1, 0]] {
                    let _ = decode(&frame(
                        api,
                        version,
                        &[&body[..at], count, filler.repeat(260).as_slice()].concat(),
                    ));
                }
            }
        }
    }
}

#[test]
fn the_proofs_that_killed_other_codecs() {
    let length = |result| match result {
        Err(DecodeError::Length { length, .. }) => length,
        other => panic!("{other:?}"),
    };
    // Four bytes that made a codec ask for 154 GB, ten that made it ask for 412 GB, five for 3.7 GB.
    assert_eq!(
        length(decode(&frame(ApiKey::Metadata, 0, &[0x7f, 0xff, 0xff, 0xff]))),
        0x7fff_ffff
    );
    let produce = [0, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(length(decode(&frame(ApiKey::Produce, 9, &produce))), 0xffff_fffe);
    assert_eq!(
        length(decode(&frame(ApiKey::Metadata, 8, &[0x03, 0x3c, 0x0c, 0x00, 0xb6]))),
        0x033c_0c00
    );
    // A million tagged fields that are not there.
    assert!(decode(&frame(ApiKey::ApiVersions, 3, &[1, 1, 0x80, 0x89, 0x7a])).is_err());
}

#[test]
fn many_small_elements_in_a_large_frame() {
    // Two bytes on the wire, eighty in memory: a frame of a million of them is refused before they are made.
    let mut body = BytesMut::from(&[0xc1, 0x84, 0x3d][..]);
    body.put_bytes(0, 0);
    body.extend(std::iter::repeat_n([1, 0], 1_000_000).flatten());
    body.put_slice(&[1, 0, 0, 0]);
    let frame = frame(ApiKey::Metadata, 9, &body);
    let (result, allocated) = counted(|| fuzz::decode_any_request(frame.clone()));
    assert_eq!(result, Err(DecodeError::TooManyElements { frame: body.len() }));
    assert!(allocated < 1024, "{allocated}");

    // What a real client may ask for in one request is not.
    let topic = |i| MetadataRequestTopic {
        name: Some(format!("a-topic-{i:06}").into()),
        ..Default::default()
    };
    let request = MetadataRequest {
        topics: Some((0..100_000).map(topic).collect()),
        ..Default::default()
    };
    let mut body = BytesMut::new();
    request.encode(&mut body, 9).unwrap();
    assert_eq!(MetadataRequest::decode(&mut body.freeze(), 9), Ok(request));
}

/// Kafka's messages nest as deep as their schema says and no deeper. A frame cannot add to that: neither arrays of one
/// element all the way down, nor unknown tagged fields, which are kept as they are and never looked into.
#[test]
fn as_deep_as_a_frame_can_nest() {
    let ones: [Vec<u8>; 3] = [vec![2; 8192], [0, 0, 0, 1].repeat(2048), [0, 1].repeat(4096)];
    for (api, version, body) in requests(4) {
        for ones in &ones {
            for at in [0, body.len() / 2] {
                let _ = decode(&frame(api, version, &[&body[..at], ones].concat()));
            }
        }
    }

    let put_length = |buf: &mut Vec<u8>, mut length: usize| {
        while length >= 0x80 {
            buf.push(length as u8 | 0x80);
            length >>= 7;
        }
        buf.push(length as u8);
    };
    // One unknown field that holds one unknown field that holds ..., a thousand times.
    let mut nested = vec![0];
    for _ in 0..1000 {
        let mut outer = vec![1, 99];
        put_length(&mut outer, nested.len());
        outer.append(&mut nested);
        nested = outer;
    }
    let body = [&[2, b'a', 2, b'b'][..], &nested].concat();
    assert_eq!(decode(&frame(ApiKey::ApiVersions, 3, &body)), Ok(()));
    assert!(decode(&frame(ApiKey::ApiVersions, 3, &body[..body.len() - 1])).is_err());
}

/// A megabyte of records costs as much as ten bytes: two small arrays.
#[test]
fn records_are_not_copied() {
    let cost = |records: usize| {
        let partition = PartitionProduceData {
            records: Some(vec![7; records].into()),
            ..Default::default()
        };
        let topic = TopicProduceData {
            partition_data: vec![partition],
            ..Default::default()
        };
        let request = ProduceRequest {
            topic_data: vec![topic],
            ..Default::default()
        };
        let mut frame = BytesMut::new();
        request.encode(&mut frame, 9).unwrap();
        let mut frame = frame.freeze();
        let (decoded, allocated) = counted(|| ProduceRequest::decode(&mut frame, 9));
        assert_eq!(decoded, Ok(request));
        allocated
    };
    assert_eq!(cost(1 << 20), cost(10));
    assert!(
        cost(10) <= size_of::<TopicProduceData>() + size_of::<PartitionProduceData>(),
        "{}",
        cost(10)
    );
}

/// Runs a fuzz body over its committed corpus; returns how many files there were.
fn corpus(target: &str, run: impl Fn(&str, &[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        run(
            &path.file_name().unwrap().to_string_lossy(),
            &std::fs::read(&path).unwrap(),
        );
        count += 1;
    }
    count
}

#[test]
fn corpora() {
    let requests = corpus("kafka_request", |name, data| {
        fuzz::request(data);
        let result = decode(&Bytes::copy_from_slice(data));
        assert_eq!(result.is_ok(), name.starts_with("valid-"), "{name}: {result:?}");
    });
    let responses = corpus("kafka_response", |_, data| fuzz::response(data));
    let records = corpus("kafka_record", |_, data| fuzz::record(data));
    assert!(
        requests >= 60 && responses >= 50 && records >= 10,
        "{requests} {responses} {records}"
    );
}

fn any_api() -> impl Strategy<Value = (ApiKey, i16)> {
    (0..ApiKey::ALL.len(), any::<prop::sample::Index>()).prop_map(|(api, index)| {
        let api = ApiKey::ALL[api];
        let versions: Vec<i16> = api.versions().collect();
        (api, versions[index.index(versions.len())])
    })
}

/// Bytes that look like lengths, tags and short strings more often than any others.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![4 => 0u8..4, 1 => Just(0xff), 1 => any::<u8>()], 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_behind_a_header((api, version) in any_api(), body in any_body()) {
        let frame = frame(api, version, &body);
        let _ = decode(&frame);
        fuzz::request(&frame);
        fuzz::request(&body);
        let index = ApiKey::ALL.iter().position(|known| *known == api).unwrap();
        fuzz::response(&[&[index as u8, version as u8], &body[..]].concat());
        fuzz::record(&body);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    /// A valid request of every API and version, with a few bytes changed.
    #[test]
    fn mutated_requests(seed in any::<u64>(), changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4)) {
        for (api, version, mut body) in requests(seed) {
            for (index, byte) in &changes {
                if !body.is_empty() {
                    let at = index.index(body.len());
                    body[at] = *byte;
                }
            }
            let frame = frame(api, version, &body);
            let _ = decode(&frame);
            fuzz::request(&frame);
        }
    }
}
