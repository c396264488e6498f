use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context;
use atomfeed_client::{FeedUri, Schedule};
use atomfeed_core::store::SchemaName;
use serde::de::{Deserialize, Deserializer, Error};

use super::file::{Properties, Unused};
use super::keys;
use super::login::Login;
use super::secret::Secret;

/// Which feeds are followed, and how.
///
/// ```
/// use atomfeed_examples::properties::FeedsConfig;
///
/// let config: FeedsConfig = serde_json::from_str(
///     r#"{
///         "database": "postgres://odoo:a-password@127.0.0.1:5432/odoo",
///         "schema": "public",
///         "initial_delay_ms": 60000,
///         "connect_timeout_ms": 5000,
///         "read_timeout_ms": 20000,
///         "max_failed_events": 1000,
///         "max_retries": 10,
///         "follow_redirects": false,
///         "logins": [{
///             "kind": "openmrs",
///             "uri": "http://emr:8050/openmrs/ws/rest/v1/session",
///             "user": "admin",
///             "password": "another-password"
///         }],
///         "jobs": [{
///             "name": "saleorder",
///             "feed": "http://emr:8050/openmrs/ws/atomfeed/encounter/recent",
///             "cron": "0/30 * * * * ?"
///         }]
///     }"#,
/// )?;
/// assert_eq!(config.jobs.len(), 1);
/// assert!(!format!("{config:?}").contains("-password"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedsConfig {
    /// Where markers and failed events are kept, as `--database` of the other programs has it
    /// (`jdbc.url`, `jdbc.username`, `jdbc.password`).
    pub database: Option<Secret>,
    /// The schema of their tables (`atomdb.default_schema`).
    #[serde(default, deserialize_with = "parsed_if_given")]
    pub schema: Option<SchemaName>,
    /// How long after the start the first rounds begin, at the earliest, in milliseconds
    /// (`scheduler.initial.delay`).
    #[serde(default)]
    pub initial_delay_ms: u64,
    /// How long a connection to a feed may take to come about, in milliseconds
    /// (`connectionTimeoutInMilliseconds`); else 10 s. 0 is no limit in Java, and 5 minutes here.
    pub connect_timeout_ms: Option<u64>,
    /// How long the server of a feed may be silent, in milliseconds (`replyTimeoutInMilliseconds`); else
    /// 20 s. 0 is no limit in Java, and 5 minutes here.
    pub read_timeout_ms: Option<u64>,
    /// A feed stops while so many of its events are parked (`maxFailedEvents`); else it never does.
    pub max_failed_events: Option<u64>,
    /// How often a parked event is tried again (`feed.failedEventMaxRetry`); else 10 times.
    pub max_retries: Option<u32>,
    /// Whether a redirect is followed, once (`feed.handleRedirection`).
    #[serde(default)]
    pub follow_redirects: bool,
    /// Where one gets in with user and password.
    #[serde(default)]
    pub logins: Vec<Login>,
    /// The feeds.
    pub jobs: Vec<Job>,
}

/// A feed that is followed.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// What it is called: what stands before `.feed.generator.uri` or `.feed.uri`.
    pub name: String,
    /// The URL of the feed's recent page.
    #[serde(deserialize_with = "parsed")]
    pub feed: FeedUri,
    /// When it is read, as a cron expression of Quartz, where the file says that.
    #[serde(default, deserialize_with = "parsed_if_given")]
    pub cron: Option<Schedule>,
}

/// What the command line says, whatever the file does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// `--database`.
    pub database: Option<&'a str>,
    /// `--schema`.
    pub schema: Option<&'a SchemaName>,
}

impl FeedsConfig {
    /// Reads a property file as it is, or JSON where the name of the file ends so; and says which keys of
    /// the file are not used.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or a value in it makes no sense.
    pub fn read(file: &Path, given: Given<'_>) -> anyhow::Result<(Self, Vec<Unused>)> {
        let reading = || format!("reading {}", file.display());
        let bytes = std::fs::read(file).with_context(reading)?;
        let is_json = file
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if !is_json {
            let properties = Properties::read(&bytes).with_context(reading)?;
            return keys::config(properties, given).with_context(reading);
        }
        let mut config: Self = serde_json::from_slice(&bytes).with_context(reading)?;
        if let Some(database) = given.database {
            config.database = Some(Secret::new(database));
        }
        if let Some(schema) = given.schema {
            config.schema = Some(schema.clone());
        }
        Ok((config, Vec::new()))
    }
}

fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

fn parsed_if_given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    let parsed = text.map(|text| text.parse()).transpose();
    parsed.map_err(D::Error::custom)
}

/// A URL, where the type that has it stands elsewhere.
pub(super) fn parsed_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<url::Url, D::Error> {
    parsed(deserializer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn json_that_makes_no_sense_is_refused_and_shows_no_password() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("feeds.json");
        for (json, says) in [
            (r#"{"jobs": [], "databse": "memory:"}"#, "databse"),
            (r#"{"jobs": [{"name": "lab", "feed": "lab"}]}"#, "lab"),
            (
                r#"{"jobs": [{"name": "lab", "feed": "http://emr/recent", "cron": "often"}]}"#,
                "often",
            ),
            (r#"{"jobs": [], "schema": "a;b"}"#, "schema"),
            (r#"{"jobs": [], "database": 12345}"#, "is a string"),
        ] {
            std::fs::write(&file, json).unwrap();
            let error = FeedsConfig::read(&file, Given::default()).unwrap_err();
            let error = format!("{error:#}");
            assert!(
                error.contains(says) && error.contains("feeds.json"),
                "{error}"
            );
            assert!(!error.contains("12345"), "{error}");
        }
    }

    #[test]
    fn the_command_line_goes_before_json() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("feeds.JSON");
        std::fs::write(&file, r#"{"jobs": [], "database": "memory:"}"#).unwrap();
        let schema = "clinlims".parse().unwrap();
        let given = Given {
            database: Some("sqlite:lab.db"),
            schema: Some(&schema),
        };
        let (config, unused) = FeedsConfig::read(&file, given).unwrap();
        assert_eq!(config.database.unwrap().reveal(), "sqlite:lab.db");
        assert_eq!(config.schema, Some(schema));
        assert!(unused.is_empty());
    }
}
