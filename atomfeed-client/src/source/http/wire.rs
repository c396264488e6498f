use std::error::Error;
use std::io;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::BodyDataStream;
use reqwest::redirect::Policy;
use reqwest::{Body, Client};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;
use url::Url;

use super::addresses::{Private, Resolver, is_private_host};
use super::builder::Settings;
use super::coding::{ACCEPTED, Coding};
use super::session::Session;
use crate::FetchError;

/// How much of an answer that is no page is read, to be shown.
const MAX_ERROR_BODY: usize = 4 << 10;

/// How much is read at once, in bytes.
const CHUNK: usize = 16 << 10;

/// Sends one request and reads one answer, within the limits. It knows no logins, and follows nothing.
#[derive(Debug)]
pub(crate) struct Wire {
    client: Client,
    pub(crate) settings: Settings,
}

impl Wire {
    pub(crate) fn new(settings: Settings) -> Result<Self, FetchError> {
        // Fails when there is one already, and that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(settings.connect_timeout)
            .read_timeout(settings.read_timeout);
        if !settings.may_use_tls() {
            // A machine without CA certificates reads plain HTTP all the same.
            client = client.tls_certs_only([]);
        }
        if settings.refuse_private {
            // A proxy would look for addresses by itself.
            client = client.dns_resolver(Resolver).no_proxy();
        }
        let client = client
            .build()
            .map_err(|error| FetchError::Tls(error.into()))?;
        Ok(Self { client, settings })
    }

    /// The head of the answer to a request, with the session's credentials and cookies. The URL is one of
    /// the origin whose session that is.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
        session: &Session,
    ) -> Result<Response<Body>, FetchError> {
        if self.settings.refuse_private && is_private_host(url) {
            return Err(private(url.host_str().unwrap_or_default()));
        }
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
        session.sign(url, &mut headers);
        let request = self.client.request(method, url.clone());
        let request = request.headers(headers).body(body);
        let response = request.send().await;
        let response: Response<Body> = response.map_err(|error| self.failed(error))?.into();
        session.keep_cookies(url, response.headers());
        Ok(response)
    }

    /// The body of an answer.
    pub(crate) async fn read(
        &self,
        response: Response<Body>,
        limit: usize,
    ) -> Result<Bytes, FetchError> {
        let mut decoded = decoded(response)?;
        let mut body = Vec::new();
        loop {
            match read_some(&mut decoded, &mut body).await {
                Ok(_) if body.len() > limit => return Err(FetchError::TooLarge { limit }),
                Ok(0) => return Ok(body.into()),
                Ok(_) => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// How an answer begins that is not what was asked for: worth showing, but neither failing nor waiting
    /// long for.
    pub(crate) async fn beginning(&self, response: Response<Body>) -> Vec<u8> {
        let mut body = Vec::new();
        let Ok(mut decoded) = decoded(response) else {
            return body;
        };
        let reading = async {
            while body.len() < MAX_ERROR_BODY
                && let Ok(1..) = read_some(&mut decoded, &mut body).await
            {}
        };
        // What has come by then will do.
        let _ = tokio::time::timeout(self.settings.read_timeout, reading).await;
        body.truncate(MAX_ERROR_BODY);
        body
    }

    fn broken(&self, error: io::Error) -> FetchError {
        match error.downcast::<reqwest::Error>() {
            Ok(error) if error.is_timeout() => self.failed(error),
            Ok(error) => FetchError::Body(error.without_url().into()),
            Err(error) => FetchError::Body(error.into()),
        }
    }

    /// What the failure of a request means.
    fn failed(&self, error: reqwest::Error) -> FetchError {
        let settings = &self.settings;
        if let Some(Private { host }) = caused_by(&error) {
            return private(host);
        }
        if !error.is_timeout() {
            return FetchError::Connection(error.without_url().into());
        }
        let limit = match error.is_connect() {
            true => settings.connect_timeout,
            false => settings.read_timeout,
        };
        FetchError::Timeout { limit }
    }
}

fn private(host: &str) -> FetchError {
    FetchError::PrivateAddress {
        host: host.to_owned(),
    }
}

/// The body of an answer, with its coding taken off.
fn decoded(response: Response<Body>) -> Result<Box<dyn AsyncRead + Send + Unpin>, FetchError> {
    let coding = Coding::of(response.headers())?;
    let body = BodyDataStream::new(response.into_body()).map_err(io::Error::other);
    Ok(coding.decode(StreamReader::new(body)))
}

async fn read_some(
    from: &mut (dyn AsyncRead + Send + Unpin),
    to: &mut Vec<u8>,
) -> io::Result<usize> {
    to.reserve(CHUNK);
    from.take(CHUNK as u64).read_buf(to).await
}

fn caused_by<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
