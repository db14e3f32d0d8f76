//! What APNs checks of a request, in Apple's words.
//!
//! Apple, *Sending notification requests to APNs* (headers and sizes) and *Handling notification
//! responses from APNs* (reasons). The order is not documented; ours goes from the outside in:
//! method, path, token, who sends, headers, topic, payload.

use http::{HeaderMap, Method};
use uuid::Uuid;

use super::certificates::Environment;
use super::client::Client;
use super::provider_token::{ProviderTokens, TokenStanding};
use super::reasons::Refusal;

/// Apple makes no promise on the length; real tokens have 32 bytes, and up to 100 are expected.
const TOKEN_HEX_DIGITS_MAX: usize = 200;
const COLLAPSE_ID_BYTES_MAX: usize = 64;
const PAYLOAD_BYTES_MAX: usize = 4_096;
const VOIP_PAYLOAD_BYTES_MAX: usize = 5_120;

/// The push types, each with the suffix that its topic must have.
const PUSH_TYPES: &[(&str, &str)] = &[
    ("alert", ""),
    ("background", ""),
    ("complication", ".complication"),
    ("controls", ".push-type.controls"),
    ("fileprovider", ".pushkit.fileprovider"),
    ("liveactivity", ".push-type.liveactivity"),
    ("location", ".location-query"),
    ("mdm", ""),
    ("pushtotalk", ".voip-ptt"),
    ("voip", ".voip"),
    ("widgets", ".push-type.widgets"),
];

/// A request, as far as it is checked.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) payload: &'a [u8],
}

/// What a simulator allows, beside what Apple fixed.
pub(super) struct Policy {
    pub(super) environment: Environment,
    pub(super) tokens: ProviderTokens,
}

/// Who sends on a connection.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The client certificate; with one, provider tokens are ignored.
    pub(super) client: Option<Client>,
    pub(super) token: TokenStanding,
}

/// The device token of a path, if it is one of `/3/device/…`.
pub(super) fn device_token(path: &str) -> Option<&str> {
    path.strip_prefix("/3/device")
        .and_then(|rest| if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') })
}

/// The value of a header, if it is there once and is text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether this is a UUID in its canonical form: 8-4-4-4-12 hex digits, either case.
pub(super) fn is_message_id(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

/// Checks one request; the first fault decides.
pub(super) fn check(
    request: &Request<'_>,
    policy: &Policy,
    standing: &mut Standing,
    now_secs: i64,
) -> Result<(), Refusal> {
    check_route(request)?;
    check_sender(request.headers, policy, standing, now_secs)?;
    check_headers(request.headers)?;
    check_topic(request.headers, standing.client.as_ref())?;
    check_payload(request)
}

fn check_route(request: &Request<'_>) -> Result<(), Refusal> {
    if request.method != Method::POST {
        return refuse("MethodNotAllowed");
    }
    let Some(token) = device_token(request.path) else {
        return refuse("BadPath");
    };
    if token.is_empty() {
        return refuse("MissingDeviceToken");
    }
    let is_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || token.len() % 2 != 0 || token.len() > TOKEN_HEX_DIGITS_MAX {
        return refuse("BadDeviceToken");
    }
    Ok(())
}

/// Checks who sends.
pub(super) fn check_sender(
    headers: &HeaderMap,
    policy: &Policy,
    standing: &mut Standing,
    now_secs: i64,
) -> Result<(), Refusal> {
    if standing.token.is_wedged {
        return refuse("ExpiredProviderToken");
    }
    let Some(client) = &standing.client else {
        let authorization = header(headers, "authorization");
        return policy.tokens.check(authorization, &mut standing.token, now_secs);
    };
    let (not_before_secs, not_after_secs) = client.validity_secs;
    if now_secs < not_before_secs || now_secs > not_after_secs {
        return refuse("BadCertificate");
    }
    let is_elsewhere = match policy.environment {
        Environment::Any => false,
        Environment::Production => client.development && !client.production,
        Environment::Sandbox => client.production && !client.development,
    };
    if is_elsewhere { refuse("BadCertificateEnvironment") } else { Ok(()) }
}

fn check_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    let apns = headers.keys().filter(|name| name.as_str().starts_with("apns-"));
    for name in apns {
        if headers.get_all(name).iter().nth(1).is_some() {
            return refuse("DuplicateHeaders");
        }
    }
    // A value that is no text is none of the values allowed below.
    let value = |name| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
    if value("apns-id").is_some_and(|id| !is_message_id(id)) {
        return refuse("BadMessageId");
    }
    if value("apns-expiration").is_some_and(|secs| !is_number(secs)) {
        return refuse("BadExpirationDate");
    }
    let push_type = value("apns-push-type");
    if push_type.is_some_and(|push_type| suffix(push_type).is_none()) {
        return refuse("InvalidPushType");
    }
    match value("apns-priority") {
        // "Always use priority 5. Using priority 10 is an error."
        Some("10") if push_type == Some("background") => return refuse("BadPriority"),
        None | Some("1" | "5" | "10") => {}
        Some(_) => return refuse("BadPriority"),
    }
    let collapse_id = headers.get("apns-collapse-id");
    if collapse_id.is_some_and(|id| id.len() > COLLAPSE_ID_BYTES_MAX) {
        return refuse("BadCollapseId");
    }
    Ok(())
}

fn check_topic(headers: &HeaderMap, client: Option<&Client>) -> Result<(), Refusal> {
    let topic = match (headers.get("apns-topic"), client) {
        (Some(topic), _) => topic.to_str().unwrap_or(""),
        (None, Some(client)) => match (&client.uid, client.topics.as_slice()) {
            (Some(uid), [_]) => uid,
            _ => return refuse("MissingTopic"),
        },
        (None, None) => return refuse("MissingTopic"),
    };
    let is_bundle_id = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if topic.is_empty() || !topic.bytes().all(is_bundle_id) {
        return refuse("BadTopic");
    }
    if client.is_some_and(|client| !client.topics.iter().any(|allowed| allowed == topic)) {
        return refuse("TopicDisallowed");
    }
    // Which reason Apple gives here is not documented. No device has a token for, say, VoIP under a
    // topic without `.voip`, so this one is true.
    let push_type = header(headers, "apns-push-type").unwrap_or("alert");
    if suffix(push_type).is_some_and(|suffix| !topic.ends_with(suffix)) {
        return refuse("DeviceTokenNotForTopic");
    }
    Ok(())
}

fn check_payload(request: &Request<'_>) -> Result<(), Refusal> {
    let limit = match header(request.headers, "apns-push-type") {
        Some("voip") => VOIP_PAYLOAD_BYTES_MAX,
        _ => PAYLOAD_BYTES_MAX,
    };
    if request.payload.is_empty() {
        return refuse("PayloadEmpty");
    }
    if request.payload.len() > limit { refuse("PayloadTooLarge") } else { Ok(()) }
}

fn suffix(push_type: &str) -> Option<&'static str> {
    PUSH_TYPES.iter().find(|(name, _)| *name == push_type).map(|(_, suffix)| *suffix)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i64>().is_ok()
}

