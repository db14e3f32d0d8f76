"""What counting costs: the share of the metrics code in the instructions of a send.

    cargo build --release --config 'profile.release.strip=false' \\
        --config 'profile.release.debug="line-tables-only"'
    python3 tests/bench/watching.py target/release/pushlet

The relay runs under `valgrind --tool=callgrind`, twice: for few sends and for many, so that start and
registration cancel out. The peer is `pushlet simulate --accept-all`. Counted is every instruction that
stems from a line of `src/metrics/` or of the crate `prometheus`, wherever the compiler put it; what
stems from a line of the standard library in a function where such lines are (atomics, iterators, but
others' as well, so this is too much rather than too little); and all readings of clocks. Needs
valgrind, openssl(1) and Linux; the binary needs line tables.
The exit code is 1 when the share is over its limit.
"""

import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile

import memory

FEW, MANY = 200, 2_200
LIMIT_PERCENT = 3.0
CLOCK = "clock_gettime"


def run(pushlet, config_file, folder, sends):
    """Instructions of each function (file and name) after so many sends."""
    out = os.path.join(folder, f"callgrind.{sends}")
    environment = {
        "PUSHLET_CONFIG": config_file,
        "PUSHLET_SERVER__BIND": "127.0.0.1:0",
        "PUSHLET_SERVER__WORKERS": "1",
        "PUSHLET_APNS__TIMEOUT": "25s",
        "TOKIO_WORKER_THREADS": "1",
        "PATH": os.environ["PATH"],
    }
    relay = subprocess.Popen(
        ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={out}", pushlet, "serve"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        for line in relay.stderr:
            found = re.search(r"listening on http://127.0.0.1:(\d+)", line)
            if found:
                break
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=120)
        pem = memory.certificate(folder)
        memory.post(connection, "/register_application", {"application_id": "app", "apns_pem": pem})
        for number in range(sends):
            token = f"{number:064x}"
            message = {"application_id": "app", "device_token": token, "alert": "hello", "badge": 1}
            assert memory.post(connection, "/send_notification", message) == b'{"response":"ok"}'
        connection.close()
        relay.send_signal(signal.SIGTERM)
        relay.wait(timeout=120)
    finally:
        relay.kill()
    return read(out)


def read(path):
    """Self cost by place: callgrind's lines name file and function, with numbers for names that
    came before; a line after `calls=` is the cost of somebody else."""
    names = {"fl": {}, "fn": {}}
    costs, file, function, skip = {}, "", "", False

    def name(kind, text):
        found = re.match(r"\((\d+)\)(?: (.*))?$", text)
        if found[2]:
            names[kind][found[1]] = found[2]
        return names[kind].get(found[1], "")

    for line in open(path):
        line = line.rstrip("\n")
        if skip:
            skip = False
        elif line.startswith(("fl=", "fi=", "fe=")):
            file = name("fl", line[3:])
        elif line.startswith("fn="):
            function = name("fn", line[3:])
        elif line.startswith(("cfi=", "cfl=")):
            name("fl", line[4:])
        elif line.startswith("cfn="):
            name("fn", line[4:])
        elif line.startswith("calls="):
            skip = True
        elif re.match(r"[+\-*\d]", line):
            parts = line.split()
            if len(parts) == 2:
                key = (file, function)
                costs[key] = costs.get(key, 0) + int(parts[1])
    return costs


def is_metrics(file, function):
    return "src/metrics/" in file or "/prometheus-" in file or "prometheus::" in function


def main():
    pushlet = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        ca_file = os.path.join(folder, "ca.pem")
        ports = ["--apns", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        simulator = subprocess.Popen(
            [pushlet, "simulate", "--accept-all", "--ca-file", ca_file, *ports],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            config_file = os.path.join(folder, "pushlet.toml")
            with open(config_file, "w") as file:
                for line in simulator.stdout:
                    file.write(line)
                    if "what to answer next" in line:
                        break
            few = run(pushlet, config_file, folder, FEW)
            many = run(pushlet, config_file, folder, MANY)
        finally:
            simulator.kill()
    sends = MANY - FEW
    total = (sum(many.values()) - sum(few.values())) / sends
    places = {key: (cost - few.get(key, 0)) / sends for key, cost in many.items()}
    counting = sum(cost for key, cost in places.items() if is_metrics(*key))
    functions = {key[1] for key, cost in places.items() if is_metrics(*key) and cost >= 1}
    beside = sum(
        cost
        for (file, function), cost in places.items()
        if function in functions and "/library/" in file and not is_metrics(file, function)
    )
    readings = sum(cost for (_, name), cost in places.items() if CLOCK in name)
    share = 100 * (counting + beside + readings) / total
    print(f"instructions of a send        {total:9,.0f}")
    print(f"lines of the metrics          {counting:9,.0f}")
    print(f"of the library beside them    {beside:9,.0f}")
    print(f"all readings of clocks        {readings:9,.0f}")
    print(f"at most                       {share:9.2f} % (limit {LIMIT_PERCENT} %)")
    sys.exit(counting == 0 or share > LIMIT_PERCENT)


main()
