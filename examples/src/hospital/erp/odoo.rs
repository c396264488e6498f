//! A client of Odoo's external API: JSON-RPC at `/jsonrpc`.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use url::Url;

use super::answer::{OdooError, read_answer};

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(8);

/// How long all calls for one event may take together, if nothing else is said. Workers call inside of the
/// transaction of their marker, and on SQLite nobody else writes meanwhile: who wants to gives up after 30 s.
const FOR_AN_EVENT: Duration = Duration::from_secs(20);

/// How long a connection is kept that nobody uses: less than servers keep theirs.
const IDLE: Duration = Duration::from_secs(30);

/// Where an Odoo is, and as whom it is used.
#[derive(Clone)]
pub struct OdooAddress {
    /// `https://erp.example.org`
    pub url: Url,
    /// Which of its databases.
    pub database: String,
    /// The login of a user.
    pub user: String,
    /// The password, or an API key.
    pub password: String,
}

// Without the password.
impl fmt::Debug for OdooAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OdooAddress")
            .field("url", &self.url.as_str())
            .field("database", &self.database)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// An Odoo. Clones share its connections and its login.
#[derive(Debug, Clone)]
pub struct Odoo {
    inner: Arc<Inner>,
    time_for_an_event: Duration,
    /// Until when there is time for what is asked here; else as long as each call takes.
    until: Option<Instant>,
}

#[derive(Debug)]
struct Inner {
    address: OdooAddress,
    endpoint: Url,
    http: Client,
    /// The number of the user, 0 while nobody has asked for it.
    uid: AtomicI64,
    calls: AtomicI64,
}

impl Odoo {
    /// The Odoo at an address. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the address is none, or when TLS cannot be had.
    pub fn new(address: OdooAddress) -> anyhow::Result<Self> {
        let endpoint = address.url.join("/jsonrpc");
        let endpoint =
            endpoint.with_context(|| format!("{} is no address of an Odoo", address.url))?;
        // Fails when there is one already, and that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = Client::builder()
            .redirect(Policy::none())
            .pool_idle_timeout(IDLE);
        if endpoint.scheme() == "http" {
            // A machine without CA certificates speaks plain HTTP all the same.
            http = http.tls_certs_only([]);
        }
        let http = http
            .build()
            .with_context(|| format!("preparing connections to Odoo at {endpoint}"))?;
        let inner = Inner {
            address,
            endpoint,
            http,
            uid: AtomicI64::new(0),
            calls: AtomicI64::new(0),
        };
        Ok(Self {
            inner: Arc::new(inner),
            time_for_an_event: FOR_AN_EVENT,
            until: None,
        })
    }

    /// Sets how long all calls for one event may take together; else 20 s.
    #[must_use]
    pub fn with_time_for_an_event(mut self, time: Duration) -> Self {
        self.time_for_an_event = time;
        self
    }

    /// The same Odoo, to be asked for one event: from now on there is so much time for all calls together.
    /// What is asked later is not sent, and fails as if Odoo were away.
    #[must_use]
    pub fn for_an_event(&self) -> Self {
        Self {
            until: Instant::now().checked_add(self.time_for_an_event),
            ..self.clone()
        }
    }

    /// Calls a method of a model: `object.execute_kw`. The login is remembered, and renewed once when Odoo
    /// does not take it any more.
    ///
    /// Nothing is sent a second time by itself: whether a call has reached Odoo whose answer was lost nobody
    /// knows, and a worker that searches first finds out.
    ///
    /// # Errors
    ///
    /// When it is not answered, or with an exception.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, Odoo may have done what it was asked for, or not.
    pub async fn execute_kw(
        &self,
        model: &str,
        method: &str,
        args: Value,
        kwargs: Value,
    ) -> Result<Value, OdooError> {
        let known = self.inner.uid.load(Ordering::Relaxed);
        if known != 0 {
            let answer = self.execute_as(known, model, method, &args, &kwargs).await;
            match answer {
                Err(error) if error.is_access_denied() => {}
                answer => return answer,
            }
        }
        let uid = self.authenticate().await?;
        let answer = self.execute_as(uid, model, method, &args, &kwargs).await;
        if answer.as_ref().is_err_and(OdooError::is_access_denied) {
            self.inner.uid.store(0, Ordering::Relaxed);
            return Err(self.not_let_in());
        }
        answer
    }

