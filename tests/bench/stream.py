"""A long stream of messages: 200,000 lines on one call, and what they cost the relay in memory.

    cargo build --release
    python3 tests/bench/stream.py target/release/pushlet

The peer is `pushlet simulate --accept-all`, another process. Every index must be answered once, with
the token of its line. Needs openssl(1) and Linux. The exit code is 1 when an answer is wrong or the
memory grew by more than 20 MiB.
"""

import http.client
import json
import os
import socket
import sys
import tempfile
import threading
import time

import memory

MESSAGES = 200_000
LINES_AT_ONCE = 100
GROWTH_LIMIT_KIB = 20 * 1024


def token(index):
    return f"{index:016x}cf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61b"


def write(sock, failures):
    try:
        for start in range(0, MESSAGES, LINES_AT_ONCE):
            lines = "".join(
                json.dumps({"application_id": "app", "device_token": token(index), "alert": "hello"})
                + "\n"
                for index in range(start, min(start + LINES_AT_ONCE, MESSAGES))
            ).encode()
            sock.sendall(b"%x\r\n%s\r\n" % (len(lines), lines))
        sock.sendall(b"0\r\n\r\n")
    except OSError as failure:
        failures.append(failure)


def stream(port, pid):
    """All messages; how many were wrong, and the highest memory seen, in KiB."""
    # Not an HTTPConnection, which lets go of its socket as soon as an answer says that it will close.
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    sock.sendall(
        b"POST /send_notification HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    failures, seen, wrong, most = [], bytearray(MESSAGES), 0, 0
    writer = threading.Thread(target=write, args=(sock, failures))
    writer.start()
    response = http.client.HTTPResponse(sock, method="POST")
    response.begin()
    assert response.status == 200, response.read()
    for number, line in enumerate(response):
        row = json.loads(line)
        assert "index" in row, row
        index = row["index"]
        is_right = row["device_token"] == token(index) and row.get("response") == "ok"
        wrong += not is_right or seen[index]
        seen[index] = 1
        if number % 1_000 == 0:
            most = max(most, memory.rss_kib(pid))
    writer.join()
    if failures:
        raise failures[0]
    return wrong + seen.count(0), max(most, memory.rss_kib(pid))


def measure(pushlet, folder, children):
    relay, port = memory.start(pushlet, folder, children)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    pem = memory.certificate(folder)
    memory.post(connection, "/register_application", {"application_id": "app", "apns_pem": pem})
    # One message, so that the connection to the peer is not counted.
    message = {"application_id": "app", "device_token": token(0), "alert": "hello"}
    memory.post(connection, "/send_notification", message)
    before, start = memory.rss_kib(relay.pid), time.monotonic()
    wrong, most = stream(port, relay.pid)
    return wrong, before, most, time.monotonic() - start


def main():
    children = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            wrong, before, most, seconds = measure(os.path.abspath(sys.argv[1]), folder, children)
        finally:
            for child in children:
                child.kill()
    growth = most - before
    print(f"{MESSAGES:,} messages in {seconds:.1f} s, {wrong} answers wrong or missing")
    print(f"memory {before / 1024:.1f} MiB before, {most / 1024:.1f} MiB at most")
    print(f"growth {growth / 1024:.1f} MiB (limit {GROWTH_LIMIT_KIB / 1024:.0f})")
    sys.exit(wrong > 0 or growth > GROWTH_LIMIT_KIB)


if __name__ == "__main__":
    main()
