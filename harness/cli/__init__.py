"""The command line: `harness COMMAND`. Commands are imported when they are called, so that `--help` is quick."""

from __future__ import annotations

import mmap
import shlex
import signal
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

import click

from harness.errors import HarnessError, as_line, cause, one_line
from harness.process.interrupt import Stopped
from harness.process.last_resort import ends_in_time
from harness.secrets import has_secrets

COMMANDS = {
    "init": "Begin a study, or a method, with a commented file.",
    "ls": "List data sets, scenarios, architectures, methods, suites, metrics, tables, columns.",
    "plan": "Show what a study would run, what is done, and what it costs.",
    "run": "Run what is left of a study; print the ranking.",
    "retry": "Run again what failed.",
    "submit": "Run a study as a job of a Ray cluster.",
    "status": "Show how far the studies of a root are.",
    "show": "Show everything about one trial.",
    "repro": "Run one unit again and compare it with what is stored.",
    "audit-determinism": "Run a random share of a study again and compare.",
    "rank": "Rank the methods of a study from its tables.",
    "attack": "Attack the farm of a study again, from its signals.",
    "report": "Write the report page of a study.",
    "ui": "Show the results in MLflow's web interface.",
    "open": "Show the trials behind an MLflow run.",
    "sync": "Bring MLflow up to date with a study.",
    "query": "Ask the tables one SELECT.",
    "compact": "Write the many files of the tables as few.",
    "check": "Try whether a method keeps what every method promises.",
    "completion": "Print what completes commands and studies in your shell.",
    "doctor": "Check this machine: packages, devices, data, root.",
}


class LazyGroup(click.Group):
    """A group that imports `harness.cli.<command>` when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"harness.cli.{cmd_name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command with the nearest known one."""
        from harness.errors import did_you_mean

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}{did_you_mean(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="unlearning-harness", message="%(version)s")
@click.pass_context
def group(ctx: click.Context) -> None:
    """Evaluate machine unlearning at scale: one study file in, a ranking with uncertainty out.

    \b
    harness run digits                      the demo: about a minute, no download
    harness plan my_study.yaml              what would run, and what it costs
    harness query "select * from units"     ask the tables
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 units failed, 2 the question was wrong, 130 interrupted, 143 ended by SIGTERM, 129 by SIGHUP.
    """
    warnings.formatwarning = _one_line
    with ends_in_time(_last_words):
        _main()


_said = mmap.mmap(-1, 1)
"""Whether the farewell was said, by this process or by one that it forked: who is ended later has nothing to add."""


def _last_words(number: signal.Signals) -> str:
    """Return the farewell as a line, or nothing if it was said."""
    return "" if _said[0] else f"harness: {as_line(_farewell(number))}"


def _main() -> NoReturn:
    try:
        sys.exit(group.main(prog_name="harness", standalone_mode=False) or 0)
    except HarnessError as error:
        _stop(str(error), 2)
    except click.UsageError as error:
        _stop(error.format_message(), 2)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        _stop_after_signal(error)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # a full disk, a folder that is gone or another's: not of the root, which the store names
        _stop(cause(error), 2)
    except Exception as error:
        if not _is_of_parts(error):
            raise
        _stop(f"the tables cannot be read: {one_line(error)}; is a part of them damaged?", 2)


def _is_of_parts(error: Exception) -> bool:
    """Say whether polars could not read a Parquet file: one that was made to look right to every check before."""
    return type(error).__module__ == "polars.exceptions" and "parquet" in str(error)


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Return a warning as a user reads it: what is said, not which line of code said it."""
    kind = "" if category is UserWarning else f"{category.__name__}: "
    return f"harness: {as_line(f'{kind}{message}')}\n"


def _stop_after_signal(error: BaseException) -> NoReturn:
    """End as a signal asks to; click makes an Abort of every KeyboardInterrupt."""
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # one more could only interrupt the end of the interpreter
    stopped = error.__cause__ if isinstance(error, click.Abort) else error
    number = stopped.signal if isinstance(stopped, Stopped) else signal.SIGINT
    if words := _last_words(signal.Signals(number)):
        click.echo(words, err=True)
        _said[0] = 1
    sys.exit(128 + number)


def _farewell(number: signal.Signals) -> str:
    """Return what to say at the end: the very command that goes on, unless a password may stand in it."""
    how = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    command = shlex.join(["harness", *sys.argv[1:]])
    which = "" if has_secrets(command) else f": {command}"
    return f"{how}; everything finished is kept, the same command goes on{which}"


def _stop(message: str, code: int) -> NoReturn:
    click.echo(f"harness: {as_line(message)}", err=True)
    sys.exit(code)
