//! What the keys of the original's programs mean here.

use anyhow::bail;
use atomfeed_client::Schedule;
use atomfeed_core::store::SchemaName;
use url::Url;

use super::config::{FeedsConfig, Given, Job};
use super::file::{Properties, Unused};
use super::login::{Login, LoginKind};
use super::secret::Secret;
use super::sources::LONGEST_TIMEOUT;
use super::{jdbc, names};

/// The keys of feeds. A job is called what stands before the ending.
const FEEDS: [&str; 11] = [
    "customer.feed.generator.uri",
    "saleorder.feed.generator.uri",
    "drug.feed.generator.uri",
    "lab.feed.generator.uri",
    "saleable.feed.generator.uri",
    "openelis.saleorder.feed.generator.uri",
    "referencedata.feed.generator.uri",
    "openmrs.encounter.feed.uri",
    "openmrs.patient.feed.uri",
    "patient.feed.uri",
    "encounter.feed.uri",
];
const ENDINGS: [&str; 2] = [".feed.generator.uri", ".feed.uri"];

/// Where the time is said that a feed may take, the first first: what is said of OpenMRS, whose feeds they mostly
/// are; of feeds; and, in the service of Odoo, of everything that is asked for something.
const CONNECT_TIMEOUT: [&str; 3] = [
    "openmrs.connectionTimeoutInMilliseconds",
    "feed.connectionTimeoutInMilliseconds",
    "openerp.connectionTimeoutInMilliseconds",
];
const READ_TIMEOUT: [&str; 3] = [
    "openmrs.replyTimeoutInMilliseconds",
    "feed.replyTimeoutInMilliseconds",
    "openerp.replyTimeoutInMilliseconds",
];
const MAX_FAILED_EVENTS: [&str; 2] = ["openerp.maxFailedEvents", "feed.maxFailedEvents"];

const JDBC: [&str; 3] = ["jdbc.url", "jdbc.username", "jdbc.password"];
const SCHEMA: &str = "atomdb.default_schema";

/// The keys of a login: where, user and password.
const LOGINS: [(LoginKind, [&str; 3]); 2] = [
    (
        LoginKind::OpenMrs,
        ["openmrs.auth.uri", "openmrs.user", "openmrs.password"],
    ),
    (
        LoginKind::OpenElis,
        ["openelis.uri", "openelis.user", "openelis.password"],
    ),
];

const PUBLISHES: &str = "of a feed that is published; this program reads feeds";
const CALLS_ODOO: &str = "of the worker that would call Odoo";
const FETCHES: &str = "of the worker that would fetch it";

/// Keys that are of no use here, and why; one that ends with a dot is the beginning of some.
const NOT_USED: [(&str, &str); 18] = [
    ("jdbc.driverClassName", "of Java"),
    ("atomdb.", "of Hibernate and its connections"),
    (
        "update.atomfeed.marker",
        "of the original's start; markers stay as they are",
    ),
    ("feed.id.prefix", PUBLISHES),
    ("feed.title", PUBLISHES),
    ("feed.author", PUBLISHES),
    ("feed.generator.title", PUBLISHES),
    ("feed.generator.uri", PUBLISHES),
    ("chunking.strategy", PUBLISHES),
    ("openerp.host", CALLS_ODOO),
    ("openerp.port", CALLS_ODOO),
    ("openerp.database", CALLS_ODOO),
    ("openerp.user", CALLS_ODOO),
    ("openerp.password", CALLS_ODOO),
    ("scheduler.", "no feed of this file is called so"),
    ("referencedata.endpoint", FETCHES),
    ("drugorder.uri", FETCHES),
    ("order.attribute.uri", FETCHES),
];

/// What the keys say, and which of them are not used.
///
/// # Errors
///
/// When a value makes no sense.
pub(super) fn config(
    mut properties: Properties,
    given: Given<'_>,
) -> anyhow::Result<(FeedsConfig, Vec<Unused>)> {
    let jobs = jobs(&mut properties)?;
    let database = database(&mut properties, given)?;
    let config = FeedsConfig {
        schema: schema(&mut properties, given, database.as_ref())?,
        database,
        initial_delay_ms: properties
            .number("scheduler.initial.delay")?
            .unwrap_or_default(),
        connect_timeout_ms: timeout(&mut properties, CONNECT_TIMEOUT)?,
        read_timeout_ms: timeout(&mut properties, READ_TIMEOUT)?,
        max_failed_events: properties
            .first(MAX_FAILED_EVENTS, Properties::number::<u64>)?
            .map(|(_, events)| events),
        max_retries: properties.number("feed.failedEventMaxRetry")?,
        follow_redirects: properties
            .text("feed.handleRedirection")
            .is_some_and(|is_on| is_on.eq_ignore_ascii_case("true")),
        logins: logins(&mut properties, &jobs)?,
        jobs,
    };
    Ok((config, properties.unused(why_not_used)))
}

