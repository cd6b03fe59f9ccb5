"""A proxy that cuts every connection after so many bytes of its answer, in the middle of whatever
that is."""

import contextlib
import random
import socket
import threading


class CuttingProxy:
    """Before 127.0.0.1:`port`; `cuts` counts. After `calm()` it lets everything through."""

    def __init__(self, port: int, seed: int, *, least: int = 200, most: int = 3000) -> None:
        self._target = port
        self._dice = random.Random(seed)
        self._range = (least, most)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.cuts = 0
        self._calm = False
        threading.Thread(target=self._accept, daemon=True).start()

    def calm(self) -> None:
        self._calm = True

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection(("127.0.0.1", self._target)) as server,
        ):
            threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()
            left = self._dice.randint(*self._range)
            log = False
            while piece := server.recv(4096):
                log = log or b"text/event-stream" in piece
                if self._calm or not log:  # only streams are cut: short answers would never arrive
                    client.sendall(piece)
                    continue
                client.sendall(piece[:left])
                left -= len(piece)
                if left <= 0:
                    self.cuts += 1
                    if self._dice.random() < 0.5:  # a reset instead of an orderly end
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                        # Wakes the thread that reads, which would keep the socket open.
                        client.shutdown(socket.SHUT_RD)
                    else:
                        client.shutdown(socket.SHUT_RDWR)
                    return

    @staticmethod
    def _pass_on(client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := client.recv(4096):
                server.sendall(piece)
