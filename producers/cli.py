"""The `alphamill` command: mounts the producers and the reading commands."""

from __future__ import annotations

import importlib

import click

import alphamill

# name -> (module, attribute, section). Loaded when called, so that `--help` is quick.
_COMMANDS = {
    "demo": ("producers.demo", "demo", "Start here"),
    "up": ("producers.up", "up", "Run"),
    "worker": ("producers.serve", "worker", "Run"),
    "beat": ("producers.serve", "beat", "Run"),
    "flower": ("producers.serve", "flower", "Run"),
    "fetch": ("producers.fetch", "fetch", "Submit"),
    "features": ("producers.features", "features", "Submit"),
    "mine": ("producers.mine", "mine", "Submit"),
    "evaluate": ("producers.evaluate", "evaluate", "Submit"),
    "resume": ("producers.control", "resume", "Submit"),
    "cancel": ("producers.control", "cancel", "Submit"),
    "status": ("producers.status", "status", "Read"),
    "factors": ("producers.factors", "factors", "Read"),
    "library": ("producers.library", "library", "Read"),
    "usage": ("producers.usage", "usage", "Read"),
    "funnel": ("producers.funnel", "funnel", "Read"),
    "gaps": ("producers.gaps", "gaps", "Read"),
    "replay": ("producers.replay", "replay", "Read"),
    "report": ("producers.page", "report", "Read"),
    "prompt": ("producers.reading", "prompt", "Read"),
    "operators": ("producers.reading", "operators", "Read"),
    "models": ("producers.checking", "models", "Check"),
    "bench": ("producers.bench", "bench", "Check"),
    "cost": ("producers.cost", "cost", "Check"),
    "doctor": ("producers.doctor", "doctor", "Check"),
    "sim": ("producers.simulate", "sim", "Simulate"),
}


class _Commands(click.Group):
    """Loads a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            close = [name for name in _COMMANDS if name.startswith(cmd_name[:3])]
            hint = f"; did you mean {close[0]}?" if close else ""
            ctx.fail(f"no command {cmd_name!r}{hint}")
        module, attribute, _ = _COMMANDS[cmd_name]
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)  # noqa: S101  the table above is ours
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(section for _, _, section in _COMMANDS.values()):
            rows = []
            for name, (_, _, where) in _COMMANDS.items():
                command = self.get_command(ctx, name) if where == section else None
                if command is not None:
                    rows.append((name, command.get_short_help_str(80)))
            with formatter.section(section):
                formatter.write_dl(rows)


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
