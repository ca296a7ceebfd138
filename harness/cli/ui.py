"""`harness ui`: the results in MLflow's web interface."""

from __future__ import annotations

import click

from harness.cli import options


@click.command()
@options.root
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def command(root: str | None, port: int, host: str) -> None:
    """Bring MLflow up to date with every study of a root, and serve its web interface until Ctrl-C.

    With MLFLOW_TRACKING_URI set to a server, the results go there, and its address is printed.

    \b
    harness ui
    harness ui --root /data/runs --port 5001
    """
    from harness.store import Store
    from harness.tracking import find_address, serve, sync_stored

    store = Store.open(root)
    reports = sync_stored(store)
    path = reports[0].path if len(reports) == 1 else "/#/experiments"
    address = find_address(store.address)
    if address.is_server:
        click.echo(f"open {address.shown.rstrip('/')}{path}")
    else:
        serve(address, host, port, lambda url: click.echo(f"open {url}{path}   (Ctrl-C ends it)"))
