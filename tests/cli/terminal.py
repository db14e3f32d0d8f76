"""Runs a command on a terminal of its own and types what it is given, a line for each prompt.

usage: terminal.py LINE,LINE... COMMAND...   prints what the terminal showed; its exit code
"""

import os
import pty
import sys
import termios
import time

lines = sys.argv[1].split(",")
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[2], sys.argv[2:])
shown = b""
prompts = 0
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    shown += piece
    while shown.count(b"password: ") > prompts:
        # The prompt comes before the echo is turned off, and a person after both.
        until = time.monotonic() + 60
        while termios.tcgetattr(terminal)[3] & termios.ECHO and time.monotonic() < until:
            time.sleep(0.01)
        line = lines[prompts] if prompts < len(lines) else ""
        os.write(terminal, line.encode() + b"\n")
        prompts += 1
_, status = os.waitpid(child, 0)
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(status))
