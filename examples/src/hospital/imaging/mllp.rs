//! MLLP: messages over TCP, each between a byte 0x0B and the bytes 0x1C 0x0D. TCP knows no messages: one may
//! come in pieces, and several at once. The crate `mllp` finds them.

use std::io;
use std::time::Duration;

use ::mllp::{Decoder, Error, frame};
use atomfeed_client::WorkerError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::messages::{Acknowledgement, Outgoing};

/// The longest message that is read, in bytes, give or take what comes at once: one that does not end would
/// fill the memory.
pub const LONGEST: usize = 64 * 1024;

/// How long a PACS may take to acknowledge, if nothing else is said.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection over which messages go both ways.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    decoder: Decoder,
}

impl Connection {
    /// Messages over a connection that there is.
    pub fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            decoder: Decoder::with_max_frame_size(LONGEST),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub async fn write(&mut self, message: &str) -> io::Result<()> {
        self.stream.write_all(&frame(message.as_bytes())).await
    }

    /// The next message; none when the other side has ended the connection. What stands between messages is
    /// passed over.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or a message gets longer than [`LONGEST`].
    ///
    /// # Cancel safety
    ///
    /// What has come stays for the next call.
    pub async fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self.decoder.next_frame() {
                Some(Ok(message)) => return Ok(Some(message)),
                Some(Err(Error::MissingStartBlock)) => {
                    tracing::debug!("passing over bytes that are in no message");
                    continue;
                }
                Some(Err(error)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                None => {}
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).await? {
                0 if self.decoder.is_empty() => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.decoder.push(&bytes[..read]),
            }
        }
    }
}

/// Sends messages to a PACS, one after the other over one connection, and waits until each is acknowledged.
///
/// Messages leave MSH-15 and MSH-16 empty: in this original mode of HL7 there is one acknowledgement, AA, AE or
/// AR, on the same connection, which every receiver can give. Some are set to the enhanced mode all the same,
/// whatever a message asks for, and say at first that they keep it (CA). That is not taken for the end: an AE
/// that followed would be heard by nobody. So what comes after it is waited for, too. A receiver that never says
/// more than CA is to be set to the original mode, and the error says so.
#[derive(Debug)]
pub struct Sender {
    address: String,
    patience: Duration,
    connection: Mutex<Option<Connection>>,
}

impl Sender {
    /// Sends to an address, `HOST:PORT`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            patience: PATIENCE,
            connection: Mutex::new(None),
        }
    }

    /// Sets how long a message may wait for its acknowledgement, the last one where it gets two, with connecting
    /// before it; else 10 s.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends a message, and returns when it is accepted (AA).
    ///
    /// # Errors
    ///
    /// Permanent when it is refused (AE, AR, and CE or CR of the enhanced mode), with what the acknowledgement
    /// says; and when it is longer than [`LONGEST`]: it is not sent then, since who hangs up on it would do so
    /// each time. Transient when no acknowledgement comes, or none after CA: it is not known then whether the message
    /// has arrived, or what has become of it, and it is to be sent again as it is.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the message may have arrived or not.
    pub async fn send(&self, message: &Outgoing) -> Result<(), WorkerError> {
        let length = message.text().len();
        if length > LONGEST {
            return Err(WorkerError::new(format!(
                "message {} is not sent to the PACS at {}: it has {length} bytes, and {LONGEST} \
                 are sent at most; shorten in the EMR what it says, such as a name, and try again",
                message.id(),
                self.address
            )));
        }
        let answer = self.exchange(message).await.map_err(|error| {
            WorkerError::transient(format!(
                "the PACS at {} does not acknowledge message {}: {error}; it is sent again",
                self.address,
                message.id()
            ))
        })?;
        if answer.is_accepted() {
            return Ok(());
        }
        Err(WorkerError::new(format!(
            "the PACS at {} refuses message {} with {}: {}; set that right here or there, and try again",
            self.address,
            message.id(),
            answer.code(),
            answer.reason()
        )))
    }

    async fn exchange(&self, message: &Outgoing) -> io::Result<Acknowledgement> {
        // Put back only after an acknowledgement, so that no later message meets what is left of this one.
        let mut place = self.connection.lock().await;
        let until = Instant::now() + self.patience;
        if let Some(mut kept) = place.take() {
            match self.acknowledged(&mut kept, message, until).await {
                Ok(answer) => {
                    *place = Some(kept);
                    return Ok(answer);
                }
                // An idle connection may have been closed long ago.
                Err(error) if error.kind() != io::ErrorKind::TimedOut => {
                    tracing::debug!(%error, "connecting to the PACS anew");
                }
                Err(error) => return Err(error),
            }
        }
        let stream = self
            .in_time(until, TcpStream::connect(self.address.as_str()))
            .await?;
        let mut connection = Connection::over(stream);
        let answer = self.acknowledged(&mut connection, message, until).await?;
        *place = Some(connection);
        Ok(answer)
    }

    /// Sends a message, and waits for what becomes of it.
    async fn acknowledged(
        &self,
        connection: &mut Connection,
        message: &Outgoing,
        until: Instant,
    ) -> io::Result<Acknowledgement> {
        let mut is_kept = false;
        let answer = self.in_time(until, acknowledged(connection, message, &mut is_kept));
        let answer = answer.await;
        answer.map_err(|error| match is_kept {
            true => io::Error::new(
                error.kind(),
                format!(
                    "it keeps the message (CA), and does not say what becomes of it: {error}; if it never \
                     does, set it to acknowledge with AA, AE or AR alone"
                ),
            ),
            false => error,
        })
    }

    async fn in_time<T: Send>(
        &self,
        until: Instant,
        doing: impl Future<Output = io::Result<T>> + Send,
    ) -> io::Result<T> {
        match timeout_at(until, doing).await {
            Ok(done) => done,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it was silent for {:?}", self.patience),
            )),
        }
    }
}

/// Sends a message, and waits for its own acknowledgement. Others may come before: of another message, or that
/// the receiver keeps this one, which is noted.
async fn acknowledged(
    connection: &mut Connection,
    message: &Outgoing,
    is_kept: &mut bool,
) -> io::Result<Acknowledgement> {
    connection.write(message.text()).await?;
    while let Some(answer) = connection.read().await? {
        match Acknowledgement::read(&String::from_utf8_lossy(&answer)) {
            Ok(answer) if !answer.is_of(message) => {
                tracing::debug!(?answer, "passing over what acknowledges another message");
            }
            Ok(answer) if answer.is_kept() => *is_kept = true,
            Ok(answer) => return Ok(answer),
            Err(error) => tracing::warn!(%error, "passing over what is no acknowledgement"),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "it has closed the connection",
    ))
}
