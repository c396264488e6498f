//! Where markers stand, and at which addresses.

use atomfeed_core::ActionKind;
use axum::http::StatusCode;
use futures_util::future::join_all;
use url::form_urlencoded;

use super::act::{Wish, stands, told};
use super::answer::{Answer, Visit};
use super::pages::{FormPage, MarkersOf, MarkersPage};
use super::response::{html, report, to};
use super::shown::visible;

impl Visit<'_> {
    pub(super) async fn markers(&self) -> Answer {
        let read = self.systems()?.into_iter().map(|system| async move {
            let markers = system.read(async { system.look().await?.markers().await });
            (system, markers.await)
        });
        let mut systems = Vec::new();
        for (system, markers) in join_all(read).await {
            let (away, markers) = match markers {
                Ok(markers) => (None, markers),
                Err(error) => (Some(visible(&report(&error))), Vec::new()),
            };
            let rows = markers.iter().map(|marker| {
                let feed = marker.feed_uri().as_str();
                let page = marker.page_uri().unwrap_or_default();
                let entry = marker
                    .last_read_entry_id()
                    .map(|entry| visible(entry.as_str()));
                (
                    feed.to_owned(),
                    visible(feed),
                    visible(page),
                    entry.unwrap_or_default(),
                )
            });
            systems.push(MarkersOf {
                name: system.name().to_owned(),
                away,
                rows: rows.collect(),
            });
        }
        let frame = self.frame("markers");
        Ok(html(StatusCode::OK, &MarkersPage { frame, systems }))
    }

    /// First where to, which shows a preview; with that, whether it is to be done.
    pub(super) async fn marker_form(&self) -> Answer {
        self.must_operate()?;
        let system = self.system()?;
        let feed = Self::feed(self.asked("feed").unwrap_or_default())?;
        let is_adopted = system.store().await?.is_adopted();
        let mut work = system.look().await?;
        let marker = work.marker(&feed).await?;
        let is_foreign = self
            .desk
            .is_foreign(is_adopted, work.as_mut(), &feed)
            .await?;
        drop(work);
        let stood = marker
            .as_ref()
            .map_or_else(|| "nowhere yet".to_owned(), stands);
        let facts = vec![
            ("System", system.name().to_owned()),
            ("Feed", visible(feed.as_str())),
            ("The marker stands", visible(&stood)),
        ];
        let hidden = vec![("feed", feed.as_str().to_owned())];
        let back = format!("{}/markers", self.desk.base);
        let path = self.here("/marker");
        let page = match self.asked("position") {
            None => FormPage {
                heading: "Move a marker",
                facts,
                explains: "First you see what would be skipped, or read and applied again; nothing is moved yet.".to_owned(),
                path,
                hidden,
                position: Some("latest".to_owned()),
                is_by_hand: is_foreign,
                asks_why: false,
                back,
                ..self.form_page("markers", "Show what would happen", false)
            },
            Some(position) => FormPage {
                heading: "Move a marker",
                facts: [facts, vec![("It is to stand at", visible(position))]].concat(),
                explains: "What lies between is skipped, and never applied, or read and applied again.".to_owned(),
                path,
                hidden: [hidden, vec![("position", position.to_owned())]].concat(),
                back,
                ..self.form_page("markers", "Move the marker", true)
            },
        };
        Ok(html(StatusCode::OK, &page))
    }

    pub(super) async fn marker_act(&self) -> Answer {
        let feed_uri = Self::feed(self.given("feed"))?;
        let position = self.given("position");
        let (kind, detail, why) = match position.is_empty() {
            true => {
                let by_hand = format!("{} {}", self.given("page"), self.given("entry"));
                let detail = match self.given("detail") {
                    "" => by_hand.trim().to_owned(),
                    detail => detail.to_owned(),
                };
                (
                    ActionKind::PreviewMarker,
                    detail,
                    "to see where it would stand".to_owned(),
                )
            }
            false => {
                let why = self.given("why").to_owned();
                (ActionKind::MoveMarker, position.to_owned(), why)
            }
        };
        self.ask(Wish {
            kind,
            feed_uri,
            failed_event_id: None,
            detail,
            why,
            seen: None,
        })
        .await
    }

    pub(super) async fn rebase_form(&self) -> Answer {
        self.must_operate()?;
        let system = self.system()?;
        let facts = vec![("System", system.name().to_owned())];
        let back = format!("{}/markers", self.desk.base);
        let path = self.here("/rebase");
        let explains = "Markers hold whole addresses. When a host has got another name, put that in the place of the old \
                        one, wherever it stands.";
        let page = match (self.asked("from"), self.asked("to")) {
            (Some(from), Some(new)) => {
                let detail = format!("{from}={new}");
                let would = told(&self.desk.preview_rebase(system, &detail).await?);
                FormPage {
                    heading: "Give a host another address",
                    facts: [
                        facts,
                        vec![
                            ("From", visible(from)),
                            ("To", visible(new)),
                            ("It would change", would),
                        ],
                    ]
                    .concat(),
                    explains: explains.to_owned(),
                    path,
                    hidden: vec![("detail", detail), ("to", new.to_owned())],
                    back,
                    ..self.form_page("markers", "Replace it", true)
                }
            }
            _ => FormPage {
                heading: "Give a host another address",
                facts,
                explains: explains.to_owned(),
                path,
                addresses: true,
                asks_why: false,
                back,
                ..self.form_page("markers", "Show what would change", false)
            },
        };
        Ok(html(StatusCode::OK, &page))
    }

    pub(super) async fn rebase_act(&self) -> Answer {
        let (from, new) = (self.given("from"), self.given("to"));
        if !from.is_empty() {
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("from", from), ("to", new)])
                .finish();
            return Ok(to(&self.here(&format!("/rebase?{query}"))));
        }
        self.ask(Wish {
            kind: ActionKind::Rebase,
            feed_uri: Self::feed(new)?,
            failed_event_id: None,
            detail: self.given("detail").to_owned(),
            why: self.given("why").to_owned(),
            seen: None,
        })
        .await
    }
}
