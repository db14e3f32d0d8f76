//! The address of one app on one phone.

use std::fmt;

/// Most bytes of a token. Apple's have had 32 bytes for years and may grow: "don't make
/// assumptions about device token size" (Apple, "Sending notification requests to APNs").
const MAX_BYTES: usize = 100;

/// A device token: hexadecimal, 1 to 100 bytes.
///
/// It remembers the caller's spelling, because the list of dead tokens is read by the caller.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DeviceToken {
    given: String,
    hex: String,
}

impl DeviceToken {
    /// Reads a token. Spaces and the angle brackets of the old `<xxxx xxxx>` form are dropped.
    ///
    /// # Errors
    ///
    /// [`InvalidDeviceToken`] when what is left is not an even number of hexadecimal digits, or
    /// not 1 to 100 bytes.
    pub fn parse(given: String) -> Result<Self, InvalidDeviceToken> {
        let mut hex = String::with_capacity(given.len().min(2 * MAX_BYTES));
        for character in given.chars().filter(|c| !matches!(c, ' ' | '<' | '>')) {
            if !character.is_ascii_hexdigit() || hex.len() == 2 * MAX_BYTES {
                return Err(InvalidDeviceToken);
            }
            hex.push(character.to_ascii_lowercase());
        }
        if hex.is_empty() || !hex.len().is_multiple_of(2) {
            return Err(InvalidDeviceToken);
        }
        Ok(Self { given, hex })
    }

    /// The token as the caller spelt it.
    pub fn as_given(&self) -> &str {
        &self.given
    }

    /// The token in lower-case hexadecimal, as it is sent to Apple.
    pub fn as_hex(&self) -> &str {
        &self.hex
    }
}

/// Prints the first eight characters: a token is the address of a person.
impl fmt::Debug for DeviceToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.hex.get(..8).unwrap_or(&self.hex);
        write!(formatter, "DeviceToken({start}…)")
    }
}

/// A text that cannot be a device token of Apple's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidDeviceToken;

impl fmt::Display for InvalidDeviceToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "device_token must be 1 to {MAX_BYTES} bytes in hexadecimal, an even number of digits; \
             send the token that the phone registered"
        )
    }
}

impl std::error::Error for InvalidDeviceToken {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex_of(given: &str) -> Option<String> {
        DeviceToken::parse(given.to_owned()).ok().map(|token| token.as_hex().to_owned())
    }

    #[test]
    fn the_old_spelling_is_read() {
        assert_eq!(hex_of("<740F4707 bebcf74f>").as_deref(), Some("740f4707bebcf74f"));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let longest = "ab".repeat(MAX_BYTES);

        assert_eq!(hex_of(&longest), Some(longest.clone()));
        for given in ["", "<>", " ", "abc", "abcg", "ab\tcd", "ab\ncd", "ab/../cd", "äb", "ab-cd"]
        {
            assert_eq!(hex_of(given), None, "{given:?}");
        }
        assert_eq!(hex_of(&format!("{longest}ab")), None);
    }

    #[test]
    fn debug_prints_eight_characters() {
        let token = DeviceToken::parse("740F4707bebcf74f".to_owned());

        assert_eq!(format!("{token:?}"), "Ok(DeviceToken(740f4707…))");
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 1..=MAX_BYTES)) {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let given = format!("<{}>", hex.to_uppercase());

            let token = DeviceToken::parse(given.clone()).map_err(|e| TestCaseError::fail(e.to_string()))?;

            prop_assert_eq!(token.as_hex(), hex);
            prop_assert_eq!(token.as_given(), given);
        }

        #[test]
        fn nothing_but_hexadecimal_gets_out(given in any::<String>()) {
            if let Ok(token) = DeviceToken::parse(given) {
                let hex = token.as_hex();
                prop_assert!(hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
                prop_assert!(!hex.is_empty() && hex.len().is_multiple_of(2));
            }
        }
    }
}
