use super::{Claim, ClaimStore, StoreError, StoreErrorKind, StoreResult};
use crate::{FeedUri, Marker, Rebase};

/// A marker that is to have another address, or whose page is.
pub(super) struct RebasedMarker<'a> {
    pub(super) from: &'a FeedUri,
    /// The feed's new address, if it is another one.
    pub(super) to: Option<FeedUri>,
    pub(super) page: String,
    pub(super) marker: &'a Marker,
}

/// Those of all markers that a rebase is about.
///
/// # Errors
///
/// [`StoreErrorKind::Refused`] when two would have one address, or an address would be none.
pub(super) fn rebased_markers<'a>(
    rebase: &Rebase,
    markers: &'a [Marker],
) -> StoreResult<Vec<RebasedMarker<'a>>> {
    let mut rebased = Vec::new();
    for marker in markers {
        let from = marker.feed_uri();
        let to = rebased_feed(rebase, from.as_str())?;
        let page = marker.page_uri().unwrap_or_default();
        let new_page = rebase.apply(page);
        if to.is_none() && new_page.is_none() {
            continue;
        }
        if let Some(to) = &to
            && markers.iter().any(|marker| marker.feed_uri() == to)
        {
            return Err(refused(&format!(
                "{to} has a marker already; delete one of the two"
            )));
        }
        rebased.push(RebasedMarker {
            from,
            to,
            page: new_page.unwrap_or_else(|| page.to_owned()),
            marker,
        });
    }
    Ok(rebased)
}

/// A feed's address as it is to be, if that is another one.
pub(super) fn rebased_feed(rebase: &Rebase, from: &str) -> StoreResult<Option<FeedUri>> {
    let to = rebase.apply(from).filter(|to| to != from);
    to.map(FeedUri::new)
        .transpose()
        .map_err(|error| refused("it would be no address").caused_by(error))
}

/// Has the claim of a feed follow its address: who comes under the old one is told.
pub(super) async fn hand_over(
    work: &mut impl ClaimStore,
    from: &FeedUri,
    to: &FeedUri,
) -> StoreResult<()> {
    let claim = work.claim(from).await?;
    work.put_claim(from, &Claim::moved(claim.as_ref(), to))
        .await?;
    // It may have had that address before.
    let claim = work.claim(to).await?;
    work.put_claim(to, &Claim::after(claim.as_ref(), "")).await
}

pub(super) fn refused(why: &str) -> StoreError {
    let context = format!("{DOING}: {why}; nothing was changed");
    StoreError::new(StoreErrorKind::Refused, context)
}

pub(super) const DOING: &str = "putting another address in the place of a feed's";
