"""`python -m lightning_app`: `mssim` where the package is not installed."""

from lightning_app.cli import main

main()
