//! What a single value may be: each function reads one kind, or ends the sentence that refuses it.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use url::{Host, Url};

use crate::api::proxies::Proxies;
use crate::config::reader::Found;
use crate::providers::file;
use crate::secret::Secret;
use crate::transport::proxy::Proxy;

/// What a reader of one kind of value gives.
type Read<T> = Result<T, String>;

/// `true` or `false`.
pub(super) fn boolean(found: &Found) -> Read<bool> {
    found.boolean().ok_or_else(|| found.but("`true` or `false`"))
}

/// A whole number within `range`.
pub(super) fn integer(range: RangeInclusive<usize>) -> impl Fn(&Found) -> Read<usize> {
    move |found| {
        found.integer().filter(|value| range.contains(value)).ok_or_else(|| {
            found.but(&format!("a whole number from {} to {}", range.start(), range.end()))
        })
    }
}

/// Text such as `10s`, within `range`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Found) -> Read<Duration> {
    move |found| {
        let value = found.text().and_then(parse_duration);
        value.filter(|value| range.contains(value)).ok_or_else(|| {
            let (least, most) = (spell(*range.start()), spell(*range.end()));
            found.but(&format!("a duration from \"{least}\" to \"{most}\", such as \"10s\""))
        })
    }
}

/// An address with a port; of `PORT` the port alone, on every address.
pub(super) fn address(found: &Found) -> Read<SocketAddr> {
    if found.is_variable("PORT") {
        let port = found.text().and_then(|text| text.parse::<u16>().ok());
        return port
            .map(|port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
            .ok_or_else(|| found.but("a port from 0 to 65535"));
    }
    found
        .text()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| found.but("an address with a port, such as \"127.0.0.1:9292\""))
}

/// The address of a server: `https`, a host, perhaps a port, nothing else.
pub(super) fn https_origin(found: &Found) -> Read<Url> {
    let expected = "an https address of host and perhaps port, such as \"https://example.com:443\"";
    found
        .text()
        .and_then(|text| Url::parse(text).ok())
        .filter(|url| url.scheme() == "https" && url.path() == "/")
        .filter(|url| url.query().is_none() && plain(url))
        .ok_or_else(|| found.but_hidden(expected))
}

/// The address of an endpoint: `https`, or `http` on loopback.
pub(super) fn https_or_loopback(found: &Found) -> Read<Url> {
    let safe = |url: &Url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    };
    let expected = "an https address (http on loopback) without user name, password, fragment";
    found
        .text()
        .and_then(|text| Url::parse(text).ok())
        .filter(|url| url.scheme() == "https" || (url.scheme() == "http" && safe(url)))
        .filter(plain)
        .ok_or_else(|| found.but_hidden(expected))
}

/// The address that paths are appended to: as [`https_or_loopback`], without a query.
pub(super) fn base_url(found: &Found) -> Read<Url> {
    let url = https_or_loopback(found)?;
    match url.query() {
        None => Ok(url),
        Some(_) => Err(found.but_hidden("an address without a query")),
    }
}

/// An HTTP proxy. Hidden when wrong: it may hold a password.
pub(super) fn proxy(found: &Found) -> Read<Proxy> {
    let expected = "the address of an HTTP proxy, such as \"http://proxy.example.com:3128\"";
    found.text().and_then(Proxy::parse).ok_or_else(|| found.but_hidden(expected))
}

/// Addresses and networks of proxies.
pub(super) fn proxies(found: &Found) -> Read<Proxies> {
    let expected = "a list of addresses and networks, such as [\"10.0.0.0/8\", \"::1\"]";
    let texts = found.texts().ok_or_else(|| found.but(expected))?;
    Proxies::parse(&texts)
        .map_err(|wrong| format!("has the entry `{}`; expected {expected}", wrong.escape_debug()))
}

/// A list of host names.
pub(super) fn hosts(found: &Found) -> Read<Vec<String>> {
    let expected = "a list of host names, such as [\"a.example.com\", \".corp.example.com\"]";
    let is_host = |text: &&str| {
        let known = |character: char| character.is_alphanumeric() || "._-:".contains(character);
        !text.is_empty() && text.chars().all(known)
    };
    let texts = found.texts().ok_or_else(|| found.but(expected))?;
    match texts.iter().find(|text| !is_host(text)) {
        Some(wrong) => {
            Err(format!("has the entry `{}`; expected {expected}", wrong.escape_debug()))
        }
        None => Ok(texts.into_iter().map(str::to_owned).collect()),
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(found: &Found) -> Read<[u8; 32]> {
    found.text().and_then(hex_32).ok_or_else(|| found.but_hidden("64 hexadecimal digits"))
}

fn hex_32(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    }
    (text.len() == 64).then_some(bytes)
}

/// 32 bytes that nobody knows, in hexadecimal or base64.
pub(super) fn key(found: &Found) -> Read<Secret<[u8; 32]>> {
    found.text().and_then(parse_key).ok_or_else(|| found.but_hidden(KEY))
}

/// Several of them: a list, or one text with commas, which a variable can hold.
pub(super) fn keys(found: &Found) -> Read<Vec<Secret<[u8; 32]>>> {
    let texts = match found.text() {
        Some("") => Some(Vec::new()),
        Some(text) => Some(text.split(',').collect()),
        None => found.texts(),
    };
    texts
        .and_then(|texts| texts.into_iter().map(|text| parse_key(text.trim())).collect())
        .ok_or_else(|| found.but_hidden(&format!("a list of keys, each {KEY}")))
}

fn parse_key(text: &str) -> Option<Secret<[u8; 32]>> {
    let bytes = match hex_32(text) {
        Some(bytes) => bytes,
        None => file::base64(text.as_bytes())?.try_into().ok()?,
    };
    Some(Secret::new(bytes))
}

/// One of a few words; the first column is what is written.
pub(super) fn word<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Found) -> Read<T> {
    move |found| {
        let known = words.iter().find(|(word, _)| found.text() == Some(word));
        known.map(|(_, value)| *value).ok_or_else(|| {
            let spelt: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            found.but(&format!("one of {}", spelt.join(", ")))
        })
    }
}

