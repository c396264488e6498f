//! What events name: where it is sought, what is made of it, and what becomes of the event when it cannot
//! be had.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, Event, FetchContent, Handled, HttpFeedSource, HttpFeedSourceBuilder,
    PreparingWorker, ProcessError, ProcessErrorKind, ResourceError, Resources, WorkerError,
};
use atomfeed_core::EntryId;
use atomfeed_core::store::{ConsumerStore, FailedEventQuery};
use atomfeed_core::store::{MemoryConnection, MemoryStore};
use serde::Deserialize;

use crate::scripted_server::{Answer, OPEN, ScriptedServer, gzip, header};
use crate::two_pages::{assert_says, chain};

struct Lab {
    server: ScriptedServer,
    elsewhere: ScriptedServer,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Patient {
    name: String,
}

impl Lab {
    async fn new() -> Self {
        Self {
            server: ScriptedServer::new().await,
            elsewhere: ScriptedServer::new().await,
        }
    }

    fn source(&self) -> HttpFeedSourceBuilder {
        let feed = self.server.url("/openmrs/ws/atomfeed/patient/recent");
        HttpFeedSource::builder(&feed.parse().unwrap())
    }

    /// Tried again at once.
    fn resources(&self) -> Resources {
        let resources = self.source().build().unwrap().resources();
        resources.with_longest_delay(Duration::from_millis(1))
    }

    fn event(&self, content: &str) -> Event {
        let feed = self
            .server
            .url("/openmrs/ws/atomfeed/patient/recent")
            .parse()
            .unwrap();
        Event::new(EntryId::new("tag:7").unwrap(), feed).with_text("Patient", content)
    }

