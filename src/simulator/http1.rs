//! The web server of the simulator, with and without TLS: Google's endpoints and the control routes.

use std::any::Any;
use std::io;
use std::net::{IpAddr, Shutdown, TcpListener};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use actix_tls::accept::openssl::TlsStream;
use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, Server, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::{Next, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer, error, web};
use openssl::ssl::SslAcceptorBuilder;

use super::{Shared, control, fcm, gcm, oauth};

/// More than a call to 1,000 recipients needs.
const BODY_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// The server; it runs while it is polled. What `https` brings is served over TLS beside it.
pub(super) fn server(
    listener: TcpListener,
    https: Option<(TcpListener, SslAcceptorBuilder)>,
    shared: Arc<Shared>,
) -> io::Result<Server> {
    let is_loopback = listener.local_addr()?.ip().is_loopback();
    let guard = Guard { is_loopback };
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::from(Arc::clone(&shared)))
            .app_data(web::Data::new(guard))
            .app_data(web::PayloadConfig::new(BODY_BYTES_MAX))
            .wrap(from_fn(refuse_browsers))
            .route("/gcm/send", web::post().to(gcm::send))
            .route("/fcm/send", web::post().to(gcm::send))
            .route("/token", web::post().to(oauth::token))
            .route("/v1/projects/{project}/messages:send", web::post().to(fcm::send))
            .route("/control/tokens", web::delete().to(control::revoke_tokens))
            .service(
                web::resource("/control/answers")
                    .route(web::post().to(control::add_answer))
                    .route(web::delete().to(control::clear_answers)),
            )
            .service(
                web::resource("/control/messages")
                    .route(web::get().to(control::messages))
                    .route(web::delete().to(control::clear_messages)),
            )
    });
    let server = server
        .workers(1)
        .disable_signals()
        .client_request_timeout(Duration::from_secs(10))
        .on_connect(remember_socket)
        .listen(listener)?;
    let server = match https {
        None => server,
        Some((listener, tls)) => server.listen_openssl(listener, tls)?,
    };
    Ok(server.run())
}

#[derive(Clone, Copy)]
struct Guard {
    is_loopback: bool,
}

/// A page in somebody's browser may reach this port; it shall neither read messages nor send any.
/// Browsers add `Origin` to what a page sends elsewhere, and name the page's own host when its name
/// was bent to this address (DNS rebinding).
async fn refuse_browsers(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let guard = request.app_data::<web::Data<Guard>>();
    let is_loopback = guard.is_none_or(|guard| guard.is_loopback);
    let host = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or(""));
    let is_foreign = is_loopback && host.is_some_and(|host| !is_loopback_host(host));
    if is_foreign || request.headers().contains_key(header::ORIGIN) {
        return Err(error::ErrorForbidden("this port is not for web pages"));
    }
    next.call(request).await
}

/// Whether the value of a `Host` header names this machine.
fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    let is_address = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_address || name.eq_ignore_ascii_case("localhost")
}

/// The connection's own socket, so that a handler can cut it.
struct Socket(std::net::TcpStream);

fn remember_socket(connection: &dyn Any, extensions: &mut Extensions) {
    let plain = connection.downcast_ref::<TcpStream>();
    let stream = plain.or_else(|| {
        connection.downcast_ref::<TlsStream<TcpStream>>().map(|stream| stream.get_ref())
    });
    if let Some(stream) = stream
        && let Ok(descriptor) = stream.as_fd().try_clone_to_owned()
    {
        extensions.insert(Socket(descriptor.into()));
    }
}

/// Cuts the connection of a request. What is returned finds nobody to read it.
pub(super) fn cut(request: &HttpRequest) -> HttpResponse {
    if let Some(Socket(socket)) = request.conn_data::<Socket>() {
        // An error means that the client was quicker.
        let _ = socket.shutdown(Shutdown::Both);
    }
    HttpResponse::InternalServerError().finish()
}

#[cfg(test)]
mod tests {
    use super::is_loopback_host;

    #[test]
    fn names_of_this_machine() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:80", "127.1.2.3", "[::1]:80"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["", "example.com", "127.0.0.1.example.com", "localhost.example", "10.0.0.1"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
