//! What kind of notification it is: Apple's push types, with what each asks of topic and size.

/// The value of `apns-push-type` (Apple, "Sending notification requests to APNs").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushType {
    /// Something a person sees or hears.
    Alert,
    /// Work for the app, unseen.
    Background,
    /// News for a complication of a watch face.
    Complication,
    /// Reload of a control of the app.
    Controls,
    /// A change for a file provider extension.
    FileProvider,
    /// Start, update or end of a Live Activity.
    LiveActivity,
    /// A question for the phone's location.
    Location,
    /// A wake-up for mobile device management.
    Mdm,
    /// A type that Apple made after this was written: ASCII letters only.
    Other(String),
    /// A change in a Push to Talk session.
    PushToTalk,
    /// An incoming call.
    Voip,
    /// Reload of a widget of the app.
    Widgets,
}

impl PushType {
    /// Reads the header's word: a known type, or as [`PushType::Other`] anything made of letters.
    /// `None` for the rest.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "alert" => Self::Alert,
            "background" => Self::Background,
            "complication" => Self::Complication,
            "controls" => Self::Controls,
            "fileprovider" => Self::FileProvider,
            "liveactivity" => Self::LiveActivity,
            "location" => Self::Location,
            "mdm" => Self::Mdm,
            "pushtotalk" => Self::PushToTalk,
            "voip" => Self::Voip,
            "widgets" => Self::Widgets,
            _ if is_word(word) => Self::Other(word.to_owned()),
            _ => return None,
        })
    }

    /// The header's value.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(word) => word,
            known => known.as_static().unwrap_or_default(),
        }
    }

    /// The same where it was known when this was written.
    pub fn as_static(&self) -> Option<&'static str> {
        Some(match self {
            Self::Alert => "alert",
            Self::Background => "background",
            Self::Complication => "complication",
            Self::Controls => "controls",
            Self::FileProvider => "fileprovider",
            Self::LiveActivity => "liveactivity",
            Self::Location => "location",
            Self::Mdm => "mdm",
            Self::Other(_) => return None,
            Self::PushToTalk => "pushtotalk",
            Self::Voip => "voip",
            Self::Widgets => "widgets",
        })
    }

    /// What the topic must end in, after the app's bundle id; empty for most.
    pub fn topic_suffix(&self) -> &'static str {
        match self {
            Self::Complication => ".complication",
            Self::Controls => ".push-type.controls",
            Self::FileProvider => ".pushkit.fileprovider",
            Self::LiveActivity => ".push-type.liveactivity",
            Self::Location => ".location-query",
            Self::PushToTalk => ".voip-ptt",
            Self::Voip => ".voip",
            Self::Widgets => ".push-type.widgets",
            Self::Alert | Self::Background | Self::Mdm | Self::Other(_) => "",
        }
    }

    /// Apple's limit on the payload, in bytes.
    pub fn payload_limit_bytes(&self) -> usize {
        match self {
            Self::Voip => 5120,
            Self::Alert
            | Self::Background
            | Self::Complication
            | Self::Controls
            | Self::FileProvider
            | Self::LiveActivity
            | Self::Location
            | Self::Mdm
            | Self::Other(_)
            | Self::PushToTalk
            | Self::Widgets => 4096,
        }
    }
}

/// Letters only, and short enough for a header.
fn is_word(word: &str) -> bool {
    (1..=64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::PushType;

    #[test]
    fn known_words_have_the_suffix_and_limit_of_apples_table() {
        let table = [
            ("alert", "", 4096),
            ("background", "", 4096),
            ("complication", ".complication", 4096),
            ("controls", ".push-type.controls", 4096),
            ("fileprovider", ".pushkit.fileprovider", 4096),
            ("liveactivity", ".push-type.liveactivity", 4096),
            ("location", ".location-query", 4096),
            ("mdm", "", 4096),
            ("pushtotalk", ".voip-ptt", 4096),
            ("voip", ".voip", 5120),
            ("widgets", ".push-type.widgets", 4096),
        ];

        for (word, suffix, limit_bytes) in table {
            let known = PushType::parse(word)
                .filter(|known| !matches!(known, PushType::Other(_)))
                .map(|k| (k.as_str().to_owned(), k.topic_suffix(), k.payload_limit_bytes()));
            assert_eq!(known, Some((word.to_owned(), suffix, limit_bytes)));
        }
    }

    #[test]
    fn other_words_are_letters() {
        assert_eq!(PushType::parse("Holo"), Some(PushType::Other("Holo".to_owned())));
        for word in ["", "a b", "a-b", "a1", "ä", "a\r\nx", &"a".repeat(65)] {
            assert_eq!(PushType::parse(word), None, "{word:?}");
        }
    }
}
