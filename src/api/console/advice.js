// What to do about each reason of Apple's and Google's, and about each error of the relay's.

/** Apple, *Handling notification responses from APNs*. */
const APPLE = {
  BadCertificate:
    "Apple does not accept the certificate. Make a new push certificate in Apple's developer account and register it.",
  BadCertificateEnvironment:
    "The certificate is for Apple's other environment. Register the application again with the other apns_mode, or with a certificate that serves this one.",
  BadChannelId: "channel_id is none that Apple can read. Send it as Apple gave it, percent-encoded in a path.",
  BadCollapseId: "collapse_id is over 64 bytes. Shorten it.",
  BadDeviceToken:
    "Apple does not know this token here. Most often it comes from a development build and was sent to production, or the other way round: check apns_mode. If that is right, delete the token.",
  BadEnvironmentKeyIdInToken:
    "The signing key is for Apple's other environment. Register a key that serves this one, or change apns_mode.",
  BadEnvironmentKeyInToken:
    "The signing key is for Apple's other environment. Register a key that serves this one, or change apns_mode.",
  BadExpirationDate: "expiration is no time that Apple takes. Give Unix seconds, or give ttl instead.",
  BadMessageId: "apns_id is no UUID. Give one such as 123e4567-e89b-12d3-a456-426614174000, or leave it out.",
  BadPath:
    "What answered is no APNs endpoint for this path. Check apns.production_url and apns.sandbox_url in the configuration.",
  BadPriority: "priority does not fit the message. It is 10, 5 or 1, and 5 for background pushes.",
  BadTopic:
    "The topic is none that Apple knows. Give the app's bundle id as topic, or register the application with the right apns_topic.",
  BadRequestParams: "Apple does not take the channel as described. Check message_storage_policy.",
  BadRequestPayload: "Apple could not read the request about the channel, which is the relay's fault. Please report it.",
  CannotCreateChannelConfig:
    "The app has as many channels as Apple allows. Delete those that are not used any more.",
  ChannelNotRegistered:
    "Apple has no such channel of this app in this environment. Make one, or check apns_mode and topic.",
  DeviceTokenNotForTopic:
    "The token belongs to another app. Send it through the application whose topic is that app's bundle id.",
  DuplicateHeaders: "The request had a header twice, which is the relay's fault. Please report it.",
  ExpiredProviderToken:
    "Apple found our signature too old. Set the clock of the relay's machine; the key itself may be good.",
  ExpiredToken: "The device token has run out. Delete it; the app will bring a new one.",
  FeatureNotEnabled:
    "Broadcast is not enabled for this app. Enable it under Push Notifications in Apple's developer account.",
  Forbidden:
    "Apple forbids this to the certificate or key. Look into Apple's developer account whether it was revoked, then register a new one.",
  IdleTimeout: "Apple closed a connection that was idle and did not look at the message. Send it again.",
  InternalServerError: "A fault at Apple's. Send the message again later; look at Apple's system status if it lasts.",
  InvalidProviderToken:
    "Apple cannot verify our signature. Check that apns_key_id and apns_team_id belong to the key, that the key was not revoked, and the clock of the relay's machine.",
  InvalidPushType: "Apple does not know the push_type, or not with this topic. Change push_type.",
  MethodNotAllowed:
    "What answered is no APNs endpoint. Check apns.production_url and apns.sandbox_url in the configuration.",
  MissingChannelId: "There was no channel in the request. Give channel_id.",
  MissingDeviceToken: "There was no device token in the request. Give device_token.",
  MissingProviderToken:
    "Apple saw neither certificate nor signature. Something between the relay and Apple ends TLS: let the relay connect to Apple directly.",
  MissingPushType: "Apple misses the push type of the channel, which is the relay's fault. Please report it.",
  MissingTopic:
    "The certificate serves several topics and none was named. Register the application with apns_topic, or give topic with each message.",
  PayloadEmpty: "The message says nothing. Give alert, title, badge, sound or data.",
  PayloadTooLarge: "The message is over Apple's limit, 4 KiB for most push types. Send less and let the app fetch the rest.",
  ServiceUnavailable: "Apple cannot take messages now. Send the message again later; look at Apple's system status if it lasts.",
  Shutdown: "Apple's server is being shut down and the relay connects to another one. Send the message again.",
  TooManyProviderTokenUpdates:
    "Another program signs with the same key and renews its signature too often. Give the relay a key of its own.",
  TooManyRequests: "This one phone gets too many messages. Send it fewer.",
  TopicDisallowed:
    "The certificate or key may not send for this topic. Check topic and apns_topic, or register a certificate for that app.",
  TopicMismatch: "The channel belongs to another app. Check application_id and topic.",
  UnrelatedKeyIdInToken:
    "The key belongs to another team than the connection. Check apns_key_id and apns_team_id, and register the key again.",
  Unregistered: "The app was removed from the phone, or has a new token. Delete this one.",
};

