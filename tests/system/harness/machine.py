"""One running QEMU: its console goes to a file and to memory, patterns are waited for with bounds.

Used by dom0.py and by tests that need a machine without dom0's shell. Owns the process; stop() leaves nothing behind.
"""
import re
import subprocess
import threading
import time


class Failure(Exception):
    """A test's expectation was not met; the message says which."""


class Machine:
    def __init__(self, command, log):
        """command: QEMU's arguments without the console (see packaging/qemu.py); log: file that gets the console."""
        self.log = log
        self._text = ""
        self._changed = threading.Condition()
        self._process = subprocess.Popen(command + ["-serial", "stdio", "-monitor", "none"], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with open(self.log, "wb") as log:
            while chunk := self._process.stdout.read1(4096):
                log.write(chunk)
                log.flush()
                with self._changed:
                    self._text += chunk.decode(errors="replace").replace("\r", "")
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def position(self):
        """Where the console stands now, for wait_for's `start`."""
        with self._changed:
            return len(self._text)

    def console(self, start=0):
        with self._changed:
            return self._text[start:]

    def running(self):
        return self._process.poll() is None

    def send(self, text):
        """Types at the console, slowly: the hypervisor's receive buffer is small and drops what does not fit."""
        data = text.encode()
        for i in range(0, len(data), 48):
            self._process.stdin.write(data[i:i + 48])
            self._process.stdin.flush()
            time.sleep(0.02)

    def wait_for(self, pattern, seconds, start=0):
        """The match of a regular expression in the console from `start` on. Fails when time is up or QEMU ends."""
        expression = re.compile(pattern)
        end = time.monotonic() + seconds
        with self._changed:
            while True:
                match = expression.search(self._text, start)
                if match:
                    return match
                if not self._reader.is_alive():
                    raise Failure(f"the machine stopped (status {self._process.poll()}) before /{pattern}/ appeared")
                left = end - time.monotonic()
                if left <= 0:
                    raise Failure(f"/{pattern}/ did not appear within {seconds} s")
                self._changed.wait(min(left, 1))

    def wait_end(self, seconds):
        """QEMU's exit status."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"the machine still ran after {seconds} s")
        self._reader.join(5)
        return status

    def stop(self):
        if self.running():
            self._process.kill()
        self._process.wait()
        self._reader.join(5)
        self._process.stdin.close()

    def tail(self, lines=40):
        return "\n".join(line[:200] for line in self.console().splitlines()[-lines:])
