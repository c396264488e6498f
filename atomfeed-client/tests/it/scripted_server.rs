//! A server that answers what it was told, byte by byte, and remembers what it was asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a path is answered with.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A whole answer, head and all; then the connection is closed.
    Raw(Vec<u8>),
    /// A head, then the same bytes for ever.
    Endless(Vec<u8>),
    /// Nothing, and the connection stays open.
    Silence,
}

impl Answer {
    pub(crate) fn ok(content_type: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            body.len()
        );
        Self::Raw([head.as_bytes(), body].concat())
    }

    pub(crate) fn page(body: impl AsRef<[u8]>) -> Self {
        Self::ok("application/atom+xml", body)
    }

    pub(crate) fn status(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        Self::Raw(answer.into_bytes())
    }
}

/// Runs until it is dropped.
pub(crate) struct ScriptedServer {
    pub(crate) base: String,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, Answer>,
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

    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.state
            .lock()
            .unwrap()
            .answers
            .insert(path.to_owned(), answer);
    }

    /// The heads of the requests, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.lock().unwrap().heads.clone()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = {
        let mut state = state.lock().unwrap();
        state.heads.push(head);
        state.answers.get(&path).cloned()
    };
    let not_there = Answer::status("404 Not Found", "", "nothing here");
    match answer.unwrap_or(not_there) {
        // The reader may have gone before the end: that is its affair.
        Answer::Raw(bytes) => drop(stream.write_all(&bytes).await),
        Answer::Endless(bytes) => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/atom+xml\r\n\r\n";
            if stream.write_all(head).await.is_ok() {
                while stream.write_all(&bytes).await.is_ok() {}
            }
        }
        Answer::Silence => drop(stream.read_u8().await),
    }
}
