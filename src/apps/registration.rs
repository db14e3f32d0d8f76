//! From a raw credential to the Apple side of an application.
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
    /// The credential is at fault.
    Credential(CredentialError),
}

/// The thread that reads credentials. It ends when this is dropped.
#[derive(Debug)]
pub struct Registrar {
    context: Arc<Context>,
    queue: SyncSender<Task>,
}

struct Task {
    credential: Raw,
    done: oneshot::Sender<Result<Credential, CredentialError>>,
}

impl Registrar {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(context: Arc<Context>) -> std::io::Result<Self> {
        let (queue, tasks) = sync_channel(QUEUE);
        thread::Builder::new().name("credentials".to_owned()).spawn(move || work(&tasks))?;
        Ok(Self { context, queue })
    }

    /// Reads the credential; makes no connection.
    ///
    /// # Errors
    /// See [`RegistrationError`].
    pub async fn read(&self, registration: Registration) -> Result<Apns, RegistrationError> {
        let Registration { credential, mode, topic } = registration;
        let (done, read) = oneshot::channel();
        self.queue.try_send(Task { credential, done }).map_err(|_| RegistrationError::Busy)?;
        match read.await {
            Ok(Ok(credential)) => Ok(Apns::new(&self.context, credential, mode, topic)),
            Ok(Err(error)) => Err(RegistrationError::Credential(error)),
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

fn work(tasks: &Receiver<Task>) {
    while let Ok(task) = tasks.recv() {
        // A caller who hung up meanwhile is not worked for.
        if !task.done.is_closed() {
            let _ = task.done.send(Credential::read(&task.credential, OffsetDateTime::now_utc()));
        }
    }
}
