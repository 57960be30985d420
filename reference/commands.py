"""Commands and their options, from the parser itself."""

from __future__ import annotations

import inspect

import click

from producers.cli import COMMANDS, main
from reference.markdown import code, page, table, words

_EXITS = {
    "0": "done",
    "1": "the run or a job of it failed, a budget stopped it, or a check failed",
    "2": "wrong usage",
    "3": "misconfigured: the setting is named, and the cure",
    "130": "interrupted",
}


def commands_page() -> str:
    """Every command of `alphamill`, in the order and the sections of its help."""
    context = click.Context(main, info_name="alphamill")
    parts = []
    section = ""
    for name, (_, _, of_section) in COMMANDS.items():
        command = main.get_command(context, name)
        if command is None:
            raise LookupError(name)
        if of_section != section:
            section = of_section
            parts.append(f"## {section}")
        parts.extend(_command(command, context, name))
    about = (
        "Each has `--help`; what is read has `--json`. "
        "`python -m producers.mine` and its like are the same as the commands."
    )
    exits = table(("exit code", "meaning"), ((code(k), v) for k, v in _EXITS.items()))
    return page("Commands", about, exits, *parts)


def _command(command: click.Command, parent: click.Context, name: str) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent)
    parts = [f"### {context.command_path}", *_help(command.help or "")]
    usage = " ".join(
        [context.command_path, *(piece for piece in command.collect_usage_pieces(context))]
    )
    parts.append(f"```text\n{usage}\n```")
    rows = [
        (code(names), words(text))
        for param in command.params
        if isinstance(param, click.Option) and (record := param.get_help_record(context))
        for names, text in [record]
    ]
    if rows:
        parts.append(table(("option", "meaning"), rows))
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None:
                parts.extend(_command(found, context, below))
    return parts


def _help(text: str) -> list[str]:
    """Paragraphs; one that click leaves as it is, behind a backspace, is shown so here too."""
    parts = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            shown = paragraph.lstrip("\b\n").removeprefix("Example:\n")
            parts.append(f"```bash\n{inspect.cleandoc(shown)}\n```")
        else:
            parts.append(words(paragraph))
    return parts
