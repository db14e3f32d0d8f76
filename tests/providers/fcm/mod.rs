//! FCM HTTP v1 behind the documented call, against the simulator and by Google's own document.

mod messages;
mod oauth;
mod outcomes;
mod referees;
mod registration;
