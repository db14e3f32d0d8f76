//! Firebase Cloud Messaging, HTTP v1.

pub mod bridge;
pub mod credential;
mod exchange;
pub mod message;
mod oauth;
mod probe;
pub mod response;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use tokio::time::{Instant, timeout_at};
use url::Url;

use self::credential::{InvalidServiceAccount, Origin, ServiceAccount};
use self::exchange::{Post, Way};
use self::message::Message;
use self::oauth::{Account, Accounts};
use super::attempt::Attempt;
use super::timeout::Timeout;
use super::web;
use crate::metrics::{Metrics, Provider};
use crate::outcome::{Cause, Failure, Fault, Outcome, Rejection, Retry};
use crate::transport::{ConnectionId, Homes, proxy};

/// The section `[fcm]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Google's endpoint for messages; paths are appended. `https`, or `http` on loopback.
    pub url: Url,
    /// A file with further certificate authorities in PEM, trusted for FCM and the token endpoints
    /// beside the system's. A relative path starts at the folder of this file.
    pub ca_file: Option<PathBuf>,
    /// How long a call may take in all: the access token, connecting, the answers, retries. At
    /// most 25 s.
    pub timeout: Duration,
}

impl Default for Settings {
    #[expect(clippy::expect_used, reason = "the address is a constant and parses")]
    fn default() -> Self {
        Self {
            url: Url::parse("https://fcm.googleapis.com").expect("a constant URL"),
            ca_file: None,
            timeout: Duration::from_secs(10),
        }
    }
}

/// What all applications share: where Google is, the connections, the access tokens.
#[derive(Debug)]
pub struct Context {
    url: Url,
    timeout: Timeout,
    way: Way,
    accounts: Accounts,
    homes: Homes,
}

impl Context {
    /// Makes no connection. `homes` is where connections live.
    ///
    /// # Errors
    /// A sentence that names the setting: a CA file that cannot be read.
    pub fn new(settings: Settings, homes: Homes) -> Result<Self, String> {
        let authorities = match &settings.ca_file {
            None => Vec::new(),
            Some(file) => web::authorities(file).map_err(|error| {
                let file = file.display();
                format!(
                    "the certificate authorities of {file} could not be read: {error}; check \
                     fcm.ca_file"
                )
            })?,
        };
        let way = Way::new(&settings, authorities.clone(), homes.clone());
        let accounts = Accounts::new(authorities, homes.process().clone());
        let timeout = Timeout::new(settings.timeout);
        Ok(Self { url: settings.url, timeout, way, accounts, homes })
    }

    /// The same, counted in these numbers.
    #[must_use]
    pub fn metered(self, metrics: &Metrics) -> Self {
        Self { way: self.way.metered(Arc::clone(metrics.peer(Provider::Fcm))), ..self }
    }

    /// The same, reached through what stands in between.
    #[must_use]
    pub fn through(self, proxy: &proxy::Settings) -> Self {
        Self { way: self.way.through(proxy), accounts: self.accounts.through(proxy), ..self }
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
        uri: Uri,
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
        let Ok(uri) = Uri::try_from(url.as_str()) else {
            return Self::unusable(context, format!("{url} cannot be asked for; check fcm.url"));
        };
        let access = Access::Account { account: context.accounts.account(file), uri };
        Self { context: Arc::clone(context), access }
    }

    /// Stands for a service account of the configuration that cannot be used: its messages are
    /// refused with the reason.
    #[must_use]
    pub fn unusable(context: &Arc<Context>, reason: String) -> Self {
        Self { context: Arc::clone(context), access: Access::Unusable(reason) }
    }

    /// The project that its messages go through; `None` when its account cannot be used.
    #[must_use]
    pub fn project(&self) -> Option<&str> {
        match &self.access {
            Access::Account { account, .. } => Some(account.project_id()),
            Access::Unusable(_) => None,
        }
    }

    /// Why its account cannot be used, if so.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match &self.access {
            Access::Account { .. } => None,
            Access::Unusable(reason) => Some(reason),
        }
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
    /// awaited in the background for a while.
    pub async fn send(
        &self,
        message: &Message,
        deadline: Instant,
        avoid: Option<ConnectionId>,
        on_late: impl FnOnce(Outcome) + Send + 'static,
    ) -> Attempt {
        let ended = |outcome| Attempt { outcome, avoid: None };
        let (account, uri) = match &self.access {
            Access::Account { account, uri } => (account, uri),
            Access::Unusable(reason) => return ended(refused(None, Some(reason.clone()))),
        };
        let authorization = match timeout_at(deadline, account.authorization()).await {
            Ok(Ok(authorization)) => authorization,
            Ok(Err(no_token)) => return ended(no_token.into_outcome()),
            Err(_) => return ended(web::too_late()),
        };
        let (uri, body) = (uri.clone(), message.body());
        let post = Post { uri, authorization: authorization.clone(), body, deadline, avoid };
        let Context { way, homes, .. } = &*self.context;
        let mut attempt = way.send(post, homes.process(), on_late).await;
        attempt.outcome = judged(attempt.outcome, account, &authorization);
        attempt
    }
}

impl Fcm {
    /// The request that a message would go out as.
    pub(super) fn preview(&self, message: &Message) -> Result<super::Request, Outcome> {
        let uri = match &self.access {
            Access::Account { uri, .. } => uri.clone(),
            Access::Unusable(reason) => return Err(refused(None, Some(reason.clone()))),
        };
        let payload = message.body();
        let head = exchange::head(uri, HeaderValue::from_static("Bearer ***"), payload.len());
        Ok(super::Request { head, payload, environment: None })
    }
}

/// What the answer says of the access token that was shown.
fn judged(outcome: Outcome, account: &Account, authorization: &HeaderValue) -> Outcome {
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
