"""Sends requests over one HTTP/2 connection, all at once, and prints what came back.

Input and output are JSON. The connection is closed when every stream has ended or nothing has come
for `patience` seconds.
"""
import json
import socket
import ssl
import struct
import sys

import h2.connection
import h2.events

task = json.load(sys.stdin)
context = ssl.create_default_context(cafile=task["ca"])
context.set_alpn_protocols(["h2"])
if task.get("cert"):
    context.load_cert_chain(task["cert"])

raw = socket.create_connection(("127.0.0.1", task["port"]), timeout=10)
tls = context.wrap_socket(raw, server_hostname="localhost")
tls.settimeout(task.get("patience", 5))
http = h2.connection.H2Connection()
http.initiate_connection()
tls.sendall(http.data_to_send())

seen = {"answers": {}, "resets": {}, "goaway": [], "closed": False, "settings": {}}
streams = {}
open_streams = set()
buffer = bytearray()
GOAWAY = 7


def send_all():
    for index, request in enumerate(task["requests"]):
        stream = http.get_next_available_stream_id()
        streams[stream] = index
        open_streams.add(stream)
        head = [
            (":method", request.get("method", "POST")),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", request["path"]),
        ]
        http.send_headers(stream, head + request.get("headers", []))
        http.send_data(stream, request.get("body", "{}").encode(), end_stream=True)
        seen["answers"][index] = {"status": None, "headers": {}, "body": ""}


def take(event):
    if isinstance(event, h2.events.RemoteSettingsChanged):
        for code, change in event.changed_settings.items():
            seen["settings"][int(code)] = change.new_value
        if not streams:
            send_all()
    elif isinstance(event, h2.events.ResponseReceived):
        headers = {name.decode(): value.decode() for name, value in event.headers}
        answer = seen["answers"][streams[event.stream_id]]
        answer["status"] = int(headers.pop(":status"))
        answer["headers"] = headers
    elif isinstance(event, h2.events.DataReceived):
        seen["answers"][streams[event.stream_id]]["body"] += event.data.decode()
        http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
    elif isinstance(event, h2.events.StreamEnded):
        open_streams.discard(event.stream_id)
    elif isinstance(event, h2.events.StreamReset):
        seen["resets"][streams[event.stream_id]] = int(event.error_code)
        open_streams.discard(event.stream_id)


def frames(chunk):
    """The whole frames of what came so far. GOAWAY is recorded and left out: h2 takes it for the
    end of everything, while streams up to its last id are still answered (RFC 9113 6.8)."""
    buffer.extend(chunk)
    whole = bytearray()
    while len(buffer) >= 9:
        end = 9 + int.from_bytes(buffer[:3], "big")
        if len(buffer) < end:
            break
        frame = bytes(buffer[:end])
        del buffer[:end]
        if frame[3] == GOAWAY:
            last_stream_id, error_code = struct.unpack(">II", frame[9:17])
            seen["goaway"].append([error_code, last_stream_id])
        else:
            whole += frame
    return bytes(whole)


try:
    while open_streams or not streams:
        data = tls.recv(65536)
        if not data:
            seen["closed"] = True
            break
        for event in http.receive_data(frames(data)):
            take(event)
        tls.sendall(http.data_to_send())
except TimeoutError:
    pass
except OSError:
    seen["closed"] = True
json.dump(seen, sys.stdout)
