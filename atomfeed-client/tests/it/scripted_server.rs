//! A server that answers what it was told, byte by byte, and remembers what it was asked.

use std::collections::HashMap;
use std::io::Write;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a path is answered with.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A whole answer, head and all; then the connection is closed.
    Raw(Vec<u8>),
    /// A head, then the same bytes so many times over.
    Repeated(Vec<u8>, Vec<u8>, usize),
    /// This much, and then nothing more; the connection stays open.
    Stalled(Vec<u8>),
    /// A beginning, then a space now and then, without end.
    Dripping(Vec<u8>),
}

/// What makes the answer to a request, of which it gets head and body.
pub(crate) type Handler = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

impl Answer {
    pub(crate) fn ok(content_type: &str, body: impl AsRef<[u8]>) -> Self {
        Self::with("200 OK", &format!("content-type: {content_type}\r\n"), body)
    }

    pub(crate) fn page(body: impl AsRef<[u8]>) -> Self {
        Self::ok("application/atom+xml", body)
    }

    pub(crate) fn status(status: &str, headers: &str) -> Self {
        Self::with(status, headers, "")
    }

    pub(crate) fn redirect(location: &str) -> Self {
        Self::status("302 Found", &format!("location: {location}\r\n"))
    }

    /// A page that says that it is as large as this.
    pub(crate) fn large(mebibytes: usize) -> Self {
        let length = mebibytes << 20;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/atom+xml\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n"
        );
        Self::Repeated(head.into_bytes(), vec![b' '; 1 << 20], mebibytes)
    }

    /// A page that never ends, and does not say how large it is.
    pub(crate) fn endless() -> Self {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/atom+xml\r\n\r\n";
        Self::Repeated(head.to_vec(), vec![b' '; 1 << 16], usize::MAX)
    }

    /// A page that comes byte by byte, each just before one would lose patience.
    pub(crate) fn slow() -> Self {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/atom+xml\r\n\r\n";
        Self::Dripping(head.to_vec())
    }

    /// A page that says that it is compressed.
    pub(crate) fn gzip(body: &[u8]) -> Self {
        let headers = "content-type: text/xml\r\ncontent-encoding: gzip\r\n";
        Self::with("200 OK", headers, body)
    }

    /// A page of spaces, which compressed is a thirty thousandth of that: by hand, each block being
    /// one byte and how often it comes, 128 Ki times (RFC 8878 §3.1.1).
    pub(crate) fn zstd_of_mebibytes(mebibytes: usize) -> Self {
        let head = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x38].as_slice();
        let block = [0x02, 0x00, 0x10, b' '];
        let end = [0x01, 0x00, 0x00];
        let body = [head, &block.repeat(mebibytes * 8), &end].concat();
        let headers = "content-type: text/xml\r\ncontent-encoding: zstd\r\n";
        Self::with("200 OK", headers, body)
    }

    pub(crate) fn with(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        Self::Raw([head.as_bytes(), body].concat())
    }

    /// The same, without its last bytes.
    pub(crate) fn cut_by(self, bytes: usize) -> Self {
        match self {
            Self::Raw(mut whole) => {
                whole.truncate(whole.len() - bytes);
                Self::Raw(whole)
            }
            other => other,
        }
    }

    /// The same, but where it would end, nothing more comes.
    pub(crate) fn stalled(self) -> Self {
        match self {
            Self::Raw(whole) => Self::Stalled(whole),
            other => other,
        }
    }
}

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// How each page begins.
pub(crate) const OPEN: &str = "<feed xmlns='http://www.w3.org/2005/Atom'>";

/// Runs until it is dropped.
pub(crate) struct ScriptedServer {
    pub(crate) base: String,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, Handler>,
    heads: Vec<String>,
}

impl ScriptedServer {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&shared)));
            }
        });
        Self {
            base,
            state,
            accepting,
        }
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Page `/feed/{number}` with these events, behind the page of the number before.
    pub(crate) fn page(
        &self,
        number: u32,
        events: RangeInclusive<u32>,
        next: Option<&str>,
    ) -> String {
        let link = |rel, to: &str| format!("<link rel='{rel}' href='{to}'/>");
        let via = link("via", &self.url(&format!("/feed/{number}")));
        let previous = match number {
            1 => String::new(),
            number => link("prev-archive", &format!("/feed/{}", number - 1)),
        };
        let next = next.map_or_else(String::new, |next| link("next-archive", next));
        let entries: String = events
            .map(|n| format!("<entry><id>tag:{n}</id><content>{n}</content></entry>"))
            .collect();
        format!("{OPEN}{via}{previous}{next}{entries}</feed>")
    }

    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.answer_by(path, move |_| answer.clone());
    }

    /// Has each request for a path, of which head and body are handed over, answered by what that makes.
    pub(crate) fn answer_by(
        &self,
        path: &str,
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) {
        let mut state = self.state.lock().unwrap();
        state.answers.insert(path.to_owned(), Arc::new(answer));
    }

    /// What makes the answer to requests for a path.
    pub(crate) fn answer_of(&self, path: &str) -> Handler {
        Arc::clone(&self.state.lock().unwrap().answers[path])
    }

    /// The heads of the requests so far, and the bodies of those that have one.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.lock().unwrap().heads.clone()
    }

    /// The heads of the requests for a path.
    pub(crate) fn heads_of(&self, path: &str) -> Vec<String> {
        let mut heads = self.heads();
        heads.retain(|head| path_of(head) == path);
        heads
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// How seldom a byte comes of what drips.
const DRIP: Duration = Duration::from_millis(50);

/// What the value of a header is, by its name in lower case.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let head = head.split("\r\n\r\n").next()?;
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
}

fn length_of(head: &str) -> usize {
    let length = header(head, "content-length");
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

fn path_of(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

// Who asked may have gone before the end of an answer: that is its affair.
async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
        // As servers do when somebody speaks TLS to them.
        if !head[0].is_ascii_uppercase() {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
            drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
            return;
        }
    }
    let mut request = String::from_utf8_lossy(&head).into_owned();
    let mut body = vec![0; length_of(&request)];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    request.push_str(&String::from_utf8_lossy(&body));
    let handler = {
        let mut state = state.lock().unwrap();
        let handler = state.answers.get(path_of(&request)).cloned();
        state.heads.push(request.clone());
        handler
    };
    let answer = handler.map(|handler| handler(&request));
    match answer.unwrap_or_else(|| Answer::with("404 Not Found", "", "nothing here")) {
        Answer::Raw(bytes) => drop(stream.write_all(&bytes).await),
        Answer::Repeated(head, bytes, times) => {
            if stream.write_all(&head).await.is_ok() {
                for _ in 0..times {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            }
        }
        Answer::Stalled(bytes) => {
            drop(stream.write_all(&bytes).await);
            drop(stream.read_u8().await);
        }
        Answer::Dripping(bytes) => {
            drop(stream.write_all(&bytes).await);
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(DRIP).await;
            }
        }
    }
}
