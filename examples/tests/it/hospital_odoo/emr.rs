//! An EMR that publishes what a test tells it to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use atomfeed_client::FeedUri;
use atomfeed_core::NewEvent;
use atomfeed_core::store::MemoryStore;
use atomfeed_server::{EventFeedService, FeedConfig, FeedRouter, Publisher};
use axum::Router;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderName, StatusCode, Uri};
use axum::routing::get;
use serde_json::Value;
use tokio::net::TcpListener;
use url::Url;

use super::erp::http;

/// By path and query, so that an event may name a resource as it was then.
type Documents = Arc<Mutex<HashMap<String, String>>>;

/// An EMR that publishes what it is told to, when it is told to.
pub(super) struct Emr {
    pub(super) url: Url,
    events: MemoryStore,
    documents: Documents,
}

impl Emr {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = http(&listener);
        let events = MemoryStore::new();
        let config = FeedConfig::new(url.join("/openmrs/ws/atomfeed").unwrap());
        let service = EventFeedService::open(events.clone(), config).await;
        let feeds = FeedRouter::new(service.unwrap()).into_router();
        let documents = Documents::default();
        let app = Router::new()
            .route("/openmrs/ws/rest/v1/session", get(session))
            .fallback(document)
            .with_state(Arc::clone(&documents))
            .nest("/openmrs/ws/atomfeed", feeds);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self {
            url,
            events,
            documents,
        }
    }

    pub(super) async fn publishes(&self, category: &str, content: &str, document: &Value) {
        let document = document.to_string();
        self.documents
            .lock()
            .unwrap()
            .insert(content.to_owned(), document);
        let event = NewEvent::new(category, content).in_category(category);
        let mut transaction = self.events.transaction().await;
        let publisher = Publisher::new(self.events.clone());
        publisher.publish(&mut transaction, &event).await.unwrap();
        transaction.commit();
    }

    pub(super) fn feed(&self, category: &str) -> FeedUri {
        let path = format!("/openmrs/ws/atomfeed/{category}/recent");
        self.url.join(&path).unwrap().as_str().parse().unwrap()
    }
}

/// Lets everybody in, as OpenMRS does it.
async fn session() -> ([(HeaderName, &'static str); 1], &'static str) {
    let cookie = [(SET_COOKIE, "JSESSIONID=one; Path=/")];
    (cookie, r#"{"authenticated": true}"#)
}

async fn document(State(documents): State<Documents>, uri: Uri) -> Result<String, StatusCode> {
    let found = documents.lock().unwrap().get(&uri.to_string()).cloned();
    found.ok_or(StatusCode::NOT_FOUND)
}