/** Google's legacy words (*Downstream message error response codes*), which the relay uses for FCM v1 as well. */
const GOOGLE = {
  DeprecatedApi: "This API of Google's was switched off in 2024. Give the old key a service account in [[gcm.bridge]].",
  DeviceMessageRateExceeded: "This one phone gets too many messages. Send it fewer.",
  DeviceQuotaExceeded: "This one phone gets too many messages. Send it fewer.",
  InternalServerError: "A fault at Google's. Send the message again later.",
  InvalidApnsCredential:
    "Google could not pass the message on to Apple. Upload Apple's key in the Firebase console, under Cloud Messaging.",
  InvalidDataKey: "data has a key that Google reserves, such as from or one that begins with google. Rename it.",
  InvalidPackageName: "restricted_package_name is not the app's. Correct it or leave it out.",
  InvalidParameters: "Google does not understand a part of the message. Change it; the log names the field.",
  InvalidRegistration: "This is no registration token. Delete it, or check that it was stored whole.",
  InvalidTtl: "time_to_live is out of bounds. It is 0 to 2419200 seconds.",
  MessageTooBig: "The message is over Google's limit of 4096 bytes. Send less and let the app fetch the rest.",
  MismatchSenderId:
    "The token belongs to another Firebase project. Send it through the application that has that project's service account.",
  MissingCollapseKey: "Google wants a collapse_key with this message. Give one.",
  MissingRegistration: "There was no token in the request. Give device_token.",
  NotRegistered: "The app was removed from the phone, or has a new token. Delete this one.",
  QuotaExceeded: "The project sends more than Google allows. Send more slowly.",
  TopicsMessageRateExceeded: "This topic gets too many messages. Send it fewer.",
  Unavailable: "Google cannot take messages now. Send the message again later.",
};

/** The relay's own codes, where the provider gave no reason. */
const ERRORS = {
  apns_credentials_rejected:
    "Apple refuses the certificate or key of this application. Register a new one, and check apns_topic and apns_mode.",
  apns_protocol_error:
    "What answered is not Apple. Check apns.production_url and apns.sandbox_url, and whether a proxy is in between.",
  channel_not_found: "Apple has no such channel of this app in this environment. Make one, or check apns_mode and topic.",
  apns_rejected: "Apple refuses the message as it is. Change it.",
  apns_throttled: "This one phone gets too many messages. Send it fewer.",
  apns_timeout:
    "Apple did not answer in time. If it lasts, check that the relay's network lets it out to Apple's port 443.",
  apns_unavailable:
    "Apple could not be reached or cannot take messages now. If it lasts, check network and DNS of the relay, then Apple's system status.",
  application_not_found: "Nobody registered an application of this name. Register it, or correct the name.",
  device_token_unregistered: "The app was removed from the phone, or has a new token. Delete this one.",
  gcm_protocol_error: "What answered is not Google. Check gcm.legacy_url, and whether a proxy is in between.",
  gcm_rejected: "Google refuses the message as it is. Change it.",
  gcm_throttled: "Google gets too many messages. Send more slowly.",
  gcm_timeout: "Google did not answer in time. If it lasts, check that the relay's network lets it out to Google.",
  gcm_unavailable:
    "Google could not be reached or cannot take messages now. If it lasts, check network and DNS of the relay.",
  internal_error: "A fault of the relay. Its log has more under the request's id; please report it.",
  invalid_channel_id: "channel_id is none that Apple can read. Send it as Apple gave it.",
  invalid_device_token:
    "Apple does not know this token here. Check that it is whole, and that apns_mode fits the build that it comes from.",
  invalid_gcm_credentials:
    "Google refuses the service account of this application. Make a new key in the Firebase console, under Service accounts, and register it.",
  overloaded: "The relay holds as many messages as it may. Send more slowly, or raise the limits in its configuration.",
};

