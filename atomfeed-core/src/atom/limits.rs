/// How much of a document [`read_feed`](super::read_feed) is willing to take.
///
/// What is read needs memory in proportion to the document, and time as well, whatever it contains.
///
/// ```
/// use atomfeed_core::atom::ReadLimits;
///
/// let limits = ReadLimits::default().with_max_bytes(256 << 20);
/// assert_eq!(limits.max_bytes(), 268_435_456);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    max_bytes: usize,
    max_depth: usize,
    max_entries: usize,
    max_attributes: usize,
}

impl ReadLimits {
    /// The size of a document, in bytes: 64 MiB unless set. Whoever fetches it can stop there.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// How many elements may be open at once, `feed` among them: 32 unless set.
    pub fn max_depth(&self) -> usize {
        self.max_depth
    }

    /// How many entries a feed may have: 10,000 unless set.
    pub fn max_entries(&self) -> usize {
        self.max_entries
    }

    /// How many attributes an element may have, namespace declarations among them: 32 unless set.
    pub fn max_attributes(&self) -> usize {
        self.max_attributes
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`max_depth`](Self::max_depth).
    #[must_use]
    pub fn with_max_depth(mut self, elements: usize) -> Self {
        self.max_depth = elements;
        self
    }

    /// Sets [`max_entries`](Self::max_entries).
    #[must_use]
    pub fn with_max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    /// Sets [`max_attributes`](Self::max_attributes).
    #[must_use]
    pub fn with_max_attributes(mut self, attributes: usize) -> Self {
        self.max_attributes = attributes;
        self
    }
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_depth: 32,
            max_entries: 10_000,
            max_attributes: 32,
        }
    }
}
