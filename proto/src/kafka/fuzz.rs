//! The bodies of the fuzz targets: plain functions over any bytes. They panic when the codec breaks its promise, and
//! the tests run them on a corpus and on random bytes, without a fuzzer.

use bytes::{Buf, Bytes, BytesMut};

use super::message::MessageVisitor;
use super::records;
use super::{ApiKey, ApiVisitor, DecodeError, Message, Request, RequestHeader};

/// Decodes a request frame as a broker does: the header, then the body in the version that the header names.
///
/// # Errors
/// Whatever the codec says about the bytes.
pub fn decode_any_request(mut frame: Bytes) -> Result<(), DecodeError> {
    let (api, header) = RequestHeader::parse(&mut frame)?;
    api.visit(Body {
        frame: &mut frame,
        version: header.request_api_version,
        side: Side::Request,
        again: false,
    })
}

/// A request frame that decodes must encode, and its encoding must be stable.
///
/// # Panics
/// When it does not.
pub fn request(data: &[u8]) {
    let mut frame = Bytes::copy_from_slice(data);
    if let Ok((api, header)) = RequestHeader::parse(&mut frame) {
        let body = Body {
            frame: &mut frame,
            version: header.request_api_version,
            side: Side::Request,
            again: true,
        };
        let _ = api.visit(body);
    }
}

/// The same for a response: the first byte picks the API, the second the version.
///
/// # Panics
/// When it does not.
pub fn response(data: &[u8]) {
    let mut frame = Bytes::copy_from_slice(data);
    if frame.len() < 2 {
        return;
    }
    let api = ApiKey::ALL[usize::from(frame.get_u8()) % ApiKey::ALL.len()];
    let version = i16::from(frame.get_u8());
    let _ = api.visit(Body {
        frame: &mut frame,
        version,
        side: Side::Response,
        again: true,
    });
}

/// The same for everything that is not an API, all of them with the same bytes: the first byte picks the version.
///
/// # Panics
/// When it does not.
pub fn record(data: &[u8]) {
    if let Some((version, content)) = data.split_first() {
        let version = i16::from(*version % 5);
        records::visit_all(&mut Record {
            content: Bytes::copy_from_slice(content),
            version,
        });
    }
}

enum Side {
    Request,
    Response,
}

struct Body<'a> {
    frame: &'a mut Bytes,
    version: i16,
    side: Side,
    again: bool,
}

impl Body<'_> {
    fn check<M: Message>(self) -> Result<(), DecodeError> {
        let message = M::decode(self.frame, self.version)?;
        if self.again {
            assert_stable(&message, self.version);
        }
        Ok(())
    }
}

impl ApiVisitor for Body<'_> {
    type Output = Result<(), DecodeError>;

    fn visit<R: Request>(self) -> Self::Output {
        match self.side {
            Side::Request => self.check::<R>(),
            Side::Response => self.check::<R::Response>(),
        }
    }
}

struct Record {
    content: Bytes,
    version: i16,
}

impl MessageVisitor for Record {
    fn visit<M: Message>(&mut self) {
        if let Ok(message) = M::decode(&mut self.content.clone(), self.version) {
            assert_stable(&message, self.version);
        }
    }
}

/// What was decoded can be encoded, and decodes to the same bytes again. (The bytes it came from may differ: a tagged
/// field may state its default, a varint may be longer than needed.)
fn assert_stable<M: Message>(message: &M, version: i16) {
    let mut first = BytesMut::new();
    let encoded = message.encode(&mut first, version);
    assert!(
        encoded.is_ok(),
        "{} version {version}: {encoded:?}: {message:?}",
        M::NAME
    );
    let first = first.freeze();
    let mut rest = first.clone();
    let again = M::decode(&mut rest, version);
    assert!(
        rest.is_empty(),
        "{} version {version}: {} bytes left: {message:?}",
        M::NAME,
        rest.len()
    );
    let mut second = BytesMut::new();
    let encoded = again.map(|again| again.encode(&mut second, version));
    assert_eq!(encoded, Ok(Ok(())), "{} version {version}: {message:?}", M::NAME);
    assert_eq!(first, second, "{} version {version}: {message:?}", M::NAME);
}
