//! Calls over HTTP: which route, what status, how long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::page::{Family, Page};
use super::peer::Timing;

/// The label `route`: a closed set, for a stranger may ask for any path.
const ROUTES: &[&str] = &[
    "/application_feedback",
    "/channels",
    "/console",
    "/fcm/send",
    "/gcm/send",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/readyz",
    "/register_application",
    "/send_notification",
    "/status",
    OTHER,
];
/// Those of them that stand for what is below them as well.
const FOLDERS: &[&str] = &["/channels", "/console"];
/// The label `status`.
const STATUSES: &[u16] =
    &[200, 304, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429, 500, 502, 503, 504];
const OTHER: &str = "other";

/// One entry for each route.
#[derive(Debug)]
pub struct Calls(Vec<Route>);

/// The route of a call.
#[derive(Debug, Clone, Copy)]
pub struct Place(usize);

#[derive(Debug)]
struct Route {
    took: Timing,
    /// One for each of [`STATUSES`], and one for all others.
    statuses: Vec<AtomicU64>,
}

impl Default for Calls {
    fn default() -> Self {
        let route = |_: &&str| Route {
            took: Timing::default(),
            statuses: (0..=STATUSES.len()).map(|_| AtomicU64::new(0)).collect(),
        };
        Self(ROUTES.iter().map(route).collect())
    }
}

impl Calls {
    /// Where calls for this path are counted.
    #[must_use]
    pub fn route(path: &str) -> Place {
        let is_below = |route: &str| {
            path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let route = FOLDERS.iter().find(|route| is_below(route)).copied().unwrap_or(path);
        let last = ROUTES.len().saturating_sub(1);
        Place(ROUTES.iter().position(|known| *known == route).unwrap_or(last))
    }

    /// A call was answered.
    pub fn answered(&self, route: Place, status: u16, took: Duration) {
        let Some(route) = self.0.get(route.0) else { return };
        route.took.observe(took);
        let place = STATUSES.iter().position(|known| *known == status);
        if let Some(count) = route.statuses.get(place.unwrap_or(STATUSES.len())) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn write(&self, page: &mut Page) {
        let mut calls =
            Family::counter("pushlet_calls_total", "Calls over HTTP, by route and status.");
        let mut took = Family::histogram(
            "pushlet_call_seconds",
            "From the head of a call to that of its answer.",
        );
        for (name, route) in ROUTES.iter().zip(&self.0) {
            for (place, count) in route.statuses.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let status = STATUSES.get(place).map(u16::to_string);
                    let status = status.as_deref().unwrap_or(OTHER);
                    calls.count(&[("route", name), ("status", status)], count);
                }
            }
            route.took.write(&mut took, &[("route", name)]);
        }
        page.push(calls);
        page.push(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_folder_counts_with_it() {
        let name = |path: &str| ROUTES.get(Calls::route(path).0).copied();

        assert_eq!(name("/channels"), Some("/channels"));
        assert_eq!(name("/channels/dHN0"), Some("/channels"));
        assert_eq!(name("/console/console.js"), Some("/console"));
        assert_eq!(name("/consoles"), Some(OTHER));
    }

    #[test]
    fn a_path_or_status_that_nobody_knows_is_one_series() {
        let calls = Calls::default();
        for (path, status) in
            [("/healthz", 200), ("/healthz/", 200), ("/a", 404), ("/b", 404), ("/b", 299)]
        {
            calls.answered(Calls::route(path), status, Duration::from_millis(3));
        }
        let mut page = Page::default();

        calls.write(&mut page);

        let text = page.text().unwrap_or_default();
        let counts: Vec<_> =
            text.lines().filter(|line| line.starts_with("pushlet_calls_total")).collect();
        assert_eq!(
            counts,
            [
                "pushlet_calls_total{route=\"/healthz\",status=\"200\"} 1",
                "pushlet_calls_total{route=\"other\",status=\"200\"} 1",
                "pushlet_calls_total{route=\"other\",status=\"404\"} 2",
                "pushlet_calls_total{route=\"other\",status=\"other\"} 1",
            ]
        );
        assert!(text.contains("pushlet_call_seconds_count{route=\"other\"} 4\n"), "{text}");
        let bucket = "pushlet_call_seconds_bucket{route=\"/healthz\",le=\"0.005\"} 1\n";
        assert!(text.contains(bucket), "{text}");
    }
}
