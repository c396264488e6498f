//! The lab, which stands in for OpenELIS. It follows the EMR's feeds of patients, tests and encounters,
//! analyses what is ordered, and publishes what it has found on a feed of its own.

mod analyser;
mod catalogue;
#[cfg(test)]
mod fixture;
mod login;
mod orders;
mod patients;
mod rest;
mod tables;

use std::sync::Arc;

use anyhow::Context;
use atomfeed_client::{AtomFeedClients, CancellationToken};
use atomfeed_core::store::sql::SqlStore;
use atomfeed_server::{EventFeedService, FeedConfig, FeedRouter, FeedServer, Publisher, Sequencer};
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use url::Url;

use super::Engine;
use super::feeds::{Feeds, make_applied};
use analyser::Analyser;

pub use catalogue::Catalogue;
pub use orders::Orders;
pub use patients::Patients;

/// Where the lab's feed is.
const FEED: &str = "/openelis/ws/feed";

/// What the lab is told when it starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where others reach the lab: `http://127.0.0.1:8052`.
    pub public: Url,
    /// Where the EMR is: `http://127.0.0.1:8050`.
    pub emr: Url,
}

/// Runs the lab until it is to stop: its feed and what that names, behind its login, the machines, and the
/// consumers of the EMR's feeds.
///
/// # Errors
///
/// When its tables cannot be made or read, or an address is none.
pub async fn run<D: Engine>(
    store: SqlStore<D>,
    listener: TcpListener,
    options: Options,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    tables::make(&store).await?;
    make_applied(&store).await?;

    let sequencer = Sequencer::new(store.clone());
    let publisher = Publisher::new(store.clone()).waking(&sequencer);
    let ordered = Arc::new(Notify::new());
    let analyser = Analyser::new(store.clone(), publisher, Arc::clone(&ordered));

    let public = options.public.join(FEED).context("naming the lab's feed")?;
    let config = FeedConfig::new(public).with_title("OpenELIS");
    let service = EventFeedService::open(store.clone(), config).await?;
    let feed = FeedRouter::new(service.hearing(&sequencer)).until(stop.clone());
    let app = Router::new().nest(FEED, feed.into_router());
    let app = login::behind_login(app.merge(rest::router(store.clone())));

    let emr = Feeds::of_emr(&options.emr).context("naming the EMR's feeds")?;
    let mut clients = AtomFeedClients::new(4);
    let patients = Patients::new(emr.resources());
    emr.follow("patient", &store, patients, &mut clients)?;
    let catalogue = Catalogue::new(emr.resources());
    emr.follow("lab", &store, catalogue, &mut clients)?;
    let orders = Orders::new(emr.resources(), ordered);
    emr.follow("encounter", &store, orders, &mut clients)?;

    tokio::join!(
        FeedServer::new(app).run(listener, stop.clone()),
        sequencer.run(stop.clone()),
        analyser.run(stop.clone()),
        clients.run(stop),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use async_trait::async_trait;
    use atomfeed_client::{
        Event, FeedUri, FetchContent, FormLogin, Handled, HttpFeedSource, PreparingWorker,
        Resources, WorkerError,
    };
    use sqlx::{Sqlite, SqliteConnection};
    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::fixture::{HAEMOGLOBIN, Lab, PATIENCE, browser, encounter, order, resources, uuid};
    use super::*;
    use crate::hospital::documents::{Accession, OrderAction};
    use crate::hospital::feeds::{PASSWORD, USER};
    use crate::hospital::{Field, Sql};

    /// Runs the lab of an EMR that is away, and says where it is.
    async fn start(
        lab: &Lab<Sqlite>,
        stop: &CancellationToken,
    ) -> (Url, JoinHandle<anyhow::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public = format!("http://{}", listener.local_addr().unwrap());
        let public: Url = public.parse().unwrap();
        let options = Options {
            public: public.clone(),
            emr: "http://127.0.0.1:9".parse().unwrap(),
        };
        let running = run(lab.store.clone(), listener, options, stop.clone());
        (public, tokio::spawn(running))
    }

    /// Hands on what the lab has found.
    struct HandsOn {
        lab: Resources,
        to: mpsc::UnboundedSender<(String, Accession)>,
    }

    #[async_trait]
    impl PreparingWorker<SqliteConnection> for HandsOn {
        type Prepared = Accession;

        async fn prepare(&self, event: &Event) -> Result<Accession, WorkerError> {
            Ok(event.fetch(&self.lab).await?.json()?)
        }

        async fn process(
            &self,
            event: &Event,
            accession: &Accession,
            _conn: &mut SqliteConnection,
        ) -> Result<Handled, WorkerError> {
            self.to
                .send((event.title().to_owned(), accession.clone()))?;
            Ok(Handled::Applied)
        }
    }

    /// Through the login, the feed, and the resource, as another system comes.
    #[tokio::test]
    async fn what_is_ordered_comes_back_on_the_feed() {
        let lab = Lab::new().await.with_catalogue().await;
        let orders = Orders::new(resources(), Arc::default());
        let ordered = encounter(1, vec![order(1, OrderAction::New, HAEMOGLOBIN)]);
        lab.apply(&orders, &ordered).await.unwrap();

        let stop = CancellationToken::new();
        let (public, running) = start(&lab, &stop).await;
        let feeds = Feeds::of_lab(&public).unwrap();

        let emr = Lab::new().await;
        make_applied(&emr.store).await.unwrap();
        let (to, mut found) = mpsc::unbounded_channel();
        let worker = HandsOn {
            lab: feeds.resources(),
            to,
        };
        let mut clients = AtomFeedClients::new(1);
        feeds
            .follow("patient", &emr.store, worker, &mut clients)
            .unwrap();
        let following = tokio::spawn(clients.run(stop.clone()));

        let (title, accession) = timeout(PATIENCE, found.recv()).await.unwrap().unwrap();
        assert_eq!(title, "accession");
        assert_eq!(accession.encounter_uuid, ordered.uuid);
        assert_eq!(accession.patient_uuid, ordered.patient_uuid);
        assert_eq!(accession.results.len(), 1);
        assert_eq!(accession.results[0].order_uuid, ordered.orders[0].uuid);

        stop.cancel();
        timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
        timeout(PATIENCE, following).await.unwrap().unwrap();
    }

    const RECENT: &str = "/openelis/ws/feed/patient/recent";

    /// As `openelis.uri` of the original's property files has it.
    #[tokio::test]
    async fn nobody_gets_in_without_a_login_and_the_form_may_be_posted_to_the_feed() {
        let lab = Lab::new().await;
        let values: [Field; 3] = [uuid(7).into(), uuid(101).into(), uuid(1).into()];
        let insert =
            "INSERT INTO accessions (uuid, encounter_uuid, patient_uuid) VALUES ($1, $2, $3)";
        let mut conn = lab.store.pool().acquire().await.unwrap();
        conn.run(insert, &values).await.unwrap();
        drop(conn);
        let stop = CancellationToken::new();
        let _until_the_end = stop.clone().drop_guard();
        let (public, _running) = start(&lab, &stop).await;

        let accession = format!("/openelis/ws/rest/accession/{}", uuid(7));
        let url = |path: &str| public.join(path).unwrap();
        let get = async |path: &str, cookie: &str| {
            let request = browser().get(url(path)).header("cookie", cookie);
            request.send().await.unwrap()
        };
        let sign_in = async |password: &str| {
            let form = format!("loginName={USER}&password={password}");
            let request = browser().post(url(RECENT)).body(form);
            let kind = "application/x-www-form-urlencoded";
            request.header("content-type", kind).send().await.unwrap()
        };
        let sent_to_the_login = |answer: &reqwest::Response| {
            assert_eq!(answer.status(), 302, "{answer:?}");
            assert_eq!(answer.headers()["location"], "/openelis/LoginPage.do");
            assert!(!answer.headers().contains_key("set-cookie"), "{answer:?}");
        };
        let routes: [(&str, u16); 4] = [
            (RECENT, 200),
            ("/openelis/ws/feed/recent", 200),
            ("/openelis/ws/feed/patient/1", 404),
            (accession.as_str(), 200),
        ];
        for (path, _) in routes {
            sent_to_the_login(&get(path, "JSESSIONID=made-up").await);
        }
        sent_to_the_login(&sign_in("wrong").await);

        let right = sign_in(PASSWORD).await;
        assert_eq!(right.status(), 302);
        assert_eq!(right.headers()["location"], "/openelis/Dashboard.do");
        let cookie = right.headers()["set-cookie"].to_str().unwrap();
        let session = cookie.split(';').next().unwrap();
        for (path, status) in routes {
            assert_eq!(get(path, session).await.status(), status, "{path}");
        }

        let feed: FeedUri = url(RECENT).as_str().parse().unwrap();
        let login = FormLogin::new(feed.as_str(), USER, PASSWORD);
        let source = HttpFeedSource::builder(&feed).with_login(login).build();
        let found = source.unwrap().resources().get(&url(&accession)).await;
        assert_eq!(found.unwrap().json::<Accession>().unwrap().uuid, uuid(7));
    }
}
