"""A command in a pseudo-terminal, as a person sees it."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

_PROGRAM = "import sys; sys.argv[0] = 'sgrnn'; from sgrnn.cli import main; main()"


def seen(folder: Path, *arguments: object, columns: int = 80, encoding: str = "utf-8") -> list[str]:
    """The lines that a command leaves on a terminal of so many columns, without colors; it must succeed."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        command = [sys.executable, "-c", _PROGRAM, *map(str, arguments)]
        told = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        os.execve(sys.executable, command, told | {"TERM": "xterm-256color", "PYTHONIOENCODING": encoding})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
    written = b""
    while True:
        try:
            written += os.read(terminal, 1 << 16)
        except OSError:  # the other end is closed
            break
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode(encoding))
    assert status == 0, text
    return [line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").splitlines()]
