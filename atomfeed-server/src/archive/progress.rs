//! What an archive knows of itself: what its pages are rendered with, and how far they have come.

use std::collections::BTreeMap;

use atomfeed_core::FeedScope;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ArchiveError;
use super::objects::{Made, Objects};
use super::place::Place;
use crate::{Audience, FeedConfig};

const CONFIGURATION: &str = "configuration.json";
const PROGRESS: &str = "progress.json";

/// What the pages of an archive were rendered with.
#[derive(Debug, Serialize, Deserialize)]
struct Configuration {
    public_url: String,
    fingerprint: String,
    /// What they carry; none in archives that did not write it down.
    #[serde(default)]
    cache_control: Option<String>,
}

/// How far the pages of each feed have come: all up to and including that number are there, or cannot be.
/// It spares looking at each of them, and is never more than is there unless somebody removed pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    #[serde(default)]
    all_events: u64,
    #[serde(default)]
    categories: BTreeMap<String, u64>,
}

impl Progress {
    pub(super) fn of(&self, scope: &FeedScope) -> u64 {
        match scope.category() {
            None => self.all_events,
            Some(category) => self
                .categories
                .get(category.as_str())
                .copied()
                .unwrap_or_default(),
        }
    }

    pub(super) fn set(&mut self, scope: &FeedScope, page: u64) {
        match scope.category() {
            None => self.all_events = page,
            Some(category) => {
                self.categories.insert(category.as_str().to_owned(), page);
            }
        }
    }

    /// As it was written last; none where there is none that can be read.
    pub(super) async fn read(objects: &Objects, place: &Place) -> Result<Self, ArchiveError> {
        let path = place.own(PROGRESS);
        let Some(bytes) = objects.get(&path).await? else {
            return Ok(Self::default());
        };
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                %path,
                error,
                "how far the archive has come cannot be read; its pages are listed instead"
            );
            Self::default()
        }))
    }

    pub(super) async fn write(&self, objects: &Objects, place: &Place) -> Result<(), ArchiveError> {
        objects.write(&place.own(PROGRESS), json(self)).await
    }
}

/// Sees to it that an archive is of one configuration: writes that of the feed down, or refuses it where
/// there is another. Pages that were for few may be followed by pages that are for all, but not the other way
/// round.
pub(super) async fn settle_configuration(
    objects: &Objects,
    place: &Place,
    config: &FeedConfig,
    audience: Audience,
) -> Result<(), ArchiveError> {
    let path = place.own(CONFIGURATION);
    let own = Configuration {
        public_url: config.base().to_owned(),
        fingerprint: config.fingerprint().to_string(),
        cache_control: Some(audience.of_sealed_pages()),
    };
    let there = match objects.get(&path).await? {
        Some(there) => there,
        None => match objects.make(&path, &json(&own), &[]).await? {
            Made::Now | Made::Before => return Ok(()),
            // Another exporter was first.
            Made::IsAnother => objects.get(&path).await?.unwrap_or_default(),
        },
    };
    let there: Option<Configuration> = serde_json::from_slice(&there).ok();
    let there = match there {
        Some(there) if there.fingerprint == own.fingerprint => there,
        there => {
            return Err(ArchiveError::OtherConfiguration {
                under: place.to_string(),
                public_url: there.map_or_else(|| "some feed".to_owned(), |there| there.public_url),
            });
        }
    };
    let for_all = Audience::Everyone.of_sealed_pages();
    match there.cache_control {
        before if before == own.cache_control => Ok(()),
        Some(before) if before == for_all => Err(ArchiveError::WereForEveryone {
            under: place.to_string(),
            cache_control: before,
            configuration: path.to_string(),
        }),
        _ => objects.write(&path, json(&own)).await,
    }
}

fn json(value: &impl Serialize) -> Bytes {
    // Maps of text and numbers can be written.
    serde_json::to_vec_pretty(value).unwrap_or_default().into()
}
