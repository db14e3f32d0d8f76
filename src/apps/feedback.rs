//! The dead tokens of an application.

/// The section `[feedback]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How many dead tokens are kept for each application; past it the oldest are dropped and
    /// counted. At most 10000000.
    pub max_tokens: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_tokens: 100_000 }
    }
}
