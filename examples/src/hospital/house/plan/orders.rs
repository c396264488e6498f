//! What is ordered, and what becomes of it.

use uuid::Uuid;

use super::names::{EXAMINATIONS, after};
use crate::hospital::documents::{Concept, Order, OrderAction, OrderKind};

/// Whether this can be done to an order.
pub(super) fn takes(order: &Order, action: OrderAction) -> bool {
    let can_be_revised = matches!(order.kind, OrderKind::Drug | OrderKind::Radiology);
    order.action != OrderAction::Discontinue
        && (can_be_revised || action == OrderAction::Discontinue)
}

/// Changes what there is in an order; never to what it was.
pub(super) fn revise(order: &mut Order) {
    if order.kind == OrderKind::Drug {
        order.quantity = order.quantity % 30 + 1;
        return;
    }
    order.concept = known(after(&EXAMINATIONS, &order.concept.name));
}

pub(super) fn concept(uuid: Uuid, name: &str) -> Concept {
    Concept {
        uuid,
        name: name.to_owned(),
    }
}

/// An examination or a service, which has the same uuid in every day.
pub(super) fn known(name: &str) -> Concept {
    concept(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()), name)
}
