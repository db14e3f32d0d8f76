"""Memory of the relay: at rest, and after 10,000 sends by 64 callers.

    cargo build --release
    python3 tests/bench/memory.py target/release/pushlet

The peer is `pushlet simulate --accept-all`, another process. The relay has the threads of a machine
with two cores, whatever this one has: each further core costs some 100 KiB. Needs openssl(1) and
Linux. The exit code is 1 when a figure is over its limit.
"""

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

CALLERS = 64
SENDS = 10_000
IDLE_LIMIT_KIB = 15 * 1024
USED_LIMIT_KIB = 30 * 1024


def rss_kib(pid, name="VmRSS"):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(rf"^{name}:\s+(\d+) kB$", status.read(), re.M)[1])


def certificate(folder):
    """A certificate with its key in PEM, like Apple's as far as the relay looks."""
    key, cert = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-days", "30", "-subj", "/UID=com.example.app/CN=bench"]
        + ["-keyout", key, "-out", cert],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return open(cert).read() + open(key).read()


def post(connection, path, body):
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    assert response.status == 200, text
    return text


def send(port, caller, failures):
    """One caller's share, one send after the other on one connection."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(caller, SENDS, CALLERS):
            message = {
                "application_id": "app",
                "device_token": f"{number:064x}",
                "alert": "hello",
                "badge": 1,
            }
            assert post(connection, "/send_notification", message) == b'{"response":"ok"}'
    except Exception as failure:
        failures.append(failure)


def start(pushlet, folder, children):
    """A relay with a simulator behind it: its process and its port."""
    ca_file = os.path.join(folder, "ca.pem")
    ports = ["--apns", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    simulator = subprocess.Popen(
        [pushlet, "simulate", "--accept-all", "--ca-file", ca_file, *ports],
        stdout=subprocess.PIPE,
        text=True,
    )
    children.append(simulator)
    config = ""
    for line in simulator.stdout:
        config += line
        if "what to answer next" in line:
            break
    config_file = os.path.join(folder, "pushlet.toml")
    with open(config_file, "w") as file:
        file.write(config)

    environment = {
        "PUSHLET_CONFIG": config_file,
        "PUSHLET_SERVER__BIND": "127.0.0.1:0",
        "PUSHLET_SERVER__WORKERS": "2",
        "TOKIO_WORKER_THREADS": "2",
    }
    relay = subprocess.Popen(
        [pushlet, "serve"], stderr=subprocess.PIPE, text=True, env=environment
    )
    children.append(relay)
    port = int(re.search(r"listening on http://127.0.0.1:(\d+)", relay.stderr.readline())[1])
    return relay, port


def measure(pushlet, folder, children):
    relay, port = start(pushlet, folder, children)
    time.sleep(1)
    idle = rss_kib(relay.pid)

    connection = http.client.HTTPConnection("127.0.0.1", port)
    pem = certificate(folder)
    post(connection, "/register_application", {"application_id": "app", "apns_pem": pem})
    failures, began = [], time.monotonic()
    callers = [threading.Thread(target=send, args=(port, n, failures)) for n in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    if failures:
        raise failures[0]
    seconds = time.monotonic() - began
    return idle, rss_kib(relay.pid), rss_kib(relay.pid, "VmHWM"), seconds


def main():
    children = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            idle, used, peak, seconds = measure(os.path.abspath(sys.argv[1]), folder, children)
        finally:
            for child in children:
                child.kill()
    print(f"at rest             {idle / 1024:5.1f} MiB (limit {IDLE_LIMIT_KIB / 1024:.0f})")
    print(f"after {SENDS:,} sends {used / 1024:5.1f} MiB (limit {USED_LIMIT_KIB / 1024:.0f})")
    print(f"at most             {peak / 1024:5.1f} MiB; the sends took {seconds:.1f} s")
    sys.exit(idle > IDLE_LIMIT_KIB or used > USED_LIMIT_KIB)


if __name__ == "__main__":
    main()
