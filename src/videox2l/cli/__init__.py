"""The command line: `videox2l index`, `ask`, `chat`, `demo`, `synth`, `eval`."""

from videox2l.cli.app import main

__all__ = ["main"]
