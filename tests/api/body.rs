//! Bodies on the wire: types, encodings, sizes, and the order in which they are judged.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpServer, web};
use pushlet::api::body::{self, Limits};
use pushlet::api::error::ApiError;

const MAX_BODY_BYTES: usize = 1000;
const LIMITS: Limits = Limits { size_bytes: MAX_BODY_BYTES, time: Duration::from_secs(60) };

/// Answers with the names of the parameters that arrived and the text of `a`.
async fn echo(request: HttpRequest, payload: web::Payload) -> Result<String, ApiError> {
    let mut params = body::read(&request, payload, LIMITS).await?;
    let names = format!("{params:?}");
    Ok(format!("{names} {:?}", params.text("a")?))
}

fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let server = HttpServer::new(|| App::new().default_service(web::to(echo)));
        let server = server.workers(1).disable_signals().listen(listener).unwrap();
        actix_web::rt::System::new().block_on(server.run()).unwrap();
    });
    address
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Reads one answer, by its `Content-Length`: status and body.
fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head[9..12].parse().unwrap(), String::from_utf8(body).unwrap())
}

/// Sends a head, given without its end, and a body; reads the answer.
fn ask(address: SocketAddr, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = connect(address);
    write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}").unwrap();
    answer(&mut stream)
}

fn sized(content_type: &str, body: &str) -> (u16, String) {
    let headers = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
    ask(serve(), "/", &headers, body)
}

fn chunked(content_type: &str, body: &str) -> (u16, String) {
    let headers = format!("{content_type}Transfer-Encoding: chunked\r\n");
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    ask(serve(), "/", &headers, &chunk)
}

fn refused(status: u16, code: &str, message: &str) -> (u16, String) {
    (status, format!("{{\"error\":\"{code}\",\"message\":\"{message}\"}}"))
}

fn too_large() -> (u16, String) {
    refused(
        413,
        "request_too_large",
        "the body is over 1000 bytes; send less, or raise max_body_bytes",
    )
}

fn wrong_type() -> (u16, String) {
    refused(
        415,
        "unsupported_media_type",
        "a body of this Content-Type is not read; send application/x-www-form-urlencoded, \
         multipart/form-data or application/json",
    )
}

fn no_type() -> (u16, String) {
    refused(
        415,
        "unsupported_media_type",
        "there is a body without a Content-Type; name one of application/x-www-form-urlencoded, \
         multipart/form-data and application/json",
    )
}

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn all_three_types_carry_the_same_parameters() {
    let multipart = "--B\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\n\r\n\
                     1 +\r\n--B\r\nContent-Disposition: form-data; name=b\r\n\r\n2\r\n--B--\r\n";
    let expected = (200, "[\"a\", \"b\"] Some(\"1 +\")".to_owned());

    assert_eq!(sized(FORM, "a=1+%2B&b=2"), expected);
    assert_eq!(sized("Application/JSON; charset=UTF-8", r#"{"a":"1 +","b":2}"#), expected);
    assert_eq!(sized("multipart/form-data; boundary=\"B\"", multipart), expected);
    assert_eq!(chunked("Content-Type: application/json\r\n", r#"{"a":"1 +","b":2}"#), expected);
}

#[test]
fn no_body_is_no_parameters() {
    let nothing = (200, "[] None".to_owned());

    assert_eq!(ask(serve(), "/?", "", ""), nothing);
    assert_eq!(ask(serve(), "/", "Content-Length: 0\r\n", ""), nothing);
    assert_eq!(ask(serve(), "/", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), nothing);
    assert_eq!(sized(FORM, ""), nothing);
}

#[test]
fn other_types_are_refused() {
    for content_type in ["text/plain", "application/xml", "multipart/mixed; boundary=B", "nonsense"]
    {
        assert_eq!(sized(content_type, "a=1"), wrong_type(), "{content_type}");
    }
    assert_eq!(ask(serve(), "/", "Content-Length: 3\r\n", "a=1"), no_type());
    assert_eq!(chunked("", "a=1"), no_type());
}

#[test]
fn other_charsets_and_encodings_are_refused() {
    let headers = format!("Content-Type: {FORM}\r\nContent-Length: 3\r\nContent-Encoding: ");
    let encoded = |encoding: &str| ask(serve(), "/", &format!("{headers}{encoding}\r\n"), "a=1");

    assert_eq!(
        sized("application/json; charset=iso-8859-1", "{}"),
        refused(415, "unsupported_media_type", "a body in this charset is not read; send utf-8")
    );
    assert_eq!(encoded("Identity"), (200, "[\"a\"] Some(\"1\")".to_owned()));
    assert_eq!(
        encoded("gzip"),
        refused(
            415,
            "unsupported_media_type",
            "a body with a Content-Encoding is not read; send it as it is"
        )
    );
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let headers = format!("Content-Type: {FORM}\r\nContent-Length: 1001\r\n");

    assert_eq!(ask(serve(), "/", &headers, ""), too_large());
    let exact = format!("a={}", "x".repeat(MAX_BODY_BYTES - 2));
    assert_eq!(sized(FORM, &exact).0, 200);
}

#[test]
fn a_body_over_the_limit_is_refused_while_it_streams() {
    let part = "--B\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n";
    let multipart = format!("{}--B--", part.repeat(20));

    let long = format!("a={}", "x".repeat(MAX_BODY_BYTES - 1));
    assert_eq!(chunked(&format!("Content-Type: {FORM}\r\n"), &long), too_large());
    assert_eq!(
        chunked("Content-Type: multipart/form-data; boundary=B\r\n", &multipart),
        too_large()
    );
}

#[test]
fn a_query_string_is_refused() {
    let headers = format!("Content-Type: {FORM}\r\nContent-Length: 3\r\n");

    assert_eq!(
        ask(serve(), "/?a=1", &headers, "a=1"),
        refused(
            400,
            "invalid_request",
            "parameters are not read from the query string, where logs would keep them; send them \
             in the body"
        )
    );
}

#[test]
fn type_is_judged_before_size_and_size_before_the_rest() {
    let long = "%".repeat(MAX_BODY_BYTES + 1);
    let headers = format!("Content-Type: {FORM}\r\nContent-Length: {}\r\n", long.len());

    assert_eq!(sized("text/plain", &long), wrong_type());
    assert_eq!(ask(serve(), "/?a=1", &headers, &long), too_large());
}

#[test]
fn a_refused_body_leaves_the_connection_in_order() {
    let mut stream = connect(serve());
    let request = |body: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };

    stream.write_all((request("a=%") + &request("a=1")).as_bytes()).unwrap();

    assert_eq!(answer(&mut stream).0, 400);
    assert_eq!(answer(&mut stream), (200, "[\"a\"] Some(\"1\")".to_owned()));
}

#[test]
fn a_caller_that_leaves_in_the_middle_harms_nobody() {
    let address = serve();
    let mut stream = connect(address);
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n");
    write!(stream, "{head}Content-Length: 100\r\n\r\na=1").unwrap();

    drop(stream);

    let headers = format!("Content-Type: {FORM}\r\nContent-Length: 3\r\n");
    assert_eq!(ask(address, "/", &headers, "a=1"), (200, "[\"a\"] Some(\"1\")".to_owned()));
}
