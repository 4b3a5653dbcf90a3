"""The answer to a streamed HTTP request: head, chunked transfer coding (RFC 9112, section 7.1), server-sent events."""
import json


class EventStream:
    """Takes the bytes of one answer as they came and returns the events that each piece completes."""

    def __init__(self):
        self.status = None  # Of HTTP; None: the head is not complete yet.
        self.done = False   # "data: [DONE]" came.
        self.body = b""     # What is not part of a complete event.
        self._raw = b""
        self._chunked = False

    def feed(self, data):
        """Events as JSON values, in order. ValueError: not HTTP, not chunked as announced, or an event that is no JSON."""
        self._raw += data
        if self.status is None and not self._take_head():
            return []
        self._take_body()
        if self.status != 200:
            return []
        events = []
        while b"\n\n" in self.body:
            event, self.body = self.body.split(b"\n\n", 1)
            data = b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
            if data == b"[DONE]":
                self.done = True
            elif data:
                events.append(json.loads(data))
        return events

    def _take_head(self):
        if b"\r\n\r\n" not in self._raw:
            return False
        head, self._raw = self._raw.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        if not lines[0].startswith("HTTP/1."):
            raise ValueError(f"no HTTP: {lines[0]!r:.80}")
        self.status = int(lines[0].split()[1])
        self._chunked = any(line.lower().replace(" ", "") == "transfer-encoding:chunked" for line in lines[1:])
        return True

    def _take_body(self):
        if not self._chunked:
            self.body, self._raw = (self.body + self._raw).replace(b"\r\n", b"\n"), b""
            return
        while b"\r\n" in self._raw:
            size, rest = self._raw.split(b"\r\n", 1)
            length = int(size.split(b";")[0], 16)
            if len(rest) < length + 2:
                return
            self.body += rest[:length].replace(b"\r\n", b"\n")
            self._raw = rest[length + 2:]