fn refuse(reason: &'static str) -> Result<(), Refusal> {
    Err(Refusal::new(reason))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const NOW: i64 = 1_700_000_000;

    /// A certificate for `com.example` and its `.voip`, valid for a day either way.
    fn standing() -> Standing {
        let client = Client {
            uid: Some("com.example".to_owned()),
            topics: vec!["com.example".to_owned(), "com.example.voip".to_owned()],
            development: true,
            production: true,
            validity_secs: (NOW - 86_400, NOW + 86_400),
        };
        Standing { client: Some(client), token: TokenStanding::default() }
    }

    fn check_it(
        path: &str,
        headers: &[(&'static str, &str)],
        payload: &[u8],
        environment: Environment,
        mut standing: Standing,
    ) -> Result<(), &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            map.append(HeaderName::from_static(name), value);
        }
        let request = Request { method: &Method::POST, path, headers: &map, payload };
        let tokens = ProviderTokens::new(Vec::new(), false);
        let policy = Policy { environment, tokens };
        check(&request, &policy, &mut standing, NOW).map_err(|refusal| refusal.reason)
    }

    fn check_headers(headers: &[(&'static str, &str)]) -> Result<(), &'static str> {
        check_it("/3/device/ab", headers, b"{}", Environment::Any, standing())
    }

    fn check_client(environment: Environment, client: Client) -> Result<(), &'static str> {
        let standing = Standing { client: Some(client), ..standing() };
        check_it("/3/device/ab", &[TOPIC], b"{}", environment, standing)
    }

    const TOPIC: (&str, &str) = ("apns-topic", "com.example");

    #[test]
    fn paths() {
        let check = |path: &str| check_it(path, &[TOPIC], b"{}", Environment::Any, standing());

        assert_eq!(check("/3/device/00fF"), Ok(()));
        assert_eq!(check(&format!("/3/device/{}", "ab".repeat(100))), Ok(()));
        assert_eq!(check(&format!("/3/device/{}", "ab".repeat(101))), Err("BadDeviceToken"));
        assert_eq!(check("/3/device/abc"), Err("BadDeviceToken"));
        assert_eq!(check("/3/device/xy"), Err("BadDeviceToken"));
        assert_eq!(check("/3/device/ab/cd"), Err("BadDeviceToken"));
        assert_eq!(check("/3/device/"), Err("MissingDeviceToken"));
        assert_eq!(check("/3/device"), Err("MissingDeviceToken"));
        assert_eq!(check("/3/devices/ab"), Err("BadPath"));
        assert_eq!(check("/"), Err("BadPath"));
    }

    #[test]
    fn header_values() {
        let check = |name, value: &str| check_headers(&[TOPIC, (name, value)]);

        assert_eq!(check("apns-id", "123e4567-e89b-12d3-A456-42665544000a"), Ok(()));
        assert_eq!(check("apns-id", "123e4567e89b12d3a45642665544000a"), Err("BadMessageId"));
        assert_eq!(check("apns-id", "{123e4567-e89b-12d3-a456-42665544000a}"), Err("BadMessageId"));
        assert_eq!(check("apns-id", ""), Err("BadMessageId"));
        assert_eq!(check("apns-expiration", "0"), Ok(()));
        assert_eq!(check("apns-expiration", "-1"), Err("BadExpirationDate"));
        assert_eq!(check("apns-expiration", "+1"), Err("BadExpirationDate"));
        assert_eq!(check("apns-expiration", ""), Err("BadExpirationDate"));
        assert_eq!(check("apns-priority", "1"), Ok(()));
        assert_eq!(check("apns-priority", "5"), Ok(()));
        assert_eq!(check("apns-priority", "10"), Ok(()));
        assert_eq!(check("apns-priority", "9"), Err("BadPriority"));
        assert_eq!(check("apns-collapse-id", &"x".repeat(64)), Ok(()));
        assert_eq!(check("apns-collapse-id", &"x".repeat(65)), Err("BadCollapseId"));
        assert_eq!(check("apns-push-type", "alert"), Ok(()));
        assert_eq!(check("apns-push-type", "Alert"), Err("InvalidPushType"));
        assert_eq!(check("apns-topic", "com.example"), Err("DuplicateHeaders"));
    }

    #[test]
    fn background_is_never_urgent() {
        let check = |priority| {
            let push_type = ("apns-push-type", "background");
            check_headers(&[TOPIC, push_type, ("apns-priority", priority)])
        };

        assert_eq!(check("10"), Err("BadPriority"));
        assert_eq!(check("5"), Ok(()));
    }

    #[test]
    fn topics_of_a_certificate() {
        let check = |topic| check_headers(&[("apns-topic", topic)]);

        assert_eq!(check("com.example.voip"), Ok(()));
        assert_eq!(check("com.example.other"), Err("TopicDisallowed"));
        assert_eq!(check("com example"), Err("BadTopic"));
        assert_eq!(check(""), Err("BadTopic"));
        assert_eq!(check_headers(&[]), Err("MissingTopic"));
        assert_eq!(
            check_headers(&[TOPIC, ("apns-push-type", "voip")]),
            Err("DeviceTokenNotForTopic")
        );
    }

    #[test]
    fn a_single_topic_is_the_default() {
        let mut standing = standing();
        standing.client.as_mut().unwrap().topics.truncate(1);

        let checked = check_it("/3/device/ab", &[], b"{}", Environment::Any, standing);

        assert_eq!(checked, Ok(()));
    }

    #[test]
    fn sizes() {
        let check = |topic, push_type, size| {
            let headers = [("apns-topic", topic), ("apns-push-type", push_type)];
            let payload = vec![b' '; size];
            check_it("/3/device/ab", &headers, &payload, Environment::Any, standing())
        };

        assert_eq!(check("com.example", "alert", 0), Err("PayloadEmpty"));
        assert_eq!(check("com.example", "alert", 4_096), Ok(()));
        assert_eq!(check("com.example", "alert", 4_097), Err("PayloadTooLarge"));
        assert_eq!(check("com.example.voip", "voip", 5_120), Ok(()));
        assert_eq!(check("com.example.voip", "voip", 5_121), Err("PayloadTooLarge"));
    }

    #[test]
    fn environments_of_a_certificate() {
        let client = standing().client.unwrap();
        let sandbox = Client { production: false, ..client.clone() };
        let production = Client { development: false, ..client.clone() };
        let unmarked = Client { development: false, production: false, ..client };
        let elsewhere = Err("BadCertificateEnvironment");

        assert_eq!(check_client(Environment::Production, sandbox.clone()), elsewhere);
        assert_eq!(check_client(Environment::Sandbox, production.clone()), elsewhere);
        assert_eq!(check_client(Environment::Sandbox, sandbox.clone()), Ok(()));
        assert_eq!(check_client(Environment::Production, production), Ok(()));
        assert_eq!(check_client(Environment::Any, sandbox), Ok(()));
        assert_eq!(check_client(Environment::Production, unmarked), Ok(()));
    }

    #[test]
    fn a_certificate_out_of_its_time_is_bad() {
        let client = standing().client.unwrap();
        let expired = Client { validity_secs: (0, NOW - 1), ..client.clone() };
        let early = Client { validity_secs: (NOW + 1, NOW + 2), ..client };

        assert_eq!(check_client(Environment::Any, expired), Err("BadCertificate"));
        assert_eq!(check_client(Environment::Any, early), Err("BadCertificate"));
    }
}
