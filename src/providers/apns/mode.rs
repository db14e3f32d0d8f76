//! Which of Apple's two environments is meant.

/// Which of Apple's two environments an application talks to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Both: each token's own, found out by asking. A message goes to one of the other two.
    Auto,
    /// Apple's sandbox, for builds signed for development.
    Development,
    /// The App Store, `TestFlight` and ad hoc builds.
    #[default]
    Production,
}

impl Mode {
    /// Reads the word that parameters and configuration use; `sandbox` is Apple's own.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            "development" | "sandbox" => Some(Self::Development),
            "production" => Some(Self::Production),
            _ => None,
        }
    }

    /// The word for it in parameters, configuration and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Development => "development",
            Self::Production => "production",
        }
    }

    /// Apple's word for the environment.
    #[must_use]
    pub fn apples_word(self) -> &'static str {
        match self {
            Self::Development => "sandbox",
            Self::Auto | Self::Production => "production",
        }
    }

    /// The other one of the two environments.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Development => Self::Production,
            Self::Auto | Self::Production => Self::Development,
        }
    }
}