    /// Signs in (`common.authenticate`), and says which user that is.
    ///
    /// # Errors
    ///
    /// When nobody answers, or when the user is not let in.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn authenticate(&self) -> Result<i64, OdooError> {
        let OdooAddress {
            database,
            user,
            password,
            ..
        } = &self.inner.address;
        let args = json!([database, user, password, {}]);
        // Odoo says `false` to who is not let in.
        let uid = self.call("common", "authenticate", args).await?.as_i64();
        self.inner.uid.store(uid.unwrap_or(0), Ordering::Relaxed);
        uid.ok_or_else(|| self.not_let_in())
    }

    /// Creates records, and gives their ids: one call for all of them.
    ///
    /// # Errors
    ///
    /// As [`execute_kw`](Self::execute_kw).
    pub async fn create(&self, model: &str, records: &[Value]) -> Result<Vec<i64>, OdooError> {
        let ids = self
            .execute_kw(model, "create", json!([records]), json!({}))
            .await?;
        let all = ids.as_array().map_or(&[][..], Vec::as_slice);
        let numbers: Option<Vec<i64>> = all.iter().map(Value::as_i64).collect();
        let numbers = numbers.filter(|numbers| numbers.len() == records.len());
        numbers.ok_or_else(|| OdooError::strange("the ids of what was created", &ids))
    }

    /// Writes the same values to records.
    ///
    /// # Errors
    ///
    /// As [`execute_kw`](Self::execute_kw).
    pub async fn write(&self, model: &str, ids: &[i64], values: Value) -> Result<(), OdooError> {
        self.execute_kw(model, "write", json!([ids, values]), json!({}))
            .await?;
        Ok(())
    }

    /// Fields of the records of a domain, archived ones, too: what a person has archived is not to be
    /// created anew.
    ///
    /// # Errors
    ///
    /// As [`execute_kw`](Self::execute_kw).
    pub async fn search_read(
        &self,
        model: &str,
        domain: Value,
        fields: &[&str],
    ) -> Result<Vec<Value>, OdooError> {
        let how = json!({ "fields": fields, "context": { "active_test": false } });
        let answer = self.execute_kw(model, "search_read", json!([domain]), how);
        match answer.await? {
            Value::Array(rows) => Ok(rows),
            other => Err(OdooError::strange("a list of records", &other)),
        }
    }

    async fn execute_as(
        &self,
        uid: i64,
        model: &str,
        method: &str,
        args: &Value,
        kwargs: &Value,
    ) -> Result<Value, OdooError> {
        let address = &self.inner.address;
        let args = json!([
            address.database,
            uid,
            address.password,
            model,
            method,
            args,
            kwargs
        ]);
        self.call("object", "execute_kw", args).await
    }

    async fn call(&self, service: &str, method: &str, args: Value) -> Result<Value, OdooError> {
        let time = self.time_for_a_call()?;
        let body = json!({
            "jsonrpc": "2.0",
            "id": self.inner.calls.fetch_add(1, Ordering::Relaxed),
            "method": "call",
            "params": { "service": service, "method": method, "args": args },
        });
        let request = self.inner.http.post(self.inner.endpoint.clone());
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .timeout(time);
        let answer = request.body(body.to_string()).send().await;
        let answer = answer.map_err(|error| self.unanswered(error, time))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(OdooError::of_status(status, answer.headers()));
        }
        let body = answer.bytes().await;
        read_answer(&body.map_err(|error| self.unanswered(error, time))?)
    }

    fn time_for_a_call(&self) -> Result<Duration, OdooError> {
        let now = Instant::now();
        let left = self.until.map(|until| until.saturating_duration_since(now));
        match left {
            Some(left) if left.is_zero() => {
                let reason = format!("{}, which is over", self.limit_of_an_event());
                Err(self.away(reason))
            }
            Some(left) => Ok(left.min(TIMEOUT)),
            None => Ok(TIMEOUT),
        }
    }

    fn limit_of_an_event(&self) -> String {
        let time = self.time_for_an_event;
        format!("all that is asked for an event may take {time:?}")
    }

    fn unanswered(&self, error: reqwest::Error, time: Duration) -> OdooError {
        let mut reason = match error.is_timeout() {
            true if time < TIMEOUT => format!("no answer in time: {}", self.limit_of_an_event()),
            true => format!("no answer within {TIMEOUT:?}"),
            false => "no answer".to_owned(),
        };
        let error = error.without_url();
        let mut cause = Some(&error as &dyn Error);
        while let Some(error) = cause {
            reason.push_str(&format!(": {error}"));
            cause = error.source();
        }
        self.away(reason)
    }

    fn away(&self, reason: String) -> OdooError {
        OdooError::Away {
            url: self.inner.endpoint.to_string(),
            reason,
        }
    }

    fn not_let_in(&self) -> OdooError {
        OdooError::NotLetIn {
            user: self.inner.address.user.clone(),
            database: self.inner.address.database.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_password_is_not_shown() {
        let address = OdooAddress {
            url: "http://erp.example.org".parse().unwrap(),
            database: "hospital".to_owned(),
            user: "admin".to_owned(),
            password: "a secret".to_owned(),
        };
        let shown = format!("{address:?} {:?}", Odoo::new(address.clone()).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
