//! From raw credentials to the sides of an application.
//!
//! Reading a credential costs up to seconds of CPU (its key is derived from the password), so it
//! happens on one thread of its own with a short queue: no send waits for it. Those of sealed
//! registrations, of which the first send does wait, have a second thread: no key is derived there.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::sealed::Contents;
use crate::providers::Providers;
use crate::providers::apns::credential::{Credential, CredentialError, Problem, Raw};
use crate::providers::apns::{Apns, Context, Mode};
use crate::providers::fcm::credential::{InvalidServiceAccount, Origin, ServiceAccount};
use crate::providers::fcm::{self, Fcm};

/// How many registrations wait for the thread before one is turned away.
const QUEUE: usize = 16;
/// How long a sealed registration may wait for its turn to be opened.
const OPENING_LIMIT: Duration = Duration::from_secs(5);

/// An Apple credential with what belongs to it.
#[derive(Debug)]
pub struct Registration {
    /// The file and its password.
    pub credential: Raw,
    /// Which of Apple's environments it is for.
    pub mode: Mode,
    /// The topic of messages that name none; a certificate knows its own.
    pub topic: Option<String>,
}

/// Why a registration made no application.
#[derive(Debug)]
pub enum RegistrationError {
    /// Too many others wait; nothing was read.
    Busy,
    /// The Apple credential is at fault.
    Credential(CredentialError),
    /// The service account is at fault.
    ServiceAccount(InvalidServiceAccount),
}

/// The threads that read credentials. They end when this is dropped.
#[derive(Debug)]
pub struct Registrar {
    context: Arc<Context>,
    fcm: Arc<fcm::Context>,
    queue: SyncSender<Task>,
    opening: SyncSender<Task>,
    /// As many as have room in the queue for opening, so that the others wait and are not refused.
    turns: Semaphore,
}

enum Task {
    Apple { credential: Raw, done: oneshot::Sender<Result<Credential, CredentialError>> },
    Google { file: Vec<u8>, done: oneshot::Sender<Result<ServiceAccount, InvalidServiceAccount>> },
    Open { contents: Box<Contents>, done: oneshot::Sender<(Box<Contents>, Read)> },
}

/// The credentials of a sealed registration.
struct Read {
    apple: Option<Result<Credential, Problem>>,
    google: Option<Result<ServiceAccount, InvalidServiceAccount>>,
}

impl Registrar {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(context: Arc<Context>, fcm: Arc<fcm::Context>) -> std::io::Result<Self> {
        let queue = start("credentials", &fcm)?;
        let opening = start("sealed", &fcm)?;
        Ok(Self { context, fcm, queue, opening, turns: Semaphore::new(QUEUE) })
    }

    /// Reads the credential; makes no connection.
    ///
    /// # Errors
    /// See [`RegistrationError`].
    pub async fn read(&self, credential: Raw) -> Result<Credential, RegistrationError> {
        let (done, read) = oneshot::channel();
        let task = Task::Apple { credential, done };
        self.queue.try_send(task).map_err(|_| RegistrationError::Busy)?;
        match read.await {
            Ok(Ok(credential)) => Ok(credential),
            Ok(Err(error)) => Err(RegistrationError::Credential(error)),
            // The thread ends only with the process.
            Err(_) => Err(RegistrationError::Busy),
        }
    }

    /// Reads a service account that a caller gave; makes no connection.
    ///
    /// # Errors
    /// See [`RegistrationError`].
    pub async fn read_service_account(&self, file: Vec<u8>) -> Result<Fcm, RegistrationError> {
        let (done, read) = oneshot::channel();
        let task = Task::Google { file, done };
        self.queue.try_send(task).map_err(|_| RegistrationError::Busy)?;
        match read.await {
            Ok(Ok(account)) => Ok(Fcm::new(&self.fcm, account)),
            Ok(Err(error)) => Err(RegistrationError::ServiceAccount(error)),
            // The thread ends only with the process.
            Err(_) => Err(RegistrationError::Busy),
        }
    }

    /// Reads the credentials of a sealed registration; makes no connection. One that was good when
    /// it was sealed and is not any more makes a side whose sends are refused with the reason.
    ///
    /// # Errors
    /// [`RegistrationError::Busy`] when its turn does not come in time.
    pub async fn open(&self, contents: Contents) -> Result<Providers, RegistrationError> {
        let (done, read) = oneshot::channel();
        let turn = async {
            let _turn = self.turns.acquire().await.ok()?;
            let contents = Box::new(contents);
            self.opening.try_send(Task::Open { contents, done }).ok()?;
            read.await.ok()
        };
        let turn = timeout(OPENING_LIMIT, turn).await.ok().flatten();
        let (contents, read) = turn.ok_or(RegistrationError::Busy)?;
        let unusable = |problem: &dyn fmt::Display| {
            let app_id = contents.name.as_str();
            let reason = problem.to_string();
            tracing::error!(
                app.id = app_id,
                reason,
                "a sealed registration holds a credential that cannot be used; its sends are refused"
            );
            reason
        };
        let apple = contents.apple.as_ref().zip(read.apple).map(|(apple, credential)| {
            let mode = Mode::parse(&apple.mode).unwrap_or_default();
            let topic = apple.topic.clone();
            match credential {
                Ok(credential) => Apns::new(&self.context, credential, mode, topic),
                Err(problem) => Apns::unusable(&self.context, mode, topic, unusable(&problem)),
            }
        });
        let google = read.google.map(|account| match account {
            Ok(account) => Fcm::new(&self.fcm, account),
            Err(problem) => Fcm::unusable(&self.fcm, unusable(&problem)),
        });
        Ok(Providers { apns: apple.map(Arc::new), fcm: google.map(Arc::new), gcm: None })
    }

    /// What the Apple side of an application shares with all others.
    #[must_use]
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

fn start(name: &str, fcm: &Arc<fcm::Context>) -> std::io::Result<SyncSender<Task>> {
    let (queue, tasks) = sync_channel(QUEUE);
    let fcm = Arc::clone(fcm);
    thread::Builder::new().name(name.to_owned()).spawn(move || work(&tasks, &fcm))?;
    Ok(queue)
}

/// A caller who hung up meanwhile is not worked for.
fn work(tasks: &Receiver<Task>, fcm: &fcm::Context) {
    while let Ok(task) = tasks.recv() {
        match task {
            Task::Apple { credential, done } if !done.is_closed() => {
                let _ = done.send(Credential::read(&credential, OffsetDateTime::now_utc()));
            }
            Task::Google { file, done } if !done.is_closed() => {
                let _ = done.send(fcm.read(&file, Origin::Caller));
            }
            Task::Open { contents, done } if !done.is_closed() => {
                let now = OffsetDateTime::now_utc();
                let read = Read {
                    apple: contents.apple.as_ref().map(|apple| apple.parts.credential(now)),
                    google: contents.google.as_ref().map(|file| fcm.read(file, Origin::Caller)),
                };
                let _ = done.send((contents, read));
            }
            Task::Apple { .. } | Task::Google { .. } | Task::Open { .. } => {}
        }
    }
}