    fn asked(&self, path: &str) -> usize {
        self.server.heads_of(path).len()
    }
}

const PATIENT: &str = "/openmrs/ws/rest/v1/patient/1?v=full";

fn patient() -> Answer {
    let headers = "content-type: application/json;charset=UTF-8\r\netag: \"1\"\r\n";
    Answer::with("200 OK", headers, "{\"name\":\"Ram\",\"age\":7}")
}

/// With what the feed is fetched with, too.
#[tokio::test]
async fn content_is_fetched_from_the_origin_of_the_feed() {
    let lab = Lab::new().await;
    lab.server.answer(PATIENT, patient());
    let source = lab
        .source()
        .with_basic_auth("atomfeed", "hunter2")
        .build()
        .unwrap();
    let resource = lab.event(PATIENT).fetch(&source.resources()).await.unwrap();
    assert_eq!(
        resource.json::<Patient>().unwrap(),
        Patient {
            name: "Ram".to_owned()
        }
    );
    assert_eq!(resource.text().unwrap(), "{\"name\":\"Ram\",\"age\":7}");
    assert_eq!(
        resource.bytes().as_ref(),
        resource.text().unwrap().as_bytes()
    );
    assert_eq!(
        resource.content_type(),
        Some("application/json;charset=UTF-8")
    );
    assert_eq!(resource.etag(), Some("\"1\""));
    assert_eq!(resource.url().as_str(), lab.server.url(PATIENT));
    let head = lab.server.heads().concat();
    assert_eq!(
        header(&head, "authorization"),
        Some("Basic YXRvbWZlZWQ6aHVudGVyMg==")
    );
    assert_eq!(header(&head, "accept"), Some("application/json, */*;q=0.5"));

    let resources = source.resources().with_accept("application/fhir+json");
    lab.event(PATIENT).fetch(&resources).await.unwrap();
    let head = lab.server.heads().pop().unwrap();
    assert_eq!(header(&head, "accept"), Some("application/fhir+json"));
}

#[tokio::test]
async fn content_is_joined_to_a_base() {
    let lab = Lab::new().await;
    lab.elsewhere.answer("/fhir/Patient/1", patient());
    let base: url::Url = lab.elsewhere.url("/fhir/").parse().unwrap();
    let source = lab.source().with_basic_auth("atomfeed", "hunter2");
    let resources = |source: HttpFeedSourceBuilder| {
        let resources = source.build().unwrap().resources();
        resources.with_base(base.clone())
    };
    let error = lab
        .event("Patient/1")
        .fetch(&resources(source.clone()))
        .await
        .unwrap_err();
    assert_says(&error, &[&lab.elsewhere.base, "allow its origin"]);
    assert!(lab.elsewhere.heads().is_empty());

    let resources = resources(source.allow_origin(&base));
    lab.event("Patient/1").fetch(&resources).await.unwrap();
    let heads = lab.elsewhere.heads();
    assert_eq!((heads.len(), header(&heads[0], "authorization")), (1, None));
}

/// The event is the publisher's to write, and its secrets are not.
#[tokio::test]
async fn content_leads_to_no_other_origin() {
    let lab = Lab::new().await;
    let away = lab.elsewhere.url("/1");
    let no_scheme = away.replace("http:", "");
    for content in [
        away.as_str(),
        &no_scheme,
        "http://169.254.169.254/latest/meta-data",
    ] {
        let error = lab
            .event(content)
            .fetch(&lab.resources())
            .await
            .unwrap_err();
        assert_says(
            &error,
            &["fetching http://", "event tag:7", "allow its origin"],
        );
        assert!(!WorkerError::from(error).is_transient());
    }
    lab.server.answer("/1", Answer::redirect(&away));
    let source = lab.source().follow_redirects().build().unwrap();
    let error = lab
        .event("/1")
        .fetch(&source.resources())
        .await
        .unwrap_err();
    assert_says(&error, &["allow its origin"]);
    assert!(lab.elsewhere.heads().is_empty());
}

/// In no line of what is kept with the event.
#[tokio::test]
async fn a_password_in_content_is_not_repeated() {
    let lab = Lab::new().await;
    lab.server.answer("/1", Answer::ok("text/html", "<html>"));
    let own = lab.server.url("/1").replace("://", "://me:hunter2@");
    let gone = lab.server.url("/2").replace("://", "://me:hunter2@");
    for content in ["http://me:hunter2@evil.invalid/1", &gone] {
        let error = lab.event(content).fetch(&lab.resources()).await;
        let error = error.unwrap_err();
        let shown = format!("{} {error:?}", chain(&error));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let resource = lab.event(&own).fetch(&lab.resources()).await.unwrap();
    let error = resource.json::<Patient>().unwrap_err();
    let shown = format!("{} {error:?} {resource:?}", chain(&error));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn content_that_names_nothing_is_said_to() {
    let lab = Lab::new().await;
    for content in [
        "",
        "{\"patient\": \"/1\"}",
        "<patient/>",
        "Patient 1 / 2",
        "urn:uuid:1",
    ] {
        let error = lab
            .event(content)
            .fetch(&lab.resources())
            .await
            .unwrap_err();
        assert!(
            matches!(error, ResourceError::NoReference { .. }),
            "{error:?}"
        );
        assert_says(
            &error,
            &["event tag:7", "is no address", "use the content itself"],
        );
        assert!(!WorkerError::from(error).is_transient());
    }
    assert!(lab.server.heads().is_empty());
}

#[tokio::test]
async fn what_is_no_json_is_said_to() {
    let lab = Lab::new().await;
    lab.server
        .answer("/1", Answer::ok("text/html", "<html>Log in</html>"));
    lab.server
        .answer("/2", Answer::ok("application/json", [b'"', 0xFF, b'"']));
    let resource = lab.event("/1").fetch(&lab.resources()).await.unwrap();
    let error = resource.json::<Patient>().unwrap_err();
    assert_says(&error, &["/1 as JSON", "text/html", "line 1"]);
    let resource = lab.event("/2").fetch(&lab.resources()).await.unwrap();
    assert_says(&resource.text().unwrap_err(), &["/2 as text", "not UTF-8"]);
}

/// A server that is away so often, and then answers.
fn busy(lab: &Lab, times: u32, answer: Answer) {
    let asked = AtomicU32::new(0);
    lab.server.answer_by(PATIENT, move |_| {
        match asked.fetch_add(1, Ordering::SeqCst) < times {
            true => answer.clone(),
            false => patient(),
        }
    });
}

#[tokio::test]
async fn what_is_busy_is_asked_again_a_few_times() {
    for answer in [
        Answer::status("429 Oh", "retry-after: 0\r\n"),
        Answer::status("502 Oh", ""),
        Answer::status("503 Oh", "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
        Answer::status("504 Oh", ""),
        Answer::Raw(Vec::new()),
        Answer::page("x").cut_by(1),
    ] {
        let lab = Lab::new().await;
        busy(&lab, 2, answer.clone());
        lab.event(PATIENT).fetch(&lab.resources()).await.unwrap();
        assert_eq!(lab.asked(PATIENT), 3);

        let lab = Lab::new().await;
        busy(&lab, 3, answer);
        let error = lab
            .event(PATIENT)
            .fetch(&lab.resources())
            .await
            .unwrap_err();
        assert_eq!(lab.asked(PATIENT), 3);
        assert!(WorkerError::from(error).is_transient());
        lab.event(PATIENT)
            .fetch(&lab.resources().with_attempts(0))
            .await
            .unwrap();
        assert_eq!(lab.asked(PATIENT), 4);
    }
}

/// The feed waits for it, which is no reason to hold a worker up.
#[tokio::test]
async fn what_wants_to_be_left_alone_for_long_is() {
    let lab = Lab::new().await;
    busy(&lab, 9, Answer::status("503 Oh", "retry-after: 120\r\n"));
    let error = lab
        .event(PATIENT)
        .fetch(&lab.resources())
        .await
        .unwrap_err();
    assert_eq!(lab.asked(PATIENT), 1);
    let error = WorkerError::from(error);
    assert!(error.is_transient());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(120)));
}

#[tokio::test]
async fn what_is_not_there_is_asked_for_once() {
    for status in ["404 Not Found", "410 Gone", "400 Bad Request", "500 Oh"] {
        let lab = Lab::new().await;
        lab.server
            .answer(PATIENT, Answer::with(status, "", "no such patient"));
        let error = lab
            .event(PATIENT)
            .fetch(&lab.resources())
            .await
            .unwrap_err();
        assert_says(
            &error,
            &[
                "fetching http://127.0.0.1:",
                PATIENT,
                "which event tag:7 names",
            ],
        );
        assert_says(&error, &[&status[..3], "no such patient"]);
        assert_eq!(lab.asked(PATIENT), 1);
        assert!(!WorkerError::from(error).is_transient());
    }
}

/// As pages are.
#[tokio::test]
async fn resources_have_the_limits_of_pages() {
    let lab = Lab::new().await;
    lab.server
        .answer("/1", Answer::gzip(&gzip(&vec![b' '; 4 << 20])));
    lab.server.answer("/2", Answer::slow());
    let source = lab.source().with_max_bytes(1 << 20);
    let resources = source.build().unwrap().resources();
    let error = lab.event("/1").fetch(&resources).await.unwrap_err();
    assert_says(&error, &["larger than 1048576"]);
    let source = lab.source().with_total_timeout(Duration::from_millis(500));
    let resources = source.build().unwrap().resources();
    let error = lab.event("/2").fetch(&resources).await.unwrap_err();
    assert_says(&error, &["within 500ms"]);
    assert_eq!(lab.asked("/2"), 1);
}

/// Writes down who the patients are.
struct Patients(Resources);

#[async_trait]
impl PreparingWorker<MemoryConnection> for Patients {
    type Prepared = Patient;

    async fn prepare(&self, event: &Event) -> Result<Patient, WorkerError> {
        Ok(event.fetch(&self.0).await?.json()?)
    }

    async fn process(
        &self,
        event: &Event,
        patient: &Patient,
        conn: &mut MemoryConnection,
    ) -> Result<Handled, WorkerError> {
        conn.put("patients", event.content(), patient.name.as_str());
        Ok(Handled::Applied)
    }
}

/// A feed of these events, and what follows it.
fn patients(lab: &Lab, store: &MemoryStore, contents: &[&str]) -> AtomFeedClient<MemoryConnection> {
    let feed = lab.server.url("/feed/recent").parse().unwrap();
    let entries = (1..)
        .zip(contents)
        .map(|(n, content)| format!("<entry><id>tag:{n}</id><content>{content}</content></entry>"));
    let entries: String = entries.collect();
    let via = lab.server.url("/feed/1");
    let page = format!("{OPEN}<link rel='via' href='{via}'/>{entries}</feed>");
    lab.server.answer("/feed/recent", Answer::page(&page));
    lab.server.answer("/feed/1", Answer::page(&page));
    let source = HttpFeedSource::new(&feed).unwrap();
    let worker = Patients(source.resources());
    AtomFeedClient::builder(feed, source).build(store.clone(), worker)
}

fn assert_waits(error: &ProcessError, event: &str) {
    let ProcessErrorKind::Waiting {
        event: waiting,
        retry_in,
        ..
    } = error.kind()
    else {
        panic!("{error:?}");
    };
    assert_eq!(waiting, event);
    assert!(*retry_in > Duration::from_secs(900), "{retry_in:?}");
}

/// The feed waits where the server is busy, as long as that says, and parks what is not there.
#[tokio::test]
async fn a_worker_waits_for_what_is_busy_and_parks_what_is_gone() {
    let lab = Lab::new().await;
    let store = MemoryStore::new();
    busy(&lab, 1, Answer::status("503 Oh", "retry-after: 1000\r\n"));
    let client = patients(&lab, &store, &["/gone", PATIENT]);
    let error = client.process_events().await.unwrap_err();
    assert_waits(&error, "tag:2");
    assert_eq!(lab.asked(PATIENT), 1);

    let mut work = store.begin().await.unwrap();
    let feed = error.feed();
    let query = FailedEventQuery::of(feed.clone());
    let failed = work.failed_events(&query).await.unwrap();
    let marker = work.marker(feed).await.unwrap().unwrap();
    work.rollback().await.unwrap();
    assert_eq!(marker.last_read_entry_id().unwrap().as_str(), "tag:1");
    assert_eq!(failed.len(), 1);
    let message = failed[0].failure.message();
    for words in ["/gone, which event tag:1 names", "404"] {
        assert!(message.contains(words), "{message}");
    }
}

/// So does the retry of what was parked.
#[tokio::test]
async fn a_retry_waits_for_what_is_busy() {
    let lab = Lab::new().await;
    let store = MemoryStore::new();
    lab.server.answer(PATIENT, Answer::status("404 Oh", ""));
    let client = patients(&lab, &store, &[PATIENT]);
    assert_eq!(client.process_events().await.unwrap().failed, 1);
    busy(&lab, 1, Answer::status("503 Oh", "retry-after: 1000\r\n"));
    let error = client.retry_all_failed_events().await.unwrap_err();
    assert_waits(&error, "tag:1");
    assert_eq!(client.retry_all_failed_events().await.unwrap().applied, 1);
}
