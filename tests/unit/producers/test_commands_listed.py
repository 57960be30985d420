"""`alphamill --help` tells of every command what the command itself tells."""

import importlib
import subprocess
import sys

from click.testing import CliRunner

from producers.cli import COMMANDS, main, summary


def test_every_command_is_listed_with_its_own_first_sentence() -> None:
    shown = CliRunner().invoke(main, ["--help"], terminal_width=120).output
    for name, (module, attribute, _) in COMMANDS.items():
        own = getattr(importlib.import_module(module), attribute).get_short_help_str(80)
        assert own
        assert summary(module, attribute) == own
        assert any(line.split() == [name, *own.split()] for line in shown.splitlines())


def test_the_list_is_shown_without_what_commands_work_with() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from producers.cli import main;"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0;"
        "print(sorted({'numpy', 'pyarrow', 'pandas', 'redis', 'celery'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
