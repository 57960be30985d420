"""The `alphamill` command: mounts the producers and the reading commands."""

from __future__ import annotations

import ast
import difflib
import gc
import importlib
import importlib.util
import inspect
from importlib.abc import InspectLoader

import click

import alphamill

# What is imported stays: to look through it for garbage again and again is a tenth of a command's
# time. Cycles are still found, less often.
gc.set_threshold(50_000, 20, 20)

# name -> (module, attribute, section). Loaded when called; `--help` reads their sources only.
COMMANDS = {
    "demo": ("producers.run.demo", "demo", "Start here"),
    "up": ("producers.run.up", "up", "Run"),
    "worker": ("producers.run.pools", "worker", "Run"),
    "beat": ("producers.run.pools", "beat", "Run"),
    "flower": ("producers.run.pools", "flower", "Run"),
    "metrics": ("producers.run.metrics", "metrics", "Run"),
    "fetch": ("producers.fetch", "fetch", "Submit"),
    "bars": ("producers.bars", "bars", "Submit"),
    "features": ("producers.features", "features", "Submit"),
    "mine": ("producers.mine", "mine", "Submit"),
    "evaluate": ("producers.evaluate", "evaluate", "Submit"),
    "combine": ("producers.combine", "combine", "Submit"),
    "live": ("producers.live", "live", "Submit"),
    "resume": ("producers.submit.lifecycle", "resume", "Submit"),
    "cancel": ("producers.submit.lifecycle", "cancel", "Submit"),
    "status": ("producers.read.status", "status", "Read"),
    "factors": ("producers.read.factors", "factors", "Read"),
    "library": ("producers.read.library", "library", "Read"),
    "top": ("producers.read.top", "top", "Read"),
    "usage": ("producers.read.usage", "usage", "Read"),
    "funnel": ("producers.read.funnel", "funnel", "Read"),
    "gaps": ("producers.read.gaps", "gaps", "Read"),
    "symbols": ("producers.check.symbols", "symbols", "Read"),
    "replay": ("producers.read.replay", "replay", "Read"),
    "report": ("producers.read.report", "report", "Read"),
    "prompt": ("producers.read.language", "prompt", "Read"),
    "operators": ("producers.read.language", "operators", "Read"),
    "models": ("producers.check.models", "models", "Check"),
    "bench": ("producers.run.bench", "bench", "Check"),
    "reproduce": ("producers.check.reproduce", "reproduce", "Check"),
    "cost": ("producers.check.cost", "cost", "Check"),
    "doctor": ("producers.check.doctor", "doctor", "Check"),
    "sim": ("producers.run.sim", "sim", "Simulate"),
}

# What is looked for under a name of its own and is a form of another command.
ELSEWHERE = {"compare": "`report A B`"}


class _Commands(click.Group):
    """Loads a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            close = difflib.get_close_matches(cmd_name, COMMANDS, n=1) or [
                name for name in COMMANDS if name.startswith(cmd_name[:3])
            ]
            meant = ELSEWHERE.get(cmd_name) or (close[0] if close else "")
            hint = f"; did you mean {meant}?" if meant else ""
            ctx.fail(f"no command {cmd_name!r}{hint}")
        module, attribute, _ = COMMANDS[cmd_name]
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)  # noqa: S101  the table above is ours
        return found

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        for section in dict.fromkeys(section for _, _, section in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [
                        (name, summary(module, attribute))
                        for name, (module, attribute, where) in COMMANDS.items()
                        if where == section
                    ]
                )


def summary(module: str, attribute: str) -> str:
    """A command's first sentence, from its docstring, without an import of what it works with."""
    spec = importlib.util.find_spec(module)
    loader = spec.loader if spec else None
    source = loader.get_source(module) if isinstance(loader, InspectLoader) else None
    for node in ast.parse(source or "").body:
        if isinstance(node, ast.FunctionDef) and node.name == attribute:
            text = inspect.cleandoc(ast.get_docstring(node) or "")
            return click.Command(attribute, help=text).get_short_help_str(80)
    return ""


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(alphamill.__version__, prog_name="alphamill")
def main() -> None:
    """Mine alpha factors from Binance market data with LLMs, on a fleet of task-queue workers.

    \b
    Example:
      alphamill demo
    """


if __name__ == "__main__":
    main(prog_name="alphamill")
