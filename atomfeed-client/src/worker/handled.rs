/// What a worker did with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handled {
    /// It was applied.
    Applied,
    /// It does not concern this worker, and never will; it is counted apart.
    Ignored,
}

/// What has nothing more to say was applied.
impl From<()> for Handled {
    fn from((): ()) -> Self {
        Self::Applied
    }
}
