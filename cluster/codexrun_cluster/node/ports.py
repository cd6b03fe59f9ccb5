"""Is a port free, and if not, who has it?"""

from pathlib import Path

PROC = Path("/proc")
LISTEN = "0A"


def listeners(tables: list[str]) -> dict[int, list[tuple[str, str]]]:
    """Listening sockets by port: (address in the kernel's hex, inode), from the text of
    /proc/net/tcp and tcp6."""
    found: dict[int, list[tuple[str, str]]] = {}
    for table in tables:
        for line in table.splitlines()[1:]:
            words = line.split()
            if len(words) > 9 and words[3] == LISTEN:
                address, port = words[1].rsplit(":", 1)
                found.setdefault(int(port, 16), []).append((address, words[9]))
    return found


def current() -> dict[int, list[tuple[str, str]]]:
    """The listening sockets of this machine now."""
    return listeners([p.read_text() for p in (PROC / "net/tcp", PROC / "net/tcp6") if p.exists()])


def hexadecimal(address: str) -> str:
    """An IPv4 address as /proc/net/tcp writes it: bytes in reverse."""
    return "".join(f"{int(part):02X}" for part in reversed(address.split(".")))


def in_the_way(address: str, port: int, now: dict[int, list[tuple[str, str]]]) -> str | None:
    """Who listens where we want to: the same address, or every address. None when free."""
    everywhere = {"00000000", "0" * 32}
    for theirs, inode in now.get(port, []):
        if theirs == hexadecimal(address) or theirs in everywhere:
            return owner(inode) or "a process of another namespace or user"
    return None


def owner(inode: str) -> str | None:
    """The process that holds a socket, as `name (pid N)`."""
    wanted = f"socket:[{inode}]"
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if any(str(fd.readlink()) == wanted for fd in (entry / "fd").iterdir()):
                return f"{(entry / 'comm').read_text().strip()} (pid {entry.name})"
        except OSError:
            continue
    return None
