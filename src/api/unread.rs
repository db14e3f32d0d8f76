//! What becomes of a connection whose call was answered before its body was there.
//!
//! actix-web reads the rest of a chunked body that its handler has dropped, with no limit of time
//! (`should_close_for_unread_payload` in actix-http 3.19): a caller that never ends its body keeps
//! the connection for ever, even one that was refused at the door. While the handler's end is
//! alive the connection is closed after the answer, as it is with a body of known length. So the
//! answer holds that end.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// Lets no answer wait for what is left of its call's body.
///
/// # Errors
/// Those of the call itself.
pub async fn close<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<Answer>, Error> {
    let payload = Shared(Rc::new(RefCell::new(request.take_payload())));
    let unread = payload.clone();
    request.set_payload(Payload::Stream { payload: Box::pin(payload) });
    let response = next.call(request).await?.map_into_boxed_body();
    Ok(response.map_body(|_, body| Answer { body, _unread: unread }))
}

/// The receiving end of a body, for handler and answer. One worker has both, and only the handler
/// reads.
#[derive(Clone)]
struct Shared(Rc<RefCell<Payload>>);

impl Stream for Shared {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.borrow_mut().poll_next_unpin(cx)
    }
}

/// An answer, and the end of the body that it answers.
pub struct Answer {
    body: BoxBody,
    _unread: Shared,
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
