//! The applications, registered again and again with other credentials while calls go on.

use std::time::Duration;

use reqwest::multipart::{Form, Part};

use super::chance::Chance;
use super::support::keys::{Authority, P12, signing_key_p8};
use super::support::relay::{Relay, TOPIC};

/// Between two registrations, in milliseconds.
const PAUSE: (u64, u64) = (200, 1_500);

/// Credentials to choose from: making them takes longer than using them.
pub struct Wallet {
    certificates: Vec<Vec<u8>>,
    keys: Vec<Vec<u8>>,
}

impl Wallet {
    pub fn new() -> Self {
        let authority = Authority::new();
        let certificate = || authority.apple_certificate(TOPIC);
        Self {
            certificates: vec![
                certificate().build().p12(""),
                certificate().with_chain().build().p12_of(P12::Keychain, ""),
                certificate().rsa().build().p12(""),
            ],
            keys: vec![signing_key_p8(), signing_key_p8()],
        }
    }

    /// Registers an application with a certificate or a signing key.
    pub async fn register(&self, relay: &Relay, application_id: &str, chance: &mut Chance) {
        let form = Form::new().text("application_id", application_id.to_owned());
        let form = if chance.one_in(2) {
            form.part("apns_p12", Part::bytes(chance.pick(&self.certificates).clone()))
        } else {
            form.part("apns_p8", Part::bytes(chance.pick(&self.keys).clone()))
                .text("apns_key_id", "KEY1234567")
                .text("apns_team_id", "TEAM123456")
                .text("apns_topic", TOPIC)
        };
        let answer = relay.multipart("/register_application", form).await;
        assert_eq!(answer.status, 200, "{application_id}: {}", answer.body);
    }

    /// Registers one after the other, for ever.
    pub async fn replace(&self, relay: &Relay, applications: &[String], mut chance: Chance) {
        loop {
            let (from, to) = PAUSE;
            tokio::time::sleep(Duration::from_millis(chance.between(from, to))).await;
            let application = chance.pick(applications);
            self.register(relay, application, &mut chance).await;
        }
    }
}
