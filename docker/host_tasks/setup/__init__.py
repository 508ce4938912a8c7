"""Make .venv and become Invoke. Standard library only: it runs before any host package is there."""
