//! From raw credentials to the sides of an application.
//!
//! Reading a credential costs up to seconds of CPU (its key is derived from the password), so it
//! happens on one thread of its own with a short queue: no send waits for it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use time::OffsetDateTime;
use tokio::sync::oneshot;

use crate::providers::apns::credential::{Credential, CredentialError, Raw};
use crate::providers::apns::{Apns, Context, Mode};
use crate::providers::fcm::credential::{InvalidServiceAccount, Origin, ServiceAccount};
use crate::providers::fcm::{self, Fcm};

/// How many registrations wait for the thread before one is turned away.
const QUEUE: usize = 16;

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

/// The thread that reads credentials. It ends when this is dropped.
#[derive(Debug)]
pub struct Registrar {
    context: Arc<Context>,
    fcm: Arc<fcm::Context>,
    queue: SyncSender<Task>,
}

enum Task {
    Apple { credential: Raw, done: oneshot::Sender<Result<Credential, CredentialError>> },
    Google { file: Vec<u8>, done: oneshot::Sender<Result<ServiceAccount, InvalidServiceAccount>> },
}

impl Registrar {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(context: Arc<Context>, fcm: Arc<fcm::Context>) -> std::io::Result<Self> {
        let (queue, tasks) = sync_channel(QUEUE);
        let google = Arc::clone(&fcm);
        thread::Builder::new()
            .name("credentials".to_owned())
            .spawn(move || work(&tasks, &google))?;
        Ok(Self { context, fcm, queue })
    }

    /// Reads the credential; makes no connection.
    ///
    /// # Errors
    /// See [`RegistrationError`].
    pub async fn read(&self, registration: Registration) -> Result<Apns, RegistrationError> {
        let Registration { credential, mode, topic } = registration;
        let (done, read) = oneshot::channel();
        let task = Task::Apple { credential, done };
        self.queue.try_send(task).map_err(|_| RegistrationError::Busy)?;
        match read.await {
            Ok(Ok(credential)) => Ok(Apns::new(&self.context, credential, mode, topic)),
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

    /// What the Apple side of an application shares with all others.
    #[must_use]
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }
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
            Task::Apple { .. } | Task::Google { .. } => {}
        }
    }
}
