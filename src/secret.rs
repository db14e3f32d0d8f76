//! A value that must never be printed.

use std::fmt;

/// A password, key or token. `Debug` prints `***`, there is no `Display` and no `Serialize`, so that
/// it reaches a log, an error or an answer only where [`Secret::expose`] stands in the code.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_prints_stars() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}
