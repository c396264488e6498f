use uuid::Uuid;

/// Dice that fall the same in every day that begins with as many events.
pub(super) struct Dice {
    seed: Uuid,
    rolled: u64,
}

impl Dice {
    pub(super) fn new(before: i64) -> Self {
        let seed = format!("a day in the hospital after {before} events");
        Self {
            seed: Uuid::new_v5(&Uuid::NAMESPACE_OID, seed.as_bytes()),
            rolled: 0,
        }
    }

    pub(super) fn uuid(&self, kind: &str, number: usize) -> Uuid {
        Uuid::new_v5(&self.seed, format!("{kind} {number}").as_bytes())
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn roll(&mut self, bound: usize) -> usize {
        self.rolled += 1;
        let fallen = Uuid::new_v5(&self.seed, &self.rolled.to_be_bytes());
        (fallen.as_u128() % bound as u128) as usize
    }

    pub(super) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.roll(all.len())]
    }
}
