use std::fmt;
use std::str::FromStr;

/// What `chunking_history` counts: events, or time (`chunking.strategy` in property files).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ChunkingStrategy {
    /// A page holds so many events.
    #[default]
    Number,
    /// A page holds the events of so many milliseconds.
    Time,
}

impl ChunkingStrategy {
    /// The name in configuration and tables: `number` or `time`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Time => "time",
        }
    }
}

impl fmt::Display for ChunkingStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ChunkingStrategy {
    type Err = UnknownChunkingStrategy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Number, Self::Time]
            .into_iter()
            .find(|strategy| strategy.as_str() == text)
            .ok_or_else(|| UnknownChunkingStrategy {
                text: text.to_owned(),
            })
    }
}

/// A text that names no [`ChunkingStrategy`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no chunking strategy: say number or time")]
pub struct UnknownChunkingStrategy {
    text: String,
}
