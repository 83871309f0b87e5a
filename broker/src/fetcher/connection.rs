//! A connection to another broker, as a client of its Kafka listener.

use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use highwater_proto::kafka::{ByteStr, DecodeError, EncodeError, Message, Request, RequestHeader, ResponseHeader};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::frame::{FrameError, FrameReader};

/// How long a broker may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the request cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
    #[error("the answer cannot be decoded: {0}")]
    Decode(#[from] DecodeError),
    #[error("the answer is to request {answered}, not {asked}")]
    OutOfOrder { asked: i32, answered: i32 },
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    frames: FrameReader,
    out: BytesMut,
    client_id: ByteStr,
    /// Of the last request.
    correlation: i32,
    /// Of the last answer.
    answered: i32,
}

impl Connection {
    /// Connects; answers may be of `max_answer` bytes.
    pub(super) async fn open(
        host: &str,
        port: u16,
        client_id: &ByteStr,
        max_answer: usize,
    ) -> Result<Self, ConnectionError> {
        let connecting = TcpStream::connect((host, port));
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| ConnectionError::Timeout(CONNECT_TIMEOUT))??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            frames: FrameReader::new(max_answer),
            out: BytesMut::new(),
            client_id: client_id.clone(),
            correlation: 0,
            answered: 0,
        })
    }

    /// Sends a request. Its answer comes after those to earlier ones.
    pub(super) async fn send<R: Request>(&mut self, version: i16, request: &R) -> Result<(), ConnectionError> {
        self.correlation = self.correlation.wrapping_add(1);
        let header = RequestHeader {
            request_api_key: R::API_KEY.code(),
            request_api_version: version,
            correlation_id: self.correlation,
            client_id: Some(self.client_id.clone()),
            ..RequestHeader::default()
        };
        self.out.clear();
        self.out.put_i32(0);
        header.encode(&mut self.out, R::API_KEY.request_header_version(version))?;
        request.encode(&mut self.out, version)?;
        let length = i32::try_from(self.out.len() - size_of::<i32>()).unwrap_or(i32::MAX);
        self.out[..size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&self.out).await?;
        Ok(())
    }

    /// Waits for the answer to the oldest request that has none. Nothing is lost when the wait is given up.
    pub(super) async fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response, ConnectionError> {
        let mut frame = self.frame().await?;
        let header = ResponseHeader::decode(&mut frame, R::API_KEY.response_header_version(version))?;
        self.answered = self.answered.wrapping_add(1);
        if header.correlation_id != self.answered {
            return Err(ConnectionError::OutOfOrder {
                asked: self.answered,
                answered: header.correlation_id,
            });
        }
        Ok(R::Response::decode(&mut frame, version)?)
    }

    /// The same, within a time.
    pub(super) async fn receive_within<R: Request>(
        &mut self,
        version: i16,
        limit: Duration,
    ) -> Result<R::Response, ConnectionError> {
        tokio::time::timeout(limit, self.receive::<R>(version))
            .await
            .unwrap_or(Err(ConnectionError::Timeout(limit)))
    }

    async fn frame(&mut self) -> Result<Bytes, ConnectionError> {
        loop {
            if let Some(frame) = self.frames.next()? {
                return Ok(frame);
            }
            self.stream.readable().await?;
            match self.frames.try_read(&self.stream) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
