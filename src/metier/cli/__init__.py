"""The command `metier`: thin, no logic of its own. Modules are imported when their command is used."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from pathlib import Path

import click

from metier import __version__

# name → (module, one line for --help). The line stands here so that `metier --help` imports no command.
COMMANDS = {
    "demo": ("demo", "Make a SQLite specialist from its manual, measure it and report: the whole line, once."),
    "init": ("init", "Write a commented recipe into a new folder."),
    "advise": ("advise", "Say whether to prompt, retrieve, pre-train or fine-tune, with which settings and why."),
    "plan": ("recipes", "Say what a recipe will do, what it needs and how long it takes, before it starts."),
    "run": ("recipes", "Make what a recipe asks for, or one target in it; go on where the last run stopped."),
    "watch": ("watch", "Follow a training from another terminal: progress, curves, answers, warnings."),
    "why": ("recipes", "Say, field by field, why a step would run again."),
    "corpus": ("corpus", "Prepare documents on plain files: read, clean, deduplicate, anonymise, mix, pack, look."),
    "ls": ("workshop", "List what is in the workshop: made, unfinished, how large, how old."),
    "show": ("workshop", "Look into one artifact: its record, its ledger, its rows, the loss mask."),
    "report": ("workshop", "Print the figures of a finished recipe, or where its page is."),
    "gate": ("gate", "Say whether a model has lost something against another: exit code 0 or 1, for CI."),
    "fix": ("fix", "Show what the doctor would change in the recipe, and change it with --write."),
    "chat": ("models", "Talk to an exported model in the terminal."),
    "serve": ("models", "Serve an exported model over the OpenAI protocol."),
}


class _Lazy(click.Group):
    """A group whose commands are imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"metier.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"No such command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="metier")
def group() -> None:
    """Teach a language model a trade: from a folder of documents to a measured, served model, on your own machines.

    \b
    Start here:
      metier demo                     the whole line on SQLite's manual, about 45 minutes on two cores
      metier init law --from ~/texts  a recipe for your own documents
      metier plan -r law/metier.yaml  what it will do
      metier run  -r law/metier.yaml  do it
    """


def main() -> None:
    """Run the command line: exit code 0, 1 (it failed) or 2 (the user's mistake), and never a traceback."""
    # A thread that waits at a barrier sleeps instead of spinning: with neighbours on the cores, training was measured
    # three times as fast. It has to be said before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        group(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        if _to_be_said(error):
            error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        if os.environ.get("RANK", "0") == "0":
            print("\nstopped: run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`metier ls | head`); nothing is left to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        from metier.core.errors import Problem  # here, so that `metier --help` imports nothing of the core

        if _to_be_said(error):
            print(error if isinstance(error, Problem) else _unexpected(error), file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, Problem) else 1)


def _to_be_said(error: Exception) -> bool:
    """Whether this process of several tells the user of an error; if it is not the first, it says which it is."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return True
    from metier.core.processes import this_process, to_be_said

    if not to_be_said(error):
        return False
    if this_process() in getattr(error, "__notes__", ()):
        print(f"{this_process()}:", file=sys.stderr)
    return True


def _unexpected(error: Exception) -> str:
    lines = [f"error: {type(error).__name__}: {error}"]
    try:
        with tempfile.NamedTemporaryFile("w", prefix="metier-", suffix=".log", delete=False) as log:
            traceback.print_exc(file=log)
        lines.append(f"  found: the details are in {Path(log.name)}")
    except OSError:
        lines.append("  found: " + traceback.format_exc().strip().replace("\n", "\n         "))
    lines.append("  hint:  Metier does not know this error; finished work is kept. Please report it with the details")
    return "\n".join(lines)
