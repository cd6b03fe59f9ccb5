"""placeholder"""
from .places import Places
def run(places: Places, cluster: str) -> int:
    return 0