/// Text that is not empty.
pub(super) fn text(found: &Found) -> Read<String> {
    let text = found.text().filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| found.but("text that is not empty"))
}

/// A secret that is not empty.
pub(super) fn secret(found: &Found) -> Read<Secret<String>> {
    let text = found.text().filter(|text| !text.is_empty());
    text.map(|text| Secret::new(text.to_owned()))
        .ok_or_else(|| found.but_hidden("text that is not empty"))
}

/// A secret that may be empty, as the password of an unprotected file is.
pub(super) fn any_secret(found: &Found) -> Read<Secret<String>> {
    found.text().map(|text| Secret::new(text.to_owned())).ok_or_else(|| found.but_hidden("text"))
}

/// The name of an environment variable. Hidden when wrong: it may be the secret itself.
pub(super) fn variable_name(found: &Found) -> Read<String> {
    found
        .text()
        .filter(|text| !text.is_empty() && !text.contains(['=', '\0']))
        .map(str::to_owned)
        .ok_or_else(|| found.but_hidden("the name of an environment variable"))
}

/// The user name of HTTP Basic, which ends at its first colon. Hidden when wrong: a password may
/// follow that colon.
pub(super) fn username(found: &Found) -> Read<String> {
    found
        .text()
        .filter(|text| !text.is_empty() && !text.contains(':') && !text.contains(char::is_control))
        .map(str::to_owned)
        .ok_or_else(|| found.but_hidden("a user name, not empty and without `:`"))
}

/// The id of an application, as a registration would take it.
pub(super) fn application_id(found: &Found) -> Read<String> {
    found
        .text()
        .filter(|text| (1..=128).contains(&text.len()) && text.chars().all(is_id_character))
        .map(str::to_owned)
        .ok_or_else(|| found.but("1 to 128 letters, digits, `.`, `_`, `-` and `:`"))
}

/// A list of ids or globs. A character that no id can hold would never match anything.
pub(super) fn globs(found: &Found) -> Read<Vec<String>> {
    let expected = "a list of application ids, in which `*` and `?` stand for any characters and \
                    for one";
    list(found, expected, |character| is_id_character(character) || "*?".contains(character))
}

/// A list of hosts or globs, each perhaps with a port.
pub(super) fn host_globs(found: &Found) -> Read<Vec<String>> {
    let expected = "a list of hosts, such as \"hooks.example.com\", in which `*` and `?` stand for \
                    any characters and for one";
    let known =
        |character: char| character.is_ascii_alphanumeric() || ".-:[]*?".contains(character);
    list(found, expected, known)
}

/// A list of texts made of certain characters.
fn list(found: &Found, expected: &str, is_known: impl Fn(char) -> bool) -> Read<Vec<String>> {
    let is_right = |text: &&str| !text.is_empty() && text.chars().all(&is_known);
    let texts = found.texts().ok_or_else(|| found.but(expected))?;
    match texts.iter().find(|text| !is_right(text)) {
        Some(wrong) => {
            Err(format!("has the entry `{}`; expected {expected}", wrong.escape_debug()))
        }
        None => Ok(texts.into_iter().map(str::to_owned).collect()),
    }
}

fn is_id_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "._-:".contains(character)
}

fn plain(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(*millis)?))
}

fn spell(duration: Duration) -> impl Display {
    let millis = duration.as_millis();
    let fits = |length: u64| millis != 0 && millis.is_multiple_of(length.into());
    let (unit, length) = UNITS.iter().find(|(_, length)| fits(*length)).unwrap_or(&("s", 1_000));
    format!("{}{unit}", millis / u128::from(*length))
}

/// What a key has to be.
const KEY: &str = "32 bytes in hexadecimal or base64, such as `openssl rand -hex 32` writes";

/// The units of a duration and their length in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

#[cfg(test)]
mod tests {
    use super::{Duration, parse_duration, spell};

    #[test]
    fn duration_is_a_number_and_a_unit() {
        let parsed = ["500ms", "10s", "2m", "1h", "0s"].map(parse_duration);

        let millis = [500, 10_000, 120_000, 3_600_000, 0];
        assert_eq!(parsed, millis.map(|millis| Some(Duration::from_millis(millis))));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "10", "s", "-1s", "1.5s", "10 s", "10S", "1d", "18446744073709551615h", "ß"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn duration_is_spelt_in_its_largest_unit() {
        let spelt = [0, 1, 1_500, 25_000, 600_000, 86_400_000]
            .map(|millis| spell(Duration::from_millis(millis)).to_string());

        assert_eq!(spelt, ["0s", "1ms", "1500ms", "25s", "10m", "24h"]);
    }
}
