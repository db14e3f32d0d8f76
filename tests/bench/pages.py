"""How long `/metrics` and `/status` take with 1,000 applications, and how large they are.

    cargo build --release
    python3 tests/bench/pages.py target/release/pushlet

Each application has had an accepted message, a dead token and an unknown one, so that it has the
series and the last failure that an application in use has. The peer is `pushlet simulate`. Needs openssl(1) and Linux. The
exit code is 1 when the median of a page is over its limit.
"""

import base64
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time

APPLICATIONS = 1_000
ROUNDS = 25
LIMIT_SECONDS = 0.050
GOOD = "740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78ad"
GONE = "5e750410" + GOOD[8:]
UNKNOWN = "5e750400" + GOOD[8:]


def p8(folder):
    path = os.path.join(folder, "key.pem")
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run([*command, "-out", path], check=True, stderr=subprocess.DEVNULL)
    return open(path).read()


def post(connection, path, body):
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status


def fill(port, folder):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    key = p8(folder)
    for number in range(APPLICATIONS):
        name = f"com.example.application-{number:04}"
        application = {
            "application_id": name,
            "apns_p8": key,
            "apns_key_id": "KEY1234567",
            "apns_team_id": "TEAM123456",
            "apns_topic": name,
        }
        assert post(connection, "/register_application", application) == 200
        for token, status in [(GOOD, 200), (GONE, 410), (UNKNOWN, 400)]:
            message = {"application_id": name, "device_token": token, "alert": "hello"}
            assert post(connection, "/send_notification", message) == status


def page(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times, size = [], 0
    for _ in range(ROUNDS):
        start = time.monotonic()
        connection.request("GET", path)
        size = len(connection.getresponse().read())
        times.append(time.monotonic() - start)
    times.sort()
    median = times[len(times) // 2]
    print(
        f"{path:9} {size / 1024:7.0f} KiB, median {median * 1000:5.1f} ms, "
        f"longest {times[-1] * 1000:5.1f} ms (limit {LIMIT_SECONDS * 1000:.0f})"
    )
    return median <= LIMIT_SECONDS


def main():
    pushlet, children = os.path.abspath(sys.argv[1]), []
    with tempfile.TemporaryDirectory() as folder:
        try:
            ca_file = os.path.join(folder, "ca.pem")
            ports = ["--apns", "127.0.0.1:0", "--http", "127.0.0.1:0"]
            simulator = subprocess.Popen(
                [pushlet, "simulate", "--ca-file", ca_file, *ports],
                stdout=subprocess.PIPE,
                text=True,
            )
            children.append(simulator)
            config_file = os.path.join(folder, "pushlet.toml")
            with open(config_file, "w") as file:
                for line in simulator.stdout:
                    file.write(line)
                    if "what to answer next" in line:
                        break
            # What it prints of each message must not fill the pipe.
            devour = "import sys\nfor _ in sys.stdin: pass"
            children.append(subprocess.Popen([sys.executable, "-c", devour], stdin=simulator.stdout))
            environment = {
                "PUSHLET_CONFIG": config_file,
                "PUSHLET_SERVER__BIND": "127.0.0.1:0",
            }
            relay = subprocess.Popen(
                [pushlet, "serve"], stderr=subprocess.PIPE, text=True, env=environment
            )
            children.append(relay)
            found = re.search(r"listening on http://127.0.0.1:(\d+)", relay.stderr.readline())
            children.append(subprocess.Popen([sys.executable, "-c", devour], stdin=relay.stderr))
            port = int(found[1])
            fill(port, folder)
            kept = [page(port, path) for path in ("/metrics", "/status")]
        finally:
            for child in children:
                child.kill()
    sys.exit(not all(kept))


main()