/** What the relay counts under a word of its own, where no provider gave one. */
const OWN = {
  credentials: "The credential of the application was refused without a reason, or cannot be used. Register a new one.",
  other: "Reasons that the relay does not count by name. The last failures above, and the log, have them verbatim.",
  overloaded: ERRORS.overloaded,
  protocol_error: "What answered is not the service. Check the addresses in the configuration, and whether a proxy is in between.",
  timeout: "There was no answer in time. If it lasts, check that the relay's network lets it out.",
  unanswered: "The connection was lost before the answer came. The message may have arrived; ask for at_least_once if it must.",
  unreachable: "No connection could be made. If it lasts, check network and DNS of the relay, and that it is let out to port 443.",
};

/** What the peer's TLS says of a certificate (RFC 8446 §6.2). */
const ALERTS = {
  access_denied: "Apple does not let this certificate in. Look into Apple's developer account, then register a new one.",
  bad_certificate: "Apple cannot read the certificate. Export it again, with its key, and register it.",
  certificate_expired: "The certificate has run out. Make a new one in Apple's developer account and register it.",
  certificate_required: "Apple saw no certificate. Register the application with one, or with a signing key.",
  certificate_revoked: "The certificate was revoked. Make a new one in Apple's developer account and register it.",
  certificate_unknown: "Apple does not accept the certificate. Make a new one in Apple's developer account and register it.",
  decrypt_error: "Apple cannot verify our signature: key and certificate do not belong together. Export both together and register them.",
  unknown_ca: "Apple does not know who issued the certificate. Register one that Apple issued for push.",
  unsupported_certificate: "Apple does not take this kind of certificate. Register one that Apple issued for push.",
};

const DOCUMENTS = {
  apns: "Apple's page “Handling notification responses from APNs”",
  google: "Google's page “FCM error codes”",
};

/** `apns`, or `google` for all that Google's side is called. */
function side(provider) {
  return provider === "apns" ? "apns" : "google";
}

/** What a person calls a provider. */
export function nameOf(provider) {
  return side(provider) === "apns" ? "Apple" : "Google";
}

/**
 * One or two sentences: what it means and what to do. `failure` has `provider`, `reason` and
 * `error`, each only where there is one.
 */
export function advise({ provider, reason, error }) {
  const known = side(provider) === "apns" ? APPLE : GOOGLE;
  const general = Object.hasOwn(ERRORS, error) ? ERRORS[error] : "";
  if (!reason) {
    return general || "Nothing more is known here. Read what the relay said, and its log.";
  }
  const table = [known, OWN, ALERTS].find((table) => Object.hasOwn(table, reason));
  if (table !== undefined) {
    return table[reason];
  }
  const unknown = `“${reason}” is a reason that this console does not know: look it up in ${DOCUMENTS[side(provider)]}.`;
  return general ? `${unknown} ${general}` : unknown;
}
