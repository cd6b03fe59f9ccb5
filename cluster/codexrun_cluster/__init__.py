"""Brings up a real Kubernetes on this machine and installs codexrun into it.

Standard library only: it runs under the system's Python before any virtual environment exists.
"""
