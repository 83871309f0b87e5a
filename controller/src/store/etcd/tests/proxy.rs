//! A network between a store and etcd that loses and delays what it carries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mode {
    /// They arrive.
    Carry = 0,
    /// Nothing arrives on either side any more, for ever; new connections are made and carry nothing.
    Lose = 1,
    /// Requests arrive, answers are lost.
    LoseAnswers = 2,
    /// Requests are kept until `release`; answers are lost.
    Hold = 3,
    /// What a client sends from now on is lost, what was kept is still kept.
    Sever = 4,
}

pub(super) struct Proxy {
    url: String,
    mode: Arc<AtomicU8>,
    release: watch::Sender<bool>,
}

impl Proxy {
    pub(super) async fn to(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mode = Arc::new(AtomicU8::new(Mode::Carry as u8));
        let release = watch::Sender::new(false);
        let (address, modes, released) = (address.to_owned(), Arc::clone(&mode), release.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&address).await else {
                    continue;
                };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(requests(from_client, to_server, Arc::clone(&modes), released.clone()));
                tokio::spawn(answers(from_server, to_client, Arc::clone(&modes)));
            }
        });
        Self { url, mode, release }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// What was kept arrives now.
    pub(super) fn release(&self) {
        self.release.send_replace(true);
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mode: Arc<AtomicU8>,
    mut release: watch::Receiver<bool>,
) {
    let (mut kept, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = release.wait_for(|released| *released), if !kept.is_empty() => break,
        };
        let now = mode.load(Ordering::SeqCst);
        if read == 0 {
            // What is on its way arrives, also from one who has gone.
            break;
        }
        if now == Mode::Carry as u8 || now == Mode::LoseAnswers as u8 {
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        } else if now == Mode::Hold as u8 {
            kept.extend_from_slice(&buffer[..read]);
        }
    }
    if !kept.is_empty() && release.wait_for(|released| *released).await.is_ok() {
        let _ = to.write_all(&kept).await;
        // Long enough for etcd to act on it before it sees the connection close.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mode: Arc<AtomicU8>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            break;
        }
        if mode.load(Ordering::SeqCst) == Mode::Carry as u8 && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
