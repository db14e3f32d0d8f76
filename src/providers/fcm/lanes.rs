//! Several connections to FCM: Google lets 100 streams be open on one, and `reqwest` holds one
//! connection for each client and host.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use crate::providers::web;

/// How many messages are in flight on one connection (firebase-admin-node sets the same limit "to
/// respect backend limit"; undocumented).
const PLACES: usize = 100;
/// More than a project's quota of 600,000 messages a minute needs.
const MAX_LANES: usize = 32;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The connections, opened one after the other as those before are used up.
#[derive(Debug)]
pub(super) struct Lanes {
    places: Arc<Semaphore>,
    is_google: bool,
    /// Guards the counts; held to choose a lane, and to make a further client.
    lanes: Mutex<Vec<Lane>>,
}

#[derive(Debug)]
struct Lane {
    client: reqwest::Client,
    in_flight: usize,
}

/// A place on a connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) client: reqwest::Client,
    lanes: Arc<Lanes>,
    number: usize,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Lanes {
    /// No lane yet: the first message makes the first.
    pub(super) fn new(url: &Url) -> Self {
        let is_google = url.host_str().is_some_and(|host| host.ends_with(".googleapis.com"));
        let places = Arc::new(Semaphore::new(PLACES * MAX_LANES));
        Self { places, is_google, lanes: Mutex::default() }
    }

    /// Waits for a place. The first connection with room is taken, so that those which are not
    /// needed any more fall idle and close.
    ///
    /// # Errors
    /// When no client can be made: the TLS library cannot be set up.
    pub(super) async fn place(self: &Arc<Self>) -> Result<Place, reqwest::Error> {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok();
        let mut lanes = self.lock();
        let number = lanes.iter().position(|lane| lane.in_flight < PLACES);
        let (number, client) =
            match number.and_then(|number| Some((number, lanes.get_mut(number)?))) {
                Some((number, lane)) => {
                    lane.in_flight = lane.in_flight.saturating_add(1);
                    (number, lane.client.clone())
                }
                None => {
                    let client = client(self.is_google)?;
                    lanes.push(Lane { client: client.clone(), in_flight: 1 });
                    (lanes.len().saturating_sub(1), client)
                }
            };
        drop(lanes);
        Ok(Place { client, lanes: Arc::clone(self), number, _permit: permit })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(lane) = self.lanes.lock().get_mut(self.number) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
        }
    }
}

/// Google speaks HTTP/2, so its first messages wait for one handshake; others are asked, and each
/// of the first messages makes a handshake of its own.
fn client(is_google: bool) -> Result<reqwest::Client, reqwest::Error> {
    let client = web::client().connect_timeout(CONNECT_TIMEOUT);
    if is_google { client.http2_prior_knowledge() } else { client }.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(url: &str) -> Arc<Lanes> {
        let url = Url::parse(url).unwrap_or_else(|error| panic!("{error}"));
        Arc::new(Lanes::new(&url))
    }

    fn counts(lanes: &Lanes) -> Vec<usize> {
        lanes.lock().iter().map(|lane| lane.in_flight).collect()
    }

    #[tokio::test]
    async fn no_connection_gets_more_than_google_allows() {
        let lanes = lanes("https://fcm.googleapis.com");
        assert!(counts(&lanes).is_empty());

        let mut places = Vec::new();
        for _ in 0..250 {
            places.push(lanes.place().await.ok());
        }
        assert_eq!(counts(&lanes), [100, 100, 50]);

        places.remove(0);
        places.push(lanes.place().await.ok());
        assert_eq!(counts(&lanes), [100, 100, 50], "the first with room is taken");
        drop(places);
        assert_eq!(counts(&lanes), [0, 0, 0]);
    }
}
