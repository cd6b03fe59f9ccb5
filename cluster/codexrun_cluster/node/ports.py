"""Whether a port is free, and who has it."""

from pathlib import Path

PROC = Path("/proc")
LISTEN_STATE = "0A"


def listeners(tables: list[str]) -> dict[int, list[tuple[str, str]]]:
    """Return listening sockets by port: (address in the kernel's hex, inode), from the text of
    /proc/net/tcp and tcp6."""
    by_port: dict[int, list[tuple[str, str]]] = {}
    for table in tables:
        for line in table.splitlines()[1:]:
            words = line.split()
            if len(words) > 9 and words[3] == LISTEN_STATE:
                address, port = words[1].rsplit(":", 1)
                by_port.setdefault(int(port, 16), []).append((address, words[9]))
    return by_port


def listening_sockets() -> dict[int, list[tuple[str, str]]]:
    """Return the listening sockets of this machine now."""
    return listeners([p.read_text() for p in (PROC / "net/tcp", PROC / "net/tcp6") if p.exists()])


def hexadecimal(address: str) -> str:
    """Return an IPv4 address as /proc/net/tcp writes it: bytes in reverse."""
    return "".join(f"{int(part):02X}" for part in reversed(address.split(".")))


def port_holder(address: str, port: int, sockets: dict[int, list[tuple[str, str]]]) -> str | None:
    """Return who listens on this address, or on every address; None when free."""
    everywhere = {"00000000", "0" * 32}
    for holder_address, inode in sockets.get(port, []):
        if holder_address in {hexadecimal(address), *everywhere}:
            return owner(inode) or "a process of another namespace or user"
    return None


def owner(inode: str) -> str | None:
    """Return the process that holds a socket, as `name (pid N)`."""
    link = f"socket:[{inode}]"
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if any(str(fd.readlink()) == link for fd in (entry / "fd").iterdir()):
                return f"{(entry / 'comm').read_text().strip()} (pid {entry.name})"
        except OSError:
            continue
    return None