fn jobs(properties: &mut Properties) -> anyhow::Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for key in FEEDS {
        let Some(feed) = properties.parsed(key)? else {
            continue;
        };
        let name = job_name(key);
        jobs.push(Job {
            name: name.to_owned(),
            feed,
            cron: cron(properties, name)?,
        });
    }
    Ok(jobs)
}

fn job_name(key: &str) -> &str {
    let mut endings = ENDINGS.iter();
    endings
        .find_map(|ending| key.strip_suffix(ending))
        .unwrap_or(key)
}

/// The first of these limits, in milliseconds.
fn timeout(properties: &mut Properties, keys: [&str; 3]) -> anyhow::Result<Option<u64>> {
    let Some((key, millis)) = properties.first(keys, Properties::number::<u64>)? else {
        return Ok(None);
    };
    if millis == 0 {
        let longest = LONGEST_TIMEOUT.as_secs() / 60;
        let why = format!("0, which is no limit in Java, is {longest} minutes here");
        properties.note(key, &why);
    }
    Ok(Some(millis))
}

/// What `scheduler.*.cron.expression` says of a job, whose name it may write in several words. What spells it as
/// the key of the feed does goes before that.
fn cron(properties: &mut Properties, job: &str) -> anyhow::Result<Option<Schedule>> {
    let is_of_job = |key: &&str| {
        let words = key.strip_prefix("scheduler.");
        let words = words.and_then(|words| words.strip_suffix(".cron.expression"));
        words.is_some_and(|words| names::squeezed(words) == names::squeezed(job))
    };
    let keys = properties.keys().filter(is_of_job).map(str::to_owned);
    let mut keys: Vec<String> = keys.collect();
    let as_feed = format!("scheduler.{job}.cron.expression");
    keys.sort_by_key(|key| *key != as_feed);
    let first = properties.first(keys, Properties::parsed::<Schedule>)?;
    Ok(first.map(|(_, schedule)| schedule))
}

/// The URL of the database: the one that is given, or that of `jdbc.*`.
fn database(properties: &mut Properties, given: Given<'_>) -> anyhow::Result<Option<Secret>> {
    if let Some(database) = given.database {
        for key in JDBC {
            properties.leave(key, "--database is given instead");
        }
        return Ok(Some(Secret::new(database)));
    }
    let [url, user, password] = JDBC;
    let Some(jdbc) = properties.text(url) else {
        for key in [user, password] {
            properties.leave(key, "there is no jdbc.url");
        }
        return Ok(None);
    };
    let user = properties.text(user);
    let translated = jdbc::translated(&jdbc, user, properties.secret(password))?;
    for parameter in translated.unused {
        properties.note(&format!("{url}?{parameter}"), "of the driver of Java");
    }
    Ok(Some(translated.url))
}

/// Only PostgreSQL has schemas; on MariaDB the one that is meant is the database in the URL.
fn schema(
    properties: &mut Properties,
    given: Given<'_>,
    database: Option<&Secret>,
) -> anyhow::Result<Option<SchemaName>> {
    if let Some(schema) = given.schema {
        properties.leave(SCHEMA, "--schema is given instead");
        return Ok(Some(schema.clone()));
    }
    let is_postgres = database.is_some_and(|database| database.reveal().starts_with("postgres"));
    if is_postgres {
        return properties.parsed(SCHEMA);
    }
    properties.leave(SCHEMA, "of PostgreSQL");
    Ok(None)
}

/// The logins at servers that have one of the feeds.
fn logins(properties: &mut Properties, jobs: &[Job]) -> anyhow::Result<Vec<Login>> {
    let mut logins = Vec::new();
    for (kind, [uri_key, user_key, password_key]) in LOGINS {
        let uri: Option<Url> = properties.parsed(uri_key)?;
        let user = properties.text(user_key);
        let password = properties.secret(password_key);
        let given = [
            (uri_key, uri.is_some()),
            (user_key, user.is_some()),
            (password_key, password.is_some()),
        ];
        let why = match (uri, user, password) {
            (Some(uri), Some(user), Some(password)) => {
                let login = Login {
                    kind,
                    uri,
                    user,
                    password,
                };
                if jobs.iter().any(|job| login.is_at(&job.feed)) {
                    logins.push(login);
                    continue;
                }
                format!("no feed of this file is at the server of {uri_key}")
            }
            (Some(_), Some(_), None) => {
                bail!("{user_key} is there without {password_key}: give both, or neither")
            }
            _ => format!("nobody logs in without {uri_key} and {user_key}"),
        };
        for (key, is_given) in given {
            if is_given {
                properties.note(key, &why);
            }
        }
    }
    Ok(logins)
}

