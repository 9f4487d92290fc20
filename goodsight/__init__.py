"""The kernel: settings, errors, content digests, whole-or-nothing files and progress. Imports nothing of ours."""

__version__ = "0.1.0"
