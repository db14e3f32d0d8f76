//! Firebase Cloud Messaging, HTTP v1.

pub mod bridge;
pub mod credential;
mod lanes;
pub mod message;
mod oauth;
mod probe;
mod response;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use url::Url;

use self::credential::{InvalidServiceAccount, Origin, ServiceAccount};
use self::lanes::{Lanes, Place};
use self::message::Message;
use self::oauth::{Account, Accounts};
use super::timeout::Timeout;
use super::{retry_after, web};
use crate::outcome::{Cause, Delivery, Failure, Fault, Outcome, Rejection, Retry};

/// The section `[fcm]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Google's endpoint for messages; paths are appended. `https`, or `http` on loopback.
    pub url: Url,
    /// How long a call may take in all: the access token, connecting, the answers, retries. At
    /// most 25 s.
    pub timeout: Duration,
}

impl Default for Settings {
    #[expect(clippy::expect_used, reason = "the address is a constant and parses")]
    fn default() -> Self {
        Self {
            url: Url::parse("https://fcm.googleapis.com").expect("a constant URL"),
            timeout: Duration::from_secs(10),
        }
    }
}

/// The largest answer that is read: Google's take some 2 KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What all applications share: where Google is, the connections, the access tokens.
#[derive(Debug)]
pub struct Context {
    url: Url,
    timeout: Timeout,
    lanes: Arc<Lanes>,
    accounts: Accounts,
    runtime: Handle,
}

impl Context {
    /// Makes no connection. `runtime` is where requests run, since a handler's own runtime may be
    /// busy with other calls.
    #[must_use]
    pub fn new(settings: Settings, runtime: Handle) -> Self {
        let lanes = Arc::new(Lanes::new(&settings.url));
        let timeout = Timeout::new(settings.timeout);
        Self {
            lanes,
            accounts: Accounts::new(runtime.clone()),
            url: settings.url,
            timeout,
            runtime,
        }
    }

    /// Lets the limits of other settings apply from now on, to what is registered as well. Where
    /// Google is stays.
    pub fn change_limits(&self, settings: &Settings) {
        self.timeout.set(settings.timeout);
    }

    /// Reads a service account. It costs no more than the parsing.
    ///
    /// # Errors
    /// [`InvalidServiceAccount`].
    pub fn read(
        &self,
        file: &[u8],
        origin: Origin,
    ) -> Result<ServiceAccount, InvalidServiceAccount> {
        ServiceAccount::parse(file, origin, &self.url)
    }
}

/// The Google side of one application.
#[derive(Debug)]
pub struct Fcm {
    context: Arc<Context>,
    access: Access,
}

/// What an application shows Google.
enum Access {
    Account {
        account: Arc<Account>,
        url: Url,
    },
    /// A service account of the configuration that could not be used; why.
    Unusable(String),
}

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account { account, .. } => account.fmt(formatter),
            Self::Unusable(reason) => write!(formatter, "Unusable({reason})"),
        }
    }
}

impl Fcm {
    /// The Google side of an application with this service account. It makes no connection; the
    /// first message does.
    #[must_use]
    pub fn new(context: &Arc<Context>, file: ServiceAccount) -> Self {
        let mut url = context.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/v1/projects/{}/messages:send", file.project_id));
        let access = Access::Account { account: context.accounts.account(file), url };
        Self { context: Arc::clone(context), access }
    }

    /// Stands for a service account of the configuration that cannot be used: its messages are
    /// refused with the reason.
    #[must_use]
    pub fn unusable(context: &Arc<Context>, reason: String) -> Self {
        Self { context: Arc::clone(context), access: Access::Unusable(reason) }
    }

    /// How long a call may take in all.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.context.timeout.get()
    }

    /// Sends a message once. An answer that comes after the caller hung up goes to `on_late`.
    ///
    /// # Cancel safety
    /// Dropped before the request was handed over, it is never sent; afterwards its answer is
    /// awaited in the background until `deadline`.
    pub async fn send(
        &self,
        message: &Message,
        deadline: Instant,
        on_late: impl FnOnce(Outcome) + Send + 'static,
    ) -> Outcome {
        let (account, url) = match &self.access {
            Access::Account { account, url } => (account, url),
            Access::Unusable(reason) => return refused(None, Some(reason.clone())),
        };
        let authorization = match timeout_at(deadline, account.authorization()).await {
            Ok(Ok(authorization)) => authorization,
            Ok(Err(no_token)) => return no_token.into_outcome(),
            Err(_) => return web::too_late(),
        };
        let place = match timeout_at(deadline, self.context.lanes.place()).await {
            Ok(Ok(place)) => place,
            Ok(Err(error)) => return web::no_client(&error),
            Err(_) => return web::too_late(),
        };
        let request = place
            .client
            .post(url.clone())
            .header(AUTHORIZATION, authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .timeout(deadline.saturating_duration_since(Instant::now()))
            .body(message.body());
        let account = Arc::clone(account);
        let (done, answer) = oneshot::channel();
        self.context.runtime.spawn(async move {
            let outcome = exchange(request, deadline, &account, &authorization, place).await;
            if let Err(outcome) = done.send(outcome) {
                on_late(outcome);
            }
        });
        // The task ends with its runtime, or by a bug: what became of the message is not known.
        answer.await.unwrap_or_else(|_| web::lost("the exchange was ended".to_owned()))
    }
}

async fn exchange(
    request: reqwest::RequestBuilder,
    deadline: Instant,
    account: &Account,
    authorization: &HeaderValue,
    place: Place,
) -> Outcome {
    let outcome = match request.send().await {
        Ok(response) => answered(response, deadline).await,
        Err(error) => web::unanswered(&error, deadline),
    };
    drop(place);
    match outcome {
        Outcome::Failed(Failure {
            retry: Retry::Renewed,
            cause: Cause::Provider { status, .. },
            ..
        }) if !account.replace(authorization) => refused(Some(status), None),
        Outcome::Accepted(receipt) => {
            account.proved();
            Outcome::Accepted(receipt)
        }
        outcome => outcome,
    }
}

async fn answered(mut response: reqwest::Response, deadline: Instant) -> Outcome {
    let status = response.status().as_u16();
    let now = SystemTime::now();
    let retry_after = retry_after(response.headers(), now);
    match web::body(&mut response, MAX_ANSWER_BYTES).await {
        Ok(body) => response::read(status, retry_after, &body, now),
        // What is not 200 says by its status alone that nothing was delivered.
        Err(web::Unread::Broken(error)) if status == 200 => web::unanswered(&error, deadline),
        Err(web::Unread::Broken(_)) => response::read(status, retry_after, b"", now),
        Err(web::Unread::TooLong) => too_long(status),
    }
}

fn too_long(status: u16) -> Outcome {
    let delivery = if status == 200 { Delivery::Unknown } else { Delivery::NotSent };
    let cause = Cause::Nonsense { status, reason: "its answer is too long".to_owned() };
    Outcome::Failed(Failure { cause, delivery, retry: Retry::Never, retry_after: None, id: None })
}

fn refused(status: Option<u16>, detail: Option<String>) -> Outcome {
    Outcome::Rejected(Rejection {
        fault: Fault::Credentials,
        status,
        reason: String::new(),
        detail,
        id: None,
        gone_since: None,
    })
}