fn why_not_used(key: &str) -> &'static str {
    let is_so = |known: &str| key == known || (known.ends_with('.') && key.starts_with(known));
    let mut reasons = NOT_USED.iter();
    match reasons.find(|(known, _)| is_so(known)) {
        Some(&(_, why)) => why,
        None if ENDINGS.iter().any(|ending| key.ends_with(ending)) => "no feed that is known here",
        None => "not known here",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ODOO: &[u8] = include_bytes!("../../tests/config/erp-atomfeed.properties");
    const PACS: &[u8] = include_bytes!("../../tests/config/pacs-atomfeed.properties");

    fn read(file: &[u8], given: Given<'_>) -> anyhow::Result<(FeedsConfig, Vec<String>)> {
        let (config, unused) = config(Properties::read(file)?, given)?;
        Ok((config, unused.iter().map(Unused::to_string).collect()))
    }

    fn names(config: &FeedsConfig) -> Vec<&str> {
        config.jobs.iter().map(|job| job.name.as_str()).collect()
    }

    #[test]
    fn the_file_of_odoo_as_it_is() {
        let (config, unused) = read(ODOO, Given::default()).unwrap();
        assert_eq!(
            names(&config),
            [
                "customer",
                "saleorder",
                "drug",
                "lab",
                "saleable",
                "openelis.saleorder",
                "referencedata"
            ]
        );
        let crons: Vec<_> = config
            .jobs
            .iter()
            .filter_map(|job| Some((job.name.as_str(), job.cron.as_ref()?.to_string())))
            .collect();
        assert_eq!(crons, [("saleorder", "0/30 * * * * ?".to_owned())]);
        let database = config.database.as_ref().unwrap().reveal();
        assert_eq!(database, "postgres://odoo:odoo@127.0.0.1:5432/odoo");
        assert_eq!(config.schema.as_ref().unwrap().as_str(), "public");
        assert_eq!(config.initial_delay_ms, 60_000);
        let timeouts = (config.connect_timeout_ms, config.read_timeout_ms);
        assert_eq!(timeouts, (Some(5_000), Some(20_000)));
        assert_eq!(
            (config.max_failed_events, config.max_retries),
            (Some(1_000), None)
        );
        let logins: Vec<_> = config
            .logins
            .iter()
            .map(|login| (login.kind, login.uri.port(), login.user.as_str()))
            .collect();
        assert_eq!(
            logins,
            [
                (LoginKind::OpenMrs, Some(8050), "admin"),
                (LoginKind::OpenElis, Some(8052), "atomfeed")
            ]
        );
        assert_eq!(
            unused,
            [
                "atomdb.c3p0.max_size: of Hibernate and its connections",
                "atomdb.show_sql: of Hibernate and its connections",
                "chunking.strategy: of a feed that is published; this program reads feeds",
                "feed.author: of a feed that is published; this program reads feeds",
                "feed.generator.title: of a feed that is published; this program reads feeds",
                "feed.id.prefix: of a feed that is published; this program reads feeds",
                "feed.title: of a feed that is published; this program reads feeds",
                "jdbc.driverClassName: of Java",
                "openerp.database: of the worker that would call Odoo",
                "openerp.host: of the worker that would call Odoo",
                "openerp.password: of the worker that would call Odoo",
                "openerp.port: of the worker that would call Odoo",
                "openerp.user: of the worker that would call Odoo",
                "update.atomfeed.marker: of the original's start; markers stay as they are",
            ]
        );
        let shown = format!("{config:?}");
        assert!(
            !shown.contains("made-up") && !shown.contains(":odoo@"),
            "{shown}"
        );
    }

    #[test]
    fn the_file_of_the_pacs_service_as_it_is() {
        let (config, unused) = read(PACS, Given::default()).unwrap();
        assert_eq!(names(&config), ["openmrs.encounter"]);
        assert!(config.database.is_none() && config.jobs[0].cron.is_none());
        let limits = (config.max_failed_events, config.max_retries);
        assert_eq!(limits, (Some(10_000), Some(10)));
        assert_eq!(config.logins.len(), 1);
        assert_eq!(
            unused,
            [
                "feed.author: of a feed that is published; this program reads feeds",
                "feed.connectionTimeoutInMilliseconds: openmrs.connectionTimeoutInMilliseconds \
                 goes before it",
                "feed.replyTimeoutInMilliseconds: openmrs.replyTimeoutInMilliseconds goes before it",
            ]
        );
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let given = Given {
            database: Some("sqlite:lab.db"),
            schema: None,
        };
        let (config, unused) = read(ODOO, given).unwrap();
        assert_eq!(config.database.unwrap().reveal(), "sqlite:lab.db");
        assert_eq!(config.schema, None);
        for key in ["jdbc.url", "jdbc.username", "jdbc.password"] {
            let left = format!("{key}: --database is given instead");
            assert!(unused.contains(&left), "{unused:?}");
        }
        let schema = "erp".parse().unwrap();
        let given = Given {
            database: None,
            schema: Some(&schema),
        };
        let (config, unused) = read(ODOO, given).unwrap();
        assert_eq!(config.schema, Some(schema));
        let left = "atomdb.default_schema: --schema is given instead".to_owned();
        assert!(unused.contains(&left), "{unused:?}");
    }

    #[test]
    fn of_two_schedules_of_a_job_that_counts_which_is_spelled_as_its_feed() {
        for (as_feed, counts, left) in [
            (
                "0/20 * * * * ?",
                "0/20 * * * * ?",
                "scheduler.cus.tomer.cron.expression: scheduler.customer.cron.expression goes \
                 before it",
            ),
            (
                "",
                "0/10 * * * * ?",
                "scheduler.customer.cron.expression: it has no value",
            ),
        ] {
            let file = format!(
                "customer.feed.generator.uri=http://emr/openmrs/recent\n\
                 scheduler.cus.tomer.cron.expression=0/10 * * * * ?\n\
                 scheduler.customer.cron.expression={as_feed}\n"
            );
            let (config, unused) = read(file.as_bytes(), Given::default()).unwrap();
            let cron = config.jobs[0].cron.as_ref().unwrap();
            assert_eq!(cron.to_string(), counts);
            assert_eq!(unused, [left]);
        }
    }

    #[test]
    fn no_limit_is_a_long_one() {
        let file = b"openmrs.encounter.feed.uri=http://emr/openmrs/recent\n\
            feed.replyTimeoutInMilliseconds=0\nopenmrs.connectionTimeoutInMilliseconds=0\n\
            feed.connectionTimeoutInMilliseconds=5000\n";
        let (config, unused) = read(file, Given::default()).unwrap();
        let limits = (config.connect_timeout_ms, config.read_timeout_ms);
        assert_eq!(limits, (Some(0), Some(0)));
        assert_eq!(
            unused,
            [
                "feed.connectionTimeoutInMilliseconds: openmrs.connectionTimeoutInMilliseconds \
                 goes before it",
                "feed.replyTimeoutInMilliseconds: 0, which is no limit in Java, is 5 minutes here",
                "openmrs.connectionTimeoutInMilliseconds: 0, which is no limit in Java, is 5 \
                 minutes here",
            ]
        );
    }

    #[test]
    fn what_nobody_knows_is_named_and_its_value_is_not() {
        let file = b"radiology.feed.uri=http://emr/secret\nemr.secret.key=secret-value\n\
            scheduler.stock.cron.expression=secret\norder.attribute.uri=\n\
            openelis.uri=http://lab/\nopenelis.user=me\nopenelis.password=secret-value\n\
            openmrs.user=me\n";
        let (config, unused) = read(file, Given::default()).unwrap();
        assert!(config.jobs.is_empty() && config.logins.is_empty());
        assert_eq!(
            unused,
            [
                "emr.secret.key: not known here",
                "openelis.password: no feed of this file is at the server of openelis.uri",
                "openelis.uri: no feed of this file is at the server of openelis.uri",
                "openelis.user: no feed of this file is at the server of openelis.uri",
                "openmrs.user: nobody logs in without openmrs.auth.uri and openmrs.user",
                "order.attribute.uri: of the worker that would fetch it",
                "radiology.feed.uri: no feed that is known here",
                "scheduler.stock.cron.expression: no feed of this file is called so",
            ]
        );
    }

    #[test]
    fn a_value_that_makes_no_sense_is_named_by_its_key() {
        let feed = "saleorder.feed.generator.uri=http://emr/openmrs/recent\n";
        for (line, key) in [
            (
                "customer.feed.generator.uri=emr",
                "customer.feed.generator.uri",
            ),
            (
                "scheduler.sale.order.cron.expression=often",
                "scheduler.sale.order.cron.expression",
            ),
            ("scheduler.initial.delay=-1", "scheduler.initial.delay"),
            ("feed.maxFailedEvents=many", "feed.maxFailedEvents"),
            ("openmrs.auth.uri=emr", "openmrs.auth.uri"),
            (
                "openmrs.auth.uri=http://emr/session\nopenmrs.user=me",
                "openmrs.password",
            ),
            ("jdbc.url=jdbc:oracle:x", "jdbc.url"),
            (
                "jdbc.url=jdbc:postgresql:odoo\natomdb.default_schema=a;b",
                "atomdb.default_schema",
            ),
        ] {
            let file = format!("{feed}{line}\n");
            let error = read(file.as_bytes(), Given::default()).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(key), "{line}: {error}");
        }
    }
}
