//! Our codec against an independent one: every API and version, random values, both directions, equal bytes.

use bytes::{Bytes, BytesMut};
use highwater_proto::kafka::{Message, Request, RequestHeader, ResponseHeader, messages, records};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};

use crate::random::{Generator, Random, for_each_api};

/// Random values per message and version.
const ROUNDS: u64 = 40;

fn check<Ours, Theirs>()
where
    Ours: Message + Random,
    Theirs: TheirMessage + Encodable + Decodable + Default,
{
    let name = Ours::NAME;
    let range = Theirs::VERSIONS;
    assert!(
        range.min <= *Ours::VERSIONS.start() && *Ours::VERSIONS.end() <= range.max,
        "versions of {name}"
    );
    for version in Ours::VERSIONS {
        assert_same_defaults::<Ours, Theirs>(version);
        let seed = name.bytes().fold(version as u64, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(byte.into())
        });
        let mut generator = Generator::new(seed);
        for round in 0..ROUNDS {
            let message = Ours::random(&mut generator, version);
            let context = format!("{name} version {version} round {round}: {message:?}");
            let ours = encode(&message, version).unwrap_or_else(|why| panic!("{why}: {context}"));

            let mut rest = ours.clone();
            let decoded = Theirs::decode(&mut rest, version).unwrap_or_else(|why| panic!("{why}: {context}"));
            assert!(rest.is_empty(), "they leave {} bytes: {context}", rest.len());
            let mut theirs = BytesMut::new();
            decoded
                .encode(&mut theirs, version)
                .unwrap_or_else(|why| panic!("{why}: {context}"));
            assert_eq!(ours, theirs, "{context}");

            let mut rest = theirs.freeze();
            let back = Ours::decode(&mut rest, version).unwrap_or_else(|why| panic!("{why}: {context}"));
            assert!(rest.is_empty(), "we leave {} bytes: {context}", rest.len());
            assert_eq!(back, message, "{context}");
        }
    }
}

/// Compares the defaults by what they look like on the wire. Where theirs cannot be encoded, ours must not be either.
fn assert_same_defaults<Ours: Message, Theirs: Encodable + Default>(version: i16) {
    let mut theirs = BytesMut::new();
    let result = Theirs::default().encode(&mut theirs, version);
    let ours = encode(&Ours::default(), version);
    match result {
        Ok(()) => assert_eq!(
            ours.as_deref(),
            Ok(&*theirs),
            "default of {} version {version}",
            Ours::NAME
        ),
        Err(why) => assert!(
            ours.is_err(),
            "default of {} version {version}: theirs is refused: {why}",
            Ours::NAME
        ),
    }
}

fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, highwater_proto::kafka::EncodeError> {
    let mut buf = BytesMut::new();
    message.encode(&mut buf, version)?;
    Ok(buf.freeze())
}

macro_rules! differential {
    ($($module:ident $request:ident $response:ident,)*) => {
        #[test]
        fn requests() {
            $(check::<messages::$module::$request, theirs::$request>();)*
        }

        #[test]
        fn responses() {
            $(check::<messages::$module::$response, theirs::$response>();)*
        }
    };
}
for_each_api!(differential);

/// Theirs is generated from Apache Kafka 4.1: the request versions of every API, flexible or not, are ours.
#[test]
fn versions_and_headers_of_every_api() {
    macro_rules! versions {
        ($($module:ident $request:ident $response:ident,)*) => {
            $(assert_versions::<messages::$module::$request, theirs::$request>();)*
        };
    }
    for_each_api!(versions);
}

fn assert_versions<Ours: Request, Theirs: TheirMessage>() {
    let api = Ours::API_KEY;
    let range = Theirs::VERSIONS;
    assert_eq!(api.versions(), range.min..=range.max, "{api}");
    let theirs = theirs::ApiKey::try_from(api.code()).unwrap();
    for version in api.versions() {
        assert_eq!(
            api.request_header_version(version),
            theirs.request_header_version(version),
            "{api} {version}"
        );
        assert_eq!(
            api.response_header_version(version),
            theirs.response_header_version(version),
            "{api} {version}"
        );
    }
}

#[test]
fn headers_and_consumer_protocol() {
    check::<RequestHeader, theirs::RequestHeader>();
    check::<ResponseHeader, theirs::ResponseHeader>();
    check::<records::end_txn_marker::EndTxnMarker, theirs::EndTxnMarker>();
    check::<records::consumer_protocol_subscription::ConsumerProtocolSubscription, theirs::ConsumerProtocolSubscription>(
    );
    check::<records::consumer_protocol_assignment::ConsumerProtocolAssignment, theirs::ConsumerProtocolAssignment>();
}
